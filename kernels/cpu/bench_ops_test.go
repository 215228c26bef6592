//go:build cgo && linux && amd64

package cpu

import (
	"fmt"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
)

// BenchmarkAttention runs one layer's attention of GPT-2 and SmolLM2: decoding
// one token of every sequence, and the prefill of one.
func BenchmarkAttention(b *testing.B) {
	const block = 16
	for _, dtype := range []kernels.DType{kernels.BF16, kernels.F32} {
		for _, isa := range ISAs() {
			if isa == "avx512bf16" && dtype == kernels.F32 {
				continue // the same as avx512
			}
			for _, model := range []struct {
				name string
				a    kernels.Attn
			}{
				{"gpt2", kernels.Attn{Heads: 12, KVHeads: 12, HeadDim: 64, Scale: 0.125}},
				{"smollm2", kernels.Attn{Heads: 9, KVHeads: 3, HeadDim: 64, Scale: 0.125}},
			} {
				for _, c := range []struct {
					name            string
					seqs, rows, len int
				}{{"decode", 1, 1, 405}, {"decode", 1, 1, 4096}, {"decode", 16, 1, 405}, {"prefill", 1, 405, 405}, {"prefill", 1, 64, 4096}} {
					b.Run(fmt.Sprintf("dtype=%v/isa=%s/model=%s/seqs=%d/len=%d/op=%s", dtype, isa, model.name, c.seqs, c.len, c.name), func(b *testing.B) {
						attend(b, open(b, Options{DType: dtype, ISA: isa}), c.seqs, c.rows, c.len, model.a, block, isa == "avx512bf16")
					})
				}
			}
		}
	}
}

// fill gives a cache memory of its own, of small numbers: what was never written
// is one page of zeros, which is always in a cache of the CPU.
func fill(c kernels.KV) {
	of, sh := c.(*kv), c.Shape() // blocks and heads are whole units here
	bytes := 2 * sh.Layers * sh.Blocks * sh.BlockSize * sh.KVHeads * sh.HeadDim * of.dev.dtype.Size()
	words := unsafe.Slice((*uint32)(of.c.data), bytes/4)
	for i := range words {
		words[i] = 0x3c003c00 + uint32(i%64)*0x00010001 // 0.0078 to 0.012, in either dtype
	}
}

func attend(b *testing.B, d *device, seqs, rows, length int, a kernels.Attn, block int, dots bool) {
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
	qkv, out := touched(b, d, len(s.Tokens), cols), newAny(b, d, len(s.Tokens), a.Heads*a.HeadDim)
	require.NoError(b, d.Begin(s))
	fill(kv)
	layer := 0
	seen := float64(rows) * (float64(length) - float64(rows-1)/2) // positions, over the rows of a sequence
	w := work{bytes: float64(2 * seqs * length * a.KVHeads * a.HeadDim * d.dtype.Size()), flops: 4 * float64(seqs) * seen * float64(a.Heads*a.HeadDim), dots: dots}
	measure(b, d, w, func() {
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

// BenchmarkRows runs the small operations of a GPT-2 step, and of one so large
// that no cache holds its rows: there the bound is memory, and %peak its share,
// what is read and what is written taken together.
func BenchmarkRows(b *testing.B) {
	const width, wide, heads, e = 768, 3072, 12, 64
	for _, rows := range []int{1, 16, 405, 16384} {
		warm := rows < 16384
		run := func(name string, bytes int, op func(b *testing.B, d *device) func()) {
			b.Run(fmt.Sprintf("rows=%d/op=%s", rows, name), func(b *testing.B) {
				d := open(b, Options{DType: kernels.BF16})
				do := op(b, d)
				s := &kernels.Step{Starts: []int32{0, int32(rows)}, Lens: []int32{int32(rows)}, MaxBlocks: (rows + 15) / 16}
				for i := range rows {
					s.Tokens = append(s.Tokens, int32(i*7919%50257))
					s.Positions, s.Slots = append(s.Positions, int32(i)), append(s.Slots, int32(i))
				}
				for i := range s.MaxBlocks {
					s.Blocks = append(s.Blocks, int32(i))
				}
				require.NoError(b, d.Begin(s))
				measure(b, d, work{bytes: float64(rows * bytes), warm: warm}, do)
				require.NoError(b, d.End())
			})
		}
		run("embed", width*(2+4), func(b *testing.B, d *device) func() {
			x, tokens := touched(b, d, rows, width), random(b, d, 50257, width)
			return func() { d.Embed(x, tokens, nil) }
		})
		for _, delta := range []bool{false, true} {
			name, passes := "norm", 2
			if delta {
				name, passes = "add+norm", 4
			}
			run(name, width*4*passes, func(b *testing.B, d *device) func() {
				vec, err := d.Load(kernels.Float, kernels.Tensor{Name: "v", Shape: []int{width}, DType: kernels.F32, Data: make([]byte, 4*width)})
				require.NoError(b, err)
				x, y := touched(b, d, rows, width), touched(b, d, rows, width)
				var change kernels.Buffer
				if delta {
					change = touched(b, d, rows, width)
				}
				return func() { d.Norm(y, x, change, kernels.Norm{Weight: vec, Bias: vec, Mean: true}, rows) }
			})
		}
		run("gelu", wide*4*2, func(b *testing.B, d *device) func() {
			x, y := touched(b, d, rows, wide), touched(b, d, rows, wide)
			return func() { d.Activate(y, x, kernels.GELUTanh, false, rows) }
		})
		run("silu-gated", wide*4*3, func(b *testing.B, d *device) func() {
			x, y := touched(b, d, rows, 2*wide), touched(b, d, rows, wide)
			return func() { d.Activate(y, x, kernels.SiLU, true, rows) }
		})
		run("add", width*4*3, func(b *testing.B, d *device) func() {
			x, y := touched(b, d, rows, width), touched(b, d, rows, width)
			return func() { d.Add(x, y, rows) }
		})
		for _, dims := range []int{0, e} {
			name, bytes := "store", heads*e*2*(4+2)
			if dims > 0 {
				name, bytes = "rope+store", heads*e*(8+8+4+2*2) // queries and keys are written back
			}
			run(name, bytes, func(b *testing.B, d *device) func() {
				kv, err := d.NewKV(kernels.KVShape{Layers: 1, Blocks: (rows + 15) / 16, BlockSize: 16, KVHeads: heads, HeadDim: e})
				require.NoError(b, err)
				rope := kernels.Rope{Dims: dims}
				if dims > 0 {
					rope.Table, err = d.Load(kernels.Float, kernels.Tensor{Name: "angles", Shape: []int{rows, dims}, DType: kernels.F32, Data: make([]byte, 4*rows*dims)})
					require.NoError(b, err)
				}
				qkv := touched(b, d, rows, 3*heads*e)
				return func() { d.StoreKV(qkv, kv, 0, rope, kernels.Attn{Heads: heads, KVHeads: heads, HeadDim: e}) }
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
