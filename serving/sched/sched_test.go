package sched

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/serving/kvcache"
)

func newScheduler(t testing.TB, cfg Config, blocks, blockSize int) *Scheduler {
	t.Helper()
	pool, err := kvcache.New(blocks, blockSize)
	require.NoError(t, err)
	s, err := New(cfg, pool)
	require.NoError(t, err)
	return s
}

func seq(prompt, output int) *Seq {
	return &Seq{Tokens: make([]int32, prompt), Limit: prompt + output}
}

// plan is a batch as "which sequence, from where, how many" for comparison.
func plan(b *Batch, seqs ...*Seq) (got [][3]int) {
	for _, c := range b.Chunks {
		for i, q := range seqs {
			if q == c.Seq {
				got = append(got, [3]int{i, c.Start, c.Len})
			}
		}
	}
	return got
}

// sampled ends a step as the engine does: a token for every chunk that is the last.
func sampled(s *Scheduler, b *Batch) {
	var next []*Seq
	for _, c := range b.Chunks {
		if c.Last {
			next = append(next, c.Seq)
		}
	}
	s.Done()
	for _, q := range next {
		q.Tokens = append(q.Tokens, 0)
	}
}

// TestMaxPrefill has a long prompt come while others decode, and end alone.
func TestMaxPrefill(t *testing.T) {
	s := newScheduler(t, Config{MaxTokens: 20, MaxPrefill: 6, MaxSeqs: 4, MaxLen: 64}, 64, 4)
	a, b, c, d := seq(12, 4), seq(9, 4), seq(30, 4), seq(3, 4)
	for _, q := range []*Seq{a, b} {
		require.NoError(t, s.Add(q))
	}
	run(t, s, [][3]int{{0, 0, 12}, {1, 0, 8}}, a, b, c, d) // nobody decodes yet
	for _, q := range []*Seq{c, d} {
		require.NoError(t, s.Add(q))
	}
	run(t, s, [][3]int{{0, 12, 1}, {1, 8, 1}, {2, 0, 6}}, a, b, c, d)
	run(t, s, [][3]int{{0, 13, 1}, {1, 9, 1}, {2, 6, 6}}, a, b, c, d)
	s.Remove(a)
	s.Remove(b)
	run(t, s, [][3]int{{2, 12, 18}, {3, 0, 2}}, a, b, c, d)
	run(t, s, [][3]int{{2, 30, 1}, {3, 2, 1}}, a, b, c, d)
}

func TestNewRefuses(t *testing.T) {
	pool, err := kvcache.New(4, 4)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		cfg  Config
		says string
	}{
		"no sequences":         {Config{MaxTokens: 8, MaxLen: 8}, "--max-num-seqs is 0"},
		"fewer rows than seqs": {Config{MaxTokens: 7, MaxSeqs: 8, MaxLen: 8}, "--max-num-batched-tokens is 7, below --max-num-seqs, 8"},
		"no context":           {Config{MaxTokens: 8, MaxSeqs: 8}, "--max-model-len is 0"},
		"negative chunks":      {Config{MaxTokens: 8, MaxSeqs: 8, MaxLen: 8, MaxPrefill: -1}, "--long-prefill-token-threshold is -1"},
	} {
		_, err := New(c.cfg, pool)
		require.ErrorContainsf(t, err, c.says, "for %s", name)
	}
}

func TestAddRefuses(t *testing.T) {
	s := newScheduler(t, Config{MaxTokens: 8, MaxSeqs: 2, MaxLen: 100}, 4, 4)
	require.Equal(t, 16, s.MaxLen(), "the pool is smaller than the context")
	err := s.Add(seq(10, 7))
	require.ErrorIs(t, err, ErrNeverFits)
	require.ErrorContains(t, err, "17")
	require.ErrorContains(t, err, "16")
	require.Error(t, s.Add(seq(0, 4)), "no token")
	require.Error(t, s.Add(&Seq{Tokens: make([]int32, 4), Limit: 3}), "more tokens than its limit")
	q := seq(10, 6)
	require.NoError(t, s.Add(q))
	require.Error(t, s.Add(q), "queued already")
	require.Equal(t, 1, s.Waiting())
	s.Remove(q)
	s.Remove(q) // of one that is gone: nothing
	require.Zero(t, s.Waiting())
	require.NoError(t, s.Check())
}

