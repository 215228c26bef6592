package api

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/serving/engine"
	"servebench/testdata"
)

// timedEngine is a fakeEngine with figures, whose requests tell when their
// tokens were sampled: times[i] with token i, of a request submitted at zero.
type timedEngine struct {
	*fakeEngine
	stats     engine.Stats
	scheduled time.Duration
	first     time.Duration // 0 is times[0]
	times     []time.Duration
	reset     int
}

var zero = time.Unix(1_000_000_000, 0)

func (e *timedEngine) Stats() engine.Stats { return e.stats }
func (e *timedEngine) ResetPrefixCache()   { e.reset++ }

func (e *timedEngine) Submit(ctx context.Context, r engine.Request) (Tokens, error) {
	t, err := e.fakeEngine.Submit(ctx, r)
	if err != nil {
		return nil, err
	}
	return &timedTokens{Tokens: t, e: e}, nil
}

type timedTokens struct {
	Tokens
	e *timedEngine
	n int
}

func (t *timedTokens) Next(ctx context.Context) (engine.Token, error) {
	tok, err := t.Tokens.Next(ctx)
	t.n++
	return tok, err
}

func (t *timedTokens) Timing() engine.Timing {
	tm := engine.Timing{Submitted: zero}
	if times := t.e.times[:min(t.n, len(t.e.times))]; len(times) > 0 {
		tm.Scheduled, tm.First, tm.Last = zero.Add(t.e.scheduled), zero.Add(cmp.Or(t.e.first, times[0])), zero.Add(times[len(times)-1])
	}
	return tm
}

// scrape returns the families of /metrics by name.
func scrape(t testing.TB, h http.Handler) map[string]*dto.MetricFamily {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.Equal(t, http.StatusOK, w.Code)
	return parseMetrics(t, w.Body.Bytes())
}

func parseMetrics(t testing.TB, text []byte) map[string]*dto.MetricFamily {
	t.Helper()
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(bytes.NewReader(text))
	require.NoError(t, err)
	return families
}

// family is a line of testdata/vllm_metrics.txt.
type family struct {
	kind   string
	labels []string
	same   bool
}

func readFamilies(t *testing.T) map[string]family {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", "vllm_metrics.txt"))
	require.NoError(t, err)
	defer file.Close()
	list := map[string]family{}
	for sc := bufio.NewScanner(file); sc.Scan(); {
		if strings.HasPrefix(sc.Text(), "#") {
			continue
		}
		head, why, ok := strings.Cut(sc.Text(), ": ")
		words := strings.Fields(head)
		require.Truef(t, ok && len(words) >= 3 && why != "", "line %q", sc.Text())
		f := family{kind: words[1], labels: []string{"engine", "model_name"}, same: why == "same" || strings.HasPrefix(why, "part, ")}
		if words[2] == "only" {
			f.labels = nil
		}
		for _, label := range words[2:] {
			if label != "-" && label != "only" {
				f.labels = append(f.labels, label)
			}
		}
		slices.Sort(f.labels)
		require.NotContains(t, list, words[0])
		list[words[0]] = f
	}
	return list
}

// check requires a family to be as it is listed.
func (f family) check(t *testing.T, got *dto.MetricFamily) {
	t.Helper()
	assert.Equalf(t, f.kind, strings.ToLower(got.GetType().String()), "type of %s", got.GetName())
	for _, m := range got.GetMetric() {
		var labels []string
		for _, l := range m.GetLabel() {
			labels = append(labels, l.GetName())
		}
		slices.Sort(labels)
		assert.Equalf(t, f.labels, labels, "labels of %s", got.GetName())
	}
	assert.NotEmptyf(t, got.GetHelp(), "help of %s", got.GetName())
}

// TestMetricsNames holds testdata/vllm_metrics.txt against what the server says
// and against what vLLM said.
func TestMetricsNames(t *testing.T) {
	list := readFamilies(t)
	f := newFake(engine.FinishLength, "a")
	f.cfg.Engine = &timedEngine{fakeEngine: f.engine, times: []time.Duration{0}}
	ours := scrape(t, f.server(t))
	for name, want := range list {
		if want.same && assert.Containsf(t, ours, name, "listed as the same") {
			want.check(t, ours[name])
		} else if !want.same {
			assert.NotContainsf(t, ours, name, "listed as not here")
		}
	}
	for name := range ours {
		if strings.HasPrefix(name, "vllm:") {
			assert.Truef(t, list[name].same, "%s is not listed", name)
		}
	}
	assert.Contains(t, ours, "go_goroutines")

	x := readExchange(t, testdata.Shared(t, "peers", "vllm", "metrics.http"))
	theirs := parseMetrics(t, append(bytes.TrimSpace(x.answer), '\n'))
	require.NotEmpty(t, theirs)
	for name, got := range theirs {
		if assert.Containsf(t, list, name, "vLLM has it") {
			list[name].check(t, got)
		}
	}
	t.Logf("%d families of vLLM, %d of them in the recording; %d of ours", len(list), len(theirs), len(ours))
}

