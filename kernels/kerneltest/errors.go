package kerneltest

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
)

func (s *suite) badTensors(t *testing.T) {
	r, _ := s.pair(t)
	good := func(name string, shape ...int) kernels.Tensor {
		n := 1
		for _, d := range shape {
			n *= d
		}
		return tensor(name, kernels.BF16, make([]float32, n), shape...)
	}
	check := func(name string, l kernels.Layout, parts ...kernels.Tensor) {
		t.Helper()
		_, err := r.dev.Load(l, parts...)
		require.ErrorIs(t, err, kernels.ErrTensor, name)
		if len(parts) > 0 {
			require.ErrorContains(t, err, "culprit", name)
		}
	}
	lie := good("culprit", 4, 6)
	for _, shape := range [][]int{{4, 7}, {4, 5}, {3, 6}, {24, 0}, {-4, -6}, {}, {math.MaxInt, 2}, {1 << 32, 1 << 32},
		{math.MaxInt / 2, 2, 2}} {
		lie.Shape = shape
		for _, l := range []kernels.Layout{kernels.Matrix, kernels.MatrixT, kernels.Float} {
			check("a shape that the data does not have", l, lie)
			check("the second part lies", l, good("fine", 4, 6), lie)
		}
	}
	unknown := good("culprit", 2, 2)
	unknown.DType = 9
	check("an unknown dtype", kernels.Matrix, unknown)
	check("an unknown layout", 9, good("culprit", 2, 2))
	check("no parts", kernels.Matrix)
	check("a matrix of one dimension", kernels.Matrix, good("culprit", 8))
	check("a matrix of three dimensions", kernels.MatrixT, good("culprit", 2, 2, 2))
	check("parts of different K", kernels.Matrix, good("fine", 2, 4), good("culprit", 4, 2))
	check("transposed parts of different K", kernels.MatrixT, good("fine", 4, 2), good("culprit", 2, 4))
	check("rows of different length", kernels.Float, good("fine", 2, 4), good("culprit", 2, 3))
	check("a vector under rows", kernels.Float, good("fine", 2, 4), good("culprit", 4))
	check("rows under a vector", kernels.Float, good("fine", 4), good("culprit", 2, 4))

	for _, c := range []struct {
		l     kernels.Layout
		parts []kernels.Tensor
		n, k  int
	}{
		{kernels.Matrix, []kernels.Tensor{good("a", 2, 4), good("b", 3, 4)}, 5, 4},
		{kernels.MatrixT, []kernels.Tensor{good("a", 4, 2), good("b", 4, 3)}, 5, 4},
		{kernels.Float, []kernels.Tensor{good("a", 7), good("b", 2)}, 1, 9},
		{kernels.Float, []kernels.Tensor{good("a", 2, 4), good("b", 3, 1, 4)}, 5, 4},
	} {
		n, k := r.load(c.l, c.parts...).Dims()
		require.Equal(t, [2]int{c.n, c.k}, [2]int{n, k})
	}
}

