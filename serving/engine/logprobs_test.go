package engine

import (
	"context"
	"io"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/serving/sample"
)

// scored is a request for the log-probabilities of all of its tokens.
func scored(n int, prompt ...int32) Request {
	r := greedy(n, prompt...)
	r.Logprobs, r.TopLogprobs, r.PromptLogprobs = true, 2, true
	return r
}

// TestLogprobsChangeNothing compares every kind of request with the same one
// that does not ask.
func TestLogprobsChangeNothing(t *testing.T) {
	kinds(t, func(t *testing.T, draws bool) {
		f := newFake(80, 24, 8, 60, 4).drawer(draws)
		e := start(t, f, Config{SampleVocab: 59})
		for _, r := range append(requests(), plain()...) {
			r.Logprobs, r.TopLogprobs, r.PromptLogprobs = true, 3, true
			got, err := collect(submit(t, e, r))
			require.NoError(t, err)
			r.Logprobs, r.TopLogprobs, r.PromptLogprobs = false, 0, false
			want, err := collect(submit(t, e, r))
			require.NoError(t, err)
			for i := range got {
				require.NotNil(t, got[i].Logprobs)
				require.Equal(t, got[i].ID, got[i].Logprobs.Own.ID)
				got[i].Logprobs = nil
			}
			require.Equalf(t, want, got, "for request %s", r.ID)
		}
	})
}

// TestPromptLogprobsOnce counts rows of logits through chunks that the rows left
// cut, a preemption and what is computed again: every token's is made once.
func TestPromptLogprobsOnce(t *testing.T) {
	f := newFake(24, 12, 3, 8, 3)
	rows, most := 0, 0
	f.before = func(s *kernels.Step) error {
		rows, most = rows+len(s.Out), max(most, len(s.Out))
		return nil
	}
	e := manual(t, f, Config{})
	first := submit(t, e, greedy(12, 1, 2, 3)) // outgrows the cache
	second := submit(t, e, scored(9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12))
	for e.turn() == stepped {
		require.NoError(t, e.sched.Check())
	}
	require.Positive(t, e.Stats().Preemptions, "the cache is too large for this test")
	require.Equal(t, 12+9+11, rows)
	require.LessOrEqual(t, most, 3)
	require.NoError(t, f.broken)
	for _, s := range []*Stream{first, second} {
		got, err := collect(s)
		require.NoError(t, err)
		require.Equal(t, FinishLength, got[len(got)-1].Finish)
	}
	got, err := second.Prompt(context.Background())
	require.NoError(t, err)
	alone := newFake(24, 1, 1, 1, 1)
	require.Equal(t, alone.scores(t, second.req, 61), got)
}

func TestPromptEnds(t *testing.T) {
	ctx := context.Background()
	f := newFake(64, 4, 2, 40, 4)
	e := manual(t, f, Config{})

	_, err := submit(t, e, greedy(1, 1)).Prompt(ctx)
	require.ErrorIs(t, err, errNoScores)

	one := submit(t, e, scored(1, 5)) // there is nothing to wait for
	got, err := one.Prompt(ctx)
	require.NoError(t, err)
	require.Equal(t, []Token{{ID: 5}}, got)

	long := submit(t, e, scored(1, make([]int32, 30)...))
	require.Equal(t, stepped, e.turn())
	done, cancel := context.WithCancel(ctx)
	cancel()
	_, err = long.Prompt(done)
	require.ErrorIs(t, err, context.Canceled, "its own context's end is not the request's")
	long.Close()
	require.NotEqual(t, stopped, e.turn())
	_, err = long.Prompt(ctx)
	require.Equal(t, io.EOF, err)
	require.Equal(t, Token{ID: -1, Finish: FinishAbort}, next(t, long))

	f.next = func(history []int32, logits []float32) {
		counting(history, logits)
		if len(history) == 2 {
			logits[9] = float32(math.NaN())
		}
	}
	other, bad := submit(t, e, greedy(3, 7)), submit(t, e, scored(4, 1, 2, 3, 4))
	for e.turn() == stepped {
	}
	_, err = bad.Prompt(ctx)
	require.ErrorIs(t, err, ErrSample)
	require.ErrorIs(t, err, sample.ErrNotFinite)
	_, err = bad.Next(ctx)
	require.ErrorIs(t, err, ErrSample)
	require.Equal(t, uint64(2), e.Stats().Failures, "each once: the other's second row is not finite either")
	_, err = collect(other)
	require.ErrorIs(t, err, ErrSample)
	require.NoError(t, e.sched.Check())
	require.Zero(t, e.Stats().KVBlocksUsed)
}

