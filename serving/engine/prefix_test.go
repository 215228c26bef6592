package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/kernels"
)

// alike are the requests, twice, with prompts that begin alike in part.
func alike(requests func() []Request) (all []Request) {
	rng := rand.New(rand.NewPCG(6, 6))
	for i, r := range append(requests(), requests()...) {
		same := rng.IntN(2 * len(r.Prompt))
		for j := range min(same, len(r.Prompt)) {
			r.Prompt[j] = int32(j + i%3)
		}
		r.ID = fmt.Sprint("alike ", i)
		all = append(all, r)
	}
	return all
}

// TestPrefixesAndWindowsChangeNothing is the engine's main promise with what
// the cache finds and what a window lets go of. The fake's cache tells when a
// sequence sees anything but its own.
func TestPrefixesAndWindowsChangeNothing(t *testing.T) {
	const maxLen = 70
	for _, c := range []struct {
		name                                          string
		maxTokens, maxSeqs, blocks, blockSize, window int
		prefix, preempts                              bool
	}{
		{"prefixes", 64, 8, 400, 4, 0, true, false},
		{"prefixes in few blocks", 40, 16, 26, 4, 0, true, true},
		{"prefixes one at a time", 7, 1, 18, 4, 0, true, false},
		{"window", 40, 8, 40, 4, 9, false, false},
		{"window in few blocks", 64, 16, 22, 4, 30, false, true}, // sequences grow into it
		{"window that fits alone", 16, 16, 4, 4, 11, false, false},
		{"prefixes in a window", 40, 8, 60, 4, 9, true, false},
		{"prefixes in a window in few blocks", 64, 16, 30, 3, 25, true, false},
		{"window of two in blocks of one", 12, 6, 40, 1, 2, true, false},
		{"window beyond the context", 64, 8, 400, 4, 500, true, false},
	} {
		kinds(t, func(t *testing.T, draws bool) {
			for name, all := range map[string][]Request{"plain": alike(plain), "mixed": alike(requests)} {
				t.Run(c.name+"/"+name, func(t *testing.T) {
					f := newFake(maxLen, c.maxTokens, c.maxSeqs, c.blocks, c.blockSize).drawer(draws)
					f.window = c.window
					e, err := newEngine(f, Config{SampleVocab: 59, SampleThreads: 2, PrefixCaching: c.prefix, Log: quiet})
					require.NoError(t, err)
					e.samplers.worth = 1
					require.Equal(t, maxLen, e.MaxModelLen())
					t.Cleanup(func() { stop(t, e, f) })
					ownAndFound(t, e, all, maxLen)
					require.NoError(t, e.Close(context.Background()))
					st := e.Stats()
					t.Logf("%d steps, %d ahead, %d preemptions, %d of %d prompt tokens found",
						st.Steps, f.draws.ahead, st.Preemptions, st.PrefixHits, st.PrefixQueries)
					require.Equal(t, c.prefix, st.PrefixHits > 0)
					if c.preempts { // elsewhere it depends on when the others are cancelled
						require.Positive(t, st.Preemptions)
					}
					if draws && name == "plain" {
						require.Positive(t, f.draws.ahead)
					}
				})
			}
		})
	}
}

// ownAndFound starts an engine with all of the requests, some of them twice, and
// holds that each gets its own output, whatever of its prompt was found.
func ownAndFound(t *testing.T, e *Engine, all []Request, maxLen int) {
	var readers sync.WaitGroup
	for i, r := range all {
		want := newFake(maxLen, 1, 1, 1, 1).reference(t, r, 59)
		s := submit(t, e, r)
		readers.Go(func() {
			got, err := collect(s)
			assert.NoErrorf(t, err, "for request %s", r.ID)
			assert.Equalf(t, want, got, "for request %s", r.ID)
			assert.Less(t, s.CachedTokens(), len(r.Prompt), "the last token is computed")
		})
		if i%4 == 0 {
			other := submit(t, e, r)
			readers.Go(func() {
				_, _ = other.Next(context.Background())
				other.Close()
			})
		}
	}
	go e.run()
	readers.Wait()
}

// TestCachedTokens asks the same again, before and after a reset.
func TestCachedTokens(t *testing.T) {
	kinds(t, func(t *testing.T, draws bool) {
		f := newFake(64, 16, 4, 20, 4).drawer(draws)
		e := start(t, f, Config{PrefixCaching: true})
		prompt := []int32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
		var queries, hits uint64
		check := func(want int, r Request) {
			t.Helper()
			s := submit(t, e, r)
			got, err := collect(s)
			require.NoError(t, err)
			require.Equal(t, f.reference(t, r, 61), got)
			require.Equal(t, want, s.CachedTokens())
			queries, hits = queries+uint64(len(r.Prompt)), hits+uint64(want)
			st := e.Stats()
			require.Equal(t, []uint64{queries, hits}, []uint64{st.PrefixQueries, st.PrefixHits})
		}
		check(0, greedy(6, prompt...))
		check(8, greedy(6, prompt...))
		check(4, greedy(6, prompt[:8]...))
		check(0, greedy(6, append([]int32{0}, prompt...)...))
		// A second turn: the answer is part of the prompt. Its last token was never computed.
		turn := append([]int32(nil), prompt...)
		for _, tok := range f.reference(t, greedy(6, prompt...), 61) {
			turn = append(turn, tok.ID)
		}
		check(12, greedy(6, turn...))
		check(12, greedy(6, turn...))
		e.ResetPrefixCache()
		check(0, greedy(6, prompt...))
		check(8, greedy(6, prompt...))

		off := start(t, newFake(64, 16, 4, 20, 4).drawer(draws), Config{})
		for range 2 {
			s := submit(t, off, greedy(6, prompt...))
			_, err := collect(s)
			require.NoError(t, err)
			require.Zero(t, s.CachedTokens())
		}
		require.Zero(t, off.Stats().PrefixQueries)
		off.ResetPrefixCache()
	})
}

