package engine

import (
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/serving/sample"
)

func next(t *testing.T, s *Stream) Token {
	t.Helper()
	tok, err := s.Next(context.Background())
	require.NoError(t, err)
	return tok
}

// TestCancelFreesWithinAStep ends requests that run, wait, and were preempted.
func TestCancelFreesWithinAStep(t *testing.T) {
	f := newFake(32, 8, 2, 8, 4)
	e := manual(t, f, Config{})
	runs, other, waits := submit(t, e, greedy(20, 1, 2, 3)), submit(t, e, greedy(20, 4)), submit(t, e, greedy(20, 5))
	require.Equal(t, stepped, e.turn())
	require.Equal(t, 2, e.Stats().KVBlocksUsed)
	runs.Close()
	runs.Close()
	waits.Close()
	steps := e.Stats().Steps
	require.Equal(t, stepped, e.turn())
	require.Equal(t, steps+1, e.Stats().Steps)
	require.Equal(t, 1, e.Stats().KVBlocksUsed)
	require.Equal(t, uint64(2), e.Stats().AbortFinishes)
	require.NoError(t, e.sched.Check())

	require.Empty(t, next(t, runs).Finish, "what was sampled before is still there")
	require.Equal(t, Token{ID: -1, Finish: FinishAbort}, next(t, runs))
	require.Equal(t, Token{ID: -1, Finish: FinishAbort}, next(t, waits))
	_, err := runs.Next(context.Background())
	require.Equal(t, io.EOF, err)

	other.Close()
	require.Equal(t, idle, e.turn())
	require.Zero(t, e.Stats().KVBlocksUsed)
	other.Close() // of one that has ended: nothing
	require.Equal(t, idle, e.turn())
	require.Equal(t, uint64(3), e.Stats().AbortFinishes)
}

func TestContextCancels(t *testing.T) {
	kinds(t, func(t *testing.T, draws bool) {
		f := newFake(1<<12, 8, 2, 1<<10, 4).drawer(draws)
		e := start(t, f, Config{})
		ctx, cancel := context.WithCancel(context.Background())
		s, err := e.Submit(ctx, greedy(4000, 1))
		require.NoError(t, err)
		next(t, s)
		cancel()
		got, err := collect(s)
		require.NoError(t, err)
		require.Equal(t, Token{ID: -1, Finish: FinishAbort}, got[len(got)-1])
		require.Zero(t, e.Stats().KVBlocksUsed)
	})
}

// TestNextsOwnContext holds that a reader that stops waiting ends nothing.
func TestNextsOwnContext(t *testing.T) {
	kinds(t, func(t *testing.T, draws bool) {
		f := newFake(32, 8, 2, 8, 4).drawer(draws)
		e := manual(t, f, Config{})
		s := submit(t, e, greedy(2, 1))
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := s.Next(ctx)
		require.ErrorIs(t, err, context.Canceled)
		for e.turn() == stepped {
		}
		got, err := collect(s)
		require.NoError(t, err)
		require.Len(t, got, 2)
		for range 2 {
			_, err = s.Next(context.Background())
			require.Equal(t, io.EOF, err)
		}
	})
}

// TestSlowReader reads one request long after all others have ended.
func TestSlowReader(t *testing.T) {
	kinds(t, func(t *testing.T, draws bool) {
		f := newFake(64, 8, 2, 32, 4).drawer(draws)
		e := start(t, f, Config{})
		slow := submit(t, e, greedy(60, 1))
		for range 5 {
			got, err := collect(submit(t, e, greedy(60, 2)))
			require.NoError(t, err)
			require.Len(t, got, 60)
		}
		got, err := collect(slow)
		require.NoError(t, err)
		require.Equal(t, f.reference(t, greedy(60, 1), 61), got)
	})
}

func TestClose(t *testing.T) {
	kinds(t, func(t *testing.T, draws bool) {
		before := runtime.NumGoroutine()
		f := newFake(1<<14, 16, 2, 1<<12, 8).drawer(draws)
		e, err := New(f, Config{SampleThreads: 4})
		require.NoError(t, err)
		var streams []*Stream
		for range 4 {
			streams = append(streams, submit(t, e, greedy(16000, 1)))
		}
		next(t, streams[0])
		stop(t, e, f)
		for i, s := range streams {
			got, err := collect(s)
			require.NoErrorf(t, err, "for stream %d", i)
			require.Equalf(t, Token{ID: -1, Finish: FinishAbort}, got[len(got)-1], "for stream %d", i)
			s.Close()
		}
		_, err = e.Submit(context.Background(), greedy(1, 1))
		require.ErrorIs(t, err, ErrClosed)
		require.ErrorIs(t, e.Healthy(), ErrClosed)
		require.NoError(t, e.Close(context.Background()), "again")
		for runtime.NumGoroutine() > before { // one that has done its work takes a moment to leave the count
			time.Sleep(time.Millisecond)
		}
	})
}

