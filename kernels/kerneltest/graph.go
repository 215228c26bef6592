package kerneltest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
)

// grapher opens the device under test with a small model on it.
func (s *suite) grapher(t *testing.T, window int) (*model, kernels.Grapher) {
	t.Helper()
	r, _ := s.pair(t)
	return newModel(r, window), r.dev.(kernels.Grapher)
}

// buckets are the rows of the steps that are captured.
var buckets = []int{8, 1, 3} // in no order

// capture keeps the model's steps of all buckets over a cache.
func (m *model) capture(d kernels.Grapher, kv kernels.KV) activations {
	m.t.Helper()
	largest := slices.Max(buckets)
	b := m.activations(largest, largest)
	for _, rows := range buckets {
		require.NoError(m.t, d.Capture(rows, func() { m.ops(b, rows, rows, kv) }))
	}
	return b
}

// bucket is the rows of the captured step that a step of n rows runs in.
func bucket(n int) int {
	least := 0
	for _, b := range buckets {
		if b >= n && (least == 0 || b < least) {
			least = b
		}
	}
	return least
}

// Sequences that come and go are decoded by captured steps and by others, which
// must give the same: the same bits where the captured step is no larger. Sequences
// that are not in a step must find their cache as it was.
func (s *suite) graphs(t *testing.T) {
	for _, window := range []int{0, 11} {
		t.Run(fmt.Sprintf("window %d", window), func(t *testing.T) {
			m, d := s.grapher(t, window)
			want := newModel(rig{t, s.reference(t)}, window)
			var w worst
			defer w.log(t)
			lens := []int{40, 1, 17, 33, 20, 9, 26}
			p := place(90, 8, lens...)
			kvs := [3]kernels.KV{}
			for i, r := range []rig{m.rig, m.rig, want.rig} { // captured, one after the other, ref
				kvs[i] = p.kv(r, modelLayers, modelKVHeads, modelHeadDim)
			}
			b := m.capture(d, kvs[0])
			done := make([]int, len(lens))
			run := func(parts []rows) {
				t.Helper()
				step := m.tokens(p.step(parts...))
				eager, ref := m.forward(step, kvs[1]), want.forward(step, kvs[2])
				started, err := d.Decode(step)
				require.NoError(t, err)
				n := len(step.Tokens)
				require.Equal(t, n == len(parts) && bucket(n) > 0, started, "a step of %d rows of %d sequences", n, len(parts))
				if !started {
					m.step(step, func() { m.ops(m.activations(n, n), n, n, kvs[0]) })
				} else {
					require.NoError(t, d.End())
					got, err := d.Read(b.logits, n*modelVocab)
					require.NoError(t, err)
					w.compare(t, fmt.Sprintf("captured step of %d rows", n), got, ref, s.model())
					if bucket(n) == n {
						require.Equal(t, eager, got, "the bits of a step of %d rows", n)
					}
				}
				for _, r := range parts {
					done[r.seq] = r.to
				}
			}
			for turn := 0; ; turn++ {
				var parts []rows
				for seq, n := range lens {
					more := n - done[seq]
					if more == 0 || (turn+seq)%5 == 0 {
						continue // not in this step
					}
					if done[seq] == 0 && turn%2 == 1 {
						more = min(more, 6) // a part of the prompt beside decoding sequences
					} else {
						more = 1
					}
					parts = append(parts, rows{seq, done[seq], done[seq] + more})
				}
				if len(parts) > 0 {
					run(parts)
				}
				if slices.Equal(done, lens) {
					break
				}
			}
		})
	}
}

// A captured step's logits are drawn from, and its tokens come from the step
// before, which is still under way.
func (s *suite) graphsDraw(t *testing.T) {
	m, g := s.grapher(t, 0)
	d := m.dev.(kernels.Drawer)
	const rows, steps = 3, 12
	lens := slices.Repeat([]int{steps}, rows)
	p := place(91, 4, lens...)
	kvs := [2]kernels.KV{p.kv(m.rig, modelLayers, modelKVHeads, modelHeadDim), p.kv(m.rig, modelLayers, modelKVHeads, modelHeadDim)}
	b := m.capture(g, kvs[0])
	draws := func(i int) []kernels.Draw {
		return []kernels.Draw{{TopP: 1}, {Temperature: 1, TopP: 0.9, Seed: 4, Index: uint64(i)}, {Temperature: 0.5, TopP: 1, Seed: 9, Index: uint64(i)}}
	}
	at := func(i int, tokens []int32) *kernels.Step {
		step := p.step(rowsAt(rows, i)...)
		copy(step.Tokens, tokens)
		return step
	}
	// One step after the other, each token by way of the host.
	tokens := []int32{5, 6, 7}
	var want [][]int32
	for i := range steps {
		eager := m.activations(rows, rows)
		submit(t, d, at(i, tokens), func() { m.ops(eager, rows, rows, kvs[1]) }, eager.logits, modelVocab, draws(i))
		ids, err := d.Drawn()
		require.NoError(t, err)
		tokens = slices.Clone(ids)
		want = append(want, tokens)
	}
	var got [][]int32
	for i := range steps {
		step := at(i, []int32{5, 6, 7})
		if i > 0 {
			step = at(i, make([]int32, rows))
			step.From = []int32{0, 1, 2}
		}
		started, err := g.Decode(step)
		require.NoError(t, err)
		require.True(t, started)
		d.Draw(b.logits, modelVocab, draws(i))
		require.NoError(t, d.Submit())
		if i > 0 {
			ids, err := d.Drawn()
			require.NoError(t, err)
			got = append(got, slices.Clone(ids))
		}
	}
	ids, err := d.Drawn()
	require.NoError(t, err)
	require.Equal(t, want, append(got, slices.Clone(ids)))
}

