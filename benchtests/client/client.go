package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"time"
)

// What Options leaves zero.
const (
	DefaultTimeout = 10 * time.Minute
	DefaultMaxBody = 64 << 20
)

// Limits that no server needs to exceed.
const (
	// maxHeader bounds a response's header.
	maxHeader = 1 << 20
	// maxIdle is how long an idle connection is reused: vLLM, Transformers and
	// llama.cpp close theirs after 5 s, and a request sent at that moment fails.
	maxIdle = 2 * time.Second
	// ioBuffer holds a usual request in one write, and a burst of events in one read.
	ioBuffer = 64 << 10
)

// Options configure a Client.
type Options struct {
	BaseURL     string        // "http://127.0.0.1:8000"; a path in it prefixes every route
	Connections int           // requests in flight at most; that many connections are kept alive
	Epoch       time.Time     // zero of all timestamps; must have a monotonic reading
	Timeout     time.Duration // for a whole request; 0 is DefaultTimeout
	MaxBody     int64         // bytes of a response's body; 0 is DefaultMaxBody
	Header      http.Header   // added to every request
	APIKey      string        // sent as Authorization: Bearer; struck out of every error, record and text
	NoKeepAlive bool          // a connection of its own for every request
}

// Client sends requests to one server. It is safe for concurrent use.
type Client struct {
	opt  Options
	base *url.URL
	http http.Client
}

// New checks the options and returns a client; it connects to nothing.
func New(opt Options) (*Client, error) {
	base, err := url.Parse(opt.BaseURL)
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" {
		return nil, fmt.Errorf("server %q is not a URL like http://127.0.0.1:8000", opt.BaseURL)
	}
	if opt.Timeout == 0 {
		opt.Timeout = DefaultTimeout
	}
	if opt.MaxBody == 0 {
		opt.MaxBody = DefaultMaxBody
	}
	dialer := net.Dialer{}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &stampedConn{Conn: c, epoch: opt.Epoch}, nil
		},
		Protocols:              &protocols,
		DisableCompression:     true,
		DisableKeepAlives:      opt.NoKeepAlive,
		MaxIdleConnsPerHost:    max(opt.Connections, 1),
		IdleConnTimeout:        maxIdle,
		MaxResponseHeaderBytes: maxHeader,
		ReadBufferSize:         ioBuffer,
		WriteBufferSize:        ioBuffer,
	}
	return &Client{opt: opt, base: base, http: http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close closes the idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Now returns the time since the epoch, on the clock of all timestamps.
func (c *Client) Now() time.Duration { return time.Since(c.opt.Epoch) }

// Call is one request.
type Call struct {
	Route  string // "/v1/completions" or "/v1/chat/completions"
	Body   []byte // JSON
	Stream bool   // the body asks for a stream
}

// Arrival says that the body up to End had arrived At.
type Arrival struct {
	End int
	At  time.Duration
}

// Exchange is what came back on a Call, not yet looked into. Times are since
// the epoch, 0 is "never".
type Exchange struct {
	Stream   bool
	Sent     time.Duration
	Headers  time.Duration
	End      time.Duration
	Status   int
	Header   http.Header
	Body     []byte
	Arrivals []Arrival // of pieces of Body, in order
	Err      error     // of the transport

	secret string // Options.APIKey, which an answer may repeat
}

// Causes of a transport error that net/http has no error of its own for.
var (
	// ErrTimeout is the Err of an Exchange that took longer than Options.Timeout.
	ErrTimeout = errors.New("no complete answer in time")
	// ErrTooLarge is the Err of an Exchange whose body exceeds Options.MaxBody.
	ErrTooLarge = errors.New("body too large")
)

// Do sends one request and reads the whole answer. Whatever goes wrong is in
// the Exchange, beside what had arrived until then.
func (c *Client) Do(ctx context.Context, call Call) *Exchange {
	x := &Exchange{Stream: call.Stream}
	ctx, cancel := context.WithTimeoutCause(ctx, c.opt.Timeout,
		fmt.Errorf("%w (%v)", ErrTimeout, c.opt.Timeout))
	defer cancel()

	begin := c.Now()
	var conn *stampedConn // set by GotConn, on this goroutine
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { conn = unwrap(info.Conn) },
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base.JoinPath(call.Route).String(), bytes.NewReader(call.Body))
	if err != nil {
		x.Err = err
		return x
	}
	for name, values := range c.opt.Header {
		req.Header[name] = values
	}
	if x.secret = c.opt.APIKey; x.secret != "" {
		req.Header.Set("Authorization", "Bearer "+x.secret)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "servebench")

	resp, err := c.http.Do(req)
	if conn != nil {
		// An older time is that of the connection's last request: nothing of this one was sent.
		if wrote := time.Duration(conn.wrote.Load()); wrote >= begin {
			x.Sent = wrote
		}
	}
	if err != nil {
		x.End = c.Now()
		x.Err = cause(ctx, err)
		return x
	}
	defer resp.Body.Close()
	x.Headers = time.Duration(conn.read.Load())
	x.Sent = min(x.Sent, x.Headers) // a server may answer before it has read everything
	x.Status, x.Header = resp.StatusCode, resp.Header
	x.Err = cause(ctx, c.read(x, resp.Body, conn))
	x.End = c.Now()
	if cap(x.Body) > 2*len(x.Body) {
		x.Body = bytes.Clone(x.Body) // exchanges are kept until the window's end
	}
	return x
}

// read fills Body and Arrivals.
func (c *Client) read(x *Exchange, body io.Reader, conn *stampedConn) error {
	x.Body = make([]byte, 0, ioBuffer)
	for {
		x.Body = slices.Grow(x.Body, ioBuffer/4)
		n, err := body.Read(x.Body[len(x.Body):cap(x.Body)])
		if n > 0 {
			x.Body = x.Body[:len(x.Body)+n]
			x.Arrivals = append(x.Arrivals, Arrival{End: len(x.Body), At: time.Duration(conn.read.Load())})
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if int64(len(x.Body)) > c.opt.MaxBody {
			return fmt.Errorf("%w: over %d bytes", ErrTooLarge, c.opt.MaxBody)
		}
	}
}

// cause replaces the error that a context made by the reason it ended for.
func cause(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// arrival returns when the bytes of the body before the offset end had arrived.
func (x *Exchange) arrival(end int) time.Duration {
	i, _ := slices.BinarySearchFunc(x.Arrivals, end, func(a Arrival, end int) int { return a.End - end })
	if i == len(x.Arrivals) {
		return x.End
	}
	return x.Arrivals[i].At
}

// mediaType returns the Content-Type without its parameters.
func (x *Exchange) mediaType() string {
	mt, _, _ := strings.Cut(x.Header.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(mt))
}
