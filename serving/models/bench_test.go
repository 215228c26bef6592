package models_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/kernels/cpu"
	"servebench/serving/models"
	"servebench/serving/weights"
)

// forwards are the steps that BenchmarkForward runs: sequences, rows of each and
// the context that they have at the end of the step.
var forwards = []struct {
	op               string
	seqs, rows, lens int
}{
	{"decode", 1, 1, 64}, {"decode", 4, 1, 64}, {"decode", 16, 1, 64}, {"decode", 64, 1, 64}, {"decode", 16, 1, 460},
	{"prefill", 1, 21, 21}, {"prefill", 1, 405, 405},
}

// BenchmarkForward runs whole steps of GPT-2's and SmolLM2's shapes in bfloat16,
// with random weights. tok/s are rows a second. %peak is the share of the time
// that the machine's limits, measured beside it, allow: that of reading every
// matrix and cached key and value once, or that of the products and attention in
// bfloat16 dot products, whichever is longer.
func BenchmarkForward(b *testing.B) {
	if len(cpu.ISAs()) == 0 {
		b.Skip("SKIPPED, not measured here: the C kernels are unavailable")
	}
	probe, err := cpu.NewProbe(0, false)
	require.NoError(b, err)
	defer probe.Close()
	var read, dot float64 // a second, the most that was seen
	for _, name := range []string{"gpt2", "smollm2-135m-instruct"} {
		dev, err := cpu.New(cpu.Options{DType: kernels.BF16})
		require.NoError(b, err)
		ck, err := weights.Open(b.Context(), name, weights.Options{LoadFormat: weights.Dummy})
		require.NoError(b, err)
		const blocks, size = 64 * 30, 16
		m, err := models.Open(dev, ck, models.Limits{MaxTokens: 512, MaxSeqs: 64, Blocks: blocks, BlockSize: size})
		require.NoError(b, err)
		require.NoError(b, ck.Close())
		for _, f := range forwards {
			b.Run(fmt.Sprintf("model=%s/seqs=%d/rows=%d/len=%d/op=%s", name, f.seqs, f.rows, f.lens, f.op), func(b *testing.B) {
				s := forwardStep(f.seqs, f.rows, f.lens, size)
				// Cache that was never written is one page of zeros, always at hand.
				for n := size; n <= f.lens; n += size {
					must(b, m, forwardStep(f.seqs, 1, n, size))
				}
				must(b, m, s)
				for range 4 { // what disturbs a measurement makes it slower
					read, dot = max(read, probe.Read()), max(dot, probe.Dot(), probe.FMA())
				}
				best := time.Duration(math.MaxInt64)
				for b.Loop() {
					start := time.Now()
					must(b, m, s)
					best = min(best, time.Since(start))
				}
				for range 4 {
					read, dot = max(read, probe.Read()), max(dot, probe.Dot(), probe.FMA())
				}
				bytes, flops := forwardWork(m.Spec(), f.seqs, f.rows, f.lens)
				bound := max(bytes/read, flops/dot)
				rows := float64(len(s.Tokens))
				b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "tok/s")
				b.ReportMetric(rows/best.Seconds(), "best-tok/s")
				b.ReportMetric(bytes/best.Seconds()/1e9, "best-GB/s")
				b.ReportMetric(flops/best.Seconds()/1e9, "best-GFLOP/s")
				b.ReportMetric(100*bound/best.Seconds(), "%peak")
			})
		}
		require.NoError(b, dev.Close())
	}
}

func must(b *testing.B, m *models.Model, s *kernels.Step) {
	_, err := m.Forward(s)
	require.NoError(b, err)
}

// forwardStep is the last rows of sequences of so many tokens, the last one of
// each wanted.
func forwardStep(seqs, rows, length, block int) *kernels.Step {
	per := (length + block - 1) / block
	s := &kernels.Step{MaxBlocks: per, Starts: []int32{0}}
	for q := range seqs {
		for i := range per {
			s.Blocks = append(s.Blocks, int32(i*seqs+q)) // as sequences that grow together have them
		}
		for p := length - rows; p < length; p++ {
			s.Tokens = append(s.Tokens, int32((q*131+p*7919)%40000))
			s.Positions = append(s.Positions, int32(p))
			s.Slots = append(s.Slots, s.Blocks[q*per+p/block]*int32(block)+int32(p%block))
		}
		s.Starts, s.Lens = append(s.Starts, int32(len(s.Tokens))), append(s.Lens, int32(length))
		s.Out = append(s.Out, int32(len(s.Tokens)-1))
	}
	return s
}

// forwardWork is what a step in bfloat16 must read, in bytes, and compute, in
// floating-point operations: behind the last layer's keys and values for the rows
// alone that want logits, one a sequence.
func forwardWork(spec models.Spec, seqs, rows, length int) (bytes, flops float64) {
	a, up := spec.Attn, spec.FFN
	if spec.FFNGated {
		up *= 2
	}
	qkv, rest := spec.Width*(a.Heads+2*a.KVHeads)*a.HeadDim, a.Heads*a.HeadDim*spec.Width+(up+spec.FFN)*spec.Width
	matrices, head := float64(spec.Layers*(qkv+rest)), float64(spec.Vocab*spec.Width)
	products := float64(seqs*rows)*(matrices-float64(rest)) + float64(seqs)*(float64(rest)+head)
	cached := float64(2 * spec.Layers * seqs * length * a.KVHeads * a.HeadDim)
	seen := float64(seqs*rows) * (float64(length) - float64(rows-1)/2) // positions, over all rows
	return 2 * (matrices + head + cached),
		2*products + 4*seen*float64(spec.Layers*a.Heads*a.HeadDim)
}