// Steps that contradict themselves are refused by Begin, with the field's name.
func (s *suite) badSteps(t *testing.T) {
	r, _ := s.pair(t)
	p := place(40, 4, 6, 3)
	for _, c := range []struct {
		field string
		spoil func(*kernels.Step)
	}{
		{"Tokens", func(s *kernels.Step) { *s = kernels.Step{Starts: []int32{0}} }},
		{"Tokens", func(s *kernels.Step) { s.Tokens[1] = -1 }},
		{"Positions", func(s *kernels.Step) { s.Positions = s.Positions[1:] }},
		{"Positions", func(s *kernels.Step) { s.Positions[2]++ }},
		{"Positions", func(s *kernels.Step) { s.Positions[0] = -1 }},
		{"Slots", func(s *kernels.Step) { s.Slots = append(s.Slots, 0) }},
		{"Slots", func(s *kernels.Step) { s.Slots[3] = -4 }},
		{"Starts", func(s *kernels.Step) { s.Starts = nil }},
		{"Starts", func(s *kernels.Step) { s.Starts = s.Starts[:2] }},
		{"Starts", func(s *kernels.Step) { s.Starts[0] = 1 }},
		{"Starts", func(s *kernels.Step) { s.Starts[2]++ }},
		{"Starts", func(s *kernels.Step) { s.Starts[1] = 0 }},
		{"Starts", func(s *kernels.Step) { s.Starts[1] = math.MaxInt32 }},
		{"Starts", func(s *kernels.Step) { s.Starts[1] = math.MinInt32 }},
		{"Lens", func(s *kernels.Step) { s.Lens = nil }},
		{"Lens", func(s *kernels.Step) { s.Lens[1]++ }},
		{"Lens", func(s *kernels.Step) { s.Lens[0] = -1 }},
		{"MaxBlocks", func(s *kernels.Step) { s.MaxBlocks = -1 }},
		{"MaxBlocks", func(s *kernels.Step) { s.MaxBlocks = math.MaxInt }},
		{"Blocks", func(s *kernels.Step) { s.Blocks = s.Blocks[1:] }},
		{"Window", func(s *kernels.Step) { s.Window = -1 }},
		{"From", func(s *kernels.Step) { s.From = make([]int32, 8) }},
		{"Out", func(s *kernels.Step) { s.Out[0] = -1 }},
		{"Out", func(s *kernels.Step) { s.Out[8] = 9 }},
		{"Out", func(s *kernels.Step) { s.Out[3] = s.Out[2] }},
	} {
		step := p.step(rows{0, 0, 6}, rows{1, 0, 3})
		c.spoil(step)
		err := r.dev.Begin(step)
		require.ErrorIs(t, err, kernels.ErrStep, c.field)
		require.ErrorContains(t, err, c.field)
	}
	r.step(p.step(rows{0, 0, 6}), func() {}) // nothing was started
}

// Entries that a weight or the cache has no place for end the step with an error.
func (s *suite) badEntries(t *testing.T) {
	r, _ := s.pair(t)
	p := place(41, 4, 6, 3)
	a := attn(2, 1, 8, 0)
	kv, other := p.kv(r, 1, 1, 8), p.kv(r, 1, 1, 8)
	tokens, short := r.float(uniform(1, 9*32, 1), 9, 32), r.float(uniform(2, 5*32, 1), 5, 32)
	table := r.float(angles(5, 8), 5, 8)
	x, y := r.canvas(7, 32), r.canvas(7, 16)
	good := func() *kernels.Step { return p.step(rows{0, 0, 6}, rows{1, 0, 3}) }
	a3 := attn(2, 1, 8, 3)
	later := func(window int) func(*kernels.Step) { // position 5 of blocks of 4 is all of the first sequence
		return func(s *kernels.Step) {
			*s = *p.step(rows{0, 5, 6}, rows{1, 0, 3})
			s.Window = window
		}
	}
	freed := func(window int) func(*kernels.Step) {
		return func(s *kernels.Step) {
			later(window)(s)
			s.Blocks[0] = kernels.Freed
		}
	}
	for _, c := range []struct {
		field string
		spoil func(*kernels.Step)
		ops   func()
	}{
		{"Tokens", func(s *kernels.Step) { s.Tokens[8] = 9 }, func() { r.dev.Embed(x, tokens, nil) }},
		{"Tokens", func(s *kernels.Step) { s.Tokens[8] = math.MaxInt32 }, func() { r.dev.Embed(x, tokens, nil) }},
		{"Positions", func(*kernels.Step) {}, func() { r.dev.Embed(x, tokens, short) }},
		{"Positions", func(*kernels.Step) {}, func() { r.dev.StoreKV(x, kv, 0, kernels.Rope{Dims: 8, Table: table}, a) }},
		{"Lens", func(s *kernels.Step) { s.MaxBlocks, s.Blocks = 1, s.Blocks[:2] }, func() { r.dev.Attention(y, x, kv, 0, a) }},
		{"Blocks", func(s *kernels.Step) { s.Blocks[0] = -1 }, func() { r.dev.Attention(y, x, kv, 0, a) }},
		{"Blocks", freed(0), func() { r.dev.Attention(y, x, kv, 0, a3) }},
		{"Blocks", freed(3), func() { r.dev.Attention(y, x, kv, 0, a3) }}, // position 3 is seen
		{"Window", freed(2), func() { r.dev.Attention(y, x, kv, 0, a3) }},
		{"Window", later(4), func() { r.dev.Attention(y, x, kv, 0, a) }},
		{"Blocks", func(s *kernels.Step) { s.Blocks[1] = int32(p.total) }, func() { r.dev.StoreKV(x, kv, 0, kernels.Rope{}, a) }},
		{"Slots", func(s *kernels.Step) { s.Slots[0] = int32(p.total * 4) }, func() { r.dev.StoreKV(x, kv, 0, kernels.Rope{}, a) }},
		{"Slots", func(s *kernels.Step) { s.Slots[8]++ }, func() { r.dev.StoreKV(x, other, 0, kernels.Rope{}, a) }},
	} {
		before := r.read(x)
		step := good()
		c.spoil(step)
		require.NoError(t, r.dev.Begin(step), c.field)
		c.ops()
		r.dev.Embed(x, tokens, nil) // does nothing after the error
		err := r.dev.End()
		require.ErrorIs(t, err, kernels.ErrStep, c.field)
		require.ErrorContains(t, err, c.field)
		require.Equal(t, before, r.read(x), "an operation ran after the error")
	}
	r.step(good(), func() { r.dev.Embed(x, tokens, nil) }) // the error was that step's
	require.NotEqual(t, float32(12345), r.read(x)[0])
}

