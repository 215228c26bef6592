package models_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/testdata"
)

// float32Bound is the largest difference from Transformers' float32 logits that
// is allowed in float32, absolute. Both sides round sums of up to 96 products to
// 2⁻²⁴ of their size; logits are up to 10, and where attention is sharp (scores
// up to 30) the errors of scores, some 2·10⁻⁶, come out several times larger.
// Transformers' own error is the larger part: ref, which sums in float64, comes
// no nearer to it than the others.
const float32Bound = 1e-4

// bfloat16Deviations is the largest difference from Transformers' float32
// logits that is allowed in bfloat16, in units of the row's golden BFloat16
// (plus float32Bound).
//
// bfloat16 has 8 significant bits: storing x moves it by up to half the distance
// between neighbours, 2⁻⁹ to 2⁻⁸ of its size. A device rounds matrices, the rows
// that they multiply, keys and values, queries and perhaps the weights of values
// (package kernels); each rounding's error is a number of its own, as good as
// random. A logit's error is, to first order, the sum of those of some 10⁴ to 10⁵
// roundings, each times how much the logit depends on that number: normally
// distributed, whatever each one is. Its standard deviation cannot be had from
// shapes, since it depends on how sharp attention is: make_models.py finds it with
// Transformers in float64, by drawing all the errors at random 64 times. Nothing
// measured here goes into it.
//
// A model's runs compare some 1.5·10⁴ logits. A normal variable is beyond 4
// deviations in one of them, and beyond 6 with a probability of 2·10⁻⁹ each.
// TestParitySeesMistakes shows that mistakes are larger.
const bfloat16Deviations = 6

// float16Bits is how much finer float16 rounds, which has 11 significant bits:
// errors are as much smaller, to first order.
const float16Bits = 8

// modes are the ways in which an engine computes a sequence. Each returns, for
// every run of the golden file, the logits of its last rows: all of them, or
// those that it computed.
var modes = []struct {
	name string
	run  func(*lab, golden) [][]float32
}{
	{"alone", alone}, {"chunked", chunked}, {"batched", batched}, {"prefix", prefix}, {"preempted", preempted}, {"windowed", windowed},
}

// refUnderRace has the modes that ref computes under the race detector, which
// makes it several times slower. Without, in `make test` too, it does all of them.
var refUnderRace = map[string]bool{"alone": true, "batched": true}

// alone: the prompt in one step, then a token a step.
func alone(l *lab, g golden) (logits [][]float32) {
	for _, r := range g.Runs {
		s := &sequence{ids: r.ids}
		logits = append(logits, l.finish(s, len(r.Prompt), 1))
		l.release(s)
	}
	return logits
}

// chunked: prompt and output in chunks that fit no block.
func chunked(l *lab, g golden) (logits [][]float32) {
	for _, r := range g.Runs {
		s := &sequence{ids: r.ids}
		logits = append(logits, l.finish(s, 5, 1, 16, 3, 7))
		l.release(s)
	}
	return logits
}

// batchedChunks are the tokens a step of each of batched's runs.
var batchedChunks = []int{1, 3, 11}

// batched: all runs in the same steps, prefilling and decoding side by side.
func batched(l *lab, g golden) [][]float32 {
	chunks := batchedChunks
	logits := make([][]float32, len(g.Runs))
	all := make([]*sequence, len(g.Runs))
	for i, r := range g.Runs {
		all[i] = &sequence{ids: r.ids}
	}
	for {
		var parts []part
		var runs []int
		for i, s := range all {
			if n := min(chunks[i%len(chunks)], len(s.ids)-s.done); n > 0 {
				parts, runs = append(parts, part{s, n}), append(runs, i)
			}
		}
		if len(parts) == 0 {
			break
		}
		for i, rows := range l.step(parts...) {
			logits[runs[i]] = append(logits[runs[i]], rows...)
		}
	}
	for _, s := range all {
		l.release(s)
	}
	return logits
}

// prefix: a second sequence takes over the first one's full blocks and computes
// only what follows them, at least one token.
func prefix(l *lab, g golden) (logits [][]float32) {
	for _, r := range g.Runs {
		first := &sequence{ids: r.ids}
		l.finish(first, len(r.Prompt), 1)
		full := (len(r.ids) - 1) / blockSize
		second := &sequence{ids: r.ids, blocks: append([]int32(nil), first.blocks[:full]...), done: full * blockSize}
		logits = append(logits, l.finish(second, 3, 1))
		second.blocks = second.blocks[full:]
		l.release(second)
		l.release(first)
	}
	return logits
}

// preempted: halfway the sequence loses its blocks to another one, which writes
// to them; it is computed again from the start and goes on.
func preempted(l *lab, g golden) (logits [][]float32) {
	for i, r := range g.Runs {
		s := &sequence{ids: r.ids}
		half := len(r.ids) / 2
		l.step(part{s, half})
		had := append([]int32(nil), s.blocks...)
		l.release(s)
		other := &sequence{ids: g.Runs[(i+1)%len(g.Runs)].ids}
		l.step(part{other, min(half, len(other.ids))})
		require.Equal(l.t, had[0], other.blocks[0], "the other sequence must overwrite the first one's blocks")
		rows := l.step(part{s, half})[0]
		logits = append(logits, append(rows, l.finish(s, 1)...))
		l.release(s)
		l.release(other)
	}
	return logits
}

