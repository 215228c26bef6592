package kerneltest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
)

// placed is a set of sequences and the cache blocks that each of them owns.
// Token ids count through all sequences, so that an Embed gives every token a
// row of its own.
type placed struct {
	blockSize, maxBlocks, total int // total: blocks of the cache
	lens                        []int
	blocks                      [][]int32
}

// place gives sequences of those lengths blocks in random order.
func place(seed uint64, blockSize int, lens ...int) placed {
	p := placed{blockSize: blockSize, lens: lens}
	for _, n := range lens {
		used := (n + blockSize - 1) / blockSize
		p.total += used
		p.maxBlocks = max(p.maxBlocks, used+1)
	}
	p.total += 2 // never used
	order := rand.New(rand.NewPCG(seed, 2)).Perm(p.total)
	for _, n := range lens {
		used := (n + blockSize - 1) / blockSize
		row := make([]int32, used)
		for i := range row {
			row[i] = int32(order[i])
		}
		order = order[used:]
		p.blocks = append(p.blocks, row)
	}
	return p
}

// rows is a range of a sequence's positions.
type rows struct{ seq, from, to int }

// base is the token id of a sequence's first position.
func (p placed) base(seq int) int {
	base := 0
	for _, n := range p.lens[:seq] {
		base += n
	}
	return base
}

// tokens is how many token ids there are.
func (p placed) tokens() int { return p.base(len(p.lens)) }

// step is the step that computes those rows, all of them wanted. Block entries
// that a step does not need are made unusable.
func (p placed) step(parts ...rows) *kernels.Step {
	s := &kernels.Step{MaxBlocks: p.maxBlocks, Starts: []int32{0}}
	for _, r := range parts {
		for pos := r.from; pos < r.to; pos++ {
			block := int(p.blocks[r.seq][pos/p.blockSize])
			s.Out = append(s.Out, int32(len(s.Tokens)))
			s.Tokens = append(s.Tokens, int32(p.base(r.seq)+pos))
			s.Positions = append(s.Positions, int32(pos))
			s.Slots = append(s.Slots, int32(block*p.blockSize+pos%p.blockSize))
		}
		s.Starts = append(s.Starts, int32(len(s.Tokens)))
		s.Lens = append(s.Lens, int32(r.to))
		for i := range p.maxBlocks {
			if i*p.blockSize < r.to {
				s.Blocks = append(s.Blocks, p.blocks[r.seq][i])
			} else {
				s.Blocks = append(s.Blocks, -1)
			}
		}
	}
	return s
}

func (p placed) kv(r rig, layers, kvHeads, headDim int) kernels.KV {
	r.t.Helper()
	kv, err := r.dev.NewKV(kernels.KVShape{Layers: layers, Blocks: p.total, BlockSize: p.blockSize,
		KVHeads: kvHeads, HeadDim: headDim})
	require.NoError(r.t, err)
	return kv
}

// attend runs steps of Embed, StoreKV and Attention and returns all outputs.
func (p placed) attend(r rig, seed uint64, kv kernels.KV, layer int, a kernels.Attn, rope kernels.Rope,
	steps ...*kernels.Step) []float32 {
	r.t.Helper()
	table := p.table(r, seed, a)
	var all []float32
	for _, step := range steps {
		all = append(all, p.attendStep(r, table, kv, layer, a, rope, step)...)
	}
	return all
}

// table has queries, keys and values of every token.
func (p placed) table(r rig, seed uint64, a kernels.Attn) kernels.Weight {
	cols := (a.Heads + 2*a.KVHeads) * a.HeadDim
	return r.float(uniform(seed, p.tokens()*cols, 1), p.tokens(), cols)
}

func (p placed) attendStep(r rig, table kernels.Weight, kv kernels.KV, layer int, a kernels.Attn, rope kernels.Rope,
	step *kernels.Step) []float32 {
	r.t.Helper()
	_, cols := table.Dims()
	qkv, out := r.empty(len(step.Tokens), cols), r.canvas(len(step.Tokens), a.Heads*a.HeadDim)
	r.step(step, func() {
		r.dev.Embed(qkv, table, nil)
		r.dev.StoreKV(qkv, kv, layer, rope, a)
		r.dev.Attention(out, qkv, kv, layer, a)
	})
	return r.read(out)
}

// attn is heads with the usual scale.
func attn(h, g, e, window int) kernels.Attn {
	return kernels.Attn{Heads: h, KVHeads: g, HeadDim: e, Window: window, Scale: float32(1 / math.Sqrt(float64(e)))}
}