// Wrong shapes are a caller's bug: they panic with the operation's name.
func (s *suite) badShapes(t *testing.T) {
	r, _ := s.pair(t)
	p := place(42, 4, 6)
	step := p.step(rows{0, 0, 6})
	a := attn(2, 1, 8, 0)
	kv := p.kv(r, 1, 1, 8)
	x, y, z := r.empty(6, 32), r.empty(6, 32), r.empty(6, 16)
	small := r.empty(5, 32)
	vec, vec16 := r.float(uniform(1, 32, 1), 32), r.float(uniform(1, 16, 1), 16)
	table := r.float(uniform(1, 6*32, 1), 6, 32)
	w := r.load(kernels.Matrix, tensor("w", kernels.F32, matrix(1, 16, 32), 16, 32))
	norm := kernels.Norm{Weight: vec}
	rope := kernels.Rope{Dims: 8, Table: r.float(angles(6, 8), 6, 8)}
	for _, c := range []struct {
		op, name string
		call     func()
	}{
		{"Embed", "columns", func() { r.dev.Embed(z, table, nil) }},
		{"Embed", "rows", func() { r.dev.Embed(small, table, nil) }},
		{"Embed", "positions", func() { r.dev.Embed(x, table, vec16) }},
		{"Embed", "nil", func() { r.dev.Embed(x, nil, nil) }},
		{"Norm", "out", func() { r.dev.Norm(z, x, nil, norm, 6) }},
		{"Norm", "rows", func() { r.dev.Norm(x, y, nil, norm, 7) }},
		{"Norm", "negative", func() { r.dev.Norm(x, y, nil, norm, -1) }},
		{"Norm", "delta", func() { r.dev.Norm(x, y, z, norm, 6) }},
		{"Norm", "weight", func() { r.dev.Norm(x, y, nil, kernels.Norm{Weight: vec16}, 6) }},
		{"Norm", "no weight", func() { r.dev.Norm(x, y, nil, kernels.Norm{}, 6) }},
		{"Norm", "bias", func() { r.dev.Norm(x, y, nil, kernels.Norm{Weight: vec, Bias: vec16}, 6) }},
		{"Norm", "overlap", func() { r.dev.Norm(x, x, nil, norm, 6) }},
		{"MatMul", "K", func() { r.dev.MatMul(z, z, w, nil, 6) }},
		{"MatMul", "N", func() { r.dev.MatMul(y, x, w, nil, 6) }},
		{"MatMul", "rows", func() { r.dev.MatMul(z, small, w, nil, 6) }},
		{"MatMul", "bias", func() { r.dev.MatMul(z, x, w, vec, 6) }},
		{"MatMul", "no matrix", func() { r.dev.MatMul(z, x, r.float(uniform(1, 16*32, 1), 16, 32), nil, 6) }},
		{"StoreKV", "heads", func() { r.dev.StoreKV(x, kv, 0, rope, attn(3, 1, 8, 0)) }},
		{"StoreKV", "head width", func() { r.dev.StoreKV(x, kv, 0, rope, attn(6, 1, 4, 0)) }},
		{"StoreKV", "layer", func() { r.dev.StoreKV(x, kv, 1, rope, a) }},
		{"StoreKV", "odd rotation", func() { r.dev.StoreKV(x, kv, 0, kernels.Rope{Dims: 3, Table: rope.Table}, a) }},
		{"StoreKV", "wide rotation", func() { r.dev.StoreKV(x, kv, 0, kernels.Rope{Dims: 10, Table: rope.Table}, a) }},
		{"StoreKV", "no table", func() { r.dev.StoreKV(x, kv, 0, kernels.Rope{Dims: 8}, a) }},
		{"Attention", "groups", func() { r.dev.Attention(z, x, kv, 0, attn(3, 2, 8, 0)) }},
		{"Attention", "out", func() { r.dev.Attention(y, x, kv, 0, a) }},
		{"Attention", "layer", func() { r.dev.Attention(z, x, kv, -1, a) }},
		{"Attention", "no cache", func() { r.dev.Attention(z, x, nil, 0, a) }},
		{"Activate", "plain", func() { r.dev.Activate(z, x, kernels.SiLU, false, 6) }},
		{"Activate", "gated", func() { r.dev.Activate(y, x, kernels.SiLU, true, 6) }},
		{"Activate", "function", func() { r.dev.Activate(y, x, 9, false, 6) }},
		{"Add", "columns", func() { r.dev.Add(x, z, 6) }},
		{"Add", "rows", func() { r.dev.Add(x, small, 6) }},
		{"Gather", "out", func() { r.dev.Gather(z, x, nil) }},
		{"Gather", "rows", func() { r.dev.Gather(x, small, nil) }},
	} {
		require.NoError(t, r.dev.Begin(step))
		require.Panics(t, c.call, "%s: %s", c.op, c.name)
		func() {
			defer func() { require.Contains(t, recover(), c.op, c.name) }()
			c.call()
		}()
		require.NoError(t, r.dev.End())
	}
	for _, shape := range [][2]int{{0, 4}, {4, 0}, {-1, 4}, {math.MaxInt, 4}, {1 << 30, 1 << 30}} {
		_, err := r.dev.NewBuffer(shape[0], shape[1])
		require.Error(t, err)
	}
	good := kernels.KVShape{Layers: 1, Blocks: 2, BlockSize: 3, KVHeads: 4, HeadDim: 5}
	for i, v := range slices.Repeat([]int{0, -1, math.MaxInt}, 5) {
		bad := good
		*[]*int{&bad.Layers, &bad.Blocks, &bad.BlockSize, &bad.KVHeads, &bad.HeadDim}[i/3] = v
		_, err := r.dev.NewKV(bad)
		require.Error(t, err, "%+v", bad)
	}
}

