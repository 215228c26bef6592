package cuda

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
)

// benchMatrices are the matrices of a layer and of the head.
var benchMatrices = []struct {
	model string
	op    string
	n, k  int
}{
	{"llama-2-7b", "qkv", 12288, 4096}, {"llama-2-7b", "out", 4096, 4096}, {"llama-2-7b", "up", 22016, 4096},
	{"llama-2-7b", "down", 4096, 11008}, {"llama-2-7b", "head", 32000, 4096},
	{"gpt2", "qkv", 2304, 768}, {"gpt2", "down", 768, 3072}, {"gpt2", "head", 50257, 768},
}

// BenchmarkMatMul multiplies by matrices that no cache holds: 1 to 16 rows by the
// kernels that are bound by reading them, more by cuBLASLt.
func BenchmarkMatMul(b *testing.B) {
	for _, dtype := range []kernels.DType{kernels.BF16, kernels.F16, kernels.F32} {
		for i, m := range benchMatrices {
			if dtype != kernels.BF16 && i > 0 {
				continue // the other types have one
			}
			b.Run(fmt.Sprintf("dtype=%v/model=%s/size=%dx%d/op=%s", dtype, m.model, m.k, m.n, m.op), func(b *testing.B) {
				d := openBench(b, dtype)
				w := d.matrices(b, d.small(m.n), d.small(m.k))
				for _, rows := range []int{1, 2, 4, 8, 16, 17, 64, 512, 2048} {
					b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) { multiply(b, d, w, d.small(rows)) })
				}
			})
		}
	}
}

func multiply(b *testing.B, d *benched, w []kernels.Weight, rows int) {
	n, k := w[0].Dims()
	x := d.rows(b, rows, k)
	out, err := d.NewBuffer(rows, n)
	require.NoError(b, err)
	next := 0
	size := float64(d.DType().Size())
	work := benchWork{bytes: float64(n*k)*size + 4*float64(rows*(n+k)), flops: 2 * float64(rows*n*k), dots: d.DType() != kernels.F32}
	d.measure(b, work, rowsOf(rows), func() {
		d.MatMul(out, x, w[next], nil, rows)
		next = (next + 1) % len(w)
	})
}

// BenchmarkAttention runs one layer's attention: decoding one token of every
// sequence, and prefilling prompts, whole or the end of a long one.
func BenchmarkAttention(b *testing.B) {
	for _, model := range []struct {
		name string
		a    kernels.Attn
	}{
		{"llama-2-7b", kernels.Attn{Heads: 32, KVHeads: 32, HeadDim: 128, Scale: 0.088}},
		{"mistral-7b", kernels.Attn{Heads: 32, KVHeads: 8, HeadDim: 128, Scale: 0.088}},
		{"gpt2", kernels.Attn{Heads: 12, KVHeads: 12, HeadDim: 64, Scale: 0.125}},
	} {
		for _, c := range []struct {
			op                 string
			seqs, rows, length int
		}{
			{"decode", 1, 1, 512}, {"decode", 1, 1, 4096}, {"decode", 4, 1, 1024}, {"decode", 16, 1, 1024}, {"decode", 64, 1, 1024},
			{"prefill", 1, 128, 128}, {"prefill", 1, 2048, 2048}, {"prefill", 1, 512, 4096}, {"prefill", 4, 512, 512},
		} {
			b.Run(fmt.Sprintf("dtype=bfloat16/model=%s/seqs=%d/rows=%d/len=%d/op=%s", model.name, c.seqs, c.rows, c.length, c.op), func(b *testing.B) {
				attend(b, openBench(b, kernels.BF16), c.seqs, c.rows, c.length, model.a)
			})
		}
	}
}

func attend(b *testing.B, d *benched, seqs, rows, length int, a kernels.Attn) {
	seqs, length = d.small(seqs), d.small(length)
	rows = min(rows, length)
	kv := d.filled(b, seqs, length, a)
	qkv := d.rows(b, seqs*rows, (a.Heads+2*a.KVHeads)*a.HeadDim)
	out, err := d.NewBuffer(seqs*rows, a.Heads*a.HeadDim)
	require.NoError(b, err)
	seen := float64(rows) * (float64(length) - float64(rows-1)/2) // positions, over the rows of a sequence
	work := benchWork{
		bytes: float64(2*seqs*length*a.KVHeads*a.HeadDim*d.DType().Size()) + 8*float64(seqs*rows*a.Heads*a.HeadDim),
		flops: 4 * float64(seqs) * seen * float64(a.Heads*a.HeadDim), dots: rows > 1,
	}
	layer := 0
	d.measure(b, work, stepOf(seqs, rows, length), func() {
		d.Attention(out, qkv, kv, layer, a)
		layer = (layer + 1) % kv.Shape().Layers
	})
}

