package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/results"
)

// serve starts a server and a client of it.
func serve(t *testing.T, opt Options, h http.HandlerFunc) (*Client, *httptest.Server) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body) // or the server does not see the client go away
		h(w, req)
	}))
	t.Cleanup(srv.Close)
	opt.BaseURL, opt.Epoch = srv.URL, time.Now()
	c, err := New(opt)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c, srv
}

func TestNewRefuses(t *testing.T) {
	for _, url := range []string{"", "localhost:8000", "ftp://x", "http://", "http://[", "/v1"} {
		_, err := New(Options{BaseURL: url})
		assert.ErrorContains(t, err, "is not a URL", "%q", url)
	}
}

// TestArrivals checks each timestamp against the server's own clock: a piece
// arrives after it was sent and before the next one is.
func TestArrivals(t *testing.T) {
	var c *Client
	var wrote [4]time.Duration
	gate := make(chan struct{})
	c, _ = serve(t, Options{Timeout: time.Minute}, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		a, b := delta(`"delta":{"content":"a"}`), delta(`"delta":{"content":"bb"},"finish_reason":"stop"`)
		for i, part := range []string{a + a, b[:20], b[20:], "data: [DONE]\n\n"} {
			<-gate
			wrote[i] = c.Now()
			fmt.Fprint(w, part)
			w.(http.Flusher).Flush()
		}
	})
	before := c.Now()
	result := make(chan results.Request)
	go func() {
		r, _ := ask(t, c, true)
		result <- r
	}()
	for range wrote {
		time.Sleep(20 * time.Millisecond) // lets the piece arrive; a slower machine only weakens the test
		gate <- struct{}{}
	}
	r := <-result
	require.Empty(t, r.Error, r.Detail)
	require.Len(t, r.Chunks, 3)
	assert.Less(t, before, r.Sent)
	assert.Less(t, r.Sent, wrote[0])
	assert.Less(t, wrote[0], r.Chunks[0].At)
	assert.Equal(t, r.Chunks[0], r.Chunks[1], "two events of one write share its time")
	assert.Less(t, r.Chunks[1].Last(), wrote[1])
	assert.Less(t, wrote[1], r.Chunks[2].At, "first byte of a split event")
	assert.Less(t, r.Chunks[2].At, wrote[2])
	assert.Less(t, wrote[2], r.Chunks[2].Last(), "last byte of a split event")
	assert.Less(t, wrote[3], r.End)
}

func TestKeepAlive(t *testing.T) {
	var conns atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		assert.Equal(t, "HTTP/1.1", req.Proto)
		assert.Empty(t, req.Header.Get("Accept-Encoding"))
		assert.Equal(t, "application/json", req.Header.Get("Content-Type"))
		assert.Equal(t, "Bearer secret", req.Header.Get("Authorization"))
		assert.Equal(t, "/prefix/v1/completions", req.URL.Path)
		fmt.Fprint(w, `{"choices":[{"index":0,"text":"a"}]}`)
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	c, err := New(Options{BaseURL: srv.URL + "/prefix", Connections: 1, Epoch: time.Now(),
		Header: http.Header{"Authorization": {"Bearer secret"}}})
	require.NoError(t, err)
	defer c.Close()
	for range 5 {
		r, _ := ask(t, c, false)
		require.Empty(t, r.Error, r.Detail)
	}
	assert.EqualValues(t, 1, conns.Load(), "one connection for requests one after the other")
}

func TestFailures(t *testing.T) {
	check := func(name string, opt Options, class, detail string, h http.HandlerFunc) {
		t.Helper()
		c, _ := serve(t, opt, h)
		r, _ := ask(t, c, true)
		assert.Equal(t, class, r.Error, "%s: %s", name, r.Detail)
		assert.Contains(t, r.Detail, detail, name)
	}
	stream := func(w http.ResponseWriter, parts ...string) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, p := range parts {
			fmt.Fprint(w, p)
			w.(http.Flusher).Flush()
		}
	}
	token := delta(`"delta":{"content":"a"}`)
	check("dies before the headers", Options{}, results.ClassConnect, "EOF",
		func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	check("dies in the stream", Options{}, results.ClassStreamBroken, "unexpected EOF after",
		func(w http.ResponseWriter, _ *http.Request) { stream(w, token); panic(http.ErrAbortHandler) })
	check("dies in an event", Options{}, results.ClassStreamBroken, "unexpected EOF after",
		func(w http.ResponseWriter, _ *http.Request) {
			stream(w, token, token[:30])
			panic(http.ErrAbortHandler)
		})
	check("dies behind [DONE]", Options{}, "", "",
		func(w http.ResponseWriter, _ *http.Request) {
			stream(w, token, "data: [DONE]\n\n")
			panic(http.ErrAbortHandler)
		})
	check("stalls before the headers", Options{Timeout: 30 * time.Millisecond}, results.ClassTimeout, "30ms",
		func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() })
	check("stalls in the stream", Options{Timeout: 60 * time.Millisecond}, results.ClassTimeout, "bytes of the body had arrived",
		func(w http.ResponseWriter, req *http.Request) { stream(w, token); <-req.Context().Done() })
	check("never ends", Options{MaxBody: 1 << 20}, results.ClassStreamBroken, "body too large",
		func(w http.ResponseWriter, req *http.Request) {
			for req.Context().Err() == nil {
				stream(w, token)
			}
		})
	check("one endless line", Options{MaxBody: 1 << 20}, results.ClassStreamBroken, "body too large",
		func(w http.ResponseWriter, req *http.Request) {
			for req.Context().Err() == nil {
				stream(w, strings.Repeat("data: x", 1000))
			}
		})
	check("redirects", Options{}, results.ClassHTTPOther, "status 307",
		func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, "/elsewhere", http.StatusTemporaryRedirect)
		})
	check("error status", Options{}, results.ClassHTTP5xx, "status 503",
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
}

