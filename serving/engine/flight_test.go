package engine

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/serving/sample"
)

// turns takes them until nothing is left to do.
func turns(t *testing.T, e *Engine) {
	t.Helper()
	for e.turn() == stepped {
		require.NoError(t, e.sched.Check())
	}
}

// ids are those of a reference or a stream.
func ids(tokens []Token) (all []int32) {
	for _, tok := range tokens {
		all = append(all, tok.ID)
	}
	return all
}

// TestOneStepAhead follows a request and what the model is asked for: every step
// but the first is submitted before the tokens of the one before it are there, and
// none behind the end that max_tokens sets.
func TestOneStepAhead(t *testing.T) {
	f := newFake(32, 8, 2, 8, 4).drawer(true)
	f.next = counting
	e := manual(t, f, Config{})
	s := submit(t, e, greedy(4, 1, 2))
	require.Equal(t, stepped, e.turn())
	require.Equal(t, []string{"submit 2"}, f.draws.log)
	require.Equal(t, Stats{Running: 1, KVBlocks: 8, KVBlockSize: 4, KVBlocksUsed: 1, Steps: 1}, e.Stats())
	require.False(t, s.Timing().Scheduled.IsZero())
	require.True(t, s.Timing().First.IsZero())
	require.Equal(t, stepped, e.turn())
	require.Equal(t, []string{"submit 2", "submit 1", "drawn 2"}, f.draws.log)
	require.Equal(t, Stats{Running: 1, KVBlocks: 8, KVBlockSize: 4, KVBlocksUsed: 1, Steps: 2, PromptTokens: 2, OutputTokens: 1}, e.Stats())
	require.Equal(t, Token{ID: 3}, next(t, s))
	require.False(t, s.Timing().First.IsZero())
	turns(t, e)
	require.Equal(t, []string{
		"submit 2", "submit 1", "drawn 2", "submit 1", "drawn 1", "submit 1", "drawn 1", "drawn 1",
	}, f.draws.log)
	got, err := collect(s)
	require.NoError(t, err)
	require.Equal(t, []Token{{ID: 4}, {ID: 5}, {ID: 6, Finish: FinishLength}}, got)
	require.Equal(t, Stats{KVBlocks: 8, KVBlockSize: 4, Steps: 4, PromptTokens: 2, OutputTokens: 4, LengthFinishes: 1}, e.Stats())
	require.NoError(t, f.broken)
}

// TestEndIsLearntLate has a request end with a token that is known when the step
// behind it is under way: what that has of it goes nowhere, and the block that it
// writes to is another's by then.
func TestEndIsLearntLate(t *testing.T) {
	f := newFake(32, 16, 1, 3, 4).drawer(true)
	f.next = counting
	e := manual(t, f, Config{PrefixCaching: true})
	r := greedy(9, 1, 2, 3)
	r.StopTokens = []int32{5}
	first, second := submit(t, e, r), submit(t, e, greedy(3, 20, 21, 22, 23, 24, 25, 26, 27, 28)) // all three blocks
	require.Equal(t, stepped, e.turn())
	require.Equal(t, stepped, e.turn())
	require.Equal(t, stepped, e.turn())
	require.Equal(t, []string{"submit 3", "submit 1", "drawn 3", "submit 1", "drawn 1"}, f.draws.log)
	require.Zero(t, e.Stats().KVBlocksUsed, "it has ended, though a row of it is under way")
	require.Equal(t, uint64(1), e.Stats().StopFinishes)
	turns(t, e)
	got, err := collect(first)
	require.NoError(t, err)
	require.Equal(t, []Token{{ID: 4}, {ID: 5, Finish: FinishStop}}, got)
	got, err = collect(second)
	require.NoError(t, err)
	require.Equal(t, []int32{29, 30, 31}, ids(got))
	require.Equal(t, uint64(5), e.Stats().OutputTokens, "stale rows are nobody's")
	require.NoError(t, f.broken)
}

