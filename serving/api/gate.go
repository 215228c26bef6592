package api

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// Gate answers every request with 503, Retry-After and "loading model" until
// Open, and with the handler given to Open from then on: the port is taken, and
// a second server on it refused, before the long work of loading begins.
// llama.cpp does the same; vLLM refuses connections instead. The zero Gate is closed.
type Gate struct{ open atomic.Pointer[http.Handler] }

// Open lets requests through to h.
func (g *Gate) Open(h http.Handler) { g.open.Store(&h) }

// ServeHTTP answers one request.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := g.open.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	// net/http reads what is left of a body before it answers.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(DefaultReadLimit))
	e := apiError{http.StatusServiceUnavailable, typeUnavailable, "", "loading model; /health answers 200 when it is ready"}
	w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.status)
	_, _ = w.Write(e.body())
}
