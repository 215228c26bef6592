package sample

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func isKnown(err error) bool { return errors.Is(err, ErrNotFinite) || errors.Is(err, ErrNoToken) }

// gaussian logits, which are flatter than a trained model's: some thousands of 50,257 hold
// nearly all of the probability.
func gaussian(n int) []float32 {
	rng := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64()*3 - 30)
	}
	return x
}

// TestPhilox holds the known answers that come with Random123.
func TestPhilox(t *testing.T) {
	const f = 0xffffffff
	for _, c := range []struct {
		counter [4]uint32
		key     [2]uint32
		want    [4]uint32
	}{
		{[4]uint32{}, [2]uint32{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{[4]uint32{f, f, f, f}, [2]uint32{f, f}, [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{
			[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
			[2]uint32{0xa4093822, 0x299f31d0},
			[4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
		},
	} {
		require.Equalf(t, c.want, philox(c.counter, c.key), "for counter %x", c.counter)
	}
}

func TestUniform(t *testing.T) {
	seen := map[float64]bool{}
	for seed := range uint64(100) {
		for index := range 100 {
			u := uniform(seed<<32|seed, index<<31)
			require.True(t, u >= 0 && u < 1)
			require.False(t, seen[u], "two of 10,000 seeds and indices have one number")
			seen[u] = true
		}
	}
}

func TestExp(t *testing.T) {
	worst := 0.0
	const n = 1_000_000
	for i := range n + 1 {
		x := leastExponent * float64(i) / n
		want := math.Exp(x)
		worst = max(worst, math.Abs(float64(exp(x))-want)/want)
	}
	t.Logf("largest error %.3g, %.0f%% of what is allowed", worst, 100*worst/expError)
	require.Less(t, worst, expError)
	require.Equal(t, float32(1), exp(0))
}

func TestWiden(t *testing.T) {
	const smallest = 0x1p-126 // normal
	for _, x := range []float32{1, -1, 0.1, -30.25, 1e-30, smallest, -smallest, math.MaxFloat32, -math.MaxFloat32} {
		require.Equal(t, float64(x), widen(x))
	}
	for _, x := range []float32{0, float32(math.Copysign(0, -1)), 1e-45, -1e-39} {
		require.InDeltaf(t, float64(x), widen(x), smallest, "for %v", x)
	}
	require.Equal(t, 0x1p128, widen(inf))
	require.Equal(t, -0x1p128, widen(-inf))
}

func TestOrder(t *testing.T) {
	x := []float32{-inf, -math.MaxFloat32, -1, -1e-45, 0, 1e-45, 0.5, 1, math.MaxFloat32, inf}
	for i := range x[1:] {
		require.Lessf(t, order(x[i]), order(x[i+1]), "%v and %v", x[i], x[i+1])
	}
	for _, v := range x {
		require.Equal(t, v, value32(order(v)))
	}
}

// TestCut compares with a sort.
func TestCut(t *testing.T) {
	var c cut
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 9))
		x := make([]float32, 1+rng.IntN(400))
		weighted := seed%2 == 0
		var total float64
		for i := range x {
			x[i] = float32(rng.NormFloat64())
			if rng.IntN(2) == 0 {
				x[i] = float32(math.Ceil(8*float64(x[i])) / 8) // many equal ones, zeros among them
			}
			if weighted {
				x[i] = float32(math.Exp(float64(x[i]) * float64(rng.IntN(20))))
			}
			total += float64(x[i])
		}
		wanted := float64(1 + rng.IntN(len(x)))
		if weighted {
			wanted = total * rng.Float64()
		}
		sorted := slices.Clone(x)
		slices.Sort(sorted)
		slices.Reverse(sorted)
		value, above, sum := sorted[len(sorted)-1], 0.0, 0.0
		for i, v := range sorted {
			if i == 0 || v != sorted[i-1] {
				above = sum
			}
			if weighted {
				sum += float64(v)
			} else {
				sum++
			}
			if sum >= wanted {
				value = v
				break
			}
		}
		var masses []float32
		if weighted {
			masses = x
		}
		got, gotAbove := c.find(x, masses, wanted)
		require.Equalf(t, value, got, "seed %d: value", seed)
		require.InDeltaf(t, above, gotAbove, 1e-9*(1+above), "seed %d: mass above", seed)
	}
	value, above := c.find([]float32{3, 1, 2}, nil, 99)
	require.Equal(t, float32(1), value, "more than there is")
	require.Equal(t, 2.0, above, "more than there is")
}

// TestTopK compares with a sort, over orders and equals that fill its buffer.
func TestTopK(t *testing.T) {
	var s Sampler
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 11))
		x := make([]float32, 1+rng.IntN(3000))
		distinct := 1 << (1 + rng.IntN(11))
		for i := range x {
			x[i] = float32(rng.IntN(distinct)) - 3
			if seed%2 == 0 && rng.IntN(20) > 0 { // more of one than a buffer holds, and some above it
				x[i] = -2
			}
		}
		switch rng.IntN(4) {
		case 0:
			slices.Sort(x)
		case 1:
			slices.Sort(x)
			slices.Reverse(x)
		}
		if rng.IntN(3) == 0 {
			x[rng.IntN(len(x))] = -inf // banned
		}
		sorted := slices.Sorted(slices.Values(x))
		for _, k := range []int{1, 2, 1 + rng.IntN(len(x)), 1 + rng.IntN(1+len(x)/8)} {
			want := sorted[len(x)-min(k, len(x))]
			if k >= len(x) {
				want = -inf
			}
			require.Equalf(t, want, s.topK(x, k), "seed %d, k %d of %d", seed, k, len(x))
		}
	}
}