// value returns a counter's or gauge's value, or a histogram's count and sum.
func value(t testing.TB, families map[string]*dto.MetricFamily, name string, labels ...string) (value float64, count uint64) {
	t.Helper()
	require.Contains(t, families, name)
	for _, m := range families[name].GetMetric() {
		ok := true
		for i := 0; i < len(labels); i += 2 {
			ok = ok && slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetName() == labels[i] && l.GetValue() == labels[i+1] })
		}
		if ok {
			return m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetHistogram().GetSampleSum(), m.GetHistogram().GetSampleCount()
		}
	}
	require.Failf(t, "no such series", "%s %v", name, labels)
	return 0, 0
}

// TestMetricsOfTheEngine holds what is read from engine.Stats.
func TestMetricsOfTheEngine(t *testing.T) {
	f := newFake("")
	f.cfg.Engine = &timedEngine{fakeEngine: f.engine, stats: engine.Stats{Running: 2, Waiting: 3, KVBlocks: 8, KVBlockSize: 16, KVBlocksUsed: 2, Steps: 9,
		PromptTokens: 100, OutputTokens: 40, PrefixQueries: 90, PrefixHits: 30, Preemptions: 1}}
	s := f.server(t)
	ours := scrape(t, s)
	for name, want := range map[string]float64{
		"vllm:num_requests_running": 2, "vllm:num_requests_waiting": 3, "vllm:kv_cache_usage_perc": 0.25, "vllm:prompt_tokens_total": 100,
		"vllm:generation_tokens_total": 40, "vllm:prefix_cache_queries_total": 90, "vllm:prefix_cache_hits_total": 30,
		"vllm:num_preemptions_total": 1, "servebench_steps_total": 9,
	} {
		got, _ := value(t, ours, name, "engine", "0", "model_name", "smol")
		assert.InDelta(t, want, got, 0, name)
	}
	value(t, ours, "vllm:cache_config_info", "engine", "0", "block_size", "16", "num_gpu_blocks", "8")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/load", nil))
	assert.JSONEq(t, `{"server_load": 5}`, w.Body.String())
}

// TestMetricsOfARequest holds what is observed of one that ends well.
func TestMetricsOfARequest(t *testing.T) {
	f := newFake(engine.FinishLength, "a", "b", "c", "d")
	f.engine.cached = 2
	second := time.Second
	f.cfg.Engine = &timedEngine{fakeEngine: f.engine, scheduled: second, times: []time.Duration{3 * second, 4 * second, 6 * second, 9 * second}}
	s := f.server(t)
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "/v1/completions", strings.NewReader(`{"prompt": "one two three four five", "max_tokens": 4}`))
	r.Header.Set("Content-Type", "application/json")
	s.ServeHTTP(w, r)
	require.Equal(t, http.StatusOK, w.Code)
	ours := scrape(t, s)
	for name, want := range map[string]struct {
		sum   float64
		count uint64
	}{
		"vllm:time_to_first_token_seconds":           {3, 1},
		"vllm:inter_token_latency_seconds":           {6, 3},
		"vllm:request_time_per_output_token_seconds": {2, 1},
		"vllm:e2e_request_latency_seconds":           {9, 1},
		"vllm:request_queue_time_seconds":            {1, 1},
		"vllm:request_inference_time_seconds":        {8, 1},
		"vllm:request_prefill_time_seconds":          {2, 1},
		"vllm:request_decode_time_seconds":           {6, 1},
		"vllm:request_prompt_tokens":                 {5, 1},
		"vllm:request_generation_tokens":             {4, 1},
		"vllm:request_params_max_tokens":             {4, 1},
		"vllm:request_prefill_kv_computed_tokens":    {3, 1},
		"vllm:prompt_tokens_cached_total":            {2, 0},
	} {
		sum, count := value(t, ours, name)
		assert.InDelta(t, want.sum, sum, 1e-9, name)
		assert.Equal(t, want.count, count, name)
	}
	for source, want := range map[string]float64{"local_cache_hit": 2, "local_compute": 3} {
		got, _ := value(t, ours, "vllm:prompt_tokens_by_source_total", "source", source)
		assert.InDelta(t, want, got, 0, source)
	}
}

