package target

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/benchtests/client"
	"servebench/datasets"
	"servebench/results"
	"servebench/testdata"
)

// exchange is a request that a peer was sent, what it answered, and what the
// suite's client makes of that.
type exchange struct {
	name   string
	method string
	route  string
	fields map[string]any // of the request's JSON; nil for another body
	status int
	header http.Header
	body   []byte
	results.Request
}

// separator stands between a recording's request and its response.
const separator = "======== RESPONSE ========"

// exchanges reads all that was recorded with a peer, by name. Of Ollama, which is
// not among the shared recordings, there are a few in testdata.
func exchanges(t *testing.T, peer string) map[string]*exchange {
	t.Helper()
	dir := filepath.Join("testdata", peer)
	if _, err := os.Stat(dir); err != nil {
		dir = testdata.Shared(t, "peers", peer)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.http"))
	require.NoError(t, err)
	require.NotEmpty(t, files, "no recordings of %s", peer)
	all := map[string]*exchange{}
	for _, file := range files {
		x := readExchange(t, file)
		all[x.name] = x
	}
	return all
}

// readExchange reads one recording; of an answer that came in chunks the twin
// that has them.
func readExchange(t *testing.T, file string) *exchange {
	t.Helper()
	dir, base := filepath.Split(file)
	x := &exchange{name: strings.TrimSuffix(base, ".http")}
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	request, response, ok := bytes.Cut(data, []byte(separator))
	require.True(t, ok, file)
	if twin, err := os.ReadFile(filepath.Join(dir, "wire", base)); err == nil {
		_, response, ok = bytes.Cut(twin, []byte(separator))
		require.True(t, ok, file)
	}
	head, body, _ := bytes.Cut(request, []byte("\r\n\r\n"))
	_, err = fmt.Sscan(string(head), &x.method, &x.route)
	require.NoError(t, err, file)
	if json.Unmarshal(body, &x.fields) != nil {
		x.fields = nil
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(bytes.TrimLeft(response, "\r\n"))), &http.Request{Method: x.method})
	require.NoError(t, err, file)
	x.status, x.header = resp.StatusCode, resp.Header
	x.body, err = io.ReadAll(resp.Body)
	decoded := client.Exchange{Stream: x.fields["stream"] == true, Sent: 1, Headers: 2, End: 3, Status: x.status, Header: x.header, Body: x.body,
		Arrivals: []client.Arrival{{End: len(x.body), At: 3}}, Err: err}
	decoded.Decode(&x.Request)
	return x
}

// quirk is something that a peer's README says, the recordings that show it,
// and how it is held that the suite goes with it.
type quirk struct {
	name       string
	recordings string // names with spaces between them, * for any letters
	check      func(t *testing.T, of func(name string) *exchange, all []*exchange)
}

// TestQuirks holds every quirk of every peer against the recordings of it, and
// that there is no recording that shows nothing.
func TestQuirks(t *testing.T) {
	for peer, quirks := range map[string][]quirk{"vllm": vllmQuirks, "tgi": tgiQuirks, "transformers": transformersQuirks,
		"llamacpp": llamaQuirks, "ollama": ollamaQuirks} {
		t.Run(peer, func(t *testing.T) {
			recorded := exchanges(t, peer)
			of := func(name string) *exchange {
				require.Contains(t, recorded, name, "no recording %s of %s", name, peer)
				return recorded[name]
			}
			shown := map[string]bool{}
			for _, q := range quirks {
				all := matching(t, recorded, q.recordings)
				for _, x := range all {
					shown[x.name] = true
				}
				t.Run(q.name, func(t *testing.T) { q.check(t, of, all) })
			}
			for name := range recorded {
				assert.True(t, shown[name], "%s/%s.http is there and shows nothing here: say which quirk it is about", peer, name)
			}
		})
	}
}

// matching returns the recordings of a list of patterns, each of which has some.
func matching(t *testing.T, recorded map[string]*exchange, patterns string) []*exchange {
	t.Helper()
	var all []*exchange
	for _, pattern := range strings.Fields(patterns) {
		n := len(all)
		for name, x := range recorded {
			ok, err := path.Match(pattern, name)
			require.NoError(t, err)
			if ok {
				all = append(all, x)
			}
		}
		require.Greater(t, len(all), n, "no recording %s", pattern)
	}
	return all
}

// status holds that every answer has one of the statuses, and that the client
// takes those that are not 2xx for failures.
func status(want ...int) func(*testing.T, func(string) *exchange, []*exchange) {
	return func(t *testing.T, _ func(string) *exchange, all []*exchange) {
		for _, x := range all {
			assert.Contains(t, want, x.status, x.name)
			if x.status/100 != 2 {
				assert.Contains(t, []string{results.ClassHTTP4xx, results.ClassHTTP5xx}, x.Error, x.name)
			}
		}
	}
}