func BenchmarkSample(b *testing.B) {
	const vocab = 50257 // GPT-2's
	flat := make([]float32, vocab)
	topP := Params{Temperature: 0.9, TopP: 0.95}
	penalised := topP
	penalised.RepetitionPenalty, penalised.FrequencyPenalty = 1.1, 0.2
	biased := topP
	biased.Bias = []Bias{{11, 2}, {700, -100}}
	for _, c := range []struct {
		name   string
		logits []float32
		p      Params
	}{
		{"greedy", gaussian(vocab), Params{TopP: 1}},
		{"temperature", gaussian(vocab), Params{Temperature: 0.9, TopP: 1}},
		{"top-p", gaussian(vocab), topP},
		{"top-p,flat", flat, topP},
		{"top-k", gaussian(vocab), Params{Temperature: 0.9, TopP: 1, TopK: 50}},
		{"min-p", gaussian(vocab), Params{Temperature: 0.9, TopP: 1, MinP: 0.05}},
		{"top-p,bias", gaussian(vocab), biased},
		{"top-p,penalties", gaussian(vocab), penalised}, // 1,000 tokens behind it
		{"greedy,penalties", gaussian(vocab), Params{TopP: 1, RepetitionPenalty: 1.1}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var s Sampler
			prompt := make([]int32, 1000)
			for i := range prompt {
				prompt[i] = int32(i * i % vocab)
			}
			history := NewHistory(c.p, prompt, 1)
			draw := func(i int) {
				if _, err := s.Sample(c.logits, Draw{Params: c.p, Index: i, History: history}); err != nil {
					b.Fatal(err)
				}
			}
			draw(0) // allocates
			for i := 0; b.Loop(); i++ {
				draw(i)
			}
		})
	}
}

func BenchmarkLogprobs(b *testing.B) {
	const vocab = 50257
	rising := make([]float32, vocab) // every id gets into the heap
	for i := range rising {
		rising[i] = float32(i) / vocab
	}
	for _, c := range []struct {
		name   string
		logits []float32
		n      int
	}{
		{"own", gaussian(vocab), 0}, {"top=20", gaussian(vocab), 20}, {"top=20,rising", rising, 20}, {"top=1000", gaussian(vocab), 1000},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var s Sampler
			lp := Logprobs{Top: make([]Logprob, c.n)}
			for i := 0; b.Loop(); i++ {
				if err := s.Logprobs(c.logits, int32(i%vocab), 0, &lp); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestLargest compares with the definition, rows of every remainder by eight and
// whatever float32 there is.
func TestLargest(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	odd := []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))}
	most, faults := float32(math.MaxFloat32), 0
	values := []float32{0, float32(math.Copysign(0, -1)), 1, -1, most, -most, math.SmallestNonzeroFloat32}
	for n := range 3000 {
		row := make([]float32, n%67)
		for i := range row {
			if row[i] = float32(rng.NormFloat64()) - 30; n%3 == 0 {
				row[i] = values[rng.IntN(len(values))]
			}
		}
		want, first := -1, -1
		if len(row) > 0 && rng.IntN(4) == 0 {
			for range 1 + rng.IntN(3) {
				row[rng.IntN(len(row))] = odd[rng.IntN(len(odd))]
			}
		}
		for i, x := range row {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				first = i
				break
			}
			if want < 0 || x > row[want] {
				want = i
			}
		}
		got, err := largest(row)
		switch {
		case first >= 0:
			faults++
			require.ErrorIsf(t, err, ErrNotFinite, "for %v", row)
			require.ErrorContainsf(t, err, fmt.Sprintf("token %d has", first), "for %v", row)
		case want < 0:
			require.ErrorIs(t, err, ErrNoToken)
		default:
			require.NoErrorf(t, err, "for %v", row)
			require.Equalf(t, want, got, "for %v", row)
		}
	}
	require.Greater(t, faults, 100)
}