// TestMetricsOfALateReader gives the tokens that waited an equal share of the
// time that passed, so that count and sum are what they would have been.
func TestMetricsOfALateReader(t *testing.T) {
	f := newFake("")
	m, err := newMetrics(f.engine, "smol", fakeContext)
	require.NoError(t, err)
	e := &timedEngine{fakeEngine: f.engine}
	at := func(seconds ...int) (times []time.Duration) {
		for _, s := range seconds {
			times = append(times, time.Duration(s)*time.Second)
		}
		return times
	}
	// Tokens were sampled at 1, 2 … 6 s; the reader was away until the third, and
	// from the fourth to the sixth.
	e.first, e.times = time.Second, at(3, 3, 3, 4, 6, 6)
	f.engine.script = []engine.Token{{ID: 5}, {ID: 5}, {ID: 5}, {ID: 5}, {ID: 5}, {ID: 5, Finish: engine.FinishLength}}
	tokens, err := measured{e, m}.Submit(t.Context(), engine.Request{Prompt: []int32{1}, MaxTokens: 6})
	require.NoError(t, err)
	for range 6 {
		_, err := tokens.Next(t.Context())
		require.NoError(t, err)
	}
	sum, count := value(t, scrape(t, m.handler), "vllm:inter_token_latency_seconds")
	assert.EqualValues(t, 5, count)
	assert.InDelta(t, 5, sum, 1e-9)
	for _, b := range scrape(t, m.handler)["vllm:inter_token_latency_seconds"].GetMetric()[0].GetHistogram().GetBucket() {
		assert.Equal(t, b.GetUpperBound() >= 1, b.GetCumulativeCount() == 5, "of each token it is a second")
	}
}

// TestMetricsOutcomes counts how requests end.
func TestMetricsOutcomes(t *testing.T) {
	for _, c := range []struct {
		name  string
		fake  func() *fake
		leave bool // the client goes away
		body  string
		want  outcome
	}{
		{name: "stop token", fake: func() *fake { return newFake(engine.FinishStop, "a") }, want: endedStop},
		{name: "stop string", fake: func() *fake { return newFake("", "a", "b") }, body: `, "stop": "b"`, want: endedStop},
		{name: "length", fake: func() *fake { return newFake(engine.FinishLength, "a") }, want: endedLength},
		{name: "shutdown", fake: func() *fake { return newFake(engine.FinishAbort, "a") }, want: endedAbort},
		{name: "client gone", fake: func() *fake { f := newFake("", "a"); f.engine.blocked = true; return f }, leave: true, want: endedAbort},
		{name: "fault", fake: func() *fake { f := newFake("", "a"); f.engine.err = engine.ErrDead; return f }, want: endedError},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := c.fake().server(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/completions", strings.NewReader(`{"prompt": "x", "max_tokens": 9`+c.body+`}`))
				r.Header.Set("Content-Type", "application/json")
				done := make(chan struct{})
				go func() {
					defer close(done)
					s.ServeHTTP(httptest.NewRecorder(), r)
				}()
				synctest.Wait()
				if c.leave {
					cancel()
				}
				<-done
				synctest.Wait()
				for _, o := range []outcome{endedStop, endedLength, endedAbort, endedError} {
					want := 0.0
					if o == c.want {
						want = 1
					}
					got, _ := value(t, scrape(t, s), "vllm:request_success_total", "finished_reason", string(o))
					assert.InDelta(t, want, got, 0, string(o))
				}
			})
		})
	}
}

// TestMetricsAllocateNothing observes a token without garbage.
func TestMetricsAllocateNothing(t *testing.T) {
	f := newFake("")
	m, err := newMetrics(f.engine, "smol", fakeContext)
	require.NoError(t, err)
	e := &timedEngine{fakeEngine: f.engine, times: []time.Duration{0}}
	tokens := &measuredTokens{Tokens: &timedTokens{Tokens: &fakeTokens{f: f.engine}, e: e, n: 1}, m: m}
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		e.times[0] += time.Millisecond
		tokens.token()
	}))
}

// TestResetPrefixCache reaches the engine, where it has such a cache.
func TestResetPrefixCache(t *testing.T) {
	f := newFake("")
	e := &timedEngine{fakeEngine: f.engine}
	w := f.post(t, "/reset_prefix_cache", "")
	assert.Equal(t, http.StatusBadRequest, w.Code)
	f.cfg.Engine = e
	w = f.post(t, "/reset_prefix_cache", "")
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Empty(t, w.Body.Bytes())
	assert.Equal(t, 1, e.reset)
}

func TestLengthBuckets(t *testing.T) {
	assert.Equal(t, []float64{1, 2, 5, 10, 20, 50, 100}, lengthBuckets(199))
	assert.Equal(t, []float64{1, 2}, lengthBuckets(2))
}
