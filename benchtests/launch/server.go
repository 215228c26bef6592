package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// ErrExited is returned, wrapped with how, when a server's process ended
// before it was stopped.
var ErrExited = errors.New("the server exited")

// ErrNotReady is returned when a server did not answer its readiness route in time.
var ErrNotReady = errors.New("the server is not ready")

// Server is a server to send requests to.
type Server interface {
	// URL is its base URL, without a slash at the end.
	URL() string
	// PID is its process, the root of its process tree; 0 if that is not on this machine.
	PID() int
	// Exited is closed when the process has ended; nil if that cannot be known.
	Exited() <-chan struct{}
	// LogTail returns the last lines of its log, "" if there is none.
	LogTail() string
	// Stop ends the server and returns when nothing of it is left. It may be
	// called again, and from several goroutines.
	Stop() error
}

// Endpoint is a server that runs already.
type Endpoint struct{ url string }

// EndpointOptions say how an endpoint is looked at before it is used.
type EndpointOptions struct {
	Ready   string        // route that answers 2xx when it can serve; "" does not look
	APIKey  Secret        // sent along; "" is none
	Timeout time.Duration // for how long it may not be ready yet
}

// NewEndpoint checks a base URL, and waits until the server is ready where that
// is asked for.
func NewEndpoint(ctx context.Context, base string, o EndpointOptions) (*Endpoint, error) {
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("%q is not a URL like http://127.0.0.1:8000", base)
	}
	e := &Endpoint{url: strings.TrimRight(base, "/")}
	if o.Ready != "" {
		client := http.Client{Transport: Authorize(&http.Transport{DisableKeepAlives: true}, o.APIKey)}
		if err := pollReady(ctx, &client, e.url+o.Ready, o.Timeout, nil); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// Authorize sends a key along with every request, as OpenAI's API takes it; a
// key of "" is none.
func Authorize(next http.RoundTripper, key Secret) http.RoundTripper {
	if key == "" {
		return next
	}
	return bearer{next, key}
}

type bearer struct {
	next http.RoundTripper
	key  Secret
}

// RoundTrip implements http.RoundTripper, which leaves the request as it is.
func (b bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+string(b.key))
	return b.next.RoundTrip(req)
}

// URL implements Server.
func (e *Endpoint) URL() string { return e.url }

// PID implements Server.
func (e *Endpoint) PID() int { return 0 }

// Exited implements Server.
func (e *Endpoint) Exited() <-chan struct{} { return nil }

// LogTail implements Server.
func (e *Endpoint) LogTail() string { return "" }

// Stop implements Server: it leaves the server alone.
func (e *Endpoint) Stop() error { return nil }

// FreePort returns a TCP port of the loopback interface that nothing listens
// on. Another process may take it before the server does; the server then
// fails to start and says so in its log.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// pollEvery is short beside any server's start, and long beside a poll.
const pollEvery = 50 * time.Millisecond

// waitReady polls url until it answers 2xx. A closed exited ends it with ErrExited.
func waitReady(ctx context.Context, url string, timeout time.Duration, exited <-chan struct{}) error {
	return pollReady(ctx, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, url, timeout, exited)
}

func pollReady(ctx context.Context, client *http.Client, url string, timeout time.Duration, exited <-chan struct{}) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%w after %v", ErrNotReady, timeout))
	defer cancel()
	last := errors.New("no answer yet")
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode/100 == 2 {
				return nil
			}
			last = fmt.Errorf("status %s", resp.Status)
			if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
				return fmt.Errorf("%w: %s: %w; it wants a key, or another one", ErrNotReady, url, last)
			}
		} else if ctx.Err() == nil {
			last = err
		}
		select {
		case <-exited:
			return ErrExited
		case <-ctx.Done():
			return fmt.Errorf("%w; %s: %v", context.Cause(ctx), url, last)
		case <-tick.C:
		}
	}
}

// Lines and bytes of a log that an error shows.
const (
	tailLines = 20
	tailBytes = 8 << 10
)

// logTail returns the last lines of a log.
func logTail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > tailBytes {
		f.Seek(-tailBytes, io.SeekEnd)
	}
	data := make([]byte, tailBytes)
	n, _ := io.ReadFull(f, data)
	text := strings.TrimSpace(strings.ToValidUTF8(string(data[:n]), "�"))
	if text == "" {
		return "(it is empty)"
	}
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}
