package api

import (
	"context"
	"net/http"
	"strings"
)

// ignoredHeader names the unknown fields of a request in its answer.
const ignoredHeader = "X-Ignored-Fields"

// A request may bring the id of its answer, which begins with the route's prefix
// all the same: in this header, or in the field request_id.
const (
	idHeader = "X-Request-Id"
	maxID    = 256 // bytes
)

// generate is the handler of a generating route.
func (s *Server) generate(rt *route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		j, err := s.accept(rt, w, r)
		if err != nil {
			s.writeError(w, err)
			return
		}
		// Ends the engine's requests however this function is left: after a
		// stop string, a failed write, or when the client has gone.
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		c, err := s.start(ctx, j)
		if err != nil {
			s.writeError(w, err)
			return
		}
		if j.stream {
			s.stream(ctx, w, c)
		} else {
			s.answer(ctx, w, c)
		}
	}
}

// accept reads and checks a request, and reports fields that it does not know.
func (s *Server) accept(rt *route, w http.ResponseWriter, r *http.Request) (*job, error) {
	req, err := s.readFields(w, r, rt.fields)
	if err != nil {
		return nil, err
	}
	field := "request_id"
	if id := r.Header.Get(idHeader); id != "" { // it wins, as in vLLM
		req.id, field = id, idHeader
	}
	if len(req.id) > maxID {
		return nil, badRequest(field, "%s has %d bytes; at most %d are allowed, because every event repeats it", field, len(req.id), maxID)
	}
	return s.prepare(rt, req)
}

// maxIgnored bounds what is logged and sent back of unknown field names.
const maxIgnored = 1024

// headerSafe keeps what an HTTP header may carry of a caller's field names.
func headerSafe(names string) string {
	if len(names) > maxIgnored {
		names = names[:maxIgnored] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, names)
}

// answer sends the whole text of all choices as one JSON value.
func (s *Server) answer(ctx context.Context, w http.ResponseWriter, c *choices) {
	parts := make([]whole, len(c.gens))
	for i := range parts {
		parts[i].log = s.newTokenLog(c.job)
	}
	for !c.over() {
		p, err := c.next(ctx)
		if err != nil {
			if ctx.Err() == nil { // else nobody is there to be told
				s.writeError(w, err)
			}
			return
		}
		parts[p.choice].add(p, c.job.out.tokenIDs)
	}
	s.writeJSON(w, http.StatusOK, s.wholeAnswer(c, parts))
}

// stream sends an event for every token. Headers go out before the first one,
// as vLLM's do, so an error of the engine is an event too, followed by [DONE].
func (s *Server) stream(ctx context.Context, w http.ResponseWriter, c *choices) {
	e := s.newEvents(w, c)
	err := e.open()
	for err == nil && !c.over() {
		p, fault := c.next(ctx)
		if fault != nil {
			if ctx.Err() == nil { // else nobody is there to be told
				s.cfg.Log.Error("stream failed", "id", c.job.id, "error", fault)
				_ = e.fail(asAPIError(fault))
			}
			return
		}
		err = e.piece(p)
	}
	if err == nil {
		err = e.done()
	}
	if err != nil {
		s.cfg.Log.Info("a client did not take its stream", "id", c.job.id, "tokens", c.tokens, "error", err)
	}
}
