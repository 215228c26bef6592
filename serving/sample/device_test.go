package sample

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/kernels/cuda"
	"servebench/testdata"
)

// deviceRows is how many rows a test draws in one step at most.
const deviceRows = 48

// openDevice opens the GPU of the library under test, or the simulated one.
func openDevice(t *testing.T) kernels.Drawer {
	t.Helper()
	d, err := cuda.New(cuda.Options{Library: testdata.FastCUDA(t), DType: kernels.F32,
		MaxTokens: deviceRows, MaxSeqs: deviceRows, MaxBlocks: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

// drawOn draws a token of each row, ids below vocab, in one step.
func drawOn(t *testing.T, d kernels.Drawer, rows [][]float32, vocab int, draws []Draw) []int32 {
	t.Helper()
	n, width := len(rows), len(rows[0])
	var data []byte
	step := &kernels.Step{MaxBlocks: 1, Starts: []int32{0}}
	for i, row := range rows {
		for _, x := range row {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
		}
		step.Tokens = append(step.Tokens, int32(i))
		step.Positions = append(step.Positions, 0)
		step.Slots = append(step.Slots, int32(i))
		step.Starts = append(step.Starts, int32(i+1))
		step.Lens = append(step.Lens, 1)
		step.Blocks = append(step.Blocks, int32(i))
		step.Out = append(step.Out, int32(i))
	}
	table, err := d.Load(kernels.Float, kernels.Tensor{Name: "logits", Shape: []int{n, width}, DType: kernels.F32, Data: data})
	require.NoError(t, err)
	logits, err := d.NewBuffer(n, width)
	require.NoError(t, err)
	var asked []kernels.Draw
	for _, w := range draws {
		p := w.Params
		asked = append(asked, kernels.Draw{Temperature: p.Temperature, TopP: p.TopP, MinP: p.MinP, TopK: p.TopK, Seed: p.Seed, Index: uint64(w.Index)})
	}
	require.NoError(t, d.Begin(step))
	d.Embed(logits, table, nil)
	d.Draw(logits, vocab, asked)
	require.NoError(t, d.Submit())
	ids, err := d.Drawn()
	require.NoError(t, err)
	return slices.Clone(ids)
}

// deviceLogits makes a row of width logits, of which vocab are in use: behind
// them are larger ones, and some that are not finite.
func deviceLogits(rng *rand.Rand, vocab, width int) []float32 {
	row := make([]float32, width)
	spread := []float64{0, 1e-7, 0.1, 1, 3, 30}[rng.IntN(6)]
	peaks := rng.IntN(2) == 0 // as a trained model has them
	step := []float64{0, 0, 0.125, 1}[rng.IntN(4)]
	for i := range row {
		x := rng.NormFloat64() * spread
		if peaks && rng.IntN(200) == 0 {
			x += 4 + 6*rng.ExpFloat64()
		}
		if step > 0 { // many equal ones
			x = math.Round(x/step) * step
		}
		row[i] = float32(x - 7)
	}
	for i := vocab; i < width; i++ {
		row[i] = []float32{1e4, float32(math.NaN()), float32(math.Inf(1))}[i%3]
	}
	return row
}

// deviceDraw makes a draw of any parameters that a device draws with.
func deviceDraw(rng *rand.Rand, vocab int) Draw {
	p := Params{Temperature: []float64{0, 9e-6, 1e-5, 0.05, 0.3, 0.7, 1, 1.5, 20, 1e6}[rng.IntN(10)], TopP: 1, Seed: rng.Uint64()}
	if rng.IntN(3) > 0 {
		p.TopP = []float64{1e-300, 0.1, 0.5, 0.9, 0.95, 0.99, 0.9999, 1 - 1e-9, rng.Float64() + 1e-9}[rng.IntN(9)]
	}
	if rng.IntN(2) == 0 {
		p.TopK = []int{1, 2, 5, 20, 50, 300, vocab - 1, vocab, vocab + 1, 1 + rng.IntN(vocab)}[rng.IntN(10)]
	}
	if rng.IntN(3) == 0 {
		p.MinP = []float64{1, 0.5, 0.05, 1e-3, 1e-9, 1e-300}[rng.IntN(6)]
	}
	return Draw{Params: p, Index: rng.IntN(1 << 40), Vocab: vocab}
}

// border is how far uniform·total is from the interval of the cumulative weights
// that the id has, as a share of the total: what a sampler that sums in another
// order may be off by. It is 1 for an id that is not a candidate.
func border(s *Sampler, d Draw, id int32) float64 {
	total, sum := 0.0, 0.0
	for _, w := range s.weights {
		total += float64(w)
	}
	at := uniform(d.Params.Seed, d.Index) * total
	for i, w := range s.weights {
		if s.ids[i] == id {
			return max(sum-at, at-(sum+float64(w)), 0) / total
		}
		sum += float64(w)
	}
	return 1
}

// TestDeviceDraws holds that a device draws this package's tokens: others only
// where the order of a sum decides.
func TestDeviceDraws(t *testing.T) {
	dev := openDevice(t)
	var s Sampler
	rng := rand.New(rand.NewPCG(3, 5))
	sizes := []int{1, 2, 31, 32, 33, 255, 256, 257, 4096, 4097, 9000, 32000, 50257}
	for range 30 {
		sizes = append(sizes, 1+rng.IntN(2500))
	}
	drawn, others := 0, 0
	for _, vocab := range sizes {
		n, width := deviceRows, vocab+rng.IntN(5)
		if vocab > 4096 {
			n = 10
		}
		var rows [][]float32
		var draws []Draw
		for range n {
			rows = append(rows, deviceLogits(rng, vocab, width))
			draws = append(draws, deviceDraw(rng, vocab))
		}
		ids := drawOn(t, dev, rows, vocab, draws)
		require.Len(t, ids, n)
		for i, d := range draws {
			drawn++
			want := sample(t, &s, rows[i], d)
			if ids[i] == want {
				continue
			}
			others++
			what := fmt.Sprintf("row %d of %d ids, %+v: got %d, want %d", i, vocab, d, ids[i], want)
			require.False(t, d.Params.Greedy(), what)
			require.LessOrEqual(t, border(&s, d, ids[i]), 1e-9, what)
		}
	}
	require.LessOrEqual(t, others*1000, drawn, "tokens that differ for the order of a sum")
	t.Logf("%d of %d tokens differ", others, drawn)
}

// TestDeviceKeepsAsMany holds the tokens of rows that leave as many candidates as a
// device keeps at hand (kList of draw_block.cuh), and one more or less.
func TestDeviceKeepsAsMany(t *testing.T) {
	dev := openDevice(t)
	rng := rand.New(rand.NewPCG(6, 5))
	const vocab, list = 6001, 3072
	var s Sampler
	var rows [][]float32
	var draws []Draw
	for _, n := range []int{list - 1, list, list + 1} {
		for range 5 {
			row := make([]float32, vocab)
			for i, id := range rng.Perm(vocab) {
				if row[id] = -20; i < n {
					row[id] = rng.Float32()
				}
			}
			rows = append(rows, row)
			draws = append(draws, Draw{Params: Params{Temperature: 1, TopP: 0.9999, Seed: rng.Uint64()}, Vocab: vocab})
		}
	}
	for i, id := range drawOn(t, dev, rows, vocab, draws) {
		if want := sample(t, &s, rows[i], draws[i]); id != want {
			require.LessOrEqual(t, border(&s, draws[i], id), 1e-9, "row %d: got %d, want %d", i, id, want)
		}
	}
}

// TestDeviceDrawsAlone holds that a row's token does not depend on the other rows.
func TestDeviceDrawsAlone(t *testing.T) {
	dev := openDevice(t)
	rng := rand.New(rand.NewPCG(4, 5))
	for _, vocab := range []int{600, 5000} {
		var rows [][]float32
		var draws []Draw
		for range 12 {
			rows = append(rows, deviceLogits(rng, vocab, vocab))
			draws = append(draws, deviceDraw(rng, vocab))
		}
		want := drawOn(t, dev, rows, vocab, draws)
		for i := range rows {
			require.Equal(t, want[i:i+1], drawOn(t, dev, rows[i:i+1], vocab, draws[i:i+1]), "row %d of %d ids", i, vocab)
		}
		slices.Reverse(rows)
		slices.Reverse(draws)
		slices.Reverse(want)
		require.Equal(t, want, drawOn(t, dev, rows, vocab, draws))
	}
}

// TestDeviceNotFinite holds that a row with a logit that is not finite has no
// token, wherever the logit is, and that its neighbours have theirs.
func TestDeviceNotFinite(t *testing.T) {
	dev := openDevice(t)
	rng := rand.New(rand.NewPCG(5, 5))
	const vocab, width = 5001, 5004
	var s Sampler
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		var rows [][]float32
		var draws []Draw
		for _, at := range []int{0, 31, 255, 256, 4095, vocab - 1} {
			for range 2 {
				rows = append(rows, deviceLogits(rng, vocab, width))
				draws = append(draws, deviceDraw(rng, vocab))
			}
			rows[len(rows)-1][at] = float32(bad)
		}
		for i, id := range drawOn(t, dev, rows, vocab, draws) {
			if i%2 == 1 {
				require.EqualValues(t, kernels.NoToken, id, "row %d with a %v", i, bad)
				continue
			}
			if want := sample(t, &s, rows[i], draws[i]); id != want {
				require.LessOrEqual(t, border(&s, draws[i], id), 1e-9, "row %d: got %d, want %d", i, id, want)
			}
		}
	}
}
