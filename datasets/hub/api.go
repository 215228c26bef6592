package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// failure is an error that another attempt may not meet.
type failure struct {
	err  error
	wait time.Duration // the hub asked for a pause of that length
	net  bool          // no answer at all
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// errIdle is the cause of a request that was given up.
var errIdle = errors.New("no byte arrived in time")

// send makes one request and gives it up when no byte arrives for Idle.
// from > 0 asks for the file's bytes from there on. An answer that is neither
// 2xx nor a redirect that was not followed is left to the caller too.
func (c *Client) send(ctx context.Context, method, target string, from int64, abroad bool) (*http.Response, error) {
	end, err := c.endpoint()
	if err != nil {
		return nil, err
	}
	inner, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(inner, method, target, nil)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	timer := time.AfterFunc(c.idle(), func() { cancel(errIdle) })
	req.Header.Set("User-Agent", "servebench")
	req.Header.Set("Accept-Encoding", "identity") // lengths and ranges are of the file itself
	if from > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	resp, err := c.http(end, abroad).Do(req)
	if err != nil {
		timer.Stop()
		cancel(nil)
		return nil, c.broken(ctx, inner, end.Host, err)
	}
	resp.Body = &watchedBody{
		ReadCloser: resp.Body, timer: timer, idle: c.idle(), cancel: cancel,
		explain: func(err error) error { return c.broken(ctx, inner, resp.Request.URL.Host, err) },
	}
	return resp, nil
}

// watchedBody ends a request when a read has to wait too long.
type watchedBody struct {
	io.ReadCloser
	timer   *time.Timer
	idle    time.Duration
	cancel  context.CancelCauseFunc
	explain func(error) error
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.idle)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop() // a slow disk is not the hub's fault
	if err != nil && err != io.EOF {
		err = b.explain(err)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

// broken explains a request without an answer. The URL is left out: after a
// redirect it holds a signature.
func (c *Client) broken(outer, inner context.Context, host string, err error) error {
	if outer.Err() != nil {
		return outer.Err()
	}
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(context.Cause(inner), errIdle) {
		err = fmt.Errorf("%w (%v)", errIdle, c.idle())
	}
	return &failure{err: fmt.Errorf("%w: %s: %w", ErrUnreachable, host, err), net: true}
}

// refused explains an answer that is not what was asked for.
func (c *Client) refused(r Repo, resp *http.Response) error {
	end, err := c.endpoint()
	if err != nil {
		return err
	}
	code, reason := resp.Header.Get("X-Error-Code"), c.clean(resp.Header.Get("X-Error-Message"))
	said := ""
	if reason != "" {
		said = fmt.Sprintf(": %q", reason)
	}
	switch s := resp.StatusCode; {
	case code == "GatedRepo", s == http.StatusUnauthorized && code != "RepoNotFound",
		s == http.StatusForbidden && said+code != "":
		return fmt.Errorf("%w%s; %s", ErrGated, said, c.advice(r.page(end), end, s, code == "GatedRepo"))
	case code == "RepoNotFound":
		return fmt.Errorf("%w%s; check its name, or if it is private set HF_TOKEN to a token that may read it", ErrNotFound, said)
	case s == http.StatusNotFound:
		return fmt.Errorf("%w%s", ErrNotFound, said)
	case s == http.StatusForbidden:
		// The hub gives a reason; a proxy that lets nobody out does not.
		return fmt.Errorf("%w: something between here and %s answers %s", ErrUnreachable, end.Host, resp.Status)
	case s == http.StatusTooManyRequests, s == http.StatusRequestTimeout, s >= 500:
		return &failure{
			err:  fmt.Errorf("%w: %s answers %s%s", ErrUnreachable, resp.Request.URL.Host, resp.Status, said),
			wait: retryAfter(resp.Header.Get("Retry-After")),
		}
	case s >= 300 && s < 400:
		return fmt.Errorf("%w: a redirect to %s, set HF_ENDPOINT to the hub itself", ErrProtocol, hostOf(resp))
	}
	return fmt.Errorf("%w: %s%s", ErrProtocol, resp.Status, said)
}

// advice is what someone can do who was refused a repository with that page.
// The hub answers 401 to a request without a token or with one that it does not
// know, and 403 to one whose account or scope is not enough.
func (c *Client) advice(page string, end *url.URL, status int, gated bool) string {
	host := url.URL{Scheme: end.Scheme, Host: end.Host}
	accept := ""
	if gated {
		accept = fmt.Sprintf("accept its licence at %s, then ", page)
	}
	switch {
	case c.Token == "":
		return fmt.Sprintf("%sset HF_TOKEN to a token of that account that may read %s", accept, page)
	case status == http.StatusUnauthorized && !gated:
		return fmt.Sprintf("the token (of HF_TOKEN, or the file that huggingface-cli login wrote) is not valid: make another at %s/settings/tokens", host.String())
	case gated:
		return fmt.Sprintf("%stry again: the account of the token in use has no access yet (a fine-grained token also needs the right to read gated repositories)", accept)
	}
	return fmt.Sprintf("the token in use may not read %s: set HF_TOKEN to one that may", page)
}

// hostOf is where a redirect leads.
func hostOf(resp *http.Response) string {
	u, err := resp.Location()
	if err != nil {
		return "nowhere"
	}
	return u.Scheme + "://" + u.Host
}

// clean shortens a server's words and takes the token out, should they hold it.
func (c *Client) clean(s string) string {
	if c.Token != "" {
		s = strings.ReplaceAll(s, c.Token, "***")
	}
	if r := []rune(s); len(r) > 300 {
		s = string(r[:300]) + "…"
	}
	return strings.TrimSpace(s)
}

// retryAfter reads seconds or a date; 0 where there is neither.
func retryAfter(s string) time.Duration {
	if n, err := strconv.Atoi(s); err == nil && n > 0 && n < 1<<31 {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(0, time.Until(t))
	}
	return 0
}

const (
	maxAttempts = 5               // in a row without progress
	maxWait     = 2 * time.Minute // that the hub may ask for
)

// retry repeats try while it fails in a way that another attempt may not, with
// pauses that double. Attempts that made progress are not counted. what names
// the thing in errors and notes.
func (c *Client) retry(ctx context.Context, what string, try func() (progress bool, err error)) error {
	first := c.pause
	if first <= 0 {
		first = defaultPause
	}
	pause := first
	for attempt := 1; ; attempt++ {
		progress, err := try()
		if err == nil {
			return nil
		}
		err = fmt.Errorf("%s: %w", what, err)
		var f *failure
		if !errors.As(err, &f) {
			return err
		}
		if progress {
			attempt, pause = 1, first
		}
		if f.wait > maxWait {
			return fmt.Errorf("%w, and asks to wait %v", err, f.wait)
		}
		if attempt >= maxAttempts {
			return fmt.Errorf("%w (%d attempts)", err, attempt)
		}
		wait := max(pause, f.wait)
		c.note("%v; trying again in %v", err, wait)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		pause *= 2
	}
}

// maxListing bounds the list of a repository's files.
const maxListing = 64 << 20

// list asks which commit a revision is and which files it has. This is the
// first contact: a hub that gives no answer at all is not asked again.
func (c *Client) list(ctx context.Context, r Repo) (commit string, names []string, err error) {
	end, err := c.endpoint()
	if err != nil {
		return "", nil, err
	}
	var answer struct {
		SHA      string `json:"sha"`
		Siblings []struct {
			Name string `json:"rfilename"`
		} `json:"siblings"`
	}
	err = c.retry(ctx, r.String(), func() (bool, error) {
		resp, err := c.send(ctx, http.MethodGet, r.api(end), 0, false)
		if f := (*failure)(nil); errors.As(err, &f) && f.net {
			return false, f.err
		}
		if err != nil {
			return false, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return false, c.refused(r, resp)
		}
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxListing))
		if err != nil {
			return false, asBroken(err, resp)
		}
		if err := json.Unmarshal(b, &answer); err != nil {
			return false, fmt.Errorf("%w: the list of its files: %v", ErrProtocol, err)
		}
		return false, nil
	})
	if err != nil {
		return "", nil, err
	}
	if !commitSyntax.MatchString(answer.SHA) {
		return "", nil, fmt.Errorf("%s: %w: commit %q", r, ErrProtocol, answer.SHA)
	}
	for _, s := range answer.Siblings {
		if err := checkName(s.Name); err != nil {
			return "", nil, fmt.Errorf("%s: %w", r, err)
		}
		names = append(names, s.Name)
	}
	return answer.SHA, names, nil
}

