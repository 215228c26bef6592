package models_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/kernels/ref"
	"servebench/serving/models"
	"servebench/serving/models/modeltest"
	"servebench/serving/sample"
)

// decodeSteps feeds sequences to a model that share nothing, all of them in every
// step: prompts first, then a token each that next gives.
type decodeSteps struct {
	lens   []int32 // of each sequence, with the step last made
	blocks int     // that each has for itself
	size   int
}

// step is the next one, of tokens (or, with from, the rows that draw them).
func (d *decodeSteps) step(tokens [][]int32, from bool) *kernels.Step {
	s := &kernels.Step{Starts: []int32{0}, MaxBlocks: d.blocks}
	for q, ids := range tokens {
		for i := range d.blocks {
			s.Blocks = append(s.Blocks, int32(q*d.blocks+i))
		}
		for _, id := range ids {
			p := d.lens[q]
			d.lens[q]++
			if from {
				id = 0
				s.From = append(s.From, int32(q))
			}
			s.Tokens, s.Positions = append(s.Tokens, id), append(s.Positions, p)
			s.Slots = append(s.Slots, s.Blocks[q*d.blocks+int(p)/d.size]*int32(d.size)+p%int32(d.size))
		}
		s.Starts, s.Lens = append(s.Starts, int32(len(s.Tokens))), append(s.Lens, d.lens[q])
		s.Out = append(s.Out, int32(len(s.Tokens)-1))
	}
	return s
}

// draws are one for every sequence, each another kind.
func draws(n, index int) (all []kernels.Draw) {
	for q := range n {
		all = append(all, kernels.Draw{Temperature: 0.6 * float64(q%3), TopP: 0.9, TopK: 20 * (q % 2), Seed: uint64(q), Index: uint64(index)})
	}
	return all
}

// generate returns the tokens of every sequence, drawn on the host from Forward's
// logits, or by the device with two steps under way.
func generate(t *testing.T, m *models.Model, prompts [][]int32, steps int, ahead bool) [][]int32 {
	t.Helper()
	out := make([][]int32, len(prompts))
	d := decodeSteps{lens: make([]int32, len(prompts)), blocks: 10, size: blockSize}
	var sampler sample.Sampler
	vocab := m.VocabSize() - 3
	tell := func(ids []int32) {
		require.Len(t, ids, len(prompts))
		for q, id := range ids {
			out[q] = append(out[q], id)
		}
	}
	for i := range steps {
		tokens := prompts
		if i > 0 {
			tokens = slices.Repeat([][]int32{{0}}, len(prompts))
			if !ahead {
				for q := range tokens {
					tokens[q] = out[q][i-1:]
				}
			}
		}
		s := d.step(tokens, ahead && i > 0)
		if ahead {
			require.NoError(t, m.Submit(s, vocab, draws(len(prompts), i)))
			clear(s.Tokens) // it is the caller's again
			if i > 0 {
				ids, err := m.Drawn()
				require.NoError(t, err)
				tell(ids)
			}
			continue
		}
		logits, err := m.Forward(s)
		require.NoError(t, err)
		ids := make([]int32, 0, len(prompts))
		for q, w := range draws(len(prompts), i) {
			ids = append(ids, modeltest.Draw(&sampler, logits[q*m.VocabSize():][:m.VocabSize()], vocab, w))
		}
		tell(ids)
	}
	if ahead {
		ids, err := m.Drawn()
		require.NoError(t, err)
		tell(ids)
	}
	return out
}

// TestSubmit holds that a device that draws, and one that keeps steps, gives the
// tokens that Forward's logits give.
func TestSubmit(t *testing.T) {
	limits := models.Limits{MaxTokens: 40, MaxSeqs: 7, Blocks: 70, BlockSize: blockSize}
	for _, name := range tinyModels(t) {
		for _, prompts := range [][][]int32{
			{{1, 2, 3}},
			{{1, 2, 3}, {4}, {5, 6}, {7, 8, 9, 10}, {11}},
			{{1}, {2}, {3}, {4}, {5}, {6}, {7}},
		} {
			m, err := models.Open(ref.New(kernels.F32), tiny(t, name), limits)
			require.NoError(t, err)
			require.False(t, m.Draws())
			want := generate(t, m, prompts, 6, false)
			for _, most := range []int{0, 2, 100} {
				q := modeltest.NewQueue(ref.New(kernels.F32))
				m, err := models.Open(q, tiny(t, name), limits)
				require.NoError(t, err)
				require.True(t, m.Draws())
				kept, err := m.Capture(most)
				require.NoError(t, err)
				require.Equal(t, map[int][]int{0: nil, 2: {1, 2}, 100: {1, 2, 4, 7}}[most], kept)
				require.Equal(t, want, generate(t, m, prompts, 6, true), "%s, %d sequences, %v kept", name, len(prompts), kept)
				require.Equal(t, want, generate(t, m, prompts, 6, false), "%s, %d sequences, %v kept, by Forward", name, len(prompts), kept)
				c := q.Counts()
				require.Equal(t, []int{6, 5, 6, 6 * len(prompts)}, []int{c.Submitted, c.Ahead, c.Ended, c.Drawn})
				ran := 0
				if len(prompts) <= most {
					ran = 2 * 5 // all but the prompts' steps
					if len(prompts) == 7 {
						ran = 2 * 6 // which are decodes as well
					}
				}
				require.Equal(t, ran, c.Kept, "%s: %d sequences, %v kept", name, len(prompts), kept)
			}
		}
	}
}

