package kerneltest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
)

var dtypes = []kernels.DType{kernels.F32, kernels.BF16, kernels.F16}

func (s *suite) embed(t *testing.T) {
	got, want := s.pair(t)
	var w worst
	defer w.log(t)
	const vocab, limit, rows = 37, 70, 33
	step := rowsStep(rows)
	for i := range step.Tokens {
		step.Tokens[i] = int32(i * 7 % vocab)
	}
	for _, d := range []int{1, 7, 24, 64, 129} {
		for _, layout := range []kernels.Layout{kernels.Matrix, kernels.Float} {
			for _, dtype := range dtypes {
				run := func(r rig, positions bool) []float32 {
					tokens := r.load(layout, tensor("tokens", dtype, uniform(1, vocab*d, 1), vocab, d))
					out := r.canvas(rows, d)
					r.step(step, func() {
						if positions {
							r.dev.Embed(out, tokens, r.load(layout, tensor("positions", dtype, uniform(2, limit*d, 1), limit, d)))
							return
						}
						r.dev.Embed(out, tokens, nil)
					})
					return r.read(out)
				}
				for _, positions := range []bool{false, true} {
					what := fmt.Sprintf("D %d, layout %d, %v, positions %v", d, layout, dtype, positions)
					w.compare(t, what, run(got, positions), run(want, positions), exact)
				}
			}
		}
	}
}

func (s *suite) norm(t *testing.T) {
	got, want := s.pair(t)
	var w worst
	defer w.log(t)
	for _, d := range []int{1, 3, 8, 17, 63, 64, 100, 129, 768, 1000} {
		for _, rows := range []int{1, 2, 17} {
			for mode := range 8 {
				mean, bias, delta := mode&1 > 0, mode&2 > 0, mode&4 > 0
				x := uniform(3, rows*d, 3)
				for i := range x {
					if d > 8 { // so that the deviation cannot be tiny
						x[i] += 5 // a mean to subtract
					}
				}
				x[0] = 40 // an outlier, as residual streams have them
				run := func(r rig) []float32 {
					n := kernels.Norm{Weight: r.float(uniform(4, d, 2), d), Eps: 1e-5, Mean: mean}
					if bias {
						n.Bias = r.float(uniform(5, d, 1), d)
					}
					in, out := r.buffer(x, d), r.canvas(rows, d)
					var change kernels.Buffer
					if delta {
						change = r.buffer(uniform(6, rows*d, 1), d)
					}
					r.step(rowsStep(rows), func() { r.dev.Norm(out, in, change, n, rows) })
					return append(r.read(out), r.read(in)...)
				}
				what := fmt.Sprintf("D %d, rows %d, mean %v, bias %v, delta %v", d, rows, mean, bias, delta)
				w.compare(t, what, run(got), run(want), normed)
			}
		}
	}
}

// product multiplies x [rows, k] by a matrix of parts.
func (r rig) product(x []float32, rows, k int, bias []float32, l kernels.Layout, parts ...kernels.Tensor) []float32 {
	r.t.Helper()
	w := r.load(l, parts...)
	n, _ := w.Dims()
	var b kernels.Weight
	if bias != nil {
		b = r.float(bias[:n], n)
	}
	in, out := r.buffer(x[:rows*k], k), r.canvas(rows, n)
	r.step(rowsStep(rows), func() { r.dev.MatMul(out, in, w, b, rows) })
	return r.read(out)
}

func (s *suite) matMul(t *testing.T) {
	got, want := s.pair(t)
	var w worst
	defer w.log(t)
	sizes := []struct{ n, k, rows int }{
		{1, 1, 33}, {5, 3, 33}, {16, 2, 33}, {17, 33, 33}, {50, 31, 33}, {96, 64, 25}, {70, 130, 33},
		{33, 257, 20}, {18, 520, 18}, {35, 1023, 5}, {400, 24, 70}, {16, 1024, 40},
	}
	for _, c := range sizes {
		x, bias := uniform(7, c.rows*c.k, 1), uniform(8, c.n, 1)
		weights := tensor("w", kernels.F32, matrix(9, c.n, c.k), c.n, c.k)
		first := map[bool][]float32{} // the first row's result, by bias
		for rows := 1; rows <= c.rows; rows++ {
			if rows > 17 && rows < c.rows {
				continue
			}
			b := bias
			if rows%2 == 0 {
				b = nil
			}
			what := fmt.Sprintf("N %d, K %d, rows %d, bias %v", c.n, c.k, rows, b != nil)
			g := got.product(x, rows, c.k, b, kernels.Matrix, weights)
			w.compare(t, what, g, want.product(x, rows, c.k, b, kernels.Matrix, weights), multiplied)
			if s.varies(rows) {
				continue
			}
			if first[b != nil] == nil {
				first[b != nil] = g[:c.n]
			}
			require.Equal(t, first[b != nil], g[:c.n], "%s: the first row depends on the number of rows", what)
		}
	}
}