// windowed: as batched, but blocks are freed once they lie before the model's
// window, and given to whoever needs one next. Nil for a model without a window.
func windowed(l *lab, g golden) [][]float32 {
	if l.window = l.m.Window(); l.window == 0 {
		return nil
	}
	defer func() { l.window = 0 }()
	l.held = 0
	logits := batched(l, g)
	limit := 0
	for i := range g.Runs {
		// The first token's window to the last token, and what else is in the blocks at both ends.
		limit += (l.window - 1 + batchedChunks[i] + 2*(blockSize-1)) / blockSize
	}
	require.LessOrEqual(l.t, l.held, limit, "blocks in use")
	return logits
}

// TestWindow: what may be given up of the cache.
func TestWindow(t *testing.T) {
	check := func(model string, want int) {
		t.Helper()
		require.Equal(t, want, newLab(t, devices(kernels.F32)[0].open(t), tiny(t, model)).m.Window(), model)
	}
	check("tiny-llama", 0)
	check("tiny-mistral", 13)
	check("tiny-qwen2-window", 0) // its first layer sees everything
}

// compare returns the largest difference from the golden logits of the run's
// last rows and its share of what is allowed; both are NaN if one is.
func (r *goldenRun) compare(t *testing.T, got []float32, dtype kernels.DType) (worst, share float64) {
	t.Helper()
	vocab := len(r.want) / len(r.ids)
	require.NotEmpty(t, got)
	require.Zero(t, len(got)%vocab)
	first := len(r.want) - len(got)
	for i, v := range got {
		diff := math.Abs(float64(v) - float64(r.want[first+i]))
		allowed := float32Bound
		switch dtype {
		case kernels.BF16:
			allowed += bfloat16Deviations * r.BFloat16[(first+i)/vocab]
		case kernels.F16:
			allowed += bfloat16Deviations * r.BFloat16[(first+i)/vocab] / float16Bits
		}
		worst, share = max(worst, diff), max(share, diff/allowed)
	}
	return worst, share
}

// compareAll is compare over all runs.
func (g golden) compareAll(t *testing.T, got [][]float32, dtype kernels.DType) (worst, share float64) {
	t.Helper()
	require.Len(t, got, len(g.Runs))
	for i, r := range g.Runs {
		w, s := r.compare(t, got[i], dtype)
		worst, share = max(worst, w), max(share, s)
	}
	return worst, share
}

// TestParity compares the logits of every tiny model, on every device, in all of its
// dtypes and in every mode with Transformers', and every mode with the first,
// which it must equal to the last bit, unless the device varies. `make parity`
// prints the table.
func TestParity(t *testing.T) {
	table := &strings.Builder{}
	fmt.Fprintf(table, "| %-18s | %-15s | %-8s | %-7s |", "model", "device", "dtype", "largest")
	for _, mode := range modes {
		fmt.Fprintf(table, " %9s |", mode.name)
	}
	for _, model := range tinyModels(t) {
		g := readGolden(t, model)
		for _, dtype := range []kernels.DType{kernels.F32, kernels.BF16, kernels.F16} {
			for _, dev := range devices(dtype) {
				g := g
				t.Run(fmt.Sprintf("%s/%s/%s", model, dtype, dev.name), func(t *testing.T) {
					l := newLab(t, dev.open(t), tiny(t, model))
					line := &strings.Builder{}
					largest := 0.0
					var want [][]float32
					for _, mode := range modes {
						if want != nil && dev.name == "ref" {
							g.Runs = g.Runs[:2] // the longest run once: ref is slow
						}
						var got [][]float32
						if dev.name != "ref" || !testdata.Race || refUnderRace[mode.name] {
							got = mode.run(l, g)
						}
						if got == nil {
							fmt.Fprintf(line, " %9s |", "-")
							continue
						}
						worst, share := g.compareAll(t, got, dtype)
						largest = max(largest, worst)
						fmt.Fprintf(line, " %8.1f%% |", 100*share)
						require.True(t, share <= 1, "%s: an error of %.2g is %.0f%% of the allowed (NaN: one of the logits is)", mode.name, worst, 100*share)
						if want == nil {
							want = got
						}
						for i := range got {
							if dev.varies {
								break
							}
							require.Equal(t, bits(want[i][len(want[i])-len(got[i]):]), bits(got[i]), "%s, run %d: not the bits of alone", mode.name, i)
						}
					}
					fmt.Fprintf(table, "\n| %-18s | %-15s | %-8s | %-7.1e |%s", model, dev.name, dtype, largest, line)
				})
			}
		}
	}
	t.Logf("largest error, and by mode its share of what is allowed (every mode gives the same bits; prefix, and ref but alone, computes fewer rows)\n%s", table)
}

func bits(x []float32) []uint32 {
	b := make([]uint32, len(x))
	for i, v := range x {
		b[i] = math.Float32bits(v)
	}
	return b
}
