//go:build cgo && linux && amd64

package cpu

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
)

// gpt2 is the matrices of GPT-2 124M by N and K, and how often a step runs them.
var gpt2 = []struct {
	name        string
	n, k, times int
}{
	{"qkv", 2304, 768, 12}, {"out", 768, 768, 12}, {"up", 3072, 768, 12}, {"down", 768, 3072, 12}, {"head", 50257, 768, 1},
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

// measure runs an operation and adds what it read from memory and computed a
// second, on average and in the best iteration, which other programs on the
// machine disturb less.
func measure(b *testing.B, bytes, flops float64, run func()) {
	best := time.Duration(math.MaxInt64)
	for b.Loop() {
		start := time.Now()
		run()
		best = min(best, time.Since(start))
	}
	b.ReportMetric(float64(best.Nanoseconds()), "best-ns")
	if bytes == 0 {
		return // benchstat makes a table of its own of zeros
	}
	sec := b.Elapsed().Seconds() / float64(b.N)
	b.ReportMetric(bytes/sec/1e9, "GB/s")
	b.ReportMetric(flops/sec/1e9, "GFLOP/s")
	b.ReportMetric(bytes/best.Seconds()/1e9, "best-GB/s")
	b.ReportMetric(flops/best.Seconds()/1e9, "best-GFLOP/s")
}

// BenchmarkMatMul multiplies GPT-2's matrices one at a time. Except for head,
// a matrix stays in the cache between iterations; BenchmarkMatrices has the
// cold ones.
func BenchmarkMatMul(b *testing.B) {
	for _, dtype := range []kernels.DType{kernels.BF16, kernels.F32} {
		for _, isa := range ISAs() {
			if dtype == kernels.F32 && isa == "avx512bf16" {
				continue // the same as avx512
			}
			d := open(b, Options{DType: dtype, ISA: isa})
			for _, m := range gpt2 {
				w := random(b, d, m.n, m.k)
				for _, rows := range []int{1, 4, 16, 64, 405} {
					name := fmt.Sprintf("dtype=%v/isa=%s/size=%dx%d/rows=%d/op=%s", dtype, isa, m.k, m.n, rows, m.name)
					b.Run(name, func(b *testing.B) {
						x, out := newAny(b, d, rows, m.k), newAny(b, d, rows, m.n)
						begin(b, d, 1)
						measure(b, float64(m.n*m.k*dtype.Size()), float64(2*rows*m.n*m.k), func() { d.MatMul(out, x, w, nil, rows) })
						require.NoError(b, d.End())
					})
				}
			}
		}
	}
}

// BenchmarkMatrices multiplies all of GPT-2's matrices in a step's order: 249 MB
// in bfloat16, which no cache holds. It is the bound of a decode step.
func BenchmarkMatrices(b *testing.B) {
	for _, dtype := range []kernels.DType{kernels.BF16, kernels.F32} {
		for _, isa := range ISAs() {
			if dtype == kernels.F32 && isa == "avx512bf16" {
				continue
			}
			d := open(b, Options{DType: dtype, ISA: isa})
			type job struct {
				w    kernels.Weight
				n, k int
			}
			var jobs []job
			bytes, macs := 0, 0
			for layer := range 12 {
				for _, m := range gpt2 {
					if m.times > layer {
						jobs = append(jobs, job{random(b, d, m.n, m.k), m.n, m.k})
						bytes, macs = bytes+m.n*m.k*dtype.Size(), macs+m.n*m.k
					}
				}
			}
			for _, rows := range []int{1, 2, 4, 8, 16, 24, 32, 64} {
				b.Run(fmt.Sprintf("dtype=%v/isa=%s/rows=%d/model=gpt2", dtype, isa, rows), func(b *testing.B) {
					in, out := map[int]kernels.Buffer{}, map[int]kernels.Buffer{}
					for _, j := range jobs {
						if in[j.k] == nil {
							in[j.k] = newAny(b, d, rows, j.k)
						}
						if out[j.n] == nil {
							out[j.n] = newAny(b, d, rows, j.n)
						}
					}
					begin(b, d, 1)
					measure(b, float64(bytes), float64(2*rows*macs), func() {
						for _, j := range jobs {
							d.MatMul(out[j.n], in[j.k], j.w, nil, rows)
						}
					})
					require.NoError(b, d.End())
				})
			}
		}
	}
}

// BenchmarkAttention runs one layer of GPT-2's attention: decoding one token of
// every sequence, and the prefill of one.
func BenchmarkAttention(b *testing.B) {
	const h, e, block = 12, 64, 16
	for _, dtype := range []kernels.DType{kernels.BF16, kernels.F32} {
		for _, isa := range ISAs() {
			if dtype == kernels.F32 && isa == "avx512bf16" || dtype == kernels.BF16 && isa == "avx512bf16" {
				continue // the same as avx512
			}
			d := open(b, Options{DType: dtype, ISA: isa})
			for _, c := range []struct {
				name            string
				seqs, rows, len int
			}{{"decode", 1, 1, 405}, {"decode", 1, 1, 4096}, {"decode", 16, 1, 405}, {"prefill", 1, 405, 405}, {"prefill", 1, 64, 4096}} {
				b.Run(fmt.Sprintf("dtype=%v/isa=%s/seqs=%d/len=%d/op=%s", dtype, isa, c.seqs, c.len, c.name), func(b *testing.B) {
					attend(b, d, c.seqs, c.rows, c.len, kernels.Attn{Heads: h, KVHeads: h, HeadDim: e, Scale: 0.125}, block)
				})
			}
		}
	}
}

func attend(b *testing.B, d *device, seqs, rows, length int, a kernels.Attn, block int) {
	per := (length + block - 1) / block
	const layers = 24 // more than a cache holds
	kv, err := d.NewKV(kernels.KVShape{Layers: layers, Blocks: per * seqs, BlockSize: block, KVHeads: a.KVHeads, HeadDim: a.HeadDim})
	require.NoError(b, err)
	s := &kernels.Step{MaxBlocks: per, Starts: []int32{0}}
	for q := range seqs {
		for i := range per {
			s.Blocks = append(s.Blocks, int32(i*seqs+q)) // as sequences that grow together have them
		}
		for p := length - rows; p < length; p++ {
			s.Tokens = append(s.Tokens, 0)
			s.Positions = append(s.Positions, int32(p))
			s.Slots = append(s.Slots, s.Blocks[q*per+p/block]*int32(block)+int32(p%block))
		}
		s.Starts, s.Lens = append(s.Starts, int32(len(s.Tokens))), append(s.Lens, int32(length))
	}
	cols := (a.Heads + 2*a.KVHeads) * a.HeadDim
	qkv, out := newAny(b, d, len(s.Tokens), cols), newAny(b, d, len(s.Tokens), a.Heads*a.HeadDim)
	require.NoError(b, d.Begin(s))
	for l := range layers {
		d.StoreKV(qkv, kv, l, kernels.Rope{}, a) // touches the memory
	}
	layer := 0
	seen := float64(rows) * (float64(length) - float64(rows-1)/2) // positions, over the rows of a sequence
	measure(b, float64(2*seqs*length*a.KVHeads*a.HeadDim*d.dtype.Size()), 4*float64(seqs)*seen*float64(a.Heads*a.HeadDim), func() {
		d.Attention(out, qkv, kv, layer, a)
		layer = (layer + 1) % layers
	})
	require.NoError(b, d.End())
}

// BenchmarkPack loads a matrix in each way that checkpoints have it; GB/s are of
// what is read and written. The memory it is written to is new every time, as in
// loading a model, and freed outside of the measure.
func BenchmarkPack(b *testing.B) {
	const n, k = 4096, 4096
	for _, dtype := range []kernels.DType{kernels.BF16, kernels.F32} {
		for _, from := range []kernels.DType{kernels.BF16, kernels.F16, kernels.F32} {
			for layout, name := range []string{kernels.Matrix: "matrix", kernels.MatrixT: "transposed"} {
				b.Run(fmt.Sprintf("dtype=%v/from=%v/size=%dx%d/op=%s", dtype, from, k, n, name), func(b *testing.B) {
					t := kernels.Tensor{Name: "w", Shape: []int{n, k}, DType: from, Data: make([]byte, n*k*from.Size())}
					total := time.Duration(0)
					for b.Loop() {
						d, err := New(Options{DType: dtype})
						require.NoError(b, err)
						start := time.Now()
						_, err = d.Load(kernels.Layout(layout), t)
						total += time.Since(start)
						require.NoError(b, err)
						require.NoError(b, d.Close())
					}
					sec := total.Seconds() / float64(b.N)
					b.ReportMetric(sec*1e9, "load-ns")
					b.ReportMetric(float64(n*k*(from.Size()+dtype.Size()))/sec/1e9, "GB/s")
				})
			}
		}
	}
}

// BenchmarkRows runs the small operations of a GPT-2 step.
func BenchmarkRows(b *testing.B) {
	d := open(b, Options{DType: kernels.BF16})
	tokens := random(b, d, 50257, 768)
	vec, err := d.Load(kernels.Float, kernels.Tensor{Name: "v", Shape: []int{768}, DType: kernels.F32, Data: make([]byte, 4*768)})
	require.NoError(b, err)
	kv, err := d.NewKV(kernels.KVShape{Layers: 1, Blocks: 26, BlockSize: 16, KVHeads: 12, HeadDim: 64})
	require.NoError(b, err)
	for _, rows := range []int{1, 16, 405} {
		x, y, wide, wide2 := newAny(b, d, rows, 768), newAny(b, d, rows, 768), newAny(b, d, rows, 3072), newAny(b, d, rows, 3072)
		qkv := newAny(b, d, rows, 2304)
		for _, op := range []struct {
			name string
			run  func()
		}{
			{"embed", func() { d.Embed(x, tokens, nil) }},
			{"norm", func() { d.Norm(y, x, nil, kernels.Norm{Weight: vec, Bias: vec, Mean: true}, rows) }},
			{"gelu", func() { d.Activate(wide2, wide, kernels.GELUTanh, false, rows) }},
			{"add", func() { d.Add(x, y, rows) }},
			{"store", func() { d.StoreKV(qkv, kv, 0, kernels.Rope{}, kernels.Attn{Heads: 12, KVHeads: 12, HeadDim: 64}) }},
		} {
			b.Run(fmt.Sprintf("rows=%d/op=%s", rows, op.name), func(b *testing.B) {
				s := &kernels.Step{Starts: []int32{0, int32(rows)}, Lens: []int32{int32(rows)}, MaxBlocks: 26}
				for i := range rows {
					s.Tokens = append(s.Tokens, int32(i*7919%50257))
					s.Positions, s.Slots = append(s.Positions, int32(i)), append(s.Slots, int32(i))
				}
				for i := range 26 {
					s.Blocks = append(s.Blocks, int32(i))
				}
				require.NoError(b, d.Begin(s))
				measure(b, 0, 0, op.run)
				require.NoError(b, d.End())
			})
		}
	}
}

// BenchmarkPool is the cost of handing a job to all threads and taking it back.
func BenchmarkPool(b *testing.B) {
	d := open(b, Options{DType: kernels.F32})
	x, y := newAny(b, d, 64, 1024), newAny(b, d, 64, 1024)
	for _, rows := range []int{1, 32} {
		b.Run(fmt.Sprintf("rows=%d/op=add", rows), func(b *testing.B) {
			begin(b, d, 1)
			b.ReportAllocs()
			for b.Loop() {
				d.Add(x, y, rows)
			}
			require.NoError(b, d.End())
		})
	}
}
