package hub

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		status        int
		code, message string
		want          error
		text          string
	}{
		"gated, no token":  {401, "GatedRepo", "Access to model org/name is restricted. You must be authenticated to access it.", ErrGated, "must be authenticated"},
		"gated, no access": {403, "GatedRepo", "Your account is not in the authorized list.", ErrGated, "has no access yet"},
		"private":          {401, "RepoNotFound", "Repository not found", ErrNotFound, "if it is private set HF_TOKEN"},
		"bad token":        {401, "", "Invalid credentials in Authorization header", ErrGated, "Invalid credentials"},
		"disabled":         {403, "", "Access to this resource is disabled.", ErrGated, "is disabled"},
		"a proxy":          {403, "", "", ErrUnreachable, "something between here and"},
		"no revision":      {404, "RevisionNotFound", "Invalid rev id: main", ErrNotFound, "Invalid rev id"},
		"no entry":         {404, "EntryNotFound", "Entry not found", ErrNotFound, "Entry not found"},
		"teapot":           {418, "", "", ErrProtocol, "418"},
		"echo":             {403, "GatedRepo", "the token " + secret + " is no good" + strings.Repeat("!", 1000), ErrGated, "the token *** is no good"},
	} {
		for _, at := range []string{"list", "file"} {
			t.Run(name+", "+at, func(t *testing.T) {
				f := newFakeHub(t)
				f.add("config.json", 30, false)
				f.onHub = func(w http.ResponseWriter, r *http.Request) bool {
					isList := strings.HasPrefix(r.URL.Path, "/api")
					return isList == (at == "list") && refuse(w, c.status, c.code, c.message)
				}
				_, err := f.client(t).Snapshot(t.Context(), repo, Files{Need: []string{"config.json"}})
				require.ErrorIs(t, err, c.want)
				assert.ErrorContains(t, err, c.text)
				assert.NotContains(t, err.Error(), secret)
				assert.Less(t, len(err.Error()), 1000)
				if c.code == "GatedRepo" {
					assert.ErrorContains(t, err, "accept its licence at "+f.hub.URL+"/org/name")
				}
			})
		}
	}
}

// TestGatedRepositories: what the hub says of a licensed model to those without
// a token, with one that it does not know, and with one whose account has not
// accepted the licence. It tells some of them the files' names all the same.
func TestGatedRepositories(t *testing.T) {
	const page = "/org/name"
	for name, c := range map[string]struct {
		token         string
		status        int
		code, message string
		advice        []string
	}{
		"no token": {"", 401, "GatedRepo", "Access to model org/name is restricted. You must have access to it and be authenticated to access it. Please log in.",
			[]string{"You must have access to it", "accept its licence at ", page + ", then set HF_TOKEN to a token of that account"}},
		"a token that is none": {secret, 401, "", "Invalid credentials in Authorization header",
			[]string{"Invalid credentials", "is not valid: make another at ", "/settings/tokens"}},
		"a token without access": {secret, 403, "GatedRepo", "Access to model org/name is restricted and you are not in the authorized list. Visit the page to ask for access.",
			[]string{"not in the authorized list", "accept its licence at ", page + ", then try again", "fine-grained"}},
		"a token of too small a scope": {secret, 403, "", "Please enable access to public gated repositories in your fine-grained token settings to view this repository.",
			[]string{"fine-grained token settings", "may not read ", page}},
	} {
		for _, listed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, listed %v", name, listed), func(t *testing.T) {
				f := newFakeHub(t)
				f.add("config.json", 30, false)
				gate := func(w http.ResponseWriter, r *http.Request) bool {
					return !(listed && strings.HasPrefix(r.URL.Path, "/api")) && refuse(w, c.status, c.code, c.message)
				}
				client := f.client(t)
				client.Token = c.token
				need := Files{Need: []string{"config.json"}}
				f.onHub = gate
				_, err := client.Snapshot(t.Context(), repo, need)
				require.ErrorIs(t, err, ErrGated)
				for _, s := range c.advice {
					assert.ErrorContains(t, err, s)
				}
				assert.NotContains(t, err.Error(), secret)
				assert.NotContains(t, err.Error(), "\n")

				// What was downloaded when there was access stays of use.
				f.onHub = nil
				want, err := client.Snapshot(t.Context(), repo, need)
				require.NoError(t, err)
				f.onHub = gate
				got, err := client.Snapshot(t.Context(), repo, need)
				require.NoError(t, err)
				assert.Equal(t, want, got)
			})
		}
	}
}

