package load

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// times returns a source of n requests.
func times(n int) func() bool {
	return func() bool { n--; return n >= 0 }
}

func TestClosed(t *testing.T) {
	for _, workers := range []int{1, 2, 4, 16} {
		for _, n := range []int{0, 1, 3, 50} {
			var (
				mu           sync.Mutex
				seen         = map[int]int{}
				flying, most int
				last         = time.Duration(-1)
				epoch        = time.Now()
				clock        = func() time.Duration { return time.Since(epoch) }
				inOrderOfOne = workers == 1
			)
			got, err := Closed{workers}.Run(t.Context(), clock, times(n), func(_ context.Context, d Dispatch) {
				mu.Lock()
				seen[d.Index]++
				flying++
				most = max(most, flying)
				if inOrderOfOne {
					assert.Equal(t, len(seen)-1, d.Index)
					assert.Less(t, last, d.Scheduled)
					last = d.Scheduled
				}
				mu.Unlock()
				assert.LessOrEqual(t, d.Scheduled, clock())
				time.Sleep(100 * time.Microsecond)
				mu.Lock()
				flying--
				mu.Unlock()
			})
			require.NoError(t, err)
			assert.Equal(t, n, got)
			assert.Len(t, seen, n, "each request once")
			assert.LessOrEqual(t, most, workers, "no more in flight than workers")
			assert.Zero(t, flying, "Run waits")
		}
	}
}

// TestClosedFills checks that as many requests are in flight as there are
// workers: each waits for all others.
func TestClosedFills(t *testing.T) {
	const workers = 8
	var all sync.WaitGroup
	all.Add(workers)
	n, err := Closed{workers}.Run(t.Context(), func() time.Duration { return 0 }, times(workers), func(context.Context, Dispatch) {
		all.Done()
		all.Wait()
	})
	require.NoError(t, err)
	assert.Equal(t, workers, n)
}

func TestClosedCanceled(t *testing.T) {
	cause := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	begun, over := 0, 0
	n, err := Closed{1}.Run(ctx, func() time.Duration { return 0 }, func() bool { return true }, func(ctx context.Context, d Dispatch) {
		begun++
		if d.Index == 2 {
			cancel(cause)
			<-ctx.Done()
		}
		over++
	})
	assert.ErrorIs(t, err, cause)
	assert.Equal(t, begun, n)
	assert.Equal(t, begun, over, "what was begun is waited for")
	assert.Equal(t, 3, n)
}

func TestClosedRefuses(t *testing.T) {
	_, err := Closed{}.Run(t.Context(), nil, nil, nil)
	assert.ErrorContains(t, err, "0 workers")
}

// TestClosedAsksLate checks that more is asked only when a worker is free.
func TestClosedAsksLate(t *testing.T) {
	var mu sync.Mutex
	flying := 0
	n := 0
	_, err := Closed{2}.Run(t.Context(), func() time.Duration { return 0 },
		func() bool {
			mu.Lock()
			defer mu.Unlock()
			assert.Less(t, flying, 2)
			if n++; n > 20 {
				return false
			}
			flying++
			return true
		},
		func(context.Context, Dispatch) {
			time.Sleep(100 * time.Microsecond)
			mu.Lock()
			flying--
			mu.Unlock()
		})
	require.NoError(t, err)
}
