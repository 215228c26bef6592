package hub

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	repo    = Repo{Kind: Model, ID: "org/name"}
	weights = Files{Need: []string{"config.json", "*.bin"}}
)

func TestSnapshotMakesTheStandardLayout(t *testing.T) {
	f := newFakeHub(t)
	config, big := f.add("config.json", 300, false), f.add("sub dir/model.bin", 100_000, true)
	f.add("README.md", 10, false)
	c := f.client(t)
	dir, err := c.Snapshot(t.Context(), repo, Files{Need: []string{"config.json"}, Want: []string{"*/*.bin", "absent*"}})
	require.NoError(t, err)

	root := filepath.Join(c.Cache, "models--org--name")
	assert.Equal(t, filepath.Join(root, "snapshots", commit), dir)
	ref, err := os.ReadFile(filepath.Join(root, "refs", "main"))
	require.NoError(t, err)
	assert.Equal(t, commit, string(ref))
	for name, want := range map[string]struct {
		body []byte
		link string
	}{
		"config.json":       {config, "../../blobs/" + checksum(config, false)},
		"sub dir/model.bin": {big, "../../../blobs/" + checksum(big, true)},
	} {
		link, err := os.Readlink(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, want.link, link)
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, want.body, got, name)
	}
	assert.NoFileExists(t, filepath.Join(dir, "README.md"))
	left, _ := filepath.Glob(filepath.Join(root, "blobs", "*.incomplete"))
	assert.Empty(t, left)

	before := len(f.seen)
	_, err = c.Snapshot(t.Context(), repo, Files{Need: []string{"config.json", "*/*.bin"}})
	require.NoError(t, err)
	assert.Equal(t, before+1, len(f.seen), "all is cached: only the revision is looked up")
}

func TestDatasetAndRevision(t *testing.T) {
	f := newFakeHub(t)
	f.add("data.bin", 10, false)
	c := f.client(t)
	dir, err := c.Snapshot(t.Context(), Repo{Kind: Dataset, ID: "org/rows", Revision: "refs/pr/1"}, Files{Need: []string{"*.bin"}})
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(c.Cache, "datasets--org--rows", "snapshots", commit), dir)
	assert.FileExists(t, filepath.Join(c.Cache, "datasets--org--rows", "refs", "refs", "pr", "1"))
	assert.Equal(t, "/api/datasets/org/rows/revision/refs/pr/1", f.seen[0].path)
	assert.Equal(t, "/datasets/org/rows/resolve/"+commit+"/data.bin", f.seen[1].path)
	_, ok := c.Cached(Repo{Kind: Dataset, ID: "org/rows", Revision: commit}, Files{Need: []string{"data.bin"}})
	assert.True(t, ok, "by commit")
}

func TestTokenGoesToTheEndpointAlone(t *testing.T) {
	f := newFakeHub(t)
	f.add("config.json", 30, false)
	f.add("model.bin", 5000, true)
	_, err := f.client(t).Snapshot(t.Context(), repo, weights)
	require.NoError(t, err)
	for _, r := range f.seen {
		assert.Equal(t, "Bearer "+secret, r.auth, "%+v", r)
	}
	require.NotEmpty(t, f.cdnSeen)
	for _, r := range f.cdnSeen {
		assert.Empty(t, r.auth, "the second host saw the token: %+v", r)
	}
}

func TestCutConnectionsAreResumed(t *testing.T) {
	f := newFakeHub(t)
	f.add("config.json", 30, false)
	body := f.add("model.bin", 100_000, true)
	// More cuts than attempts: each one brought something.
	f.onCDN = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		if offset(r) < 90_000 {
			cut(w, r, body, 10_000)
		}
		return false
	}
	dir, err := f.client(t).Snapshot(t.Context(), repo, weights)
	require.NoError(t, err)
	got, err := os.ReadFile(filepath.Join(dir, "model.bin"))
	require.NoError(t, err)
	assert.Equal(t, body, got)
	require.Greater(t, len(f.cdnSeen), maxAttempts)
	assert.Empty(t, f.cdnSeen[0].rng)
	for i, r := range f.cdnSeen[1:] {
		assert.Equal(t, fmt.Sprintf("bytes=%d-", 10_000*(i+1)), r.rng)
	}
}