// Matrices wide enough for a GPU to give a block more outputs, at the numbers of rows
// at which it may take another kernel. A row has the same bits in all of them.
func (s *suite) matMulWide(t *testing.T) {
	got, want := s.pair(t)
	var w worst
	defer w.log(t)
	const k = 72
	for _, n := range []int{3605, 7213} { // over ¾·150 multiprocessors of 32 and of 64 outputs
		x, bias := uniform(13, 17*k, 1), uniform(14, n, 1)
		weights := tensor("w", kernels.F32, matrix(15, n, k), n, k)
		var before []float32 // of fewer rows
		for _, rows := range []int{1, 4, 5, 8, 9, 16, 17} {
			what := fmt.Sprintf("N %d, K %d, rows %d", n, k, rows)
			g := got.product(x, rows, k, bias, kernels.Matrix, weights)
			w.compare(t, what, g, want.product(x, rows, k, bias, kernels.Matrix, weights), multiplied)
			if s.varies(rows) {
				continue
			}
			require.True(t, slices.Equal(before, g[:len(before)]), "%s: rows have other bits than among fewer", what)
			before = g[:rows*n]
		}
	}
}

// Every tensor type and layout, and weights of several parts.
func (s *suite) matMulLoads(t *testing.T) {
	got, want := s.pair(t)
	var w worst
	defer w.log(t)
	for _, k := range []int{1, 7, 64, 97} {
		x, bias := uniform(10, 5*k, 1), uniform(11, 200, 1)
		for _, dtype := range dtypes {
			part := func(l kernels.Layout, n int) kernels.Tensor {
				if l == kernels.MatrixT {
					return tensor("w", dtype, matrix(uint64(n), n, k), k, n)
				}
				return tensor("w", dtype, matrix(uint64(n), n, k), n, k)
			}
			for _, l := range []kernels.Layout{kernels.Matrix, kernels.MatrixT} {
				for _, ns := range [][]int{{40}, {16, 32}, {33, 7, 7}, {3, 1, 90}} {
					var parts []kernels.Tensor
					for _, n := range ns {
						parts = append(parts, part(l, n))
					}
					what := fmt.Sprintf("K %d, %v, layout %d, parts %v", k, dtype, l, ns)
					w.compare(t, what, got.product(x, 5, k, bias, l, parts...),
						want.product(x, 5, k, bias, l, parts...), multiplied)
				}
			}
		}
	}
}

func (s *suite) activate(t *testing.T) {
	got, want := s.pair(t)
	var w worst
	defer w.log(t)
	for _, width := range []int{1, 9, 64, 100, 1031} {
		for _, rows := range []int{1, 5, 33} {
			for mode := range 4 {
				act, gated := kernels.Act(mode&1), mode&2 > 0
				cols := width
				if gated {
					cols *= 2
				}
				x := uniform(12, rows*cols, 6)
				copy(x, []float32{0, -30, 30, -100, 100, 1e-20, -3e4}[:min(7, len(x))])
				run := func(r rig) []float32 {
					in, out := r.buffer(x, cols), r.canvas(rows, width)
					r.step(rowsStep(rows), func() { r.dev.Activate(out, in, act, gated, rows) })
					return r.read(out)
				}
				what := fmt.Sprintf("F %d, rows %d, function %d, gated %v", width, rows, act, gated)
				w.compare(t, what, run(got), run(want), activated)
			}
		}
	}
}

func (s *suite) addGather(t *testing.T) {
	got, want := s.pair(t)
	var w worst
	defer w.log(t)
	const rows = 33
	for _, d := range []int{1, 24, 65, 768} {
		for _, out := range [][]int32{{}, {0}, {32}, {1, 2, 17, 31}} {
			run := func(r rig) []float32 {
				x, y := r.buffer(uniform(13, rows*d, 1), d), r.buffer(uniform(14, rows*d, 1), d)
				plain, sum := r.canvas(len(out), d), r.canvas(len(out), d)
				step := rowsStep(rows)
				step.Out = out
				r.step(step, func() {
					r.dev.Gather(plain, x, nil)
					r.dev.Gather(sum, x, y)
					r.dev.Add(x, y, rows-1)
				})
				return append(append(r.read(plain), r.read(sum)...), r.read(x)...)
			}
			w.compare(t, fmt.Sprintf("D %d, rows %v", d, out), run(got), run(want), exact)
		}
	}
}
