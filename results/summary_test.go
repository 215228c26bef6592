package results

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const ms = time.Millisecond

var (
	streamCase = Case{"custom", "gpt2", "chat", ModeStream, 4}
	syncCase   = Case{"custom", "gpt2", "chat", ModeSync, 4}
)

// stream returns a completed streaming request whose chunks of one token
// arrive at the times given, after an epoch of one second.
func stream(sent time.Duration, at ...time.Duration) Request {
	r := Request{Case: streamCase, Scheduled: time.Second + sent - ms, Sent: time.Second + sent, PromptTokens: 10, OutputTokens: len(at), RecountedTokens: len(at)}
	for _, t := range at {
		r.Chunks = append(r.Chunks, Chunk{At: time.Second + t, Bytes: 4, Tokens: 1})
		r.Text += "word"
	}
	r.End = time.Second + at[len(at)-1] + ms
	return r
}

func figure(t *testing.T, s *Summary, column string, want float64) {
	t.Helper()
	got, ok := s.Figure(column)
	require.True(t, ok, "%s is absent", column)
	assert.InEpsilon(t, want, got, 1e-12, column)
}

func absent(t *testing.T, s *Summary, columns ...string) {
	t.Helper()
	for _, c := range columns {
		v, ok := s.Figure(c)
		assert.False(t, ok, "%s is %v, should be absent", c, v)
	}
}

func TestSummarizeStream(t *testing.T) {
	a := stream(0, 100*ms, 110*ms, 130*ms)
	a.Chunks[2].End = time.Second + 135*ms // the last chunk's last byte came later
	b := stream(50*ms, 200*ms, 240*ms)
	s := Summarize([]Request{a, b}, Options{Usage: Usage{PeakRSS: 1 << 30, ServerCPU: 2 * time.Second, SuiteCPU: 50 * ms}})

	assert.Equal(t, 2, s.Requests)
	assert.Zero(t, s.Failed)
	assert.Equal(t, FromSent, s.Start)
	assert.Equal(t, 5, s.OutputTokens)
	assert.Equal(t, 20, s.PromptTokens)
	assert.Equal(t, [2]int{2, 3}, [2]int{s.OutputMin, s.OutputMax})
	assert.Equal(t, 240*ms, s.Wall)

	figure(t, &s, "latency_mean_s", (0.135+0.190)/2)
	figure(t, &s, "latency_p50_s", (0.135+0.190)/2)
	figure(t, &s, "latency_p99_s", 0.190)
	figure(t, &s, "p2ft_p50_s", (0.100+0.150)/2)
	figure(t, &s, "p2ft_p99_s", 0.150)
	figure(t, &s, "tpot_p50_s", (0.015+0.040)/2)
	figure(t, &s, "itl_p50_s", 0.020) // 10, 20, 40
	figure(t, &s, "itl_p99_s", 0.040)
	figure(t, &s, "gen_tok_per_s", (3/0.030+2/0.040)/2)
	figure(t, &s, "out_tok_per_s", 5/0.240)
	figure(t, &s, "total_tok_per_s", 25/0.240)
	figure(t, &s, "req_per_s", 2/0.240)
	figure(t, &s, "scheduled_latency_mean_s", (0.136+0.191)/2)
	figure(t, &s, "scheduled_p2ft_p99_s", 0.151)
	figure(t, &s, "dispatch_max_s", 0.001)
	figure(t, &s, "host_mem_b", 1<<30)
	figure(t, &s, "server_cpu_s_per_ktok", 400)
	figure(t, &s, "suite_cpu_s_per_ktok", 10)
	absent(t, &s, "host_mem_pss_b")
}

func TestSummarizeFromScheduled(t *testing.T) {
	s := Summarize([]Request{stream(0, 100*ms, 110*ms)}, Options{Start: FromScheduled})
	figure(t, &s, "latency_p50_s", 0.111)
	figure(t, &s, "p2ft_p50_s", 0.101)
	figure(t, &s, "out_tok_per_s", 2/0.110) // the wall begins with the first send
}

