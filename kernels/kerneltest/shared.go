package kerneltest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
)

// A sequence may begin with blocks that another fills in the same step, before
// it in the step or behind: it sees the same bits as when they were filled in an
// earlier one, where a device gives those at all (Traits), and they are near ref's.
func (s *suite) attentionSharedInStep(t *testing.T) {
	got, want := s.pair(t)
	var w worst
	defer w.log(t)
	a := attn(4, 2, 24, 0)
	for _, c := range []struct{ blockSize, blocks, extra int }{{16, 3, 9}, {5, 7, 1}, {1, 20, 40}, {16, 20, 70}} {
		shared := c.blockSize * c.blocks
		p := place(29, c.blockSize, shared+3, shared+c.extra)
		copy(p.blocks[1], p.blocks[0][:c.blocks])
		leader, follower := rows{0, 0, shared + 3}, rows{1, shared, shared + c.extra}
		width := a.Heads * a.HeadDim
		// run returns the rows of leader and of follower, without the canvas' marks.
		run := func(r rig, steps ...[]rows) (out [2][]float32) {
			kv := p.kv(r, 1, a.KVHeads, a.HeadDim)
			for _, step := range steps {
				all := p.attend(r, 30, kv, 0, a, kernels.Rope{}, p.step(step...))
				for _, part := range step {
					n := (part.to - part.from) * width
					out[part.seq], all = all[:n], all[n:]
				}
			}
			return out
		}
		name := fmt.Sprintf("B %d, %d blocks", c.blockSize, c.blocks)
		apart, ref := run(got, []rows{leader}, []rows{follower}), run(want, []rows{leader}, []rows{follower})
		var allowed [2][]tolerance
		for seq, part := range []rows{leader, follower} {
			for pos := part.from; pos < part.to; pos++ {
				allowed[seq] = append(allowed[seq], s.attendedAt(attended, a, pos))
			}
			w.compareRows(t, fmt.Sprintf("%s, sequence %d", name, seq), apart[seq], ref[seq], allowed[seq])
		}
		for order, step := range map[string][]rows{"together": {leader, follower}, "in the other order": {follower, leader}} {
			out := run(got, step)
			if !s.cuts() {
				require.Equal(t, apart, out, "%s, %s", name, order)
				continue
			}
			for seq := range out {
				w.compareRows(t, fmt.Sprintf("%s, sequence %d, %s", name, seq, order), out[seq], ref[seq], allowed[seq])
			}
		}
	}
}