// TestSharedInOneStep has choices of one prompt arrive together, and the step
// that computes it for all of them fail.
func TestSharedInOneStep(t *testing.T) {
	kinds(t, func(t *testing.T, draws bool) {
		f := newFake(64, 40, 8, 60, 4).drawer(draws)
		e := manual(t, f, Config{PrefixCaching: true})
		r := greedy(6, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
		ask := func() (streams []*Stream) {
			for range 4 {
				streams = append(streams, submit(t, e, r))
			}
			for e.turn() == stepped {
				require.NoError(t, e.sched.Check())
			}
			return streams
		}
		f.before = func(*kernels.Step) error { return errors.New("device is on fire") }
		for _, s := range ask() {
			_, err := collect(s)
			require.ErrorIs(t, err, ErrForward)
		}
		failed := uint64(1) // all were in it
		if draws {
			failed++ // and in the step behind it
		}
		require.Equal(t, failed, e.Stats().Steps)
		f.before = nil
		for i, s := range ask() {
			got, err := collect(s)
			require.NoError(t, err)
			require.Equal(t, f.reference(t, r, 61), got)
			require.Equal(t, min(8, 8*i), s.CachedTokens(), "choice %d", i)
		}
		require.Equal(t, failed+6, e.Stats().Steps)
		require.NoError(t, f.broken)
		require.Equal(t, 2*3, f.shared)
		require.Zero(t, e.Stats().KVBlocksUsed)
	})
}

// TestFaultsAreNotFound has a step leave rubbish in the cache, or logits that
// are no numbers: who asks for the same again has it computed again.
func TestFaultsAreNotFound(t *testing.T) {
	kinds(t, func(t *testing.T, draws bool) {
		prompt := []int32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
		for name, c := range map[string]struct {
			want error
			fail func(f *fake, on bool)
		}{
			"step": {ErrForward, func(f *fake, on bool) {
				f.before = func(s *kernels.Step) error {
					for _, b := range s.Blocks {
						for i := range f.shape.BlockSize {
							f.cells[int(b)*f.shape.BlockSize+i] = nil
						}
					}
					return errors.New("device is on fire")
				}
				if !on {
					f.before = nil
				}
			}},
			"logits": {ErrSample, func(f *fake, on bool) {
				f.next = func(history []int32, logits []float32) {
					hashed(history, logits)
					if on {
						logits[3] = float32(math.NaN())
					}
				}
			}},
		} {
			t.Run(name, func(t *testing.T) {
				f := newFake(64, 16, 4, 20, 4).drawer(draws)
				e := manual(t, f, Config{PrefixCaching: true})
				ask := func(cached int) (err error) {
					s := submit(t, e, greedy(3, prompt...))
					for e.turn() == stepped {
					}
					got, err := collect(s)
					if err == nil {
						require.Equal(t, f.reference(t, greedy(3, prompt...), 61), got)
					}
					require.Equal(t, cached, s.CachedTokens())
					require.NoError(t, e.sched.Check())
					return err
				}
				require.NoError(t, ask(0))
				c.fail(f, true)
				require.ErrorIs(t, ask(8), c.want) // the step had what was found
				c.fail(f, false)
				require.NoError(t, ask(0))
				require.NoError(t, ask(8))
				require.Zero(t, e.Stats().KVBlocksUsed)
				require.NoError(t, f.broken)
			})
		}
	})
}

// TestLongerThanTheCache has a prompt and an output of many times the cache.
func TestLongerThanTheCache(t *testing.T) {
	kinds(t, func(t *testing.T, draws bool) {
		for _, prefix := range []bool{false, true} {
			f := newFake(500, 8, 2, 6, 4).drawer(draws)
			f.window = 9
			e := start(t, f, Config{PrefixCaching: prefix})
			require.Equal(t, 500, e.MaxModelLen())
			r := greedy(150, make([]int32, 350)...)
			for i := range r.Prompt {
				r.Prompt[i] = int32(i % 50)
			}
			for range 2 {
				got, err := collect(submit(t, e, r))
				require.NoError(t, err)
				require.Equal(t, f.reference(t, r, 61), got)
			}
		}
		small := newFake(500, 8, 2, 2, 4)
		small.window = 9
		require.Equal(t, 8, start(t, small, Config{}).MaxModelLen(), "the window does not fit")
	})
}