func TestSummarizeSync(t *testing.T) {
	r := Request{Case: syncCase, Scheduled: ms, Sent: ms, OutputTokens: 20, RecountedTokens: -1,
		Chunks: []Chunk{{At: 90 * ms, End: 101 * ms, Bytes: 80, Tokens: 20}}}
	s := Summarize([]Request{r}, Options{})
	figure(t, &s, "latency_mean_s", 0.100)
	figure(t, &s, "gen_tok_per_s", 200)
	figure(t, &s, "out_tok_per_s", 200)
	absent(t, &s, "p2ft_p50_s", "p2ft_p99_s", "tpot_p50_s", "itl_p50_s", "scheduled_p2ft_p50_s", "total_tok_per_s")
	assert.Zero(t, s.UsageMismatch, "there was no recount to differ")
}

// What MEASURE's definitions say about awkward streams.
func TestSummarizeChunks(t *testing.T) {
	empty := stream(0, 100*ms, 150*ms, 160*ms)
	empty.Chunks[0].Bytes = 0 // a token that completes no character
	s := Summarize([]Request{empty}, Options{})
	figure(t, &s, "p2ft_p50_s", 0.150)
	figure(t, &s, "tpot_p50_s", 0.030)
	figure(t, &s, "itl_p99_s", 0.050)

	several := stream(0, 100*ms, 200*ms)
	several.OutputTokens = 8 // four to a chunk
	s = Summarize([]Request{several}, Options{})
	figure(t, &s, "itl_p50_s", 0.100) // one gap, whatever it carries
	figure(t, &s, "tpot_p50_s", 0.100/7)
	figure(t, &s, "gen_tok_per_s", 80)

	once := stream(0, 100*ms)
	once.OutputTokens = 8 // all in one chunk: nothing to be told of its speed
	s = Summarize([]Request{once}, Options{})
	figure(t, &s, "p2ft_p50_s", 0.100)
	absent(t, &s, "tpot_p50_s", "itl_p50_s", "gen_tok_per_s")

	silent := stream(0, 100*ms, 110*ms)
	silent.Chunks[0].Bytes, silent.Chunks[1].Bytes = 0, 0
	s = Summarize([]Request{silent}, Options{})
	figure(t, &s, "latency_p50_s", 0.110)
	absent(t, &s, "p2ft_p50_s")
}

func TestSummarizeFailures(t *testing.T) {
	broken := stream(0, 10*ms, 20*ms)
	broken.Error, broken.Detail = ClassStreamBroken, "unexpected EOF"
	late := Request{Case: streamCase, Scheduled: time.Second, Sent: time.Second, End: 100 * time.Second, Error: ClassTimeout}
	never := Request{Case: streamCase, Scheduled: time.Second, Error: ClassCanceled}
	good := stream(50*ms, 150*ms, 250*ms)

	s := Summarize([]Request{broken, late, never, good, {Case: streamCase}}, Options{Usage: Usage{ServerCPU: time.Second}})
	assert.Equal(t, 5, s.Requests)
	assert.Equal(t, 4, s.Failed)
	assert.Equal(t, map[string]int{ClassStreamBroken: 1, ClassTimeout: 1, ClassCanceled: 1, ClassNoTokens: 1}, s.Errors)
	assert.Equal(t, "stream-broken: unexpected EOF", s.First)
	assert.Equal(t, 2, s.OutputTokens)
	assert.Equal(t, 200*ms, s.Wall, "neither begun nor ended by a failed request")
	figure(t, &s, "latency_p99_s", 0.200)
	figure(t, &s, "out_tok_per_s", 10)
	figure(t, &s, "server_cpu_s", 1)
	absent(t, &s, "server_cpu_s_per_ktok")
	assert.Contains(t, s.Values(), Value{FailedUnit, 4})

	s = Summarize([]Request{broken, late}, Options{})
	assert.Equal(t, 2, s.Failed)
	absent(t, &s, "latency_mean_s", "out_tok_per_s", "req_per_s")
	assert.Empty(t, s.Values())

	assert.Empty(t, new(Summary).Values())
	none := Summarize(nil, Options{})
	assert.Empty(t, none.Values())
	assert.Panics(t, func() { Summarize([]Request{good, {Case: syncCase}}, Options{}) })
}