// answers holds that every answer is read without a failure.
func answers(t *testing.T, _ func(string) *exchange, all []*exchange) {
	for _, x := range all {
		assert.Equal(t, http.StatusOK, x.status, x.name)
		assert.Empty(t, x.Error, "%s: %s", x.name, x.Detail)
		assert.NotEmpty(t, x.Text, x.name)
	}
}

// ends holds that every answer ends for a reason, after a number of tokens.
func ends(finish string, tokens int) func(*testing.T, func(string) *exchange, []*exchange) {
	return func(t *testing.T, of func(string) *exchange, all []*exchange) {
		answers(t, of, all)
		for _, x := range all {
			assert.Equal(t, finish, x.Finish, x.name)
			assert.Equal(t, tokens, x.OutputTokens, x.name)
		}
	}
}

// alike holds that every answer has the same text.
func alike(t *testing.T, of func(string) *exchange, all []*exchange) {
	answers(t, of, all)
	for _, x := range all {
		assert.Equal(t, all[0].Text, x.Text, "%s and %s", all[0].name, x.name)
	}
}

// both holds that of two APIs each gives the same text as one JSON and as a stream.
func both(t *testing.T, of func(string) *exchange, all []*exchange) {
	answers(t, of, all)
	for _, api := range []string{"chat", "completions"} {
		assert.Equal(t, of(api+"_sync").Text, of(api+"_stream").Text)
		assert.Len(t, of(api+"_stream").Chunks, 12)
	}
}

// sent returns the fields of what a target sends: greedy with a top_p of 1, or
// sampled, of a long answer.
func sent(t *testing.T, target Target, api datasets.API, mode datasets.Mode, sampled bool) map[string]any {
	t.Helper()
	sampling := datasets.Sampling{TopP: 1, MaxTokens: 2000}
	if sampled {
		sampling = datasets.Sampling{Temperature: .8, TopP: .9, MaxTokens: 2000}
	}
	text, err := target.Body(Request{Prompt: datasets.Prompt{Text: "x", Seed: 7, Sampling: sampling}, API: api, Mode: mode, Served: "m", IgnoreEOS: true})
	require.NoError(t, err)
	var fields map[string]any
	require.NoError(t, json.Unmarshal(text, &fields))
	return fields
}

// never holds that a target sends none of the fields, whatever it is asked.
func never(t *testing.T, target Target, fields ...string) {
	t.Helper()
	for _, api := range datasets.APIs() {
		for _, mode := range datasets.Modes() {
			for _, sampled := range []bool{false, true} {
				for _, name := range fields {
					assert.NotContains(t, sent(t, target, api, mode, sampled), name)
				}
			}
		}
	}
}

// server answers with recordings: to each method and route that of the last one
// given, to all else 404.
func server(t *testing.T, recordings ...*exchange) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, x := range recordings {
			if x.method == r.Method && x.route == r.URL.RequestURI() {
				w.Header().Set("Content-Type", x.header.Get("Content-Type"))
				w.WriteHeader(x.status)
				w.Write(x.body)
				return
			}
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// TestRecorded holds against the recordings that each peer takes what it is
// sent: every field was in a request to the same route that was answered with
// 200, with a value of the same type.
func TestRecorded(t *testing.T) {
	// What a peer is known to pass over, whatever it is called.
	passedOver := map[string][]string{"llamacpp": {"min_p", "top_k", "repeat_penalty", "cache_prompt"}}
	for _, target := range []*Target{&vllm, &tgi, &transformers, &llamacpp, &ollama} {
		recorded := exchanges(t, target.Name)
		for _, api := range datasets.APIs() {
			taken := map[string]bool{}
			for _, x := range recorded {
				if x.status != http.StatusOK || x.route != target.Route(api) {
					continue
				}
				for name, v := range x.fields {
					taken[fmt.Sprintf("%s %T", name, v)] = true
				}
			}
			for _, extra := range passedOver[target.Name] {
				for _, v := range []any{"", 0., false} {
					taken[fmt.Sprintf("%s %T", extra, v)] = true
				}
			}
			for _, mode := range datasets.Modes() {
				for _, sampled := range []bool{false, true} {
					for name, v := range sent(t, *target, api, mode, sampled) {
						assert.True(t, taken[fmt.Sprintf("%s %T", name, v)], "%s %s: no recording shows that %s as %v is taken", target.Name, api, name, v)
					}
				}
			}
		}
	}
}

// eventEnd returns where the first event of a stream ends.
func eventEnd(body []byte) int {
	head, _, _ := bytes.Cut(body, []byte("\n\n"))
	return len(head) + 2
}