func TestErrorsHoldNoSignedURL(t *testing.T) {
	f := newFakeHub(t)
	f.add("config.json", 30, false)
	f.add("model.bin", 1000, true)
	f.onCDN = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		cut(w, r, body, 0)
		return true
	}
	_, err := f.client(t).Snapshot(t.Context(), repo, weights)
	require.ErrorIs(t, err, ErrUnreachable)
	assert.NotContains(t, err.Error(), "confidential")
	assert.ErrorContains(t, err, strings.TrimPrefix(f.cdn.URL, "http://"))
}

func TestUnreachable(t *testing.T) {
	f := newFakeHub(t)
	f.add("config.json", 30, false)
	c := f.client(t)
	need := Files{Need: []string{"config.json"}}
	dir, err := c.Snapshot(t.Context(), repo, need)
	require.NoError(t, err)
	f.hub.Close()
	again, err := c.Snapshot(t.Context(), repo, need)
	require.NoError(t, err, "the cache has all that is needed")
	assert.Equal(t, dir, again)
	_, err = c.Snapshot(t.Context(), repo, weights)
	assert.ErrorIs(t, err, ErrUnreachable)
	assert.ErrorContains(t, err, "*.bin")
	_, err = c.Snapshot(t.Context(), Repo{Kind: Model, ID: "org/other"}, need)
	assert.ErrorIs(t, err, ErrUnreachable)
}

func TestOffline(t *testing.T) {
	f := newFakeHub(t)
	f.add("config.json", 30, false)
	c := f.client(t)
	need := Files{Need: []string{"config.json"}}
	want, err := c.Snapshot(t.Context(), repo, need)
	require.NoError(t, err)
	c.Offline = true
	seen := len(f.seen)
	dir, err := c.Snapshot(t.Context(), repo, need)
	require.NoError(t, err)
	assert.Equal(t, want, dir)
	_, err = c.Snapshot(t.Context(), repo, weights)
	assert.ErrorIs(t, err, ErrOffline)
	assert.ErrorContains(t, err, "*.bin")
	_, err = c.Snapshot(t.Context(), Repo{Kind: Dataset, ID: "org/name"}, need)
	assert.ErrorIs(t, err, ErrOffline)
	assert.Len(t, f.seen, seen, "no request was made")
	require.NoError(t, os.Truncate(filepath.Join(c.Cache, "models--org--name", "refs", "main"), 0))
	_, ok := c.Cached(repo, need)
	assert.False(t, ok, "a broken ref")
}

func TestDanglingLinksAreNotCached(t *testing.T) {
	f := newFakeHub(t)
	body := f.add("config.json", 30, false)
	c := f.client(t)
	need := Files{Need: []string{"config.json"}}
	dir, err := c.Snapshot(t.Context(), repo, need)
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(c.Cache, "models--org--name", "blobs", checksum(body, false))))
	_, ok := c.Cached(repo, need)
	assert.False(t, ok)
	_, err = c.Snapshot(t.Context(), repo, need)
	require.NoError(t, err)
	assert.FileExists(t, filepath.Join(dir, "config.json"))
}

