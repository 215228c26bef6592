package engine

import (
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/serving/sample"
)

// TestRefusedStep has Submit fail: the step before it gives its tokens.
func TestRefusedStep(t *testing.T) {
	broken := errors.New("no memory left on the device")
	for name, refuse := range map[string]func() error{
		"error": func() error { return broken },
		"panic": func() error { panic(broken) },
	} {
		f := newFake(32, 8, 2, 8, 4).drawer(true)
		e := manual(t, f, Config{PrefixCaching: true})
		a, b := submit(t, e, greedy(5, 1)), submit(t, e, greedy(1, 2))
		require.Equal(t, stepped, e.turn())
		f.draws.refuse = func(*kernels.Step) error { return refuse() }
		require.Equal(t, stepped, e.turn())
		f.draws.refuse = nil
		got, err := collect(a)
		require.ErrorIsf(t, err, ErrForward, "for %s", name)
		require.ErrorContains(t, err, "no memory left")
		require.Equal(t, ids(f.reference(t, greedy(1, 1), 61)), ids(got))
		got, err = collect(b) // was in the step before alone
		require.NoErrorf(t, err, "for %s", name)
		require.Equal(t, f.reference(t, greedy(1, 2), 61), got)
		require.NoError(t, e.Healthy())
		again := submit(t, e, greedy(3, 1))
		turns(t, e)
		got, err = collect(again)
		require.NoError(t, err)
		require.Equal(t, f.reference(t, greedy(3, 1), 61), got)
		require.NoError(t, f.broken)
		require.Empty(t, f.draws.under)
	}
}

// TestRefusedInARow kills the engine, and what was under way is waited for.
func TestRefusedInARow(t *testing.T) {
	f := newFake(32, 8, 1, 8, 4).drawer(true)
	f.draws.refuse = func(*kernels.Step) error { return errors.New("no memory left") }
	e := manual(t, f, Config{})
	var streams []*Stream
	for range maxFaults + 1 {
		streams = append(streams, submit(t, e, greedy(2, 1)))
	}
	for range maxFaults - 1 {
		require.Equal(t, stepped, e.turn())
	}
	require.Equal(t, stopped, e.turn())
	require.ErrorIs(t, e.Healthy(), ErrDead)
	for i, s := range streams {
		_, err := collect(s)
		if i < maxFaults-1 {
			require.ErrorIs(t, err, ErrForward)
		} else {
			require.ErrorIs(t, err, ErrDead)
		}
	}
}

// TestBadDraws has a model answer what cannot be: both steps under way have failed,
// and the second is waited for.
func TestBadDraws(t *testing.T) {
	for name, c := range map[string]struct {
		after func([]int32) ([]int32, error)
		says  string
	}{
		"too few":    {func(ids []int32) ([]int32, error) { return ids[:1], nil }, "1 tokens drawn for 2 rows"},
		"no such id": {func(ids []int32) ([]int32, error) { ids[1] = 59; return ids, nil }, "token 59 drawn for row 1, of 59"},
		"negative":   {func(ids []int32) ([]int32, error) { ids[0] = -2; return ids, nil }, "token -2 drawn for row 0"},
		"an error":   {func([]int32) ([]int32, error) { return nil, errors.New("an illegal address") }, "an illegal address"},
		"a panic":    {func([]int32) ([]int32, error) { panic("an illegal address") }, "panic: an illegal address"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(32, 8, 2, 8, 4).drawer(true)
			e := manual(t, f, Config{SampleVocab: 59})
			a, b, c2 := submit(t, e, greedy(5, 1)), submit(t, e, greedy(5, 2)), submit(t, e, greedy(3, 3))
			require.Equal(t, stepped, e.turn())
			f.draws.after = c.after
			require.Equal(t, stepped, e.turn())
			f.draws.after = nil
			require.Empty(t, f.draws.under)
			require.NoError(t, e.Healthy())
			require.Equal(t, uint64(2), e.Stats().Failures)
			turns(t, e)
			for _, s := range []*Stream{a, b} {
				got, err := collect(s)
				require.Empty(t, got)
				require.ErrorIs(t, err, ErrForward)
				require.ErrorContains(t, err, c.says)
			}
			got, err := collect(c2)
			require.NoError(t, err)
			require.Equal(t, f.reference(t, greedy(3, 3), 59), got)
			require.NoError(t, f.broken)
		})
	}
}

