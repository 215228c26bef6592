package kerneltest

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
)

// free makes the blocks of a step that its window has passed Freed and returns
// them.
func free(s *kernels.Step, window, blockSize int) (passed []int32) {
	s.Window = window
	for q := range s.Lens {
		first := int(s.Positions[s.Starts[q]]) // sees the furthest back
		row := s.Blocks[q*s.MaxBlocks:]
		for i := range max(0, first-window+1) / blockSize {
			passed = append(passed, row[i])
			row[i] = kernels.Freed
		}
	}
	return passed
}

// poison has another sequence write values that are no numbers over blocks.
func (p placed) poison(r rig, kv kernels.KV, layer int, a kernels.Attn, blocks []int32) {
	r.t.Helper()
	if len(blocks) == 0 {
		return
	}
	n := len(blocks) * p.blockSize
	other := placed{blockSize: p.blockSize, maxBlocks: len(blocks), total: p.total, lens: []int{n}, blocks: [][]int32{blocks}}
	cols := (a.Heads + 2*a.KVHeads) * a.HeadDim
	bad := make([]float32, n*cols)
	for i := range bad {
		bad[i] = float32([]float64{math.NaN(), math.Inf(1), math.Inf(-1)}[i%3])
	}
	qkv := r.buffer(bad, cols)
	r.step(other.step(rows{0, 0, n}), func() { r.dev.StoreKV(qkv, kv, layer, kernels.Rope{}, a) })
}

// attentionFreedBlocks holds that blocks which the window has passed do not show
// in a single bit, whether they are in the step and as they were, or freed and
// full of what is not a number.
func (s *suite) attentionFreedBlocks(t *testing.T) {
	got, want := s.pair(t)
	var w worst
	defer w.log(t)
	for _, c := range []struct {
		a     kernels.Attn
		block int
		cuts  [][]int // of each sequence: where its steps end
	}{
		{attn(1, 1, 8, 1), 4, [][]int{{3, 4, 5, 9, 10}}},
		{attn(4, 2, 24, 7), 5, [][]int{{10, 17, 18, 40}, {1, 2, 30, 31}}},
		{attn(6, 2, 24, 16), 16, [][]int{{33, 48, 49, 64}, {20, 21, 22, 23}}},
		{attn(9, 3, 64, 21), 1, [][]int{{30, 50, 51}, {5, 60, 61}}},
		{attn(2, 1, 33, 40), 24, [][]int{{80, 90, 91}, {70, 71, 72}}},
		{attn(2, 2, 96, 30), 17, [][]int{{80, 81, 120}}},
		// Windows of several spans, far from the beginning: spans, too, are dealt out.
		{attn(1, 1, 16, 300), 16, [][]int{{500, 559, 560}}},
		{attn(2, 1, 8, 260), 48, [][]int{{300, 603, 604}}},
	} {
		name := fmt.Sprintf("%+v, B %d, steps end at %v", c.a, c.block, c.cuts)
		var lens []int
		for _, cuts := range c.cuts {
			lens = append(lens, cuts[len(cuts)-1])
		}
		p, freed := place(50, c.block, lens...), 0
		var allowed []tolerance
		run := func(r rig, whole bool) (all [][]float32) {
			allowed = nil
			kv, table := p.kv(r, 2, c.a.KVHeads, c.a.HeadDim), p.table(r, 51, c.a)
			for i := range c.cuts[0] {
				var parts []rows
				for seq, cuts := range c.cuts {
					if i < len(cuts) {
						parts = append(parts, rows{seq, slices.Concat([]int{0}, cuts)[i], cuts[i]})
					}
				}
				step := p.step(parts...)
				if !whole {
					passed := free(step, c.a.Window, c.block)
					p.poison(r, kv, 1, c.a, passed)
					freed += len(passed)
				}
				allowed = append(allowed, s.attended(attended, c.a, step)...)
				all = append(all, p.attendStep(r, table, kv, 1, c.a, kernels.Rope{}, step))
			}
			return all
		}
		whole, without := run(got, true), run(got, false)
		require.Positive(t, freed, name)
		require.Equal(t, whole, without, name)
		w.compareRows(t, name, slices.Concat(without...), slices.Concat(run(want, false)...), allowed)
	}
}