// TestEndIsNotFound has the last token of a request fill a block, in a stale row:
// the cache knows what it does where there is none.
func TestEndIsNotFound(t *testing.T) {
	kinds(t, func(t *testing.T, draws bool) {
		f := newFake(32, 16, 2, 8, 4).drawer(draws)
		f.next = counting
		e := manual(t, f, Config{PrefixCaching: true})
		r := greedy(9, 1, 2, 3, 4, 5)
		r.StopTokens = []int32{8}
		submit(t, e, r)
		turns(t, e)
		again := submit(t, e, greedy(2, 1, 2, 3, 4, 5, 6, 7, 8, 9))
		turns(t, e)
		require.Equal(t, 4, again.CachedTokens())
		got, err := collect(again)
		require.NoError(t, err)
		require.Equal(t, []int32{10, 11}, ids(got))
		require.NoError(t, f.broken)
	})
}

// TestCancelWhileUnderWay ends a request by its reader.
func TestCancelWhileUnderWay(t *testing.T) {
	f := newFake(32, 16, 2, 8, 4).drawer(true)
	e := manual(t, f, Config{})
	s, other := submit(t, e, greedy(9, 1, 2, 3)), submit(t, e, greedy(5, 4))
	require.Equal(t, stepped, e.turn())
	require.Equal(t, stepped, e.turn())
	s.Close()
	require.Equal(t, stepped, e.turn())
	require.Equal(t, []string{"submit 4", "submit 2", "drawn 4", "submit 1", "drawn 2"}, f.draws.log)
	got, err := collect(s)
	require.NoError(t, err)
	require.Equal(t, []int32{f.reference(t, greedy(1, 1, 2, 3), 61)[0].ID, -1}, ids(got))
	turns(t, e)
	got, err = collect(other)
	require.NoError(t, err)
	require.Equal(t, f.reference(t, greedy(5, 4), 61), got)
	require.NoError(t, f.broken)
}

// TestPreemptionWaitsForTokens outgrows the cache.
func TestPreemptionWaitsForTokens(t *testing.T) {
	f := newFake(8, 8, 2, 4, 2).drawer(true)
	e := manual(t, f, Config{})
	a, b := submit(t, e, greedy(6, 1, 2)), submit(t, e, greedy(6, 3, 4))
	turns(t, e)
	require.Equal(t, uint64(1), e.Stats().Preemptions)
	require.Equal(t, []string{
		"submit 4", "submit 2", "drawn 4", "submit 2", "drawn 2",
		"drawn 2", "submit 1", // the newer one's blocks are needed, so its token first
		"submit 1", "drawn 1", "submit 1", "drawn 1",
		"drawn 1",
		"submit 5", "submit 1", "drawn 5", "submit 1", "drawn 1", "drawn 1",
	}, f.draws.log)
	for i, s := range []*Stream{a, b} {
		got, err := collect(s)
		require.NoError(t, err)
		require.Equal(t, f.reference(t, greedy(6, int32(2*i+1), int32(2*i+2)), 61), got)
	}
	require.NoError(t, f.broken)
}

// TestLogitsOnTheHost has a request that needs its logits come and go.
func TestLogitsOnTheHost(t *testing.T) {
	f := newFake(32, 8, 4, 16, 4).drawer(true)
	e := manual(t, f, Config{})
	plain := greedy(7, 1)
	plain.Sampling.Temperature, plain.Sampling.TopK, plain.Sampling.Seed = 0.8, 20, 4
	special := greedy(2, 2, 3)
	special.Sampling.FrequencyPenalty = 0.5
	s := submit(t, e, plain)
	require.Equal(t, stepped, e.turn())
	require.Equal(t, stepped, e.turn())
	p := submit(t, e, special)
	turns(t, e)
	require.Equal(t, []string{
		"submit 1", "submit 1", "drawn 1",
		"drawn 1", "both 3, 1 of 2", "both 2, 1 of 2",
		"submit 1", "submit 1", "drawn 1", "submit 1", "drawn 1", "drawn 1",
	}, f.draws.log)
	for s, r := range map[*Stream]Request{s: plain, p: special} {
		got, err := collect(s)
		require.NoError(t, err)
		require.Equal(t, f.reference(t, r, 61), got)
	}
	require.NoError(t, f.broken)
}