// asBroken makes a body that ended early an error that is worth another attempt.
func asBroken(err error, resp *http.Response) error {
	if f := (*failure)(nil); errors.As(err, &f) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &failure{err: fmt.Errorf("%w: %s: %w", ErrUnreachable, resp.Request.URL.Host, err), net: true}
}

// remote is what the hub says of a file.
type remote struct {
	name     string
	checksum string // sha256 (64 digits) of a large file, git's blob sha1 (40) of another
	size     int64
}

// stat asks for a file's length and checksum. A large file's answer is a
// redirect to where its bytes are, with both in the headers.
func (c *Client) stat(ctx context.Context, r Repo, commit, name string) (remote, error) {
	end, err := c.endpoint()
	if err != nil {
		return remote{}, err
	}
	out := remote{name: name}
	err = c.retry(ctx, r.named(name), func() (bool, error) {
		resp, err := c.send(ctx, http.MethodHead, r.file(end, commit, name), 0, false)
		if err != nil {
			return false, err
		}
		defer resp.Body.Close()
		h := resp.Header
		out.checksum = h.Get("X-Linked-Etag")
		if s := resp.StatusCode; s != http.StatusOK && (s < 300 || s >= 400 || out.checksum == "") {
			return false, c.refused(r, resp)
		}
		if out.checksum == "" {
			out.checksum = h.Get("ETag")
		}
		out.checksum = strings.Trim(strings.TrimPrefix(out.checksum, "W/"), `"`)
		if !checksumSyntax.MatchString(out.checksum) {
			return false, fmt.Errorf("%w: its ETag %q is no sha1 and no sha256", ErrProtocol, out.checksum)
		}
		if got := h.Get("X-Repo-Commit"); got != "" && got != commit {
			return false, fmt.Errorf("%w: it comes from commit %q instead of %s", ErrProtocol, got, commit)
		}
		out.size = resp.ContentLength
		if linked := h.Get("X-Linked-Size"); linked != "" || resp.StatusCode != http.StatusOK {
			if out.size, err = strconv.ParseInt(linked, 10, 64); err != nil {
				out.size = -1
			}
		}
		if out.size < 0 {
			return false, fmt.Errorf("%w: its length is not told", ErrProtocol)
		}
		return false, nil
	})
	return out, err
}