func TestConnectionRefused(t *testing.T) {
	c, srv := serve(t, Options{}, nil)
	srv.Close()
	r, _ := ask(t, c, true)
	assert.Equal(t, results.ClassConnect, r.Error)
	assert.Contains(t, r.Detail, "refused")
	assert.Zero(t, r.Sent)
}

func TestNotHTTP(t *testing.T) {
	for _, answer := range []string{"hello\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", strings.Repeat("x", 100)} {
		url := rawServer(t, func(c net.Conn) { c.Write([]byte(answer)) })
		r, _ := ask(t, newClient(t, url), true)
		assert.NotEmpty(t, r.Error, "%q", answer)
	}
}

func TestCancel(t *testing.T) {
	c, _ := serve(t, Options{}, func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() })
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		time.Sleep(20 * time.Millisecond)
		cancel(fmt.Errorf("%w: interrupted", context.Canceled))
	}()
	x := c.Do(ctx, Call{Route: "/", Body: []byte("{}")})
	var r results.Request
	x.Decode(&r)
	assert.Equal(t, results.ClassCanceled, r.Error)
	assert.True(t, errors.Is(x.Err, context.Canceled))
}

// TestTLS checks that timestamps are taken under the encryption too.
func TestTLS(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"choices":[{"index":0,"text":"a"}]}`)
	}))
	defer srv.Close()
	c, err := New(Options{BaseURL: srv.URL, Epoch: time.Now()})
	require.NoError(t, err)
	c.http.Transport.(*http.Transport).TLSClientConfig = srv.Client().Transport.(*http.Transport).TLSClientConfig
	r, _ := ask(t, c, false)
	require.Empty(t, r.Error, r.Detail)
	assert.NotZero(t, r.Sent)
	assert.NotZero(t, r.Headers)
}

// TestAnsweredEarly has the server answer before it has read the request.
func TestAnsweredEarly(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		body := `{"choices":[{"index":0,"text":"a"}]}`
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		io.Copy(io.Discard, conn)
	}()
	c := newClient(t, "http://"+l.Addr().String())
	x := c.Do(t.Context(), Call{Route: "/", Body: make([]byte, 32<<20)})
	var r results.Request
	x.Decode(&r)
	if r.Error == "" { // net/http may also report the write that it broke off
		assert.LessOrEqual(t, r.Sent, r.Chunks[0].At)
	}
}

// TestSentIsNotTheLastRequests has a request fail on a connection that carried another.
func TestSentIsNotTheLastRequests(t *testing.T) {
	c, _ := serve(t, Options{Connections: 1}, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"choices":[{"index":0,"text":"a"}]}`)
	})
	first, _ := ask(t, c, false)
	require.Empty(t, first.Error, first.Detail)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	x := c.Do(ctx, Call{Route: "/", Body: []byte("{}")})
	assert.Error(t, x.Err)
	assert.Zero(t, x.Sent)
}

// TestNoKeepAlive sends requests to a server that closes each connection after
// its answer without saying so, as llama.cpp's does after a stream.
func TestNoKeepAlive(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			req, err := http.ReadRequest(bufio.NewReader(conn))
			if err == nil {
				io.Copy(io.Discard, req.Body)
				const body = `{"choices":[{"text":"a","finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}`
				fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			}
			conn.Close()
		}
	}()
	c, err := New(Options{BaseURL: "http://" + l.Addr().String(), Epoch: time.Now(), NoKeepAlive: true})
	require.NoError(t, err)
	defer c.Close()
	for i := range 20 {
		var r results.Request
		c.Do(t.Context(), Call{Route: "/v1/completions", Body: []byte(`{"prompt":"x"}`)}).Decode(&r)
		require.Empty(t, r.Error, "request %d: %s", i, r.Detail)
	}
}

// TestAPIKey sends a key to a server that repeats it when it refuses it.
func TestAPIKey(t *testing.T) {
	const key = "a-key-that-nobody-sees"
	var got string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"error":{"message":"Incorrect API key provided: %s"}}`, key)
	}))
	defer srv.Close()
	for _, sent := range []string{"", key} {
		c, err := New(Options{BaseURL: srv.URL, Epoch: time.Now(), APIKey: sent})
		require.NoError(t, err)
		defer c.Close()
		x := c.Do(t.Context(), Call{Route: "/v1/completions", Body: []byte(`{}`)})
		var r results.Request
		x.Decode(&r)
		assert.Equal(t, results.ClassHTTP4xx, r.Error)
		if sent == "" {
			assert.Empty(t, got)
			continue
		}
		assert.Equal(t, "Bearer "+key, got)
		assert.Contains(t, r.Detail, "Incorrect API key provided: (secret)")
	}
}