// TestHostBatchIsRevised has a request end with the token that the batch behind it
// waits for, which has a row of it.
func TestHostBatchIsRevised(t *testing.T) {
	f := newFake(32, 8, 4, 16, 4).drawer(true)
	f.next = counting
	e := manual(t, f, Config{PrefixCaching: true})
	r := greedy(7, 1)
	r.StopTokens = []int32{3}
	s := submit(t, e, r)
	require.Equal(t, stepped, e.turn())
	require.Equal(t, stepped, e.turn())
	p := submit(t, e, scored(1, 7, 8))
	require.Equal(t, stepped, e.turn())
	require.Equal(t, []string{"submit 1", "submit 1", "drawn 1", "drawn 1", "forward 2"}, f.draws.log)
	require.Equal(t, idle, e.turn())
	got, err := collect(s)
	require.NoError(t, err)
	require.Equal(t, []Token{{ID: 2}, {ID: 3, Finish: FinishStop}}, got)
	got, err = collect(p)
	require.NoError(t, err)
	require.Equal(t, []int32{9}, ids(got))
	require.NoError(t, f.broken)
}

// TestMinTokens has the host draw the tokens that may not be stop tokens.
func TestMinTokens(t *testing.T) {
	f := newFake(32, 8, 4, 16, 4).drawer(true)
	f.next = counting
	e := manual(t, f, Config{})
	r := greedy(6, 1)
	r.MinTokens, r.StopTokens = 2, []int32{2, 60}
	s := submit(t, e, r)
	turns(t, e)
	require.Equal(t, []string{
		"forward 1", "forward 1", "submit 1", "submit 1", "drawn 1", "drawn 1",
	}, f.draws.log)
	got, err := collect(s)
	require.NoError(t, err)
	require.Equal(t, []Token{{ID: 0}, {ID: 1}, {ID: 2, Finish: FinishStop}}, got)
}

// TestChunksOfAPrompt are computed the old way while nobody decodes, as they draw
// nothing, and submitted beside those that do.
func TestChunksOfAPrompt(t *testing.T) {
	f := newFake(64, 8, 2, 32, 4).drawer(true)
	e := manual(t, f, Config{})
	long := greedy(2, make([]int32, 20)...)
	a := submit(t, e, long)
	require.Equal(t, stepped, e.turn())
	b := submit(t, e, greedy(4, 1))
	turns(t, e)
	require.Equal(t, []string{
		"forward 8", "forward 8", "submit 5", // the prompt's end, and b's
		"submit 2", "drawn 5", "submit 1", "drawn 2", "submit 1", "drawn 1", "drawn 1",
	}, f.draws.log)
	for s, r := range map[*Stream]Request{a: long, b: greedy(4, 1)} {
		got, err := collect(s)
		require.NoError(t, err)
		require.Equal(t, f.reference(t, r, 61), got)
	}
}

