package cuda

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/kernels/ref"
	"servebench/testdata"
)

// recall is a device with a cache of a few blocks, which contexts of any length go
// through again and again.
type recall struct {
	t     *testing.T
	dev   kernels.Device
	a     kernels.Attn
	kv    kernels.KV
	table kernels.Weight // queries, keys and values of recallTokens tokens
}

const (
	recallBlock, recallBlocks = 16, 37 // 592 positions: no piece of a context is like another
	recallTokens              = recallBlock * recallBlocks
)

func newRecall(t *testing.T, dev kernels.Device, a kernels.Attn) *recall {
	r := &recall{t: t, dev: dev, a: a}
	var err error
	r.kv, err = dev.NewKV(kernels.KVShape{Layers: 1, Blocks: recallBlocks, BlockSize: recallBlock, KVHeads: a.KVHeads, HeadDim: a.HeadDim})
	require.NoError(t, err)
	cols := (a.Heads + 2*a.KVHeads) * a.HeadDim
	rng := rand.New(rand.NewPCG(7, uint64(cols)))
	data := make([]byte, 0, 4*recallTokens*cols)
	for range recallTokens * cols {
		v := math.Float32bits(2*rng.Float32() - 1)
		data = append(data, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
	}
	r.table, err = dev.Load(kernels.Float, kernels.Tensor{Name: "tokens", Shape: []int{recallTokens, cols}, DType: kernels.F32, Data: data})
	require.NoError(t, err)
	s := r.step(part{0, recallTokens})
	r.run(s, func(qkv, _ kernels.Buffer) { dev.StoreKV(qkv, r.kv, 0, kernels.Rope{}, a) })
	return r
}

// part is positions [from, to) of a context: the rows of one in a step.
type part struct{ from, to int }

// last are the last rows of contexts of those lengths.
func last(lens ...int) (parts []part) {
	for _, n := range lens {
		parts = append(parts, part{n - 1, n})
	}
	return parts
}

func (r *recall) step(parts ...part) *kernels.Step {
	s := &kernels.Step{Starts: []int32{0}}
	for _, c := range parts {
		s.MaxBlocks = max(s.MaxBlocks, (c.to+recallBlock-1)/recallBlock)
	}
	for _, c := range parts {
		for p := c.from; p < c.to; p++ {
			s.Tokens, s.Positions = append(s.Tokens, int32(p%recallTokens)), append(s.Positions, int32(p))
			s.Slots = append(s.Slots, int32(p/recallBlock*5%recallBlocks*recallBlock+p%recallBlock))
		}
		for i := range s.MaxBlocks {
			s.Blocks = append(s.Blocks, int32(i*5%recallBlocks))
		}
		s.Starts, s.Lens = append(s.Starts, int32(len(s.Tokens))), append(s.Lens, int32(c.to))
	}
	return s
}

func (r *recall) run(s *kernels.Step, op func(qkv, out kernels.Buffer)) kernels.Buffer {
	r.t.Helper()
	_, cols := r.table.Dims()
	qkv, err := r.dev.NewBuffer(len(s.Tokens), cols)
	require.NoError(r.t, err)
	out, err := r.dev.NewBuffer(len(s.Tokens), r.a.Heads*r.a.HeadDim)
	require.NoError(r.t, err)
	require.NoError(r.t, r.dev.Begin(s))
	r.dev.Embed(qkv, r.table, nil)
	op(qkv, out)
	require.NoError(r.t, r.dev.End())
	return out
}

// attend returns the attention of each row of a step.
func (r *recall) attend(parts ...part) [][]float32 {
	r.t.Helper()
	s := r.step(parts...)
	out := r.run(s, func(qkv, out kernels.Buffer) { r.dev.Attention(out, qkv, r.kv, 0, r.a) })
	width := r.a.Heads * r.a.HeadDim
	all, err := r.dev.Read(out, len(s.Tokens)*width)
	require.NoError(r.t, err)
	rows := make([][]float32, len(s.Tokens))
	for i := range rows {
		rows[i] = append([]float32(nil), all[i*width:][:width]...)
	}
	return rows
}

// A long context is cut in 64 pieces at most, which are longer than 256 positions
// behind 16,128. Its row is near ref's, and its bits are the same alone and beside
// others of any length.
func TestAttentionOfLongContexts(t *testing.T) {
	lens := []int{256, 257, 1, 16128, 16129, 17001, 512}
	for _, c := range []struct {
		dtype kernels.DType
		a     kernels.Attn
	}{
		{kernels.BF16, kernels.Attn{Heads: 3, KVHeads: 1, HeadDim: 24, Scale: 0.2}},
		{kernels.F16, kernels.Attn{Heads: 2, KVHeads: 1, HeadDim: 96, Scale: 0.1, Window: 16300}},
		{kernels.BF16, kernels.Attn{Heads: 17, KVHeads: 1, HeadDim: 8, Scale: 0.3, Window: 700}}, // two chunks of heads
	} {
		t.Run(fmt.Sprintf("%v %+v", c.dtype, c.a), func(t *testing.T) {
			d, err := New(Options{Library: testdata.CUDA(t), DType: c.dtype, MaxTokens: recallTokens, MaxSeqs: 8, MaxBlocks: 1063})
			require.NoError(t, err)
			defer func() { require.NoError(t, d.Close()) }()
			got, want := newRecall(t, d, c.a), newRecall(t, ref.New(c.dtype), c.a)
			together, truth := got.attend(last(lens...)...), want.attend(last(lens...)...)
			// What rounding the weights may move a result by: kerneltest's weighed.
			unit := 0x1p-8
			if c.dtype == kernels.F16 {
				unit = 0x1p-11
			}
			for i, n := range lens {
				for e, v := range together[i] {
					require.InDelta(t, truth[i][e], v, unit*(1+unit)+1e-6, "%d positions, element %d", n, e)
				}
				if n != 16128 && n != 17001 { // for the time that they take
					require.Equal(t, together[i], got.attend(last(n)...)[0], "%d positions, alone", n)
				}
			}
			require.Equal(t, together[5], got.attend(last(3, 17001, 300)...)[1])
		})
	}
}

// More sequences than the items of one launch are counted of.
func TestAttentionOfManySequences(t *testing.T) {
	const seqs = 1030 // kMostCounted is 1024
	d, err := New(Options{Library: testdata.CUDA(t), DType: kernels.BF16, MaxTokens: seqs, MaxSeqs: seqs, MaxBlocks: 40})
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	r := newRecall(t, d, kernels.Attn{Heads: 1, KVHeads: 1, HeadDim: 8, Scale: 0.3})
	lens := make([]int, seqs)
	for i := range lens {
		lens[i] = 1 + i%5
	}
	lens[seqs-1] = 513 // of several pieces
	all := r.attend(last(lens...)...)
	few := r.attend(last(1, 2, 3, 4, 5, 513)...)
	for i, n := range lens {
		require.Equal(t, few[min(n, 6)-1], all[i], "sequence %d, %d positions", i, n)
	}
}

// Cuts of a prompt do not show in a bit as long as every chunk has two rows, nor do
// the sequences beside it.
func TestAttentionOfCuts(t *testing.T) {
	for _, window := range []int{0, 100} {
		d, err := New(Options{Library: testdata.CUDA(t), DType: kernels.BF16, MaxTokens: recallTokens, MaxSeqs: 4, MaxBlocks: 40})
		require.NoError(t, err)
		defer func() { require.NoError(t, d.Close()) }()
		r := newRecall(t, d, kernels.Attn{Heads: 2, KVHeads: 1, HeadDim: 72, Scale: 0.1, Window: window})
		const n = 210
		whole := r.attend(part{0, n})
		for _, cuts := range [][]int{{2, 66, 130, 140, n}, {64, 128, n}, {63, 65, 208, n}, {62, n}, {85, n}} {
			from := 0
			var rows [][]float32
			for _, to := range cuts {
				step := r.attend(part{80, 83}, part{from, to}, part{40, 41})
				rows = append(rows, step[3:3+to-from]...)
				from = to
			}
			require.Equal(t, whole, rows, "window %d, cut at %v", window, cuts)
		}
	}
}
