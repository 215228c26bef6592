//go:build cgo && linux && amd64

package cpu

import (
	"fmt"
	"math"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
)

// matrixOf is a matrix of a model, and how many layers have one.
type matrixOf struct {
	name        string
	n, k, times int
}

// benchModels are the matrices of a step, in its order.
var benchModels = []struct {
	name     string
	matrices []matrixOf
}{
	{"gpt2", []matrixOf{
		{"qkv", 2304, 768, 12}, {"out", 768, 768, 12}, {"up", 3072, 768, 12}, {"down", 768, 3072, 12}, {"head", 50257, 768, 1}}},
	{"smollm2", []matrixOf{
		{"qkv", 960, 576, 30}, {"out", 576, 576, 30}, {"up", 3072, 576, 30}, {"down", 576, 1536, 30}, {"head", 49152, 576, 1}}},
	{"llama-2-7b", []matrixOf{ // 32 layers; a few stand for all
		{"qkv", 12288, 4096, 2}, {"out", 4096, 4096, 2}, {"up", 22016, 4096, 2}, {"down", 4096, 11008, 2}, {"head", 32000, 4096, 1}}},
}

func open(b *testing.B, o Options) *device {
	b.Helper()
	return newDevice(b, o).(*device)
}

// random is a matrix of small numbers, cheap to make.
func random(b testing.TB, d kernels.Device, n, k int) kernels.Weight {
	b.Helper()
	data := make([]byte, 2*n*k)
	seed := uint32(1)
	for i := 0; i < len(data); i += 2 {
		seed = seed*1664525 + 1013904223
		h := kernels.BF16FromF32(float32(int32(seed)) * 0x1p-36)
		data[i], data[i+1] = byte(h), byte(h>>8)
	}
	w, err := d.Load(kernels.Matrix, kernels.Tensor{Name: "w", Shape: []int{n, k}, DType: kernels.BF16, Data: data})
	require.NoError(b, err)
	return w
}

// touched is a buffer in memory of its own: what was never written is one page
// of zeros, which is always in a cache.
func touched(b testing.TB, d kernels.Device, rows, cols int) kernels.Buffer {
	b.Helper()
	buf := newAny(b, d, rows, cols).(*buffer)
	data := unsafe.Slice((*float32)(unsafe.Pointer(buf.data)), rows*cols)
	for i := range data {
		data[i] = float32(i%251-125) / 125
	}
	return buf
}

// begin starts a step of one sequence of n rows.
func begin(b testing.TB, d kernels.Device, n int) {
	b.Helper()
	s := &kernels.Step{Tokens: make([]int32, n), Positions: make([]int32, n), Slots: make([]int32, n),
		Starts: []int32{0, int32(n)}, Lens: []int32{int32(n)}}
	for i := range n {
		s.Positions[i] = int32(i)
	}
	require.NoError(b, d.Begin(s))
}

// work is what an operation must do at least.
type work struct {
	bytes float64 // read from memory, or written to it
	flops float64
	dots  bool // in bfloat16 dot products; else in float32
	warm  bool // bytes lie in a cache: memory is no bound
}

// limit is what a Probe has seen at most: whatever disturbs a measurement makes
// it slower.
type limit struct {
	*Probe
	read, fma, dot float64
}

// look measures again; a benchmark does so before and after it runs.
func (l *limit) look() {
	for range 4 {
		l.read, l.fma, l.dot = max(l.read, l.Read()), max(l.fma, l.FMA()), max(l.dot, l.Dot())
	}
}

// limits has one for each number of threads. They live as long as the process.
var limits = map[int]*limit{}

func limitOf(b *testing.B, threads int) *limit {
	b.Helper()
	if limits[threads] == nil {
		p, err := NewProbe(threads, false)
		require.NoError(b, err)
		limits[threads] = &limit{Probe: p}
	}
	return limits[threads]
}

// measure runs an operation and adds what it read from memory and computed a
// second, on average and in the best iteration, which other programs on the
// machine disturb less. %peak is the time that the machine's limits allow, as a
// share of the best iteration's.
func measure(b *testing.B, d *device, w work, run func()) {
	p := limitOf(b, d.threads)
	p.look()
	run() // touches what was never touched
	best := time.Duration(math.MaxInt64)
	for b.Loop() {
		start := time.Now()
		run()
		best = min(best, time.Since(start))
	}
	p.look()
	peak := p.fma
	if w.dots {
		peak = p.dot
	}
	bound := w.flops / peak
	if !w.warm {
		bound = max(bound, w.bytes/p.read)
	}
	b.ReportMetric(float64(best.Nanoseconds()), "best-ns")
	sec := b.Elapsed().Seconds() / float64(b.N)
	for _, of := range []struct {
		unit   string
		amount float64
	}{{"GB/s", w.bytes / 1e9}, {"GFLOP/s", w.flops / 1e9}} {
		if of.amount > 0 { // benchstat makes a table of its own of zeros
			b.ReportMetric(of.amount/sec, of.unit)
			b.ReportMetric(of.amount/best.Seconds(), "best-"+of.unit)
		}
	}
	if bound > 0 {
		b.ReportMetric(100*bound/best.Seconds(), "%peak")
	}
}