// TestMixedStep follows two prompts through chunked prefill beside a decode.
func TestMixedStep(t *testing.T) {
	s := newScheduler(t, Config{MaxTokens: 6, MaxSeqs: 3, MaxLen: 64}, 16, 4)
	a, b, c := seq(3, 9), seq(8, 4), seq(2, 4)
	require.NoError(t, s.Add(a))
	require.NoError(t, s.Add(b))
	for i, want := range [][][3]int{
		{{0, 0, 3}, {1, 0, 3}}, // b's prompt begins in what a leaves
		{{0, 3, 1}, {1, 3, 5}}, // decode first, then the prompt's rest
		{{0, 4, 1}, {1, 8, 1}, {2, 0, 2}},
		{{0, 5, 1}, {1, 9, 1}, {2, 2, 1}},
	} {
		if i == 2 {
			require.NoError(t, s.Add(c))
		}
		got := s.Schedule()
		require.Equalf(t, want, plan(got, a, b, c), "step %d", i)
		require.NoError(t, s.Check())
		sampled(s, got)
	}
}

// TestLogitsOfPrompts cuts prompts whose rows are wanted so that a step gives
// at most MaxSeqs rows of logits and every sequence can have its own.
func TestLogitsOfPrompts(t *testing.T) {
	s := newScheduler(t, Config{MaxTokens: 64, MaxSeqs: 4, MaxLen: 64}, 32, 4)
	a, b, c, d := seq(9, 3), seq(6, 3), seq(5, 3), seq(5, 3)
	a.LogitsTo, b.LogitsTo = 8, 5
	b.LogitsFrom = 3 // three have been given before
	for _, q := range []*Seq{a, b, c, d} {
		require.NoError(t, s.Add(q))
	}
	for i, want := range [][][3]int{
		{{0, 0, 4}},            // its own row and three more; nobody is let in
		{{0, 4, 4}},            // the same
		{{0, 8, 1}, {1, 0, 6}}, // one for a, three for b
		{{0, 9, 1}, {1, 6, 1}, {2, 0, 5}, {3, 0, 5}},
	} {
		got := s.Schedule()
		require.Equalf(t, want, plan(got, a, b, c, d), "step %d", i)
		for _, c := range got.Chunks {
			c.Seq.LogitsFrom = max(c.Seq.LogitsFrom, c.Start+c.Len)
		}
		sampled(s, got)
		require.NoError(t, s.Check())
	}
}

// TestPreemption has two sequences outgrow a pool of 4 blocks of 2.
func TestPreemption(t *testing.T) {
	s := newScheduler(t, Config{MaxTokens: 8, MaxSeqs: 2, MaxLen: 8}, 4, 2)
	a, b := seq(2, 6), seq(2, 6)
	require.NoError(t, s.Add(a))
	require.NoError(t, s.Add(b))
	for i, want := range []struct {
		plan        [][3]int
		preemptions uint64
	}{
		{[][3]int{{0, 0, 2}, {1, 0, 2}}, 0},
		{[][3]int{{0, 2, 1}, {1, 2, 1}}, 0},
		{[][3]int{{0, 3, 1}, {1, 3, 1}}, 0},
		{[][3]int{{0, 4, 1}}, 1}, // a takes b's blocks; b waits with 5 tokens
		{[][3]int{{0, 5, 1}}, 1},
		{[][3]int{{0, 6, 1}}, 1}, // its 8th token is the last
		{[][3]int{{1, 0, 5}}, 1}, // prompt and what was sampled, at once
		{[][3]int{{1, 5, 1}}, 1},
	} {
		got := s.Schedule()
		require.Equalf(t, want.plan, plan(got, a, b), "step %d", i)
		require.Equalf(t, want.preemptions, s.Preemptions(), "step %d", i)
		require.NoError(t, s.Check())
		sampled(s, got)
		if len(a.Tokens) == a.Limit {
			s.Remove(a)
		}
	}
}

// TestHeadIsNotOvertaken holds that a small request behind a large one waits
// for it even though it would fit.
func TestHeadIsNotOvertaken(t *testing.T) {
	s := newScheduler(t, Config{MaxTokens: 64, MaxSeqs: 8, MaxLen: 64}, 8, 4)
	first, large, small := seq(8, 8), seq(24, 8), seq(1, 1)
	for _, q := range []*Seq{first, large, small} {
		require.NoError(t, s.Add(q))
	}
	got := s.Schedule()
	require.Equal(t, [][3]int{{0, 0, 8}}, plan(got, first, large, small))
	sampled(s, got)
	require.Equal(t, [][3]int{{0, 8, 1}}, plan(s.Schedule(), first, large, small))
	s.Remove(first)
	s.Done()
	require.Equal(t, [][3]int{{1, 0, 24}, {2, 0, 1}}, plan(s.Schedule(), first, large, small))
	require.NoError(t, s.Check())
}