// TestStop ends requests that a reader found a stop string in.
func TestStop(t *testing.T) {
	f := newFake(32, 8, 2, 8, 4)
	f.next = counting
	e := manual(t, f, Config{})
	s, waits, ended := submit(t, e, greedy(20, 1)), submit(t, e, greedy(20, 2)), submit(t, e, greedy(1, 3))
	require.Equal(t, stepped, e.turn())
	require.Equal(t, Token{ID: 2}, next(t, s))
	s.Stop()
	s.Close() // too late to make it an abort
	waits.Close()
	waits.Stop()
	require.Equal(t, stepped, e.turn())
	ended.Stop() // of one that has ended: nothing
	require.Equal(t, idle, e.turn())
	require.Equal(t, Token{ID: -1, Finish: FinishStop}, next(t, s))
	require.Equal(t, Token{ID: 3}, next(t, waits))
	require.Equal(t, Token{ID: -1, Finish: FinishAbort}, next(t, waits))
	require.Equal(t, Token{ID: 4, Finish: FinishLength}, next(t, ended))
	st := e.Stats()
	require.Equal(t, []uint64{1, 1, 1}, []uint64{st.StopFinishes, st.AbortFinishes, st.LengthFinishes})
	require.Zero(t, st.KVBlocksUsed)
}

func TestTiming(t *testing.T) {
	f := newFake(32, 8, 1, 8, 4)
	e := manual(t, f, Config{})
	s, waits := submit(t, e, greedy(3, make([]int32, 12)...)), submit(t, e, greedy(1, 2))
	at := s.Timing()
	require.False(t, at.Submitted.IsZero())
	require.True(t, at.Scheduled.IsZero() && at.First.IsZero() && at.Last.IsZero())
	require.Equal(t, stepped, e.turn()) // 8 of its 12 tokens
	began := s.Timing()
	require.False(t, began.Scheduled.Before(at.Submitted))
	require.True(t, began.First.IsZero())
	require.Equal(t, stepped, e.turn())
	first := s.Timing()
	require.Equal(t, began.Scheduled, first.Scheduled, "only the first step counts")
	require.True(t, first.First.After(first.Scheduled))
	require.Equal(t, first.First, first.Last)
	require.Equal(t, stepped, e.turn())
	second := s.Timing()
	require.Equal(t, first.First, second.First)
	require.True(t, second.Last.After(first.Last))
	require.True(t, waits.Timing().Scheduled.IsZero(), "one at a time")
	for e.turn() == stepped {
	}
	last := s.Timing()
	require.True(t, last.Last.After(second.Last))
	s.Close()
	e.turn()
	require.Equal(t, last, s.Timing())
	require.True(t, waits.Timing().Scheduled.After(last.Last))
}

// TestLogprobsAllocate holds what a step costs with them: two allocations a row.
func TestLogprobsAllocate(t *testing.T) {
	f := newFake(1<<12, 16, 2, 1<<9, 16)
	e := manual(t, f, Config{SampleThreads: 1})
	e.model = instant{f}
	for i := range int32(2) {
		r := scored(4000, i, 2)
		r.Sampling.FrequencyPenalty = 0.1
		submit(t, e, r)
	}
	require.Equal(t, stepped, e.turn())
	require.Equal(t, stepped, e.turn())
	require.Equal(t, 4.0, testing.AllocsPerRun(200, func() {
		if e.turn() != stepped {
			t.Fatal("no step")
		}
	}))
}

// TestPromptLogprobsIgnoreThePrefixCache asks for a prompt that is in it.
func TestPromptLogprobsIgnoreThePrefixCache(t *testing.T) {
	f := newFake(64, 16, 2, 40, 4)
	e := start(t, f, Config{PrefixCaching: true})
	prompt := []int32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}
	for i, want := range []struct {
		request Request
		cached  int
	}{{greedy(6, prompt...), 0}, {scored(6, prompt...), 0}, {greedy(6, prompt...), 12}} {
		s := submit(t, e, want.request)
		got, err := collect(s)
		require.NoError(t, err)
		require.Equal(t, f.reference(t, want.request, 61), got)
		require.Equal(t, want.cached, s.CachedTokens(), "request %d", i)
		if want.request.PromptLogprobs {
			scores, err := s.Prompt(context.Background())
			require.NoError(t, err)
			require.Equal(t, f.scores(t, want.request, 61), scores)
		}
	}
}