// TestFaultBeforeAHostBatch has the step fail that a batch for the host waits for:
// that batch is not computed, and who was only in it is served by the next.
func TestFaultBeforeAHostBatch(t *testing.T) {
	f := newFake(32, 8, 4, 16, 4).drawer(true)
	e := manual(t, f, Config{PrefixCaching: true})
	a := submit(t, e, greedy(5, 1, 2, 3, 4, 5))
	require.Equal(t, stepped, e.turn())
	special := scored(3, 1, 2, 3, 4, 5, 6)
	p := submit(t, e, special)
	f.before = func(*kernels.Step) error { return errors.New("device is on fire") }
	require.Equal(t, stepped, e.turn())
	require.Equal(t, []string{"submit 5", "drawn 5"}, f.draws.log)
	f.before = nil
	_, err := collect(a)
	require.ErrorIs(t, err, ErrForward)
	turns(t, e)
	got, err := collect(p)
	require.NoError(t, err)
	require.Equal(t, f.reference(t, special, 61), got)
	require.NoError(t, f.broken)
}

// TestNothingOfAFaultIsFound cancels a request while the step that writes its
// prompt is under way, which then fails: nobody finds the blocks that were to be
// written, whether the same prompt comes before that is known or after.
func TestNothingOfAFaultIsFound(t *testing.T) {
	prompt := []int32{1, 2, 3, 4, 5, 6, 7, 8, 9}
	for name, between := range map[string]bool{"before": true, "after": false} {
		f := newFake(32, 32, 4, 16, 4).drawer(true)
		e := manual(t, f, Config{PrefixCaching: true})
		a := submit(t, e, greedy(5, prompt...))
		require.Equal(t, stepped, e.turn())
		a.Close()
		var b *Stream
		if between {
			b = submit(t, e, greedy(5, prompt...))
		}
		f.before = func(*kernels.Step) error { return errors.New("device is on fire") }
		require.Equal(t, stepped, e.turn())
		f.before = nil
		if between {
			_, err := collect(b)
			require.ErrorIsf(t, err, ErrForward, "for %s: it was to read what the first was to write", name)
			require.Equal(t, 8, b.CachedTokens())
		}
		c := submit(t, e, greedy(5, prompt...))
		turns(t, e)
		got, err := collect(c)
		require.NoErrorf(t, err, "for %s", name)
		require.Zero(t, c.CachedTokens())
		require.Equal(t, f.reference(t, greedy(5, prompt...), 61), got)
		require.NoError(t, f.broken)
	}
}

// TestNotFinite has a row of NaNs followed by a row that takes its token.
func TestNotFinite(t *testing.T) {
	f := newFake(32, 8, 2, 8, 4).drawer(true)
	f.next = func(history []int32, logits []float32) {
		counting(history, logits)
		if len(history) == 2 {
			logits[7] = float32(math.Inf(1))
		}
	}
	e := manual(t, f, Config{})
	s := submit(t, e, greedy(5, 1))
	turns(t, e)
	got, err := collect(s)
	require.ErrorIs(t, err, sample.ErrNotFinite)
	require.ErrorIs(t, err, ErrSample)
	require.Equal(t, []int32{2}, ids(got))
	require.Equal(t, []string{"submit 1", "submit 1", "drawn 1", "submit 1", "drawn 1", "drawn 1"}, f.draws.log)
	require.NoError(t, f.broken)
	require.NoError(t, e.Healthy())
}