func (s *suite) attention(t *testing.T) {
	got, want := s.pair(t)
	var w worst
	defer w.log(t)
	cases := []struct {
		a     kernels.Attn
		block int
		lens  []int
	}{
		{attn(1, 1, 1, 0), 16, []int{1, 15, 16, 17, 40}},
		{attn(4, 4, 16, 0), 16, []int{33, 1, 47}},
		{attn(12, 12, 64, 0), 16, []int{20, 5, 31}},
		{attn(6, 2, 24, 0), 8, []int{30, 9, 1}},
		{attn(6, 2, 24, 7), 8, []int{30, 9, 1}},
		{attn(4, 1, 64, 0), 1, []int{5, 21}},
		{attn(3, 3, 80, 0), 5, []int{26, 11}},
		{attn(3, 3, 80, 1), 5, []int{26, 11}},
		{attn(2, 1, 96, 0), 24, []int{25, 50}},
		{attn(2, 1, 96, 30), 24, []int{25, 80}},
		{attn(2, 2, 128, 0), 32, []int{33, 7}},
		{attn(9, 3, 64, 0), 16, []int{40, 18, 3}},
		{attn(14, 2, 33, 20), 17, []int{40, 18}},
		{attn(24, 1, 40, 0), 16, []int{19, 2}},
		{attn(2, 1, 256, 0), 16, []int{18}},
		{attn(5, 5, 7, 0), 40, []int{90}},
		{attn(3, 1, 10, 0), 300, []int{310}},
		// Contexts of several spans, and windows that begin in the middle of one.
		{attn(1, 1, 8, 0), 16, []int{540, 3}},
		{attn(3, 1, 8, 0), 24, []int{300}},
		{attn(2, 1, 8, 100), 16, []int{400}},
		{attn(1, 1, 16, 300), 3, []int{270}},
		// Scores so far apart that later spans outweigh the earlier ones.
		{kernels.Attn{Heads: 2, KVHeads: 1, HeadDim: 12, Scale: 20}, 16, []int{300, 70}},
	}
	for _, c := range cases {
		p := place(20, c.block, c.lens...)
		var chunk, decode []rows
		for seq, n := range c.lens {
			cut := n * 2 / 3
			if cut > 0 {
				chunk = append(chunk, rows{seq, 0, cut})
			}
			if n-1 > cut {
				decode = append(decode, rows{seq, cut, n - 1})
			}
		}
		var last []rows
		for seq, n := range c.lens {
			last = append(last, rows{seq, n - 1, n})
		}
		steps := []*kernels.Step{p.step(chunk...), p.step(decode...), p.step(last...)}
		run := func(r rig) []float32 {
			return p.attend(r, 21, p.kv(r, 2, c.a.KVHeads, c.a.HeadDim), 1, c.a, kernels.Rope{}, steps...)
		}
		tol := attended
		if c.a.Scale > 1 {
			tol = attendedPeaked
		}
		w.compareRows(t, fmt.Sprintf("%+v, B %d, lengths %v", c.a, c.block, c.lens), run(got), run(want),
			s.attended(tol, c.a, steps...))
	}
}

func (s *suite) rotate(t *testing.T) {
	got, want := s.pair(t)
	var w worst
	defer w.log(t)
	for _, c := range []struct{ h, g, e, dims int }{
		{1, 1, 2, 2}, {3, 1, 24, 24}, {2, 2, 80, 32}, {4, 2, 64, 64}, {2, 1, 96, 50}, {2, 2, 128, 128}, {1, 1, 40, 6},
	} {
		p := place(22, 16, 40, 3)
		step := p.step(rows{0, 0, 40}, rows{1, 0, 3})
		a := attn(c.h, c.g, c.e, 0)
		cols := (a.Heads + 2*a.KVHeads) * a.HeadDim
		run := func(r rig) []float32 {
			qkv := r.buffer(uniform(23, len(step.Tokens)*cols, 1), cols)
			rope := kernels.Rope{Dims: c.dims, Table: r.float(angles(40, c.dims), 40, c.dims)}
			kv := p.kv(r, 1, a.KVHeads, a.HeadDim)
			r.step(step, func() { r.dev.StoreKV(qkv, kv, 0, rope, a) })
			return r.read(qkv)
		}
		w.compare(t, fmt.Sprintf("%+v", c), run(got), run(want), rotated)
	}
}

func (s *suite) attentionRotated(t *testing.T) {
	got, want := s.pair(t)
	var w worst
	defer w.log(t)
	tol := attended
	if s.dtype != kernels.F32 {
		tol = attendedRotated(s.unit())
	}
	for _, c := range []struct {
		a    kernels.Attn
		dims int
	}{{attn(4, 2, 64, 0), 64}, {attn(3, 3, 80, 0), 32}, {attn(2, 1, 24, 20), 10}} {
		p := place(24, 16, 50, 20)
		steps := []*kernels.Step{p.step(rows{0, 0, 49}, rows{1, 0, 19}), p.step(rows{0, 49, 50}, rows{1, 19, 20})}
		run := func(r rig) []float32 {
			rope := kernels.Rope{Dims: c.dims, Table: r.float(angles(64, c.dims), 64, c.dims)}
			return p.attend(r, 25, p.kv(r, 1, c.a.KVHeads, c.a.HeadDim), 0, c.a, rope, steps...)
		}
		w.compareRows(t, fmt.Sprintf("%+v", c), run(got), run(want), s.attended(tol, c.a, steps...))
	}
}

// What an earlier sequence left in the cache must not show, not even if it was
// not a number.
func (s *suite) attentionStaleCache(t *testing.T) {
	got, want := s.pair(t)
	var w worst
	defer w.log(t)
	a := attn(4, 2, 24, 0)
	cols := (a.Heads + 2*a.KVHeads) * a.HeadDim
	bad := make([]float32, 64*cols)
	for i := range bad {
		bad[i] = float32([]float64{math.NaN(), math.Inf(1), math.Inf(-1)}[i%3])
	}
	for _, blockSize := range []int{16, 5, 24} {
		old, p := place(26, blockSize, 64), place(27, blockSize, 37, 2)
		p.total = max(p.total, old.total)
		steps := []*kernels.Step{p.step(rows{0, 0, 36}, rows{1, 0, 1}), p.step(rows{0, 36, 37}, rows{1, 1, 2})}
		run := func(r rig) []float32 {
			kv := p.kv(r, 1, a.KVHeads, a.HeadDim)
			qkv := r.buffer(bad, cols)
			r.step(old.step(rows{0, 0, 64}), func() { r.dev.StoreKV(qkv, kv, 0, kernels.Rope{}, a) })
			return p.attend(r, 28, kv, 0, a, kernels.Rope{}, steps...)
		}
		w.compareRows(t, fmt.Sprintf("B %d", blockSize), run(got), run(want), s.attended(attended, a, steps...))
	}
}