// TestSharedAhead admits a request behind the step that computes its prompt's
// beginning for another.
func TestSharedAhead(t *testing.T) {
	f := newFake(32, 32, 4, 16, 4).drawer(true)
	e := manual(t, f, Config{PrefixCaching: true})
	r := greedy(5, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	a := submit(t, e, r)
	require.Equal(t, stepped, e.turn())
	b := submit(t, e, r)
	turns(t, e)
	for i, s := range []*Stream{a, b} {
		got, err := collect(s)
		require.NoError(t, err)
		require.Equal(t, f.reference(t, r, 61), got)
		require.Equal(t, 8*i, s.CachedTokens())
	}
	require.Equal(t, []string{"submit 9", "submit 2", "drawn 9"}, f.draws.log[:3])
	require.NoError(t, f.broken)
}

// TestCloseWithStepsUnderWay drops them.
func TestCloseWithStepsUnderWay(t *testing.T) {
	f := newFake(32, 8, 2, 8, 4).drawer(true)
	e := manual(t, f, Config{})
	s := submit(t, e, greedy(20, 1))
	for range 3 {
		require.Equal(t, stepped, e.turn())
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.Error(t, e.Close(ctx), "nobody runs it")
	require.Equal(t, stopped, e.turn())
	require.Empty(t, f.draws.under)
	got, err := collect(s)
	require.NoError(t, err)
	require.Len(t, got, 3)
	require.Equal(t, Token{ID: -1, Finish: FinishAbort}, got[2])
	require.Zero(t, e.Stats().KVBlocksUsed)
	require.NoError(t, f.broken)
}

// TestDraw compares what the model is told of a request with what it asked for.
func TestDraw(t *testing.T) {
	for _, c := range []struct {
		sampling sample.Params
		want     kernels.Draw
	}{
		{sample.Params{TopP: 1}, kernels.Draw{TopP: 1}},
		{sample.Params{Temperature: 1e-6, TopP: 1, TopK: -1, Seed: 3}, kernels.Draw{TopP: 1, Seed: 3}},
		{sample.Params{Temperature: 0.5, TopP: 0.9, TopK: 4, MinP: 0.1, Seed: math.MaxUint64}, kernels.Draw{Temperature: 0.5, TopP: 0.9, TopK: 4, MinP: 0.1, Seed: math.MaxUint64}},
	} {
		e := manual(t, newFake(32, 8, 2, 8, 4), Config{})
		s := newStream(e, Request{Prompt: []int32{1, 2}, MaxTokens: 4, Sampling: c.sampling})
		require.True(t, s.drawable())
		require.Equal(t, c.want, s.draw())
		s.seq.Tokens = append(s.seq.Tokens, 5)
		c.want.Index = 1
		require.Equal(t, c.want, s.draw())
	}
	for name, r := range map[string]Request{
		"logprobs":   {Logprobs: true},
		"min_tokens": {MinTokens: 1, StopTokens: []int32{3}},
		"bias":       {Sampling: sample.Params{Bias: []sample.Bias{{ID: 1}}}},
		"allowed":    {Sampling: sample.Params{Allowed: []int32{1}}},
		"typical_p":  {Sampling: sample.Params{TypicalP: 0.5}},
		"repetition": {Sampling: sample.Params{RepetitionPenalty: 1.1}},
		"presence":   {Sampling: sample.Params{PresencePenalty: 0.1}},
		"frequency":  {Sampling: sample.Params{FrequencyPenalty: 0.1}},
	} {
		r.Prompt, r.MaxTokens = []int32{1}, 4
		e := manual(t, newFake(32, 8, 2, 8, 4), Config{})
		require.Falsef(t, newStream(e, r).drawable(), "for %s", name)
	}
}

// TestDrawnDecodeAllocatesNothing is TestDecodeAllocatesNothing for a model that draws.
func TestDrawnDecodeAllocatesNothing(t *testing.T) {
	e := steadyDraws(t, 16)
	require.Zero(t, testing.AllocsPerRun(500, func() {
		if e.turn() != stepped {
			t.Fatal("no step")
		}
	}))
	require.Equal(t, 16, e.Stats().Running)
	e.drain()
}

// steadyDraws is an engine with n sequences that decode and a model that draws at once.
func steadyDraws(t testing.TB, n int) *Engine {
	f := newFake(1<<14, 16*n, n, n<<10, 16).drawer(true)
	e := manual(t, f, Config{PrefixCaching: true})
	e.drawer = &instantDraws{fake: f, ids: make([]int32, n)}
	for i := range n {
		r := greedy(1<<14-3, 1, 2, int32(i%f.vocab))
		r.Sampling.Temperature = float64(i % 2)
		submit(t, e, r)
	}
	for range 4 {
		require.Equal(t, stepped, e.turn())
	}
	return e
}

// instantDraws draws token 4 for everybody, at once.
type instantDraws struct {
	*fake
	ids []int32
	n   []int // of each step under way
}

func (i *instantDraws) Submit(_ *kernels.Step, _ int, draws []kernels.Draw) error {
	i.n = append(i.n, len(draws))
	return nil
}

func (i *instantDraws) Drawn() ([]int32, error) {
	ids := i.ids[:i.n[0]]
	i.n = append(i.n[:0], i.n[1:]...)
	for k := range ids {
		ids[k] = 4
	}
	return ids, nil
}

// BenchmarkDrawnStep is what the host does for a step that the device draws: it is
// hidden as long as the device takes longer.
func BenchmarkDrawnStep(b *testing.B) {
	for _, n := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("seqs=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			e := steadyDraws(b, n)
			for b.Loop() {
				if e.turn() != stepped || e.Stats().OutputTokens > uint64(n)*16000 {
					b.StopTimer()
					e = steadyDraws(b, n)
					b.StartTimer()
				}
			}
		})
	}
}