func TestWhatAnEarlierProcessLeftIsUsed(t *testing.T) {
	for name, left := range map[string]func([]byte) []byte{
		"a part":             func(b []byte) []byte { return b[:60_000] },
		"all":                func(b []byte) []byte { return b },
		"more than there is": func(b []byte) []byte { return append(b[:len(b):len(b)], 1) },
		"something else":     func(b []byte) []byte { return make([]byte, 60_000) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeHub(t)
			f.add("config.json", 30, false)
			body := f.add("model.bin", 100_000, true)
			c := f.client(t)
			blob := filepath.Join(c.Cache, "models--org--name", "blobs", checksum(body, true))
			require.NoError(t, os.MkdirAll(filepath.Dir(blob), 0o755))
			require.NoError(t, os.WriteFile(blob+".incomplete", left(body), 0o644))
			_, err := c.Snapshot(t.Context(), repo, weights)
			require.NoError(t, err)
			got, err := os.ReadFile(blob)
			require.NoError(t, err)
			assert.Equal(t, body, got)
			switch name {
			case "a part":
				require.Len(t, f.cdnSeen, 1)
				assert.Equal(t, "bytes=60000-", f.cdnSeen[0].rng)
			case "all":
				assert.Empty(t, f.cdnSeen)
			}
		})
	}
}

func TestServersThatIgnoreOrMistakeRanges(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request, body []byte) bool{
		"all of it": func(w http.ResponseWriter, r *http.Request, body []byte) bool {
			r.Header.Del("Range")
			serve(w, r, body)
			return true
		},
		"another part": func(w http.ResponseWriter, _ *http.Request, body []byte) bool {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(body)-1, len(body)))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(body)
			return true
		},
		"416": func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeHub(t)
			f.add("config.json", 30, false)
			body := f.add("model.bin", 100_000, true)
			first := true
			f.onCDN = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
				if first {
					first = false
					cut(w, r, body, 40_000)
				}
				return offset(r) > 0 && answer(w, r, body)
			}
			dir, err := f.client(t).Snapshot(t.Context(), repo, weights)
			require.NoError(t, err)
			got, err := os.ReadFile(filepath.Join(dir, "model.bin"))
			require.NoError(t, err)
			assert.Equal(t, body, got)
		})
	}
}

func TestWrongBytes(t *testing.T) {
	flip := func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		wrong := append([]byte(nil), body...)
		wrong[17] ^= 1
		serve(w, r, wrong)
		return true
	}
	unannounced := func(n int) func(http.ResponseWriter, *http.Request, []byte) bool {
		return func(w http.ResponseWriter, r *http.Request, body []byte) bool {
			_ = http.NewResponseController(w).Flush() // chunked: no length told
			body = append(body[:len(body):len(body)], body...)
			_, _ = w.Write(body[offset(r):n])
			return true
		}
	}
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request, []byte) bool
		times  int
		want   error
	}{
		"checksum, once":      {flip, 1, nil},
		"checksum, always":    {flip, 99, ErrCorrupt},
		"too long, announced": {func(w http.ResponseWriter, r *http.Request, b []byte) bool { serve(w, r, append(b, 1)); return true }, 99, ErrCorrupt},
		"too long":            {unannounced(100_005), 99, ErrCorrupt},
		"too short":           {unannounced(50_000), 99, ErrUnreachable},
		"too short, once":     {unannounced(50_000), 1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeHub(t)
			f.add("config.json", 30, false)
			body := f.add("model.bin", 100_000, true)
			f.onCDN = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
				c.times--
				return c.times >= 0 && c.answer(w, r, body)
			}
			client := f.client(t)
			dir, err := client.Snapshot(t.Context(), repo, weights)
			blob := filepath.Join(client.Cache, "models--org--name", "blobs", checksum(body, true))
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
				assert.ErrorContains(t, err, "model.bin")
				assert.NoFileExists(t, blob)
				if c.want == ErrCorrupt {
					assert.NoFileExists(t, blob+".incomplete", "nothing wrong may be resumed")
				}
				_, ok := client.Cached(repo, weights)
				assert.False(t, ok)
				return
			}
			require.NoError(t, err)
			got, err := os.ReadFile(filepath.Join(dir, "model.bin"))
			require.NoError(t, err)
			assert.Equal(t, body, got)
		})
	}
}