// rowsAt is one row, at a position, of each of n sequences.
func rowsAt(n, pos int) (parts []rows) {
	for seq := range n {
		parts = append(parts, rows{seq, pos, pos + 1})
	}
	return parts
}

// Steps that no captured one will do for, and those that are wrong.
func (s *suite) graphMistakes(t *testing.T) {
	m, d := s.grapher(t, 11)
	p := place(92, 4, slices.Repeat([]int{30}, 10)...)
	kv := p.kv(m.rig, modelLayers, modelKVHeads, modelHeadDim)
	none, err := d.Decode(p.step(rowsAt(2, 0)...))
	require.NoError(t, err)
	require.False(t, none, "before anything was captured")
	require.Error(t, d.Capture(0, func() {}))
	require.Error(t, d.Capture(1<<30, func() {}))
	require.NoError(t, d.Begin(rowsStep(1)))
	require.Error(t, d.Capture(1, func() {}), "in a step")
	_, err = d.Decode(p.step(rowsAt(2, 0)...))
	require.NoError(t, d.End())
	require.NoError(t, err, "nothing captured, whatever else")
	b := m.capture(d, kv)

	for name, step := range map[string]*kernels.Step{
		"two rows of a sequence": p.step(rows{0, 0, 2}, rows{1, 0, 1}),
		"more than were kept":    p.step(rowsAt(9, 0)...),
	} {
		started, err := d.Decode(step)
		require.NoError(t, err, name)
		require.False(t, started, name)
		m.forward(m.tokens(step), kv) // nothing was started
	}
	some := p.step(rowsAt(3, 2)...)
	some.Out = some.Out[:2]
	started, err := d.Decode(some)
	require.NoError(t, err)
	require.False(t, started, "a row that nobody wants")

	for field, spoil := range map[string]func(*kernels.Step){
		"Positions": func(s *kernels.Step) { s.Positions[1] = -1 },
		"Slots":     func(s *kernels.Step) { s.Slots[0] = -1 },
		"Window":    func(s *kernels.Step) { s.Window = -1 },
	} {
		step := m.tokens(p.step(rowsAt(3, 2)...))
		spoil(step)
		_, err := d.Decode(step)
		require.ErrorIs(t, err, kernels.ErrStep)
		require.ErrorContains(t, err, field)
	}
	for field, spoil := range map[string]func(*kernels.Step){
		"Tokens": func(s *kernels.Step) { s.Tokens[2] = modelVocab },
		"Blocks": func(s *kernels.Step) { s.Blocks[0] = int32(p.total) },
		"Slots":  func(s *kernels.Step) { s.Slots[2]++ },
		"Window": func(s *kernels.Step) { s.Window = 10 },
	} {
		step := m.tokens(p.step(rowsAt(3, 2)...))
		spoil(step)
		started, err := d.Decode(step)
		require.NoError(t, err, field)
		require.True(t, started, field)
		err = d.End()
		require.ErrorIs(t, err, kernels.ErrStep, field)
		require.ErrorContains(t, err, field)
	}
	// All of that was those steps'.
	step := m.tokens(p.step(rowsAt(3, 2)...))
	started, err = d.Decode(step)
	require.NoError(t, err)
	require.True(t, started)
	require.Error(t, d.Begin(step), "in a step")
	require.NoError(t, d.End())
	_, err = d.Read(b.logits, 3*modelVocab)
	require.NoError(t, err)
	require.NoError(t, d.Close())
	require.Error(t, d.Capture(1, func() {}), "after Close")
	_, err = d.Decode(step)
	require.Error(t, err, "after Close")
}