// TestBoth has the first rows' logits come with everybody's tokens.
func TestBoth(t *testing.T) {
	limits := models.Limits{MaxTokens: 40, MaxSeqs: 7, Blocks: 70, BlockSize: blockSize}
	prompts := [][]int32{{1, 2, 3}, {4}, {5, 6}}
	step := func() *kernels.Step {
		d := decodeSteps{lens: make([]int32, len(prompts)), blocks: 4, size: blockSize}
		return d.step(prompts, false)
	}
	plain, err := models.Open(ref.New(kernels.F32), tiny(t, "tiny-llama"), limits)
	require.NoError(t, err)
	want, err := plain.Forward(step())
	require.NoError(t, err)
	_, _, err = plain.Both(step(), 90, draws(3, 0), 1)
	require.ErrorContains(t, err, "draws no tokens")

	m, err := models.Open(modeltest.NewQueue(ref.New(kernels.F32)), tiny(t, "tiny-llama"), limits)
	require.NoError(t, err)
	var sampler sample.Sampler
	for rows := range 4 {
		logits, ids, err := m.Both(step(), 90, draws(3, 0), rows)
		require.NoError(t, err)
		require.Equal(t, want[:rows*m.VocabSize()], logits)
		for q, w := range draws(3, 0) {
			require.Equal(t, modeltest.Draw(&sampler, want[q*m.VocabSize():][:m.VocabSize()], 90, w), ids[q])
		}
	}
	for _, rows := range []int{-1, 4} {
		_, _, err = m.Both(step(), 90, draws(3, 0), rows)
		require.ErrorContains(t, err, "of the 3 wanted rows")
	}
}

// TestBuckets looks at the sizes that are kept, and at their number.
func TestBuckets(t *testing.T) {
	for most, want := range map[int][]int{
		0: nil, 1: {1}, 2: {1, 2}, 3: {1, 2, 3}, 8: {1, 2, 4, 8}, 16: {1, 2, 4, 8, 16}, 17: {1, 2, 4, 8, 16, 17},
		64: {1, 2, 4, 8, 16, 32, 48, 64},
	} {
		m, err := models.Open(modeltest.NewQueue(ref.New(kernels.F32)), tiny(t, "tiny-gpt2"),
			models.Limits{MaxTokens: 64, MaxSeqs: 64, Blocks: 4, BlockSize: blockSize})
		require.NoError(t, err)
		kept, err := m.Capture(most)
		require.NoError(t, err)
		require.Equal(t, want, kept)
		require.LessOrEqual(t, len(kept), most/16+5)
	}
	m, err := models.Open(ref.New(kernels.F32), tiny(t, "tiny-gpt2"), models.Limits{MaxTokens: 8, MaxSeqs: 8, Blocks: 4, BlockSize: blockSize})
	require.NoError(t, err)
	kept, err := m.Capture(8)
	require.NoError(t, err)
	require.Nil(t, kept, "a device that keeps no steps")
}

// TestSubmitRefuses has what Submit cannot do, and that it leaves the device free.
func TestSubmitRefuses(t *testing.T) {
	limits := models.Limits{MaxTokens: 8, MaxSeqs: 4, Blocks: 40, BlockSize: blockSize}
	plain, err := models.Open(ref.New(kernels.F32), tiny(t, "tiny-gpt2"), limits)
	require.NoError(t, err)
	d := decodeSteps{lens: make([]int32, 6), blocks: 4, size: blockSize}
	require.ErrorContains(t, plain.Submit(d.step([][]int32{{1}}, false), 9, draws(1, 0)), "draws no tokens")
	_, err = plain.Drawn()
	require.ErrorContains(t, err, "draws no tokens")

	m, err := models.Open(modeltest.NewQueue(ref.New(kernels.F32)), tiny(t, "tiny-gpt2"), limits)
	require.NoError(t, err)
	for says, c := range map[string]struct {
		tokens [][]int32
		draws  int
		from   bool
	}{
		"2 draws for the 1":       {[][]int32{{1}}, 2, false},
		"opened for 8":            {[][]int32{make([]int32, 9)}, 1, false},
		"opened for 4":            {[][]int32{{1}, {1}, {1}, {1}, {1}}, 5, false},
		"the step before drew no": {[][]int32{{1}}, 1, true},
	} {
		d := decodeSteps{lens: make([]int32, 6), blocks: 4, size: blockSize}
		require.ErrorContains(t, m.Submit(d.step(c.tokens, c.from), 9, draws(c.draws, 0)), says)
	}
	d = decodeSteps{lens: make([]int32, 6), blocks: 4, size: blockSize}
	require.NoError(t, m.Submit(d.step([][]int32{{math.MaxInt32}}, false), 9, draws(1, 0)))
	_, err = m.Drawn() // which is when it is computed
	require.ErrorIs(t, err, kernels.ErrStep)

	d = decodeSteps{lens: make([]int32, 6), blocks: 4, size: blockSize}
	require.NoError(t, m.Submit(d.step([][]int32{{1}}, false), 9, draws(1, 0)))
	ids, err := m.Drawn()
	require.NoError(t, err)
	require.Len(t, ids, 1)
}
