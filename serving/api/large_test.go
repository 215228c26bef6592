package api

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/serving/engine"
)

// TestLargeTextsAreEncodedOneAtATime holds that absurd prompts queue behind
// each other, and that usual ones queue behind nothing.
func TestLargeTextsAreEncodedOneAtATime(t *testing.T) {
	s := newFake(engine.FinishStop).server(t)
	large, small := strings.Repeat("x", largeText+1), "x"

	var at, most atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s.whenFree(large, func() {
				most.Store(max(most.Load(), at.Add(1)))
				s.whenFree(small, func() {}) // would never return if it waited
				at.Add(-1)
			})
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, most.Load())
}