// BenchmarkRows runs the small operations of a step of Llama-2-7B's widths. Their
// rows lie in the second-level cache but for the most rows, where the bound is
// memory.
func BenchmarkRows(b *testing.B) {
	const width, wide = 4096, 11008
	a := kernels.Attn{Heads: 32, KVHeads: 32, HeadDim: 128}
	for _, rows := range []int{1, 16, 64, 2048} {
		run := func(op string, bytes int, prepare func(b *testing.B, d *benched, rows int) func()) {
			b.Run(fmt.Sprintf("rows=%d/op=%s", rows, op), func(b *testing.B) {
				d := openBench(b, kernels.BF16)
				rows, warm := d.small(rows), rows < 2048
				do := prepare(b, d, rows)
				d.measure(b, benchWork{bytes: float64(rows * bytes), warm: warm}, rowsOf(rows), do)
			})
		}
		run("embed", width*(2+4), func(b *testing.B, d *benched, rows int) func() {
			x, table := d.rows(b, rows, width), d.matrices(b, 512, width)[0]
			return func() { d.Embed(x, table, nil) }
		})
		run("add+rms", width*4*4, func(b *testing.B, d *benched, rows int) func() {
			x, y, delta, w := d.rows(b, rows, width), d.rows(b, rows, width), d.rows(b, rows, width), d.float(b, width)
			return func() { d.Norm(y, x, delta, kernels.Norm{Weight: w, Eps: 1e-5}, rows) }
		})
		run("layernorm", width*4*2, func(b *testing.B, d *benched, rows int) func() {
			x, y, w := d.rows(b, rows, width), d.rows(b, rows, width), d.float(b, width)
			return func() { d.Norm(y, x, nil, kernels.Norm{Weight: w, Bias: w, Eps: 1e-5, Mean: true}, rows) }
		})
		run("silu-gated", wide*4*3, func(b *testing.B, d *benched, rows int) func() {
			x, y := d.rows(b, rows, 2*wide), d.rows(b, rows, wide)
			return func() { d.Activate(y, x, kernels.SiLU, true, rows) }
		})
		run("gelu", wide*4*2, func(b *testing.B, d *benched, rows int) func() {
			x, y := d.rows(b, rows, wide), d.rows(b, rows, wide)
			return func() { d.Activate(y, x, kernels.GELUTanh, false, rows) }
		})
		run("add", width*4*3, func(b *testing.B, d *benched, rows int) func() {
			x, y := d.rows(b, rows, width), d.rows(b, rows, width)
			return func() { d.Add(x, y, rows) }
		})
		run("rope+store", 32*128*(8+8+4+2*2), func(b *testing.B, d *benched, rows int) func() {
			kv, err := d.NewKV(kernels.KVShape{Layers: 1, Blocks: (rows + benchBlock - 1) / benchBlock, BlockSize: benchBlock, KVHeads: a.KVHeads, HeadDim: a.HeadDim})
			require.NoError(b, err)
			qkv, rope := d.rows(b, rows, 3*width), kernels.Rope{Dims: a.HeadDim, Table: d.float(b, rows, a.HeadDim)}
			return func() { d.StoreKV(qkv, kv, 0, rope, a) }
		})
	}
}

// BenchmarkDraw draws a token for each row of Llama-2-7B's 32000 logits.
func BenchmarkDraw(b *testing.B) {
	for _, c := range []struct {
		how string
		d   kernels.Draw
	}{
		{"greedy", kernels.Draw{TopP: 1}},
		{"temperature", kernels.Draw{Temperature: .8, TopP: 1}},
		{"top-p", kernels.Draw{Temperature: .8, TopP: .95}},
		{"top-k+top-p", kernels.Draw{Temperature: .8, TopP: .95, TopK: 40}},
		{"min-p", kernels.Draw{Temperature: .8, TopP: 1, MinP: .05}},
	} {
		for _, rows := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("rows=%d/op=%s", rows, c.how), func(b *testing.B) {
				d := openBench(b, kernels.BF16)
				rows, vocab := d.small(rows), d.small(32000)
				logits := d.rows(b, rows, vocab)
				draws := make([]kernels.Draw, rows)
				d.look(b)
				best, drawn := math.Inf(1), uint64(0)
				for b.Loop() {
					for i := range draws {
						draws[i] = c.d
						draws[i].Seed, draws[i].Index = uint64(i), drawn
					}
					drawn++
					require.NoError(b, d.Begin(stepOf(rows, 1, 1)))
					sec, err := d.Time(func() { d.Draw(logits, vocab, draws) })
					require.NoError(b, err)
					require.NoError(b, d.Submit())
					ids, err := d.Drawn()
					require.NoError(b, err)
					require.Len(b, ids, rows)
					best = min(best, sec)
				}
				d.report(b, benchWork{bytes: 4 * float64(rows*vocab), warm: true}, best)
			})
		}
	}
}

// BenchmarkLoad puts a matrix on the GPU in each way that checkpoints have it. GB/s
// are of what the host reads.
func BenchmarkLoad(b *testing.B) {
	for _, from := range []kernels.DType{kernels.BF16, kernels.F32} {
		for layout, op := range []string{kernels.Matrix: "matrix", kernels.MatrixT: "transposed"} {
			b.Run(fmt.Sprintf("dtype=bfloat16/from=%v/op=%s", from, op), func(b *testing.B) {
				d := openBench(b, kernels.BF16)
				n, k := d.small(16384), d.small(4096)
				t := kernels.Tensor{Name: "w", Shape: []int{n, k}, DType: from, Data: numbers(from, n*k)}
				best := math.Inf(1)
				for b.Loop() {
					began := time.Now()
					w, err := d.Load(kernels.Layout(layout), t)
					require.NoError(b, err)
					require.NoError(b, d.settle())
					best = min(best, time.Since(began).Seconds())
					require.NoError(b, d.do("giving back a matrix", fnFree, d.ctx, uintptr(w.(*weight).c.data)))
				}
				d.report(b, benchWork{bytes: float64(len(t.Data)), warm: true}, best)
			})
		}
	}
}
