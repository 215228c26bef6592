package cuda

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/testdata"
)

// benchSteps are the sizes of the steps that benchmarks run.
var benchSteps = Options{MaxTokens: 2048, MaxSeqs: 64, MaxBlocks: 512}

// benchBlock is the tokens of a KV block.
const benchBlock = 16

// benched is the GPU that benchmarks run on, with what it does at most.
type benched struct {
	*Device
	about          About
	read, fma, dot float64 // a second, the most that was seen
}

// openBench opens the GPU of the library under test. On the simulated device, where
// figures say nothing, benchmarks are run only to show that they run.
func openBench(b *testing.B, dtype kernels.DType) *benched {
	b.Helper()
	o := benchSteps
	o.Library, o.DType = testdata.CUDA(b), dtype
	d, err := New(o)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, d.Close()) })
	about, err := d.About()
	require.NoError(b, err)
	if about.Simulated && os.Getenv("SERVEBENCH_CUDA_SIM") != "required" {
		b.Skip("SKIPPED, not measured here: $SERVEBENCH_CUDA_LIBRARY does not name the library of `make cuda`, and a simulated device has no speed")
	}
	return &benched{Device: d, about: about}
}

// look measures the limits again: a benchmark does so before and after it runs,
// since what disturbs a measurement makes it slower.
func (d *benched) look(b *testing.B) {
	for l, best := range map[Limit]*float64{LimitRead: &d.read, LimitFMA: &d.fma, LimitDot: &d.dot} {
		v, err := d.Limit(l)
		require.NoError(b, err)
		*best = max(*best, v)
	}
}

// small is n on a GPU, and less of it on the simulated device, which would take
// minutes: there a benchmark shows that it runs, and its figures are of no use.
func (d *benched) small(n int) int {
	if d.about.Simulated {
		return max(1, min(n, 8+n/64))
	}
	return n
}

// benchWork is what an operation must do at least.
type benchWork struct {
	bytes float64 // read from memory, or written to it
	flops float64
	dots  bool // on tensor cores; else in float32
	warm  bool // bytes may lie in the second-level cache: memory is no bound
}

// measure times an operation of a step that is queued many times over, by the GPU's
// own clock, and reports what it read and computed in the best round. %peak is the
// time that the limits measured beside it allow, as a share of that round's.
func (d *benched) measure(b *testing.B, w benchWork, s *kernels.Step, op func()) {
	d.look(b)
	require.NoError(b, d.Begin(s))
	times := d.small(20)
	round := func() float64 {
		sec, err := d.Time(func() {
			for range times {
				op()
			}
		})
		require.NoError(b, err)
		return sec / float64(times)
	}
	round()
	best := math.Inf(1)
	for b.Loop() {
		best = min(best, round())
	}
	require.NoError(b, d.End())
	d.look(b)
	d.report(b, w, best)
}

// report adds what a measurement gave.
func (d *benched) report(b *testing.B, w benchWork, sec float64) {
	peak := d.fma
	if w.dots {
		peak = d.dot
	}
	bound := w.flops / peak
	if !w.warm {
		bound = max(bound, w.bytes/d.read)
	}
	b.ReportMetric(0, "ns/op") // of rounds, and of waiting for them
	b.ReportMetric(sec*1e6, "µs")
	if w.bytes > 0 {
		b.ReportMetric(w.bytes/sec/1e9, "GB/s")
	}
	if w.flops > 0 {
		b.ReportMetric(w.flops/sec/1e12, "TFLOP/s")
	}
	if bound > 0 {
		b.ReportMetric(100*bound/sec, "%peak")
	}
}

// copies is how many of something no second-level cache holds, three times over.
func (d *benched) copies(bytes int) int {
	if d.about.Simulated {
		return 1
	}
	return 1 + 3*d.about.L2/bytes
}

// numbers are n elements of a dtype, small and random: a GPU's clock, and so its
// speed, depends on how many bits change.
func numbers(dtype kernels.DType, n int) []byte {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	data := make([]byte, n*dtype.Size())
	for i := range n {
		v := (rng.Float32() - 0.5) / 32
		switch dtype {
		case kernels.F32:
			*(*float32)(unsafe.Pointer(&data[4*i])) = v
		case kernels.BF16:
			*(*uint16)(unsafe.Pointer(&data[2*i])) = kernels.BF16FromF32(v)
		default:
			*(*uint16)(unsafe.Pointer(&data[2*i])) = kernels.F16FromF32(v)
		}
	}
	return data
}

