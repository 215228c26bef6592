package sample

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// logprobsError is what a log-probability may be off: exp's error in the sum
// and half a float32 ulp of values up to 64.
const logprobsError = expError + 2e-6

// TestLogprobs compares with a sort and a float64 log-softmax.
func TestLogprobs(t *testing.T) {
	var s Sampler
	worst := 0.0
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 8))
		logits := make([]float32, 1+rng.IntN(2000))
		for i := range logits {
			logits[i] = float32(rng.NormFloat64()*5 - 20)
			if rng.IntN(3) == 0 { // many equal ones
				logits[i] = float32(math.Round(float64(logits[i])))
			}
		}
		vocab := max(1, len(logits)-rng.IntN(4)*rng.IntN(2))
		n := []int{0, 1, 2, 20, len(logits) + 5}[rng.IntN(5)]
		id := rng.Int32N(int32(len(logits)))

		var sum float64
		for _, x := range logits {
			sum += math.Exp(float64(x))
		}
		order := rng.Perm(vocab)
		slices.Sort(order)
		slices.SortStableFunc(order, func(a, b int) int {
			if logits[a] > logits[b] {
				return -1
			} else if logits[a] < logits[b] {
				return 1
			}
			return 0
		})
		before := slices.Clone(logits)
		lp := Logprobs{Top: make([]Logprob, n)}
		require.NoError(t, s.Logprobs(logits, id, vocab, &lp))
		require.True(t, slices.Equal(before, logits))
		check := func(got Logprob, id int) {
			t.Helper()
			require.Equalf(t, int32(id), got.ID, "seed %d", seed)
			want := float64(logits[id]) - math.Log(sum)
			worst = max(worst, math.Abs(float64(got.Logprob)-want))
			require.InDeltaf(t, want, got.Logprob, logprobsError, "seed %d, id %d", seed, id)
		}
		require.Len(t, lp.Top, min(n, vocab))
		for i, got := range lp.Top {
			check(got, order[i])
			require.Equal(t, i+1, got.Rank)
		}
		check(lp.Own, int(id))
		if int(id) < vocab {
			require.Equal(t, slices.Index(order, int(id))+1, lp.Own.Rank)
		} else { // nobody can draw it; its place is behind all that are as likely
			above := 0
			for _, x := range logits[:vocab] {
				if x >= logits[id] {
					above++
				}
			}
			require.Equal(t, above+1, lp.Own.Rank)
		}
	}
	t.Logf("largest error %.3g, %.0f%% of what is allowed", worst, 100*worst/logprobsError)
}

// TestLogprobsOrder gives the heap its worst orders.
func TestLogprobsOrder(t *testing.T) {
	var s Sampler
	for name, at := range map[string]func(i int) float32{
		"ascending":  func(i int) float32 { return float32(i) / 10 },
		"descending": func(i int) float32 { return -float32(i) / 10 },
		"equal":      func(int) float32 { return 2 },
		"in waves":   func(i int) float32 { return float32(i*7%100) / 10 },
	} {
		logits := make([]float32, 100)
		for i := range logits {
			logits[i] = at(i)
		}
		lp := Logprobs{Top: make([]Logprob, 7)}
		require.NoError(t, s.Logprobs(logits, 3, 0, &lp))
		for i, l := range lp.Top {
			require.Equalf(t, i+1, l.Rank, "for %s", name)
			own := Logprobs{}
			require.NoError(t, s.Logprobs(logits, l.ID, 0, &own))
			require.Equalf(t, l, own.Own, "for %s: an id's own and its place in Top differ", name)
		}
	}
}

func TestLogprobsOfPadding(t *testing.T) {
	nan := float32(math.NaN())
	var s Sampler
	own := func(logits []float32, id int32, vocab int) (Logprob, error) {
		lp := Logprobs{Top: make([]Logprob, 1)}
		err := s.Logprobs(logits, id, vocab, &lp)
		if err == nil {
			require.Less(t, int(lp.Top[0].ID), vocab)
		}
		return lp.Own, err
	}
	half := float32(math.Log(0.5))
	for name, c := range map[string]struct {
		logits []float32
		id     int32
		want   Logprob
	}{
		"counts as the model has it": {[]float32{1, 0, 1}, 0, Logprob{0, 1, float32(-math.Log(2 + math.Exp(-1)))}},
		"larger than all":            {[]float32{-9, -9, 99}, 0, Logprob{0, 1, -108}},
		"minus infinity":             {[]float32{3, 3, -inf}, 1, Logprob{1, 2, half}},
		"a prompt's, that":           {[]float32{3, 3, -inf}, 2, Logprob{2, 3, -math.MaxFloat32}},
		"infinity is left out":       {[]float32{3, 3, inf}, 1, Logprob{1, 2, half}},
		"NaN is left out":            {[]float32{3, 3, nan}, 0, Logprob{0, 1, half}},
	} {
		got, err := own(c.logits, c.id, 2)
		require.NoErrorf(t, err, "for %s", name)
		require.Equalf(t, c.want.Rank, got.Rank, "for %s", name)
		require.InDeltaf(t, c.want.Logprob, got.Logprob, 1e-6, "for %s", name)
	}
	for name, c := range map[string]struct {
		logits []float32
		id     int32
	}{
		"NaN": {[]float32{nan, 1, 1}, 1}, "infinity": {[]float32{1, inf, 1}, 1},
		"its own": {[]float32{1, 1, nan}, 2}, "its own, infinity": {[]float32{1, 1, inf}, 2},
		"none": {[]float32{1, 1, 1}, 3}, "negative": {[]float32{1, 1, 1}, -1},
	} {
		_, err := own(c.logits, c.id, 2)
		require.ErrorIsf(t, err, ErrNotFinite, "for %s", name)
	}
}