// TestDoneAfterRemove cancels a sequence between Schedule and Done.
func TestDoneAfterRemove(t *testing.T) {
	s := newScheduler(t, Config{MaxTokens: 8, MaxSeqs: 2, MaxLen: 8}, 4, 2)
	a := seq(2, 2)
	require.NoError(t, s.Add(a))
	s.Schedule()
	s.Remove(a)
	s.Done()
	require.Zero(t, a.Computed())
	require.Zero(t, s.Running())
	require.NoError(t, s.Check())
	require.Empty(t, s.Schedule().Chunks)
}

// TestCheckFinds breaks the queues in every way that Check names.
func TestCheckFinds(t *testing.T) {
	for name, corrupt := range map[string]func(s *Scheduler, run, wait *Seq){
		"link":           func(_ *Scheduler, run, _ *Seq) { run.prev = run },
		"count":          func(s *Scheduler, _, _ *Seq) { s.running.len++ },
		"order":          func(_ *Scheduler, run, _ *Seq) { run.order = 9 },
		"waits computed": func(_ *Scheduler, _, wait *Seq) { wait.computed = 1 },
		"over computed":  func(_ *Scheduler, run, _ *Seq) { run.computed = 5 },
		"no block":       func(_ *Scheduler, run, _ *Seq) { run.Tokens, run.computed, run.Limit = make([]int32, 40), 40, 40 },
		"passed":         func(s *Scheduler, run, _ *Seq) { s.pool.Pass(&run.table, 4) },
		"over its limit": func(_ *Scheduler, run, _ *Seq) { run.Limit = 3 },
		"too many run":   func(s *Scheduler, _, _ *Seq) { s.cfg.MaxSeqs = 0 },
		"blocks":         func(s *Scheduler, run, _ *Seq) { s.pool.Free(&run.table); s.pool.Grow(&run.table, 40) },
	} {
		s := newScheduler(t, Config{MaxTokens: 8, MaxSeqs: 1, MaxLen: 16}, 4, 4)
		run, wait := seq(4, 4), seq(4, 4)
		require.NoError(t, s.Add(run))
		require.NoError(t, s.Add(wait))
		sampled(s, s.Schedule())
		require.NoError(t, s.Check())
		corrupt(s, run, wait)
		require.Errorf(t, s.Check(), "for %s", name)
	}
}

const decodeLimit = 1 << 14

// decoding is a scheduler in the steady state: n sequences, one token each a
// step, that nothing is known of.
func decoding(t testing.TB, n, window int) *Scheduler {
	cfg := Config{MaxTokens: 8 * n, MaxSeqs: n, MaxLen: decodeLimit, Window: window, PrefixCaching: true}
	s := newScheduler(t, cfg, n*(decodeLimit/16+1), 16)
	for i := range n {
		q := &Seq{Tokens: make([]int32, 8, decodeLimit), Limit: decodeLimit}
		q.Tokens[0] = int32(i)
		require.NoError(t, s.Add(q))
	}
	for s.Waiting() > 0 {
		sampled(s, s.Schedule())
	}
	return s
}

func decodeStep(s *Scheduler) {
	b := s.Schedule()
	for i := range b.Chunks {
		q := b.Chunks[i].Seq
		q.Tokens = append(q.Tokens, 0)
	}
	s.Done()
}

func TestDecodeAllocatesNothing(t *testing.T) {
	for _, window := range []int{0, 100} {
		s := decoding(t, 16, window)
		require.Zero(t, testing.AllocsPerRun(1000, func() { decodeStep(s) }))
	}
}

// BenchmarkSchedule is what the scheduler adds to a step in which all decode.
func BenchmarkSchedule(b *testing.B) {
	for _, n := range []int{1, 16, 256} {
		for _, window := range []int{0, 4096} {
			b.Run(fmt.Sprintf("seqs=%d/window=%d", n, window), func(b *testing.B) {
				s := decoding(b, n, window)
				b.ReportAllocs()
				for b.Loop() {
					if s.running.first.left()+s.running.first.computed >= decodeLimit {
						b.StopTimer()
						s = decoding(b, n, window)
						b.StartTimer()
					}
					decodeStep(s)
				}
			})
		}
	}
}