// matrices are copies of one matrix at places of their own.
func (d *benched) matrices(b *testing.B, n, k int) []kernels.Weight {
	data := numbers(d.DType(), n*k)
	all := make([]kernels.Weight, d.copies(len(data)))
	for i := range all {
		var err error
		all[i], err = d.Load(kernels.Matrix, kernels.Tensor{Name: "matrix", Shape: []int{n, k}, DType: d.DType(), Data: data})
		require.NoError(b, err)
	}
	return all
}

// float is a table of small numbers.
func (d *benched) float(b *testing.B, shape ...int) kernels.Weight {
	n := 1
	for _, s := range shape {
		n *= s
	}
	w, err := d.Load(kernels.Float, kernels.Tensor{Name: "table", Shape: shape, DType: kernels.F32, Data: numbers(kernels.F32, n)})
	require.NoError(b, err)
	return w
}

// rows is a buffer of small numbers.
func (d *benched) rows(b *testing.B, rows, cols int) kernels.Buffer {
	buf, err := d.NewBuffer(rows, cols)
	require.NoError(b, err)
	table := d.float(b, 64, cols)
	s := rowsOf(rows)
	for i := range s.Tokens {
		s.Tokens[i] = int32(i % 64)
	}
	require.NoError(b, d.Begin(s))
	d.Embed(buf, table, nil)
	require.NoError(b, d.End())
	return buf
}

// rowsOf is a step of one sequence of n rows.
func rowsOf(n int) *kernels.Step { return stepOf(1, n, n) }

// stepOf is the last rows of sequences of so many tokens, with the last row of each
// wanted. Their blocks lie as those of sequences that grow together.
func stepOf(seqs, rows, length int) *kernels.Step {
	per := (length + benchBlock - 1) / benchBlock
	s := &kernels.Step{MaxBlocks: per, Starts: []int32{0}}
	for q := range seqs {
		for i := range per {
			s.Blocks = append(s.Blocks, int32(i*seqs+q))
		}
		for p := length - rows; p < length; p++ {
			s.Tokens, s.Positions = append(s.Tokens, int32(q)), append(s.Positions, int32(p))
			s.Slots = append(s.Slots, s.Blocks[q*per+p/benchBlock]*benchBlock+int32(p%benchBlock))
		}
		s.Starts, s.Lens = append(s.Starts, int32(len(s.Tokens))), append(s.Lens, int32(length))
		s.Out = append(s.Out, int32(len(s.Tokens)-1))
	}
	return s
}

// filled is a cache of so many layers that no second-level cache holds what an
// attention of seqs sequences reads, all of it written.
func (d *benched) filled(b *testing.B, seqs, length int, a kernels.Attn) kernels.KV {
	per := (length + benchBlock - 1) / benchBlock
	shape := kernels.KVShape{Layers: d.copies(2 * seqs * length * a.KVHeads * a.HeadDim * d.DType().Size()),
		Blocks: per * seqs, BlockSize: benchBlock, KVHeads: a.KVHeads, HeadDim: a.HeadDim}
	kv, err := d.NewKV(shape)
	require.NoError(b, err)
	most := min(shape.Blocks*benchBlock, benchSteps.MaxTokens)
	qkv := d.rows(b, most, (a.Heads+2*a.KVHeads)*a.HeadDim)
	for first := 0; first < shape.Blocks*benchBlock; first += most {
		s := rowsOf(min(most, shape.Blocks*benchBlock-first))
		for i := range s.Blocks {
			s.Blocks[i] += int32(first / benchBlock)
		}
		for i := range s.Slots {
			s.Slots[i] += int32(first)
		}
		require.NoError(b, d.Begin(s))
		for layer := range shape.Layers {
			d.StoreKV(qkv, kv, layer, kernels.Rope{}, a)
		}
		require.NoError(b, d.End())
	}
	return kv
}

// BenchmarkLimits is what the GPU does at most.
func BenchmarkLimits(b *testing.B) {
	for _, dtype := range []kernels.DType{kernels.BF16, kernels.F16, kernels.F32} {
		b.Run(fmt.Sprintf("dtype=%v", dtype), func(b *testing.B) {
			d := openBench(b, dtype)
			for b.Loop() {
				d.look(b)
			}
			b.Logf("%s; data sheet: %.0f GB/s", d.Name(), d.about.PeakRead/1e9)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(d.read/1e9, "read-GB/s")
			b.ReportMetric(d.fma/1e12, "fma-TFLOP/s")
			b.ReportMetric(d.dot/1e12, "dot-TFLOP/s")
		})
	}
}