// kinds calls f for every way in which the kernels multiply.
func kinds(f func(dtype kernels.DType, isa string)) {
	for _, dtype := range []kernels.DType{kernels.BF16, kernels.F32} {
		for _, isa := range ISAs() {
			if dtype == kernels.F32 && isa == "avx512bf16" {
				continue // the same as avx512
			}
			f(dtype, isa)
		}
	}
}

// matrices are so many matrices of one shape that no cache holds them.
type matrices struct {
	d    *device
	w    []kernels.Weight
	next int
}

// cold is larger than the caches that a core has a share of, several times.
const cold = 128 << 20

func newMatrices(b *testing.B, o Options, m matrixOf) *matrices {
	d, err := New(o)
	require.NoError(b, err)
	all := &matrices{d: d.(*device)}
	for bytes := 0; bytes < cold; bytes += m.n * m.k * o.DType.Size() {
		all.w = append(all.w, random(b, d, m.n, m.k))
	}
	return all
}

// BenchmarkMatMul multiplies matrices of models one at a time, from memory.
func BenchmarkMatMul(b *testing.B) {
	kinds(func(dtype kernels.DType, isa string) {
		for i, model := range benchModels {
			if i > 0 && isa != ISAs()[0] {
				continue // the other instruction sets have GPT-2's
			}
			for _, m := range model.matrices {
				var of *matrices // made when it is first wanted, given back before the next
				for _, rows := range []int{1, 4, 16, 64, 405} {
					name := fmt.Sprintf("dtype=%v/isa=%s/model=%s/size=%dx%d/rows=%d/op=%s", dtype, isa, model.name, m.k, m.n, rows, m.name)
					b.Run(name, func(b *testing.B) {
						if of == nil {
							of = newMatrices(b, Options{DType: dtype, ISA: isa}, m)
						}
						multiply(b, of, m, rows, isa == "avx512bf16")
					})
				}
				if of != nil {
					require.NoError(b, of.d.Close())
				}
			}
		}
	})
}

func multiply(b *testing.B, of *matrices, m matrixOf, rows int, dots bool) {
	d := of.d
	x, out := touched(b, d, rows, m.k), newAny(b, d, rows, m.n)
	begin(b, d, 1)
	w := work{bytes: float64(m.n * m.k * d.dtype.Size()), flops: float64(2 * rows * m.n * m.k), dots: dots}
	measure(b, d, w, func() {
		d.MatMul(out, x, of.w[of.next], nil, rows)
		of.next = (of.next + 1) % len(of.w)
	})
	require.NoError(b, d.End())
}

// BenchmarkMatrices multiplies all of a model's matrices in a step's order, which
// no cache holds: 249 MB in bfloat16 for GPT-2, 269 MB for SmolLM2. It is the
// bound of a decode step.
func BenchmarkMatrices(b *testing.B) {
	kinds(func(dtype kernels.DType, isa string) {
		for i, model := range benchModels[:2] {
			if i > 0 && isa != ISAs()[0] {
				continue
			}
			var d *device
			var weights []kernels.Weight
			for _, rows := range []int{1, 2, 4, 8, 12, 16, 24, 32, 64} {
				b.Run(fmt.Sprintf("dtype=%v/isa=%s/model=%s/rows=%d/op=all", dtype, isa, model.name, rows), func(b *testing.B) {
					if d == nil {
						opened, err := New(Options{DType: dtype, ISA: isa})
						require.NoError(b, err)
						d = opened.(*device)
						weights = step(b, d, model.matrices)
					}
					multiplyAll(b, d, weights, rows, isa == "avx512bf16")
				})
			}
			if d != nil {
				require.NoError(b, d.Close())
			}
		}
	})
}

// step makes the matrices of all layers, in a step's order.
func step(b *testing.B, d *device, of []matrixOf) []kernels.Weight {
	var all []kernels.Weight
	for layer := range of[0].times {
		for _, m := range of {
			if m.times > layer {
				all = append(all, random(b, d, m.n, m.k))
			}
		}
	}
	return all
}

func multiplyAll(b *testing.B, d *device, weights []kernels.Weight, rows int, dots bool) {
	in, out := map[int]kernels.Buffer{}, map[int]kernels.Buffer{}
	macs := 0
	for _, w := range weights {
		n, k := w.Dims()
		macs += n * k
		if in[k] == nil {
			in[k] = touched(b, d, rows, k)
		}
		if out[n] == nil {
			out[n] = newAny(b, d, rows, n)
		}
	}
	begin(b, d, 1)
	measure(b, d, work{bytes: float64(macs * d.dtype.Size()), flops: float64(2 * rows * macs), dots: dots}, func() {
		for _, w := range weights {
			n, k := w.Dims()
			d.MatMul(out[n], in[k], w, nil, rows)
		}
	})
	require.NoError(b, d.End())
}
