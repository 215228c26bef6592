package hub

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const commit = "0123456789abcdef0123456789abcdef01234567"

// request is what a server saw.
type request struct{ method, path, rng, auth string }

// fakeHub is a hub on loopback, with large files on a second host. It can be
// made to misbehave through its hooks, which return true when they answered.
type fakeHub struct {
	hub, cdn *httptest.Server
	files    map[string][]byte
	large    map[string]bool // served from the second host
	onHub    func(w http.ResponseWriter, r *http.Request) bool
	onCDN    func(w http.ResponseWriter, r *http.Request, body []byte) bool
	mu       sync.Mutex
	seen     []request
	cdnSeen  []request
}

func newFakeHub(t *testing.T) *fakeHub {
	f := &fakeHub{files: map[string][]byte{}, large: map[string]bool{}}
	f.hub = httptest.NewServer(http.HandlerFunc(f.serveHub))
	f.cdn = httptest.NewServer(http.HandlerFunc(f.serveCDN))
	t.Cleanup(f.hub.Close)
	t.Cleanup(f.cdn.Close)
	return f
}

// add puts a file of n bytes on the hub.
func (f *fakeHub) add(name string, n int, large bool) []byte {
	body := make([]byte, n)
	for i := range body {
		body[i] = byte(i*7 + i>>8 + len(name))
	}
	f.files[name], f.large[name] = body, large
	return body
}

// client has its own cache and short pauses.
func (f *fakeHub) client(t *testing.T) *Client {
	return &Client{
		Endpoint: f.hub.URL, Cache: t.TempDir(), Token: secret, Log: testLog{t},
		Idle: 20 * time.Second, pause: time.Millisecond,
	}
}

const secret = "hf_secretsecretsecret"

// testLog also fails the test when a line holds the token.
type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Logf("%s", b)
	if strings.Contains(string(b), secret) {
		l.t.Errorf("the token is in the log: %s", b)
	}
	return len(b), nil
}

func checksum(body []byte, large bool) string {
	if large {
		return fmt.Sprintf("%x", sha256.Sum256(body))
	}
	return fmt.Sprintf("%x", sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(body)), body...)))
}

func see(r *http.Request) request {
	return request{r.Method, r.URL.Path, r.Header.Get("Range"), r.Header.Get("Authorization")}
}

func (f *fakeHub) serveHub(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.seen = append(f.seen, see(r))
	f.mu.Unlock()
	if f.onHub != nil && f.onHub(w, r) {
		return
	}
	if strings.HasPrefix(r.URL.Path, "/api/") {
		type sibling struct {
			Name string `json:"rfilename"`
		}
		var list []sibling
		for name := range f.files {
			list = append(list, sibling{name})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"sha": commit, "siblings": list})
		return
	}
	_, name, _ := strings.Cut(r.URL.Path, "/resolve/"+commit+"/")
	body, ok := f.files[name]
	if !ok {
		w.Header().Set("X-Error-Code", "EntryNotFound")
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("X-Repo-Commit", commit)
	if f.large[name] {
		w.Header().Set("X-Linked-Etag", `"`+checksum(body, true)+`"`)
		w.Header().Set("X-Linked-Size", strconv.Itoa(len(body)))
		w.Header().Set("Location", f.cdn.URL+"/"+name+"?Signature=confidential")
		w.WriteHeader(http.StatusFound)
		return
	}
	w.Header().Set("ETag", `"`+checksum(body, false)+`"`)
	serve(w, r, body)
}

func (f *fakeHub) serveCDN(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.cdnSeen = append(f.cdnSeen, see(r))
	f.mu.Unlock()
	body := f.files[strings.TrimPrefix(r.URL.Path, "/")]
	w.Header().Set("ETag", `"not-a-checksum"`)
	if f.onCDN != nil && f.onCDN(w, r, body) {
		return
	}
	serve(w, r, body)
}

// serve answers like a sound server, ranges included.
func serve(w http.ResponseWriter, r *http.Request, body []byte) {
	from := offset(r)
	if from > 0 {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(body)-1, len(body)))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)-from))
	if from > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	if r.Method != http.MethodHead {
		_, _ = w.Write(body[from:])
	}
}

func offset(r *http.Request) int {
	var from int
	_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
	return from
}

// cut sends n bytes of the rest of the body and drops the connection.
func cut(w http.ResponseWriter, r *http.Request, body []byte, n int) {
	from := offset(r)
	if from > 0 {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(body)-1, len(body)))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)-from))
	if from > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	_, _ = w.Write(body[from:min(len(body), from+n)])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// refuse answers with the hub's error headers.
func refuse(w http.ResponseWriter, status int, code, message string) bool {
	w.Header().Set("X-Error-Code", code)
	w.Header().Set("X-Error-Message", message)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"error":"no"}`)
	return true
}