func TestSmallFileWithWrongChecksum(t *testing.T) {
	f := newFakeHub(t)
	f.add("config.json", 300, false)
	f.onHub = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || strings.HasPrefix(r.URL.Path, "/api") {
			return false
		}
		serve(w, r, make([]byte, 300))
		return true
	}
	_, err := f.client(t).Snapshot(t.Context(), repo, Files{Need: []string{"config.json"}})
	assert.ErrorIs(t, err, ErrCorrupt)
}

func TestBusyHub(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		after  string
		times  int
		want   error
		text   string
	}{
		"429, Retry-After":    {429, "1", 2, nil, ""},
		"429, for an hour":    {429, "3600", 1, ErrUnreachable, "asks to wait 1h0m0s"},
		"503, twice":          {503, "", 2, nil, ""},
		"503, always":         {503, "", 999, ErrUnreachable, "503 Service Unavailable"},
		"500, past any pause": {500, "Mon, 02 Jan 2006 15:04:05 GMT", 1, nil, ""},
	} {
		for _, method := range []string{"list", http.MethodHead, http.MethodGet} {
			t.Run(name+", "+method, func(t *testing.T) {
				t.Parallel()
				f := newFakeHub(t)
				f.add("config.json", 30, false)
				times := c.times
				f.onHub = func(w http.ResponseWriter, r *http.Request) bool {
					is := r.Method
					if strings.HasPrefix(r.URL.Path, "/api") {
						is = "list"
					}
					if is != method || times == 0 {
						return false
					}
					times--
					w.Header().Set("Retry-After", c.after)
					w.WriteHeader(c.status)
					return true
				}
				_, err := f.client(t).Snapshot(t.Context(), repo, Files{Need: []string{"config.json"}})
				if c.want == nil {
					require.NoError(t, err)
					return
				}
				require.ErrorIs(t, err, c.want)
				assert.ErrorContains(t, err, c.text)
			})
		}
	}
}

func TestInactivityEndsARequestAndTotalTimeDoesNot(t *testing.T) {
	f := newFakeHub(t)
	f.add("config.json", 30, false)
	body := f.add("model.bin", 2000, true)
	stalled := make(chan struct{})
	t.Cleanup(func() { close(stalled) })
	f.onCDN = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		flush := http.NewResponseController(w).Flush
		if offset(r) == 0 { // some bytes, then silence
			_, _ = w.Write(body[:1000])
			_ = flush()
			select {
			case <-stalled:
			case <-r.Context().Done():
			}
			return true
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset(r), len(body)-1, len(body)))
		w.WriteHeader(http.StatusPartialContent)
		for i := offset(r); i < len(body); i += 100 { // slow: longer than Idle in all
			_, _ = w.Write(body[i : i+100])
			_ = flush()
			time.Sleep(120 * time.Millisecond)
		}
		return true
	}
	c := f.client(t)
	c.Idle = time.Second
	dir, err := c.Snapshot(t.Context(), repo, weights)
	require.NoError(t, err)
	got, err := os.ReadFile(filepath.Join(dir, "model.bin"))
	require.NoError(t, err)
	assert.Equal(t, body, got)
	assert.Len(t, f.cdnSeen, 2)
}

func TestConcurrentDownloadsOfOneFile(t *testing.T) {
	f := newFakeHub(t)
	f.add("config.json", 30, false)
	f.add("model.bin", 1<<20, true)
	cache := t.TempDir()
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			c := f.client(t)
			c.Cache = cache
			dir, err := c.Snapshot(t.Context(), repo, weights)
			if assert.NoError(t, err) {
				got, err := os.ReadFile(filepath.Join(dir, "model.bin"))
				assert.NoError(t, err)
				assert.Equal(t, f.files["model.bin"], got)
			}
		})
	}
	group.Wait()
	assert.Len(t, f.cdnSeen, 1, "downloaded once")
}

func TestCancel(t *testing.T) {
	f := newFakeHub(t)
	f.add("config.json", 30, false)
	f.add("model.bin", 100_000, true)
	ctx, cancel := context.WithCancel(t.Context())
	f.onCDN = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		_, _ = w.Write(body[:1000])
		_ = http.NewResponseController(w).Flush()
		cancel()
		<-r.Context().Done()
		return true
	}
	_, err := f.client(t).Snapshot(ctx, repo, weights)
	assert.ErrorIs(t, err, context.Canceled)
	assert.NotErrorIs(t, err, ErrUnreachable)
}