func TestTokenAccounting(t *testing.T) {
	edit := func(f func(*Request)) Request {
		r := stream(0, 100*ms, 110*ms, 120*ms)
		f(&r)
		return r
	}
	noChunkTokens := func(r *Request) {
		for i := range r.Chunks {
			r.Chunks[i].Tokens = 0
		}
	}
	for name, test := range map[string]struct {
		r                                 Request
		tokens                            int
		missing, mismatch, chunks, prompt int
	}{
		"all agree":            {edit(func(*Request) {}), 3, 0, 0, 0, 0},
		"usage wins":           {edit(func(r *Request) { r.RecountedTokens = 5 }), 3, 0, 1, 0, 0},
		"no recount":           {edit(func(r *Request) { r.RecountedTokens = -1 }), 3, 0, 0, 0, 0},
		"text of no token":     {edit(func(r *Request) { r.RecountedTokens = 0 }), 3, 0, 1, 0, 0},
		"recount stands in":    {edit(func(r *Request) { r.OutputTokens, r.RecountedTokens = 0, 5 }), 5, 1, 0, 0, 0},
		"chunks stand in":      {edit(func(r *Request) { r.OutputTokens, r.RecountedTokens = 0, -1 }), 3, 1, 0, 0, 0},
		"chunks disagree":      {edit(func(r *Request) { r.Chunks[0].Tokens = 2 }), 3, 0, 0, 1, 0},
		"one chunk is silent":  {edit(func(r *Request) { r.Chunks[0].Tokens = 0 }), 3, 0, 0, 0, 0},
		"chunks say nothing":   {edit(noChunkTokens), 3, 0, 0, 0, 0},
		"nobody knows":         {edit(func(r *Request) { noChunkTokens(r); r.OutputTokens, r.RecountedTokens = 0, -1 }), 0, 1, 0, 0, 0},
		"another prompt":       {edit(func(r *Request) { r.PreparedTokens = 11 }), 3, 0, 0, 0, 1},
		"the prepared prompt":  {edit(func(r *Request) { r.PreparedTokens = 10 }), 3, 0, 0, 0, 0},
		"only prepared prompt": {edit(func(r *Request) { r.PromptTokens, r.PreparedTokens = 0, 10 }), 3, 0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := Summarize([]Request{test.r}, Options{})
			assert.Equal(t, test.tokens, s.OutputTokens)
			assert.Equal(t, 10, s.PromptTokens)
			assert.Equal(t, []int{test.missing, test.mismatch, test.chunks, test.prompt},
				[]int{s.UsageMissing, s.UsageMismatch, s.ChunkMismatch, s.PromptMismatch})
		})
	}

	// One unknown length makes the sum unknown, not too small.
	unknown := edit(func(r *Request) { noChunkTokens(r); r.OutputTokens, r.RecountedTokens, r.PromptTokens = 0, -1, 0 })
	s := Summarize([]Request{stream(0, 100*ms, 110*ms), unknown}, Options{})
	assert.Zero(t, s.OutputTokens)
	assert.Zero(t, s.PromptTokens)
	absent(t, &s, "out_tok_per_s", "total_tok_per_s")
	figure(t, &s, "req_per_s", 2/0.120)
	figure(t, &s, "gen_tok_per_s", 200) // of the one that is known
}