func TestHostileAnswers(t *testing.T) {
	list := func(sha, name string) string {
		return `{"sha":"` + sha + `","siblings":[{"rfilename":"` + name + `"}]}`
	}
	for want, c := range map[string]struct {
		list  string
		etag  string
		extra [2]string
	}{
		`file name "../../evil.bin"`:        {list: list(commit, "../../evil.bin")},
		`file name "/etc/evil.bin"`:         {list: list(commit, "/etc/evil.bin")},
		`file name "a/../../evil.bin"`:      {list: list(commit, "a/../../evil.bin")},
		`file name "..\\evil.bin"`:          {list: list(commit, `..\\evil.bin`)},
		`file name ""`:                      {list: list(commit, "")},
		`file name "a\x00b.bin"`:            {list: list(commit, `a\u0000b.bin`)},
		`file name "a//b.bin"`:              {list: list(commit, `a//b.bin`)},
		`commit "../../../tmp"`:             {list: list("../../../tmp", "a.bin")},
		`commit ""`:                         {list: list("", "a.bin")},
		"the list of its files":             {list: "<html>log in to this network</html>"},
		`ETag "../../evil" is no sha1`:      {etag: `"../../evil"`},
		`ETag "" is no sha1`:                {etag: `""`},
		`from commit "ffff"`:                {extra: [2]string{"X-Repo-Commit", "ffff"}},
		"its length is not told":            {extra: [2]string{"X-Linked-Size", "-1"}},
		"set HF_ENDPOINT to the hub itself": {extra: [2]string{"Location", "http://example.invalid/"}},
	} {
		f := newFakeHub(t)
		body := f.add("a.bin", 30, false)
		f.onHub = func(w http.ResponseWriter, r *http.Request) bool {
			switch isList := strings.HasPrefix(r.URL.Path, "/api"); {
			case isList && c.list != "":
				_, _ = w.Write([]byte(c.list))
				return true
			case isList:
				return false
			}
			w.Header().Set("ETag", `"`+checksum(body, false)+`"`)
			if c.etag != "" {
				w.Header().Set("ETag", c.etag)
			}
			if c.extra[0] != "" {
				w.Header().Set(c.extra[0], c.extra[1])
			}
			if c.extra[0] == "Location" {
				w.WriteHeader(http.StatusFound)
			}
			serve(w, r, body)
			return true
		}
		client := f.client(t)
		_, err := client.Snapshot(t.Context(), repo, Files{Need: []string{"*"}, Want: []string{"*/*", "*/*/*"}})
		require.ErrorIs(t, err, ErrProtocol, want)
		assert.ErrorContains(t, err, want)
		found, _ := filepath.Glob(filepath.Join(client.Cache, "..", "*", "*evil*"))
		assert.Empty(t, found)
	}
}

func TestListWithRedirects(t *testing.T) {
	f := newFakeHub(t)
	f.add("config.json", 30, false)
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	f.onHub = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "old/name") { // a renamed repository
			http.Redirect(w, r, strings.Replace(r.URL.Path, "old/name", "org/name", 1), http.StatusTemporaryRedirect)
			return true
		}
		if strings.Contains(r.URL.Path, "moved/away") {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
			return true
		}
		return false
	}
	c := f.client(t)
	_, err := c.Snapshot(t.Context(), Repo{Kind: Model, ID: "old/name"}, Files{Need: []string{"config.json"}})
	require.NoError(t, err)
	_, err = c.Snapshot(t.Context(), Repo{Kind: Model, ID: "moved/away"}, Files{Need: []string{"config.json"}})
	assert.ErrorIs(t, err, ErrProtocol)
	assert.ErrorContains(t, err, other.URL)
}

func TestMissingFilesAreNamed(t *testing.T) {
	f := newFakeHub(t)
	f.add("config.json", 30, false)
	_, err := f.client(t).Snapshot(t.Context(), repo, Files{Need: []string{"config.json", "*.bin", "*.txt"}})
	assert.ErrorIs(t, err, ErrNotFound)
	assert.ErrorContains(t, err, "model org/name at main: not found on the hub: file *.bin, *.txt")
	var missing *MissingError
	require.ErrorAs(t, err, &missing)
	assert.Equal(t, &MissingError{Patterns: []string{"*.bin", "*.txt"}, Have: []string{"config.json"}}, missing)
}

func TestReposThatAreNone(t *testing.T) {
	c := &Client{Cache: t.TempDir(), Offline: true}
	for want, r := range map[string]Repo{
		"repository kind":         {Kind: "space", ID: "a/b"},
		"is no repository id":     {Kind: Model, ID: "../b"},
		`"a/b/c" is no`:           {Kind: Model, ID: "a/b/c"},
		`"a--b/c" is no`:          {Kind: Model, ID: "a--b/c"},
		`"../main" is no`:         {Kind: Model, ID: "a/b", Revision: "../main"},
		`"a/../../b" is no`:       {Kind: Model, ID: "a/b", Revision: "a/../../b"},
		`"/etc/passwd" is no rev`: {Kind: Model, ID: "a/b", Revision: "/etc/passwd"},
	} {
		_, err := c.Snapshot(t.Context(), r, Files{})
		assert.ErrorContains(t, err, want)
	}
	_, err := (&Client{}).Snapshot(t.Context(), repo, Files{})
	assert.ErrorContains(t, err, "no cache folder")
}

