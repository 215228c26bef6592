package target

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

const (
	// askTimeout bounds a question about a server; a busy one answers it at once.
	askTimeout = 30 * time.Second
	// maxAnswer bounds an answer's bytes. vLLM's metrics are 60 KB, TGI's 100 KB.
	maxAnswer = 16 << 20
	// shown is how many bytes of a foreign answer an error shows.
	shown = 200
)

// plain asks without a connection that is kept and without a proxy, as requests
// are sent that are measured.
var plain = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// statusError is an answer whose status is not 2xx.
type statusError struct {
	method, url string
	status      int
	body        []byte
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s %s has status %d: %q", e.method, e.url, e.status, e.body[:min(len(e.body), shown)])
}

// ask sends a request and returns the body of a 2xx answer; with any other
// status the error is a *statusError. body is JSON; nil sends none. A nil
// client is plain.
func ask(ctx context.Context, client *http.Client, method, baseURL, route string, body any) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(data)
	}
	return send(ctx, client, method, baseURL, route, content)
}

// send is ask without a limit of time and with any body.
func send(ctx context.Context, client *http.Client, method, baseURL, route string, content io.Reader) ([]byte, error) {
	u, err := join(baseURL, route)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, u, content)
	if err != nil {
		return nil, err
	}
	if content != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	// No question changes what the next one is answered: one that meets a connection
	// which the server has just let go may be asked on another (net/http.Transport).
	req.Header["Idempotency-Key"] = nil
	if client == nil {
		client = plain
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w", method, u, err)
	case len(text) > maxAnswer:
		return nil, fmt.Errorf("%s %s: an answer of more than %d bytes", method, u, maxAnswer)
	}
	if resp.StatusCode/100 != 2 {
		return nil, &statusError{method, u, resp.StatusCode, text}
	}
	return text, nil
}

// join puts a route, which may have a query, behind a base that may have a path.
func join(baseURL, route string) (string, error) {
	base, err := url.Parse(baseURL)
	if err != nil {
		return "", fmt.Errorf("the server's URL: %w", err)
	}
	r, err := url.Parse(route)
	if err != nil {
		return "", err
	}
	u := base.JoinPath(r.Path)
	u.RawQuery = r.RawQuery
	return u.String(), nil
}

// unsupported makes errors.ErrUnsupported of an answer that says that there is
// no such route, or that the server was started without it.
func unsupported(err error) error {
	var e *statusError
	if errors.As(err, &e) {
		switch e.status {
		case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
			return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
		}
	}
	return err
}