func TestQuantile(t *testing.T) {
	check := func(xs []float64, q, want float64) {
		t.Helper()
		s := sample{xs: append([]float64(nil), xs...)}
		got, ok := s.quantile(q)
		require.True(t, ok)
		assert.InDelta(t, want, got, 1e-12, "q = %v of %v", q, xs)
	}
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	// numpy.percentile(range(1, 101), p, method="median_unbiased")
	check(hundred, 0.50, 50.5)
	check(hundred, 0.90, 90.0+19./30)
	check(hundred, 0.99, 99.0+199./300)
	// By hand, rank q·(5 + 1/3) + 1/3.
	five := []float64{15, 20, 35, 40, 50}
	check(five, 0.40, 20+15*(0.4*(16./3)+1./3-2))
	check(five, 0.50, 35)
	check(five, 0.99, 50)
	check(five, 0, 15)
	check(five, 1, 50)
	check([]float64{7}, 0.5, 7)
	check([]float64{7}, 0.99, 7)
	check([]float64{3, 1}, 0.5, 2)

	// Up to 66 values the 99th percentile is the largest.
	var s sample
	for i := range 66 {
		s.add(float64(i))
	}
	p99, _ := s.quantile(0.99)
	assert.Equal(t, 65.0, p99)
	s.add(66)
	p99, _ = s.quantile(0.99)
	assert.Less(t, p99, 66.0)

	_, ok := new(sample).quantile(0.5)
	assert.False(t, ok)
}

func TestValues(t *testing.T) {
	s := Summarize([]Request{stream(0, 100*ms, 110*ms, 130*ms)}, Options{})
	s.figures["itl_p50_s"] = 0 // exact zeros are left out
	units := make(map[string]float64)
	for _, v := range s.Values() {
		units[v.Unit] = v.Value
	}
	assert.InEpsilon(t, 130e6, units["ns/op"], 1e-12)
	assert.InEpsilon(t, 100e6, units["p99-p2ft-ns"], 1e-12)
	assert.NotContains(t, units, "p50-itl-ns")
	assert.NotContains(t, units, FailedUnit)
	assert.NotContains(t, units, "host-mem-B")
	assert.NotContains(t, units, "")

	for _, v := range s.Values(KindThroughput) {
		assert.Contains(t, []string{"gen-tok/s", "out-tok/s", "total-tok/s", "req/s"}, v.Unit)
	}
	assert.Len(t, s.Values(KindThroughput), 4)
}

// The table of metrics is what the CSV, benchfmt and its Unit lines are made of.
func TestMetricsTable(t *testing.T) {
	units, columns := make(map[string]bool), make(map[string]bool)
	for _, m := range Metrics {
		assert.False(t, columns[m.Column] || units[m.Unit] && m.Unit != "", "%+v is there twice", m)
		columns[m.Column], units[m.Unit] = true, true
		assert.Contains(t, []string{lower, higher}, m.Better)
		assert.NotEmpty(t, m.Doc)
		assert.NotZero(t, m.Scale)
	}
	for _, u := range []string{"ns/op", "p50-latency-ns", "p90-latency-ns", "p99-latency-ns", "p50-p2ft-ns", "p99-p2ft-ns",
		"p50-tpot-ns", "p99-tpot-ns", "p50-itl-ns", "p99-itl-ns", "gen-tok/s", "out-tok/s", "total-tok/s", "req/s", "host-mem-B"} {
		assert.True(t, units[u], "%s is missing", u)
	}
	// Every figure that Summarize sets has a column, and each column is set by it.
	two, none := 2.0, 0.0
	s := Summarize([]Request{stream(0, 100*ms, 110*ms), stream(0, 90*ms, 110*ms)}, Options{
		Usage: Usage{PeakRSS: 1, PeakPSS: 1, ContainerMemory: 1, ServerCPU: 1, SuiteCPU: 1, GPU: someGPUUsage(),
			RunningPeak: &two, WaitingPeak: &none, KVCachePeak: &two},
		SLO: SLO{Latency: 1},
	})
	for c := range s.figures {
		assert.True(t, columns[c], "%s has no column", c)
	}
	assert.Len(t, s.figures, len(Metrics))
	assert.Zero(t, s.figures["waiting_peak"], "nobody waited, and that is known")
}