func (s *suite) lifetime(t *testing.T) {
	r, _ := s.pair(t)
	require.Equal(t, s.dtype, r.dev.DType())
	require.NotEmpty(t, r.dev.Name())
	x, y := r.buffer(uniform(1, 8, 1), 4), r.empty(2, 4)
	require.Panics(t, func() { r.dev.Add(x, y, 2) }, "an operation outside of a step")
	require.Error(t, r.dev.End(), "End without Begin")
	require.NoError(t, r.dev.Begin(rowsStep(2)))
	require.Error(t, r.dev.Begin(rowsStep(2)), "Begin in a step")
	require.Error(t, only(r.dev.Read(x, 1)), "Read in a step")
	require.NoError(t, r.dev.End())
	require.Error(t, only(r.dev.Read(x, 9)), "Read past the end")
	require.Equal(t, make([]float32, 8), r.read(y), "a new buffer is zero")
	require.NoError(t, r.dev.Close())
	require.NoError(t, r.dev.Close(), "Close again")
	require.Error(t, r.dev.Begin(rowsStep(2)), "Begin after Close")
	require.Error(t, only(r.dev.Read(x, 1)), "Read after Close")
	_, err := r.dev.Load(kernels.Float, tensor("x", kernels.F32, []float32{1}, 1))
	require.Error(t, err, "Load after Close")
	_, err = r.dev.NewBuffer(1, 1)
	require.Error(t, err, "NewBuffer after Close")
	_, err = r.dev.NewKV(kernels.KVShape{Layers: 1, Blocks: 1, BlockSize: 1, KVHeads: 1, HeadDim: 1})
	require.Error(t, err, "NewKV after Close")
}

// only is the error of a Read.
func only(_ []float32, err error) error { return err }