func TestCloseDuringAStep(t *testing.T) {
	kinds(t, func(t *testing.T, draws bool) {
		f := newFake(32, 8, 2, 8, 4).drawer(draws)
		in, out := make(chan struct{}), make(chan struct{})
		var once sync.Once
		f.before = func(*kernels.Step) error {
			once.Do(func() { close(in) })
			<-out
			return nil
		}
		e := start(t, f, Config{})
		submit(t, e, greedy(20, 1))
		<-in
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		require.ErrorIs(t, e.Close(ctx), context.Canceled)
		close(out)
	})
}

// TestFaultyStep has one step fail while a third request waits.
func TestFaultyStep(t *testing.T) {
	kinds(t, func(t *testing.T, draws bool) {
		broken := errors.New("device is on fire")
		for name, fail := range map[string]func() error{
			"error": func() error { return broken },
			"panic": func() error { panic(broken) },
		} {
			f := newFake(32, 8, 2, 8, 4).drawer(draws)
			e := manual(t, f, Config{})
			a, b, c := submit(t, e, greedy(3, 1)), submit(t, e, greedy(3, 2)), submit(t, e, greedy(3, 3))
			require.Equal(t, stepped, e.turn())
			if draws { // the first step is waited for when the second is under way
				require.Equal(t, stepped, e.turn())
			}
			f.before = func(*kernels.Step) error { return fail() }
			require.Equal(t, stepped, e.turn())
			f.before = nil
			require.NoErrorf(t, e.Healthy(), "for %s", name)
			require.Equal(t, uint64(2), e.Stats().Failures)
			require.Zero(t, e.Stats().KVBlocksUsed)
			for e.turn() == stepped {
			}
			for _, s := range []*Stream{a, b} {
				got, err := collect(s)
				require.ErrorIsf(t, err, ErrForward, "for %s", name)
				require.ErrorContains(t, err, "device is on fire")
				require.Len(t, got, 1, "the token of the step before")
				_, again := s.Next(context.Background())
				require.Equal(t, err, again)
			}
			got, err := collect(c)
			require.NoErrorf(t, err, "for %s", name)
			require.Equal(t, f.reference(t, greedy(3, 3), 61), got)
			require.NoError(t, e.sched.Check())
		}
	})
}

// TestDead fails step after step.
func TestDead(t *testing.T) {
	kinds(t, func(t *testing.T, draws bool) {
		f := newFake(32, 8, 1, 8, 4).drawer(draws)
		f.before = func(*kernels.Step) error { return errors.New("device is gone") }
		e := manual(t, f, Config{})
		var streams []*Stream
		for range maxFaults + 2 {
			streams = append(streams, submit(t, e, greedy(3, 1)))
		}
		now := e.turn()
		for ; now == stepped; now = e.turn() {
			require.NoError(t, e.Healthy())
		}
		require.Equal(t, stopped, now)
		require.ErrorIs(t, e.Healthy(), ErrDead)
		require.ErrorContains(t, e.Healthy(), "device is gone")
		for i, s := range streams {
			_, err := collect(s)
			if want := ErrForward; i < maxFaults-1 {
				require.ErrorIs(t, err, want)
			} else {
				require.ErrorIs(t, err, ErrDead)
			}
		}
		_, err := e.Submit(context.Background(), greedy(1, 1))
		require.ErrorIs(t, err, ErrDead)
		require.Equal(t, uint64(maxFaults+2), e.Stats().Failures)
		require.Zero(t, e.Stats().KVBlocksUsed)
	})
}

// TestPanicBetweenSteps breaks the engine's own state: nothing can be trusted then.
func TestPanicBetweenSteps(t *testing.T) {
	f := newFake(32, 8, 2, 8, 4)
	e, err := newEngine(f, Config{Log: quiet})
	require.NoError(t, err)
	s := submit(t, e, greedy(3, 1))
	s.seq.Owner = nil
	go e.run()
	_, err = collect(s)
	require.ErrorIs(t, err, ErrDead)
	require.ErrorIs(t, e.Healthy(), ErrDead)
	require.NoError(t, e.Close(context.Background()))
}