// someGPUUsage has every figure, a number of its own each.
func someGPUUsage() *GPUUsage {
	f := func(v float64) *float64 { return &v }
	n := func(v int64) *int64 { return &v }
	text := "sw-power-cap:0.25"
	return &GPUUsage{ServerMemory: n(7e9), DeviceMemory: n(8e9), Utilization: f(0.5), SMClock: f(1.5e9), MemoryClock: f(2.5e9),
		Power: f(300), Energy: f(44), Temperature: f(61), Throttle: &text, Looks: 3}
}

func TestCaseString(t *testing.T) {
	assert.Equal(t, "framework=custom/model=gpt2/task=chat/mode=stream/parallel=4", streamCase.String())
	odd := Case{"a b", "x/y=z", "tâche\n", "sync", 1}
	assert.Equal(t, "framework=a_b/model=x_y_z/task=t_che_/mode=sync/parallel=1", odd.String())
}

func TestCheck(t *testing.T) {
	require.NoError(t, new(stream(0, 100*ms, 110*ms)).Check())
	require.NoError(t, (&Request{Case: syncCase, Error: ClassCanceled, RecountedTokens: -1}).Check())
	for name, spoil := range map[string]func(*Request){
		"mode":             func(r *Request) { r.Case.Mode = "both" },
		"unknown class":    func(r *Request) { r.Error = "oops" },
		"no chunks":        func(r *Request) { r.Chunks = nil },
		"never scheduled":  func(r *Request) { r.Scheduled = 0 },
		"sent too early":   func(r *Request) { r.Sent = r.Scheduled - 1 },
		"sent too late":    func(r *Request) { r.Sent = r.Chunks[0].At + 1 },
		"chunks backwards": func(r *Request) { r.Chunks[1].At = r.Chunks[0].At - 1 },
		"negative end":     func(r *Request) { r.Chunks[1].End = -1 },
		"negative bytes":   func(r *Request) { r.Chunks[1].Bytes = -1 },
		"negative tokens":  func(r *Request) { r.OutputTokens = -1 },
		"absurd tokens":    func(r *Request) { r.OutputTokens = 1 << 40 },
		"absurd recount":   func(r *Request) { r.RecountedTokens = math.MaxInt },
		"absurd chunk":     func(r *Request) { r.Chunks[0].Tokens = 1 << 40 },
		"parallel":         func(r *Request) { r.Case.Parallel = -1 },
		"recount":          func(r *Request) { r.RecountedTokens = -2 },
	} {
		r := stream(0, 100*ms, 110*ms)
		spoil(&r)
		assert.Error(t, r.Check(), name)
	}
}

// randomPass returns n requests as a closed loop makes them, some of them failed.
func randomPass(rng *rand.Rand, c Case, repeat, n int) []Request {
	reqs := make([]Request, n)
	free := time.Second
	for i := range reqs {
		sched := free
		sent := sched + time.Duration(rng.Int64N(int64(ms)))
		r := Request{Case: c, Repeat: repeat, Index: i, Prompt: fmt.Sprint("prompt-", i), Scheduled: sched, Sent: sent,
			Headers: sent + ms, MaxTokens: 100, PromptTokens: 20 + rng.IntN(80), Text: "text \u2028 <&> \"x\"\n", RecountedTokens: -1}
		at := sent + 10*ms
		for range 1 + rng.IntN(20) {
			at += time.Duration(rng.Int64N(int64(20 * ms)))
			r.Chunks = append(r.Chunks, Chunk{At: at, Bytes: rng.IntN(6), Tokens: 1})
			if c.Mode == ModeSync {
				break
			}
		}
		r.OutputTokens, r.End, r.Finish = max(len(r.Chunks), 5), at+ms, "length"
		if rng.IntN(10) == 0 {
			r.Error, r.Detail = ClassHTTP5xx, "503"
		}
		reqs[i], free = r, r.End
	}
	return reqs
}
