package hub

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The reasons for which something cannot be had, for errors.Is.
var (
	// ErrOffline is returned when HF_HUB_OFFLINE is set and the cache lacks something.
	ErrOffline = errors.New("offline, since HF_HUB_OFFLINE is set, and not in the cache")
	// ErrUnreachable is returned when the hub does not answer, or keeps
	// answering 429 or 5xx or breaking off, and the cache lacks something.
	ErrUnreachable = errors.New("the hub cannot be reached")
	// ErrNotFound is returned when the hub has no such repository, revision or file.
	ErrNotFound = errors.New("not found on the hub")
	// ErrGated is returned when the hub refuses access: a licence to accept, a
	// private repository, or a token that is wrong.
	ErrGated = errors.New("access refused by the hub")
	// ErrCorrupt is returned when a file arrives, twice, with a length or
	// checksum other than announced.
	ErrCorrupt = errors.New("download corrupt")
	// ErrProtocol is returned when an answer is none that a hub gives, or one
	// that must not be followed, as a file name that leads out of the cache.
	ErrProtocol = errors.New("unexpected answer from the hub")
)

// Client talks to a hub and keeps its cache. FromEnv makes one; a zero field
// other than Cache means what is told beside it. Several goroutines may use it.
type Client struct {
	Endpoint  string            // "": https://huggingface.co
	Cache     string            // the cache's folder
	Token     string            // sent to the endpoint's host alone; "": none
	Offline   bool              // use the cache alone
	Log       io.Writer         // progress and notes; nil: os.Stderr
	Idle      time.Duration     // longest time without a byte; 0: 30 s
	Transport http.RoundTripper // nil: one that connects within 10 s

	pause time.Duration // before the first repetition; doubled by each; 0: 1 s
}

const (
	defaultEndpoint = "https://huggingface.co"
	defaultIdle     = 30 * time.Second
	defaultPause    = time.Second
	connectTimeout  = 10 * time.Second
)

// FromEnv makes a client from the environment, as Hugging Face's library does:
//
//	HF_ENDPOINT       the hub, by default https://huggingface.co
//	HF_HUB_CACHE      the cache, by default $HF_HOME/hub
//	HF_HOME           by default $XDG_CACHE_HOME/huggingface, or ~/.cache/huggingface
//	HF_TOKEN          the token, by default the text of $HF_TOKEN_PATH or $HF_HOME/token
//	HF_HUB_OFFLINE    1, ON, YES or TRUE: use the cache alone
//
// It fails when the endpoint is no URL, the token is no token, or no home
// folder is known.
func FromEnv() (*Client, error) {
	c := &Client{Endpoint: os.Getenv("HF_ENDPOINT"), Offline: truth("HF_HUB_OFFLINE") || truth("TRANSFORMERS_OFFLINE")}
	home, err := homeFolder()
	if err != nil {
		return nil, err
	}
	c.Cache = expand(firstEnv("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"))
	if c.Cache == "" {
		c.Cache = filepath.Join(home, "hub")
	}
	if !truth("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
		if c.Token, err = readToken(home); err != nil {
			return nil, err
		}
	}
	_, err = c.endpoint()
	return c, err
}

func homeFolder() (string, error) {
	if dir := expand(os.Getenv("HF_HOME")); dir != "" {
		return dir, nil
	}
	if dir := expand(os.Getenv("XDG_CACHE_HOME")); dir != "" {
		return filepath.Join(dir, "huggingface"), nil
	}
	dir, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no folder for the hub's cache is known, set HF_HOME: %w", err)
	}
	return filepath.Join(dir, ".cache", "huggingface"), nil
}

func readToken(home string) (string, error) {
	from, token := "HF_TOKEN", firstEnv("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
	if token == "" {
		if from = expand(os.Getenv("HF_TOKEN_PATH")); from == "" {
			from = filepath.Join(home, "token")
		}
		b, err := os.ReadFile(from)
		if errors.Is(err, os.ErrNotExist) {
			return "", nil
		}
		if err != nil {
			return "", fmt.Errorf("read the hub's token: %w", err)
		}
		token = string(b)
	}
	token = strings.TrimSpace(token)
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s is no token: it has characters that none has", from)
	}
	return token, nil
}

// expand replaces a leading ~ by the home folder.
func expand(path string) string {
	if path == "~" || strings.HasPrefix(path, "~/") {
		if dir, err := os.UserHomeDir(); err == nil {
			return filepath.Join(dir, path[1:])
		}
	}
	return path
}

func firstEnv(names ...string) string {
	for _, name := range names {
		if v := strings.TrimSpace(os.Getenv(name)); v != "" {
			return v
		}
	}
	return ""
}

func truth(name string) bool {
	switch strings.ToUpper(os.Getenv(name)) {
	case "1", "ON", "YES", "TRUE":
		return true
	}
	return false
}

// endpoint parses Endpoint.
func (c *Client) endpoint() (*url.URL, error) {
	raw := strings.TrimRight(c.Endpoint, "/")
	if raw == "" {
		raw = defaultEndpoint
	}
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		// The parser's error would repeat a password.
		return nil, errors.New("HF_ENDPOINT is no URL; want https://HOST")
	}
	return u, nil
}

func (c *Client) idle() time.Duration {
	if c.Idle > 0 {
		return c.Idle
	}
	return defaultIdle
}

// standard is shared by the clients that were given no transport, as its connections are.
var standard = &http.Transport{
	Proxy:               http.ProxyFromEnvironment,
	DialContext:         (&net.Dialer{Timeout: connectTimeout}).DialContext,
	TLSHandshakeTimeout: connectTimeout,
	ForceAttemptHTTP2:   true,
	IdleConnTimeout:     time.Minute,
}

// authorized adds the token to requests for the endpoint's host, and to no
// others. Requests themselves never hold it, so neither do errors that quote them.
type authorized struct {
	next         http.RoundTripper
	scheme, host string
	token        string
}

func (a authorized) RoundTrip(r *http.Request) (*http.Response, error) {
	if a.token != "" && r.URL.Scheme == a.scheme && r.URL.Host == a.host {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+a.token)
	}
	return a.next.RoundTrip(r)
}

// http makes the HTTP client for one call. Redirects to another host are
// followed only if abroad is true; otherwise the answer is the redirect itself.
func (c *Client) http(end *url.URL, abroad bool) *http.Client {
	next := c.Transport
	if next == nil {
		next = standard
	}
	return &http.Client{
		Transport: authorized{next: next, scheme: end.Scheme, host: end.Host, token: c.Token},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) >= 10 {
				return errors.New("more than 10 redirects")
			}
			if !abroad && (r.URL.Host != end.Host || r.URL.Scheme != end.Scheme) {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
}