// TestBadLogits ends the request whose logits are not finite, and no other.
func TestBadLogits(t *testing.T) {
	kinds(t, func(t *testing.T, draws bool) {
		f := newFake(32, 8, 4, 8, 4).drawer(draws)
		f.next = func(history []int32, logits []float32) {
			counting(history, logits)
			if history[0] == 9 && len(history) == 3 {
				logits[30] = float32(math.NaN())
			}
		}
		e := start(t, f, Config{})
		good, bad := submit(t, e, greedy(4, 1)), submit(t, e, greedy(4, 9))
		got, err := collect(bad)
		require.ErrorIs(t, err, ErrSample)
		require.ErrorIs(t, err, sample.ErrNotFinite)
		if !draws {
			require.ErrorContains(t, err, "token 30 has NaN")
		}
		require.Equal(t, []Token{{ID: 10, Finish: ""}, {ID: 11, Finish: ""}}, got)
		got, err = collect(good)
		require.NoError(t, err)
		require.Len(t, got, 4)
		require.NoError(t, e.Healthy())
	})
}

// TestEverythingBanned cannot satisfy min_tokens: every token is a stop token.
func TestEverythingBanned(t *testing.T) {
	f := newFake(32, 8, 4, 8, 4)
	e := start(t, f, Config{SampleVocab: 3})
	r := greedy(4, 1)
	r.StopTokens, r.MinTokens = []int32{0, 1, 2}, 1
	_, err := collect(submit(t, e, r))
	require.ErrorIs(t, err, ErrSample)
}

// TestStress has many goroutines submit, read, stop reading and cancel.
func TestStress(t *testing.T) {
	kinds(t, func(t *testing.T, draws bool) {
		f := newFake(48, 24, 8, 24, 5).drawer(draws)
		e := start(t, f, Config{SampleThreads: 3})
		var clients sync.WaitGroup
		for c := range uint64(12) {
			clients.Go(func() {
				rng := rand.New(rand.NewPCG(c, 8))
				for range 25 {
					r := greedy(1+rng.IntN(24), make([]int32, 1+rng.IntN(23))...)
					for i := range r.Prompt {
						r.Prompt[i] = rng.Int32N(61)
					}
					r.Sampling.Temperature, r.Sampling.Seed = rng.Float64(), rng.Uint64()
					ctx, cancel := context.WithCancel(context.Background())
					s, err := e.Submit(ctx, r)
					if !assert.NoError(t, err) {
						cancel()
						return
					}
					switch rng.IntN(4) {
					case 0:
						cancel()
					case 1:
						for range rng.IntN(5) {
							_, _ = s.Next(context.Background())
						}
						s.Close()
					default:
						got, err := collect(s)
						assert.NoError(t, err)
						assert.Equal(t, newFake(48, 1, 1, 1, 1).reference(t, r, 61), got)
					}
					cancel()
				}
			})
		}
		clients.Wait()
		st := e.Stats()
		t.Logf("%+v", st)
		require.Zero(t, st.Failures)
	})
}

// TestCancelAfterTheEnd changes nothing, and Submit's context is let go.
func TestCancelAfterTheEnd(t *testing.T) {
	f := newFake(32, 8, 2, 8, 4)
	f.next = counting
	e := manual(t, f, Config{})
	s := submit(t, e, greedy(1, 4))
	require.Equal(t, stepped, e.turn())
	s.Close()
	require.Equal(t, idle, e.turn())
	require.Zero(t, e.Stats().AbortFinishes)
	require.False(t, s.unwatch(), "the context is still watched")
	got, err := collect(s)
	require.NoError(t, err)
	require.Equal(t, []Token{{ID: 5, Finish: FinishLength}}, got)
}

// TestFaultsInARow holds that faults with good steps between them kill nothing.
func TestFaultsInARow(t *testing.T) {
	kinds(t, func(t *testing.T, draws bool) {
		f := newFake(32, 8, 2, 8, 4).drawer(draws)
		e := manual(t, f, Config{})
		fail := false
		f.before = func(*kernels.Step) error {
			if fail {
				return errors.New("now and then")
			}
			return nil
		}
		for range 3 * maxFaults {
			fail = !fail
			submit(t, e, greedy(1, 1))
			for e.turn() == stepped {
			}
		}
		require.NoError(t, e.Healthy())
	})
}