func TestFromEnv(t *testing.T) {
	home := t.TempDir()
	file := filepath.Join(home, "my-token")
	require.NoError(t, os.WriteFile(file, []byte("hf_fromfile\n"), 0o600))
	require.NoError(t, os.MkdirAll(filepath.Join(home, ".cache/huggingface"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(home, ".cache/huggingface/token"), []byte("hf_default\n"), 0o600))
	for name, c := range map[string]struct {
		env  map[string]string
		want Client
	}{
		"nothing":      {nil, Client{Cache: home + "/.cache/huggingface/hub", Token: "hf_default"}},
		"XDG":          {map[string]string{"XDG_CACHE_HOME": "/xdg"}, Client{Cache: "/xdg/huggingface/hub"}},
		"HF_HOME":      {map[string]string{"HF_HOME": "/hf", "XDG_CACHE_HOME": "/xdg"}, Client{Cache: "/hf/hub"}},
		"tilde":        {map[string]string{"HF_HOME": "~/hf"}, Client{Cache: home + "/hf/hub"}},
		"HF_HUB_CACHE": {map[string]string{"HF_HOME": "/hf", "HF_HUB_CACHE": "/cache"}, Client{Cache: "/cache"}},
		"token":        {map[string]string{"HF_HOME": "/hf", "HF_TOKEN": " hf_x\n"}, Client{Cache: "/hf/hub", Token: "hf_x"}},
		"token's path": {map[string]string{"HF_HOME": "/hf", "HF_TOKEN_PATH": file}, Client{Cache: "/hf/hub", Token: "hf_fromfile"}},
		"no token":     {map[string]string{"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}, Client{Cache: home + "/.cache/huggingface/hub"}},
		"offline":      {map[string]string{"HF_HOME": "/hf", "HF_HUB_OFFLINE": "yes"}, Client{Cache: "/hf/hub", Offline: true}},
		"not offline":  {map[string]string{"HF_HOME": "/hf", "HF_HUB_OFFLINE": "0"}, Client{Cache: "/hf/hub"}},
		"HF_ENDPOINT":  {map[string]string{"HF_HOME": "/hf", "HF_ENDPOINT": "http://mirror/"}, Client{Cache: "/hf/hub", Endpoint: "http://mirror/"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, v := range []string{
				"HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH",
				"HF_ENDPOINT", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "XDG_CACHE_HOME", "HF_HUB_DISABLE_IMPLICIT_TOKEN",
			} {
				t.Setenv(v, c.env[v])
			}
			t.Setenv("HOME", home)
			got, err := FromEnv()
			require.NoError(t, err)
			assert.Equal(t, &c.want, got)
		})
	}
	t.Setenv("HOME", home)
	t.Setenv("HF_TOKEN", "hf_with a space")
	_, err := FromEnv()
	assert.EqualError(t, err, "HF_TOKEN is no token: it has characters that none has")
	t.Setenv("HF_TOKEN", "")
	for _, bad := range []string{"mirror", "ftp://mirror", "https://", "http://user:password@[::1"} {
		t.Setenv("HF_ENDPOINT", bad)
		_, err = FromEnv()
		assert.ErrorContains(t, err, "HF_ENDPOINT is no URL")
		assert.NotContains(t, err.Error(), "password")
	}
}

func TestRetryAfter(t *testing.T) {
	assert.Equal(t, 7*time.Second, retryAfter("7"))
	for _, s := range []string{"", "soon", "-1", "99999999999999999999", "Mon, 02 Jan 2006 15:04:05 GMT"} {
		assert.Zero(t, retryAfter(s), s)
	}
	assert.NotZero(t, retryAfter(time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)))
}

// FuzzCheckName asserts that a name that is accepted stays below its folder.
func FuzzCheckName(f *testing.F) {
	for _, s := range []string{"config.json", "a/b", "../a", "a/../b", "/a", "", ".", "..", `a\b`, "a//b", "a/", "a\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if checkName(name) != nil {
			return
		}
		rel, err := filepath.Rel("/cache/snapshot", filepath.Join("/cache/snapshot", name))
		require.NoError(t, err)
		require.Equal(t, name, rel)
		require.False(t, strings.HasPrefix(rel, ".."+string(filepath.Separator)) || rel == "..")
	})
}
