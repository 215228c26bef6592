package benchtests

import (
	"flag"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/benchtests/target"
	"servebench/datasets"
	"servebench/datasets/tokenizertest"
	"servebench/results"
)

// modelFolder makes a folder that stands for gpt2.
func modelFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "model.safetensors"), []byte("weights"), 0o644))
	return dir
}

// parse reads the suite's flags.
func parse(args ...string) (*options, error) {
	fs := flag.NewFlagSet("suite", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	v := register(fs)
	fs.String("test.parallel", "", "")
	fs.String("test.cpu", "", "")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	return v.check(fs)
}

// openSuite opens a suite in this process, of gpt2 on a server at url.
func openSuite(t *testing.T, url string, args ...string) (*suite, *group) {
	t.Helper()
	t.Setenv("GORACE", "atexit_sleep_ms=0") // or the tokenizer takes a second to end
	o, err := parse(append([]string{"-host", url, "-model", "gpt2=" + modelFolder(t), "-results", t.TempDir()}, args...)...)
	require.NoError(t, err)
	s, err := open(t.Context(), o, config{passes: 1, began: time.Now(), log: io.Discard})
	require.NoError(t, err)
	t.Cleanup(func() { s.close(t.Context(), 0) })
	return s, s.group(target.All()[0], s.models[0])
}

func times(n int) func() bool {
	return func() bool { n--; return n >= 0 }
}

func TestMeasure(t *testing.T) {
	tokenizertest.Use(t, tokenizertest.Good)
	const n = 6 // even, for the server that fails every other request
	type want struct {
		class                   string // of the failed requests
		failed                  int
		output                  int // tokens of the completed requests
		usageMissing, usageLies int
	}
	whole := want{output: n * fakeTokens}
	fails := func(class string) want { return want{class: class, failed: n} }
	fake := newFake(good)
	srv := httptest.NewServer(fake)
	defer srv.Close()
	s, g := openSuite(t, srv.URL, "-task", "chat", "-concurrency", "2")
	pass := 0 // each behaviour is a pass of its own over the same two cases
	check := func(b behaviour, sync, stream want) {
		t.Helper()
		fake.how.Store(b)
		for _, c := range s.opt.cases("custom", "gpt2") {
			want := sync
			if c.Mode == results.ModeStream {
				want = stream
			}
			sum, err := s.measure(t.Context(), g, c, pass, times(n))
			require.NoError(t, err, "%s: %s", b, c)
			got := func(what string, want, have any) {
				t.Helper()
				assert.Equal(t, want, have, "server %q: %s of %s; first failure: %s", b, what, c, sum.First)
			}
			got("requests", n, sum.Requests)
			got("failed requests", want.failed, sum.Failed)
			got("failures of the class", want.failed, sum.Errors[want.class])
			got("output tokens", want.output, sum.OutputTokens)
			got("answers without usage", want.usageMissing, sum.UsageMissing)
			got("answers with another usage than the recount", want.usageLies, sum.UsageMismatch)
			got("whether there are figures", want.failed < n, len(sum.Values()) > 0)
			_, hasFirst := sum.Figure("p2ft_p50_s")
			got("whether P2FT is known", c.Mode == results.ModeStream && want.failed < n, hasFirst)
			_, done := s.run.Done(c, pass)
			got("whether it is on the disk", true, done)
		}
		pass++
	}
	check(good, whole, whole)
	check(noUsage, want{output: n * fakeTokens, usageMissing: n}, want{output: n * fakeTokens, usageMissing: n})
	check(lyingUsage, want{output: 10 * n * fakeTokens, usageLies: n}, want{output: 10 * n * fakeTokens, usageLies: n})
	check(absurdUsage, fails(results.ClassBadJSON), fails(results.ClassBadJSON))
	check(fourAtOnce, whole, whole)
	check(broken, fails(results.ClassStreamBroken), fails(results.ClassStreamBroken))
	check(garbage, fails(results.ClassBadJSON), fails(results.ClassBadJSON))
	check(status500, fails(results.ClassHTTP5xx), fails(results.ClassHTTP5xx))
	half := want{class: results.ClassHTTP5xx, failed: n / 2, output: n / 2 * fakeTokens}
	check(halfFail, half, half)
	s.opt.requestTimeout = 50 * time.Millisecond
	check(stalls, fails(results.ClassTimeout), fails(results.ClassTimeout))
}

func TestPromptsRepeat(t *testing.T) {
	tokenizertest.Use(t, tokenizertest.Good)
	srv := httptest.NewServer(newFake(good))
	defer srv.Close()
	s, g := openSuite(t, srv.URL, "-task", "code", "-mode", "sync", "-concurrency", "1", "-num-prompts", "5")
	c := s.opt.cases("custom", "gpt2")[0]
	sum, err := s.measure(t.Context(), g, c, 0, times(12))
	require.NoError(t, err)
	assert.Contains(t, strings.Join(sum.Notes, "\n"), "12 requests of 5 prompts: they repeat")

	f, err := os.Open(filepath.Join(s.run.Dir(), "requests.jsonl"))
	require.NoError(t, err)
	defer f.Close()
	var ids []string
	for r, err := range results.ReadRequests(f) {
		require.NoError(t, err)
		require.Equal(t, len(ids), r.Index, "in the order of dispatch")
		ids = append(ids, r.Prompt)
	}
	require.Len(t, ids, 12)
	assert.Equal(t, ids[:5], ids[5:10], "in the fixed order, again from the first")
	assert.Equal(t, ids[:2], ids[10:])
	assert.NotEqual(t, ids[0], ids[1])
	warm, err := g.load(t.Context(), c, 0)
	require.NoError(t, err)
	for _, p := range warm.warm {
		assert.NotContains(t, ids, p.ID, "warm-up prompts are not measured")
	}
}

// TestFixed measures prompts of set lengths: other ones in every pass and case,
// the same in every run, answers of another length told.
func TestFixed(t *testing.T) {
	tokenizertest.Use(t, tokenizertest.Good)
	srv := httptest.NewServer(newFake(good))
	defer srv.Close()
	flags := []string{"-task", "fixed,fixed-prefix40-in21-out12", "-input-len", "21", "-output-len", "13", "-mode", "stream", "-concurrency", "2"}
	s, g := openSuite(t, srv.URL, flags...)
	again, gAgain := openSuite(t, srv.URL, flags...)
	for _, g := range []*group{g, gAgain} {
		require.NoError(t, g.startTokenizer(t.Context()))
	}
	seen := map[string]bool{}
	for _, c := range s.opt.cases("custom", "gpt2") {
		for repeat := range 2 {
			set, err := g.load(t.Context(), c, repeat)
			require.NoError(t, err)
			same, err := gAgain.load(t.Context(), again.opt.cases("custom", "gpt2")[0], repeat)
			require.NoError(t, err)
			fixed, _ := datasets.Task(c.Task).Fixed()
			assert.Equal(t, fixed.Prefix == 0, set.prompts[0] == same.prompts[0])
			for _, p := range slices.Concat(set.prompts, set.warm) {
				require.False(t, seen[p.Text], "sent before")
				seen[p.Text] = true
			}
			assert.Len(t, set.warm, minWarm)

			sum, err := s.measure(t.Context(), g, c, repeat, times(4))
			require.NoError(t, err)
			assert.Zero(t, sum.Failed, sum.First)
			notes := strings.Join(sum.Notes, "\n")
			assert.Contains(t, notes, "the end of sequence is ignored, by ignore_eos")
			if fixed.Output == fakeTokens {
				assert.NotContains(t, notes, "OTHER LENGTHS")
			} else {
				assert.Contains(t, notes, "OTHER LENGTHS: 4 of 4 answers have 12 to 12 tokens")
			}
		}
	}
}

func TestServerHasOtherModel(t *testing.T) {
	tokenizertest.Use(t, tokenizertest.Good)
	srv := httptest.NewServer(newFake(good))
	defer srv.Close()
	s, g := openSuite(t, srv.URL, "-task", "qa", "-mode", "sync", "-concurrency", "1", "-served-model-name", "other")
	sum, err := s.measure(t.Context(), g, s.opt.cases("custom", "gpt2")[0], 0, times(2))
	require.NoError(t, err)
	assert.Equal(t, 2, sum.Failed)
	assert.Contains(t, sum.First, "no such model")
	assert.Contains(t, strings.Join(sum.Notes, "\n"), "warm-up requests failed")
}

func TestClientWasTheLimit(t *testing.T) {
	srv := httptest.NewServer(newFake(good))
	defer srv.Close()
	tokenizertest.Use(t, tokenizertest.Good)
	s, g := openSuite(t, srv.URL, "-task", "chat", "-concurrency", "1")
	const much = 1e9
	for k, c := range s.ceilings {
		events := 1
		if k.mode == datasets.Stream {
			events = nullEvents
		}
		assert.Positive(t, c.reqPerS)
		assert.InEpsilon(t, float64(events), c.chunksPerS/c.reqPerS, 1e-9)
		assert.Positive(t, c.dispatch50)
	}
	pass := 0
	check := func(c results.Case, top ceiling, want string) {
		t.Helper()
		s.ceilings[ceilingKey{datasets.Mode(c.Mode), c.Parallel}] = top
		sum, err := s.measure(t.Context(), g, c, pass, times(5))
		require.NoError(t, err)
		assert.Regexp(t, "INVALID, the client was the limit: \\d+ "+want+" of at most 1\\b", strings.Join(sum.Notes, "\n"))
		pass++
	}
	for _, c := range s.opt.cases("custom", "gpt2") {
		check(c, ceiling{reqPerS: 1, chunksPerS: much}, "req/s")
		check(c, ceiling{reqPerS: much, chunksPerS: 1}, "chunks/s")
	}
}
