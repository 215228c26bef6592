package benchtests

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/benchtests/contract"
	"servebench/benchtests/target"
	"servebench/datasets/tokenizertest"
	"servebench/results"
)

// liar is a server of OpenAI's API whose answers can be made wrong. What it
// leaves alone is that of a correct one.
type liar struct {
	*httptest.Server
	answer   string // "" is twelve words
	ids      func(text string) []int32
	counts   int // added to the prompt's tokens
	requests int
	prompts  []string
	resets   int
	canReset bool
}

func newLiar(t *testing.T) *liar {
	l := &liar{ids: func(text string) []int32 { return tokenizertest.Encode(text, true) }}
	l.Server = httptest.NewServer(http.HandlerFunc(l.serve))
	t.Cleanup(l.Close)
	return l
}

func (l *liar) serve(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Prompt    string `json:"prompt"`
		MaxTokens int    `json:"max_tokens"`
	}
	_ = json.NewDecoder(r.Body).Decode(&q)
	switch r.URL.Path {
	case "/health":
	case "/v1/models":
		fmt.Fprint(w, `{"data":[{"id":"gpt2"}]}`)
	case "/tokenize":
		_ = json.NewEncoder(w).Encode(map[string]any{"tokens": l.ids(q.Prompt)})
	case "/reset_prefix_cache":
		l.resets++
		if !l.canReset {
			http.NotFound(w, r)
		}
	case "/v1/completions":
		l.requests++
		l.prompts = append(l.prompts, q.Prompt)
		text := l.answer
		if text == "" {
			text = strings.Repeat(" word", fakeTokens)
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"choices":[{"index":0,"text":%q,"finish_reason":"length"}],"usage":{"prompt_tokens":%d,"completion_tokens":%d}}`,
			text, len(tokenizertest.Encode(q.Prompt, true))+l.counts, len(tokenizertest.Encode(text, false)))
	default:
		http.NotFound(w, r)
	}
}

// pass measures a pass over the first case on a framework that the liar is.
func (l *liar) pass(t *testing.T, s *suite, g *group, repeat int) *results.Summary {
	t.Helper()
	s.opt.host = l.URL
	sum, err := s.measure(t.Context(), g, s.opt.cases(g.target.Name, "gpt2")[0], repeat, times(4))
	require.NoError(t, err)
	require.Zero(t, sum.Failed, sum.First)
	return sum
}

func TestContract(t *testing.T) {
	tokenizertest.Use(t, tokenizertest.Good)
	honest := newLiar(t)
	flags := []string{"-task", "qa", "-mode", "sync", "-concurrency", "1"}
	s, custom := openSuite(t, honest.URL, flags...)
	vllm, err := target.ByName("vllm")
	require.NoError(t, err)

	first := honest.pass(t, s, custom, 0)
	assert.Equal(t, "prompts:kept", first.Contract.String(), "the reference")
	assert.Empty(t, first.Contract.Reference)
	assert.Equal(t, contract.CacheUnknown, first.Cache)
	had := honest.requests
	honest.pass(t, s, custom, 1)
	assert.Equal(t, had+5, honest.requests, "the second pass has a warm-up and no probe")

	// Each liar is the second framework of a run whose first was honest.
	check := func(name string, lie func(*liar), want string, detail string) {
		t.Helper()
		s, custom := openSuite(t, honest.URL, flags...)
		honest.pass(t, s, custom, 0)
		l := newLiar(t)
		lie(l)
		g := s.group(vllm, s.models[0])
		sum := l.pass(t, s, g, 0)
		assert.Equal(t, want, sum.Contract.String(), name)
		assert.Equal(t, "custom", sum.Contract.Reference, name)
		verdict := results.Unknown // the weights of a server elsewhere
		if strings.Contains(want, "broken") {
			verdict = results.Broken
		}
		assert.Equal(t, verdict, sum.Contract.Verdict(), name)
		assert.Contains(t, strings.Join(sum.Contract.Notes(), "\n"), detail, name)
	}
	const rest = " weights:unknown dtype:unknown"
	check("honest", func(*liar) {}, "prompts:kept"+rest+" probe:kept lengths:kept", "")
	check("other ids", func(l *liar) { l.ids = func(x string) []int32 { return tokenizertest.Encode(x, false) } },
		"prompts:broken"+rest+" probe:kept lengths:kept", "differs from token 0 on")
	check("other counts", func(l *liar) { l.counts = 2 }, "prompts:broken"+rest+" probe:kept lengths:kept", "4 of 4 measured prompts were counted otherwise")
	check("shorter answers", func(l *liar) { l.answer = " word word" },
		"prompts:kept"+rest+" probe:noted lengths:broken", "the median answer has 2 tokens, the reference's 12")
	check("another text", func(l *liar) { l.answer = strings.Repeat(" other", fakeTokens) },
		"prompts:kept"+rest+" probe:broken lengths:kept", "0 of 10 equal, first difference at token 0")

	// Another run is the reference.
	again, g := openSuite(t, honest.URL, append(flags, "-reference", s.run.Dir())...)
	g.target = vllm
	sum := honest.pass(t, again, g, 0)
	assert.Equal(t, "custom", sum.Contract.Reference)
	assert.Equal(t, "prompts:kept"+rest+" probe:kept lengths:kept", sum.Contract.String())
	_, err = openReference(filepath.Join(t.TempDir(), "none"))
	assert.ErrorContains(t, err, "-reference: run folder")
	empty, err := results.Create(t.TempDir(), results.RunOptions{})
	require.NoError(t, err)
	require.NoError(t, empty.Close())
	_, err = openReference(empty.Dir())
	assert.ErrorContains(t, err, "without checking the contract")
}

// TestCold has prompts of a dataset sent in two passes to a server whose prefix
// cache is on.
func TestCold(t *testing.T) {
	tokenizertest.Use(t, tokenizertest.Good)
	check := func(canReset bool, cache string) []string {
		t.Helper()
		l := newLiar(t)
		l.canReset = canReset
		s, g := openSuite(t, l.URL, "-task", "qa", "-mode", "sync", "-concurrency", "1", "-enable-prefix-caching")
		var openings []string
		for repeat := range 2 {
			sum := l.pass(t, s, g, repeat)
			assert.Equal(t, cache, sum.Cache)
			assert.Equal(t, repeat+1, l.resets)
			assert.Zero(t, sum.PromptMismatch, "counted with what they begin with")
			openings = append(openings, l.prompts[len(l.prompts)-4][:len(contract.Opening(""))])
		}
		return openings
	}
	reset := check(true, contract.CacheReset)
	assert.NotEqual(t, reset[0], reset[1], "other words in every pass")
	assert.Equal(t, reset, check(false, contract.CachePrefixed), "the same prompts, whether the cache can be emptied or not")

	l := newLiar(t)
	s, g := openSuite(t, l.URL, "-task", "fixed-in21-out12,fixed-prefix40-in21-out12", "-mode", "sync", "-concurrency", "1", "-enable-prefix-caching")
	for i, want := range []string{contract.CacheDrawn, contract.CacheShared} {
		sum, err := s.measure(t.Context(), g, s.opt.cases("custom", "gpt2")[i], 0, times(2))
		require.NoError(t, err)
		assert.Equal(t, want, sum.Cache)
	}
	assert.Zero(t, l.resets)
}

// TestServerDiesInProbe has the server end before anything is measured: the case
// is not, and the next gets a new server.
func TestServerDiesInProbe(t *testing.T) {
	s := newBench(t, diesProbed, "-task", "chat,qa", "-mode", "sync")
	require.Equal(t, 1, s.run())
	assert.Contains(t, s.out.String(), "the server died while the contract between frameworks was checked")
	assert.Contains(t, s.out.String(), "fatal: bad prompt", "the log's last lines")
	checked, err := os.ReadFile(filepath.Join(s.results, "latest", results.FileContract))
	require.NoError(t, err)
	assert.Contains(t, string(checked), `"error":"server-died"`, "%s", checked)
	assert.Len(t, s.rows(), 1, "the second case is measured: the probe is not sent again")
}
