package sample

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var inf = float32(math.Inf(1))

// clone because Sample may change its argument.
func sample(t testing.TB, s *Sampler, logits []float32, d Draw) int32 {
	t.Helper()
	id, err := s.Sample(slices.Clone(logits), d)
	require.NoError(t, err)
	return id
}

func TestSampleDeterministicCases(t *testing.T) {
	greedy := Params{Temperature: 0, TopP: 1}
	hot := Params{Temperature: 5, TopP: 1, Seed: 1}
	only := func(p Params, k int) Params { p.TopK = k; return p }
	for name, c := range map[string]struct {
		logits []float32
		draw   Draw
		want   int32
	}{
		"greedy":                       {[]float32{1, 3, 2}, Draw{Params: greedy}, 1},
		"greedy, equals":               {[]float32{1, 3, 3}, Draw{Params: greedy}, 1},
		"greedy, all negative":         {[]float32{-5, -3, -4}, Draw{Params: greedy}, 1},
		"greedy, negative zero first":  {[]float32{float32(math.Copysign(0, -1)), 0}, Draw{Params: greedy}, 0},
		"greedy below 1e-5":            {[]float32{1, 3, 2}, Draw{Params: Params{Temperature: 9e-6, TopP: 1}}, 1},
		"above the tokenizer's size":   {[]float32{1, 3, 9}, Draw{Params: greedy, Vocab: 2}, 1},
		"infinity above its size":      {[]float32{1, 3, inf}, Draw{Params: greedy, Vocab: 2}, 1},
		"size over the row":            {[]float32{1, 3, 9}, Draw{Params: greedy, Vocab: 7}, 2},
		"banned best":                  {[]float32{1, 3, 9}, Draw{Params: greedy, Banned: []int32{2}}, 1},
		"banned other":                 {[]float32{1, 3, 9}, Draw{Params: greedy, Banned: []int32{1}}, 2},
		"banned ids that do not exist": {[]float32{1, 3, 9}, Draw{Params: greedy, Banned: []int32{-1, 3}}, 2},
		"banned twice":                 {[]float32{1, 3, 9}, Draw{Params: greedy, Banned: []int32{2, 2, 1}}, 0},
		"all but one banned":           {[]float32{1, 3, 9}, Draw{Params: hot, Banned: []int32{2, 1}}, 0},
		"top-k 1":                      {[]float32{1, 3, 2.999}, Draw{Params: only(hot, 1)}, 1},
		"top-k over what is left":      {[]float32{1, 3, 2}, Draw{Params: only(hot, 2), Banned: []int32{0, 1}}, 2},
		"tiny top-p":                   {[]float32{1, 3, 2.999}, Draw{Params: Params{Temperature: 5, TopP: 1e-300}}, 1},
		"tiny top-p, equals":           {[]float32{1, 3, 3}, Draw{Params: Params{Temperature: 5, TopP: 1e-300}}, 1},
		"cold":                         {[]float32{1, 3, 2}, Draw{Params: Params{Temperature: 1e-5, TopP: 1}}, 1},
		"largest floats there are":     {[]float32{-math.MaxFloat32, math.MaxFloat32}, Draw{Params: hot}, 1},
		"one token":                    {[]float32{-7}, Draw{Params: hot}, 0},
	} {
		for index := range 20 {
			c.draw.Index = index
			assert.Equalf(t, c.want, sample(t, &Sampler{}, c.logits, c.draw), "for %s", name)
		}
	}
}

func TestSampleErrors(t *testing.T) {
	nan := float32(math.NaN())
	for name, c := range map[string]struct {
		logits []float32
		draw   Draw
		want   error
	}{
		"NaN":              {[]float32{1, nan, 2}, Draw{}, ErrNotFinite},
		"NaN first":        {[]float32{nan, 1}, Draw{}, ErrNotFinite},
		"infinity":         {[]float32{1, inf}, Draw{}, ErrNotFinite},
		"minus infinity":   {[]float32{1, -inf}, Draw{}, ErrNotFinite},
		"banned, infinite": {[]float32{1, inf}, Draw{Banned: []int32{1}}, ErrNotFinite},
		"empty row":        {nil, Draw{}, ErrNoToken},
		"all banned":       {[]float32{1, 2}, Draw{Banned: []int32{0, 1}}, ErrNoToken},
		"all in the mask":  {[]float32{1, 2, 3}, Draw{Vocab: 2, Banned: []int32{0, 1}}, ErrNoToken},
	} {
		for _, temperature := range []float64{0, 1} {
			c.draw.Params = Params{Temperature: temperature, TopP: 0.9, TopK: 2}
			_, err := (&Sampler{}).Sample(slices.Clone(c.logits), c.draw)
			require.ErrorIsf(t, err, c.want, "for %s", name)
		}
	}
}

func TestValidate(t *testing.T) {
	ok := Params{Temperature: 1, TopP: 1}
	require.NoError(t, ok.Validate())
	for _, p := range []Params{
		{Temperature: -0.1, TopP: 1}, {Temperature: math.NaN(), TopP: 1}, {Temperature: math.Inf(1), TopP: 1},
		{Temperature: 1}, {Temperature: 1, TopP: -1}, {Temperature: 1, TopP: 1.01}, {Temperature: 1, TopP: math.NaN()},
	} {
		require.ErrorIsf(t, p.Validate(), ErrParams, "for %+v", p)
	}
}

// kept is the set that is drawn from and its weights, by sorting: what topK
// and topP do in another way.
func kept(logits []float32, d Draw) (ids []int32, share []float64) {
	type candidate struct {
		id int32
		w  float64
	}
	var c []candidate
	for i, x := range logits {
		if (d.Vocab == 0 || i < d.Vocab) && !slices.Contains(d.Banned, int32(i)) {
			c = append(c, candidate{int32(i), float64(x)})
		}
	}
	slices.SortStableFunc(c, func(a, b candidate) int {
		if a.w > b.w {
			return -1
		} else if a.w < b.w {
			return 1
		}
		return 0
	})
	if k := d.Params.TopK; k > 0 && k < len(c) {
		least := c[k-1].w
		c = slices.DeleteFunc(c, func(x candidate) bool { return x.w < least })
	}
	most, total := c[0].w, 0.0
	for i := range c {
		c[i].w = math.Exp((c[i].w - most) / d.Params.Temperature)
		total += c[i].w
	}
	if d.Params.TopP < 1 {
		before := 0.0
		for i := range c {
			if before >= d.Params.TopP*total {
				c = c[:i]
				break
			}
			before += c[i].w
		}
		total = before
	}
	slices.SortFunc(c, func(a, b candidate) int { return int(a.id - b.id) })
	for _, x := range c {
		ids, share = append(ids, x.id), append(share, x.w/total)
	}
	return ids, share
}

// TestKeptSet compares what is left to draw from with the sorted reference.
func TestKeptSet(t *testing.T) {
	var s Sampler
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 7))
		logits := make([]float32, 1+rng.IntN(3000))
		spread := []float64{0, 0.1, 3, 30}[rng.IntN(4)]
		for i := range logits {
			logits[i] = float32(rng.NormFloat64()*spread - 40)
			if rng.IntN(4) == 0 { // many equal ones
				logits[i] = float32(math.Round(float64(logits[i])))
			}
		}
		d := Draw{Params: Params{Temperature: 0.05 + 2*rng.Float64(), TopP: 1, Seed: seed}}
		if rng.IntN(2) == 0 {
			d.Params.TopK = 1 + rng.IntN(len(logits)+10)
		}
		if rng.IntN(3) > 0 {
			d.Params.TopP = []float64{0.5, 0.9, 0.95, 0.999, rng.Float64()}[rng.IntN(5)]
		}
		if len(logits) > 5 {
			d.Banned = []int32{rng.Int32N(int32(len(logits)))}
			d.Vocab = len(logits) - rng.IntN(3)
		}
		got := sample(t, &s, logits, d)
		ids, share := kept(logits, d)
		require.Contains(t, ids, got)
		assertKept(t, &s, ids, share)
	}
}

// assertKept holds that a sampler's candidates are ids with their shares, but
// for candidates that no uniform number could hit.
func assertKept(t *testing.T, s *Sampler, ids []int32, share []float64) {
	t.Helper()
	var total float64
	for _, w := range s.weights {
		total += float64(w)
	}
	at := 0
	for i, id := range ids {
		if at < len(s.ids) && s.ids[at] == id {
			if err := math.Abs(float64(s.weights[at])/total/share[i] - 1); err > 2*expError {
				require.Failf(t, "share", "for id %d: got %v, want %v", id, float64(s.weights[at])/total, share[i])
			}
			at++
			continue
		}
		require.Lessf(t, share[i], math.Exp(leastExponent), "id %d was left out", id)
	}
	require.Equal(t, len(s.ids), at, "an id was kept that is not in the reference")
}

// chiSquare holds that counts follow the shares: the statistic stays under its
// 0.9999 quantile (Wilson and Hilferty's approximation). The seeds are fixed, so
// the outcome is too.
func chiSquare(t *testing.T, name string, counts map[int32]int, ids []int32, share []float64, draws int) {
	t.Helper()
	var x2 float64
	seen := 0
	for i, id := range ids {
		want := share[i] * float64(draws)
		require.Greaterf(t, want, 5.0, "for %s: too few draws expected of id %d for the test to hold", name, id)
		got := float64(counts[id])
		x2 += (got - want) * (got - want) / want
		seen += counts[id]
	}
	require.Equalf(t, draws, seen, "for %s: ids outside the kept set were drawn", name)
	if len(ids) == 1 {
		return
	}
	df := float64(len(ids) - 1)
	const z = 3.719 // normal quantile of 0.9999
	limit := df * math.Pow(1-2/(9*df)+z*math.Sqrt(2/(9*df)), 3)
	t.Logf("%s: chi-square %.1f of at most %.1f at %d degrees of freedom", name, x2, limit, len(ids)-1)
	require.Lessf(t, x2, limit, "for %s", name)
}

func TestDistribution(t *testing.T) {
	const draws = 30_000
	logits := []float32{0.5, -1, 2, 1.5, 2, -3, 0, 1, 0.25, -0.5, 1.75, -2, 0.5, 2.25}
	for name, d := range map[string]Draw{
		"temperature 1":         {Params: Params{Temperature: 1, TopP: 1}},
		"temperature 0.7":       {Params: Params{Temperature: 0.7, TopP: 1}, Vocab: 11},
		"temperature 2":         {Params: Params{Temperature: 2, TopP: 1}},
		"top-k 4":               {Params: Params{Temperature: 1, TopP: 1, TopK: 4}},
		"top-k 2, with equals":  {Params: Params{Temperature: 1, TopP: 1, TopK: 2}},
		"top-p 0.9":             {Params: Params{Temperature: 1, TopP: 0.9}},
		"top-p 0.3":             {Params: Params{Temperature: 0.8, TopP: 0.3}},
		"top-k 6 and top-p 0.7": {Params: Params{Temperature: 1.3, TopP: 0.7, TopK: 6}},
		"banned and masked":     {Params: Params{Temperature: 1, TopP: 0.95}, Banned: []int32{2, 3}, Vocab: 13},
	} {
		ids, share := kept(logits, d)
		byIndex, bySeed := map[int32]int{}, map[int32]int{}
		var s Sampler
		row := make([]float32, len(logits))
		for i := range draws {
			for _, c := range []struct {
				counts map[int32]int
				seed   uint64
				index  int
			}{{byIndex, 42, i}, {bySeed, uint64(i), 0}} {
				copy(row, logits)
				d.Params.Seed, d.Index = c.seed, c.index
				id, err := s.Sample(row, d)
				require.NoError(t, err)
				c.counts[id]++
			}
		}
		chiSquare(t, name+", one seed", byIndex, ids, share, draws)
		chiSquare(t, name+", consecutive seeds", bySeed, ids, share, draws)
	}
}

// TestSameSeedSameTokens draws in another order, with other samplers and other
// draws in between.
func TestSameSeedSameTokens(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	logits := make([]float32, 500)
	for i := range logits {
		logits[i] = float32(rng.NormFloat64())
	}
	d := Draw{Params: Params{Temperature: 0.9, TopP: 0.95, TopK: 200, Seed: 11}}
	want := make([]int32, 300)
	var one Sampler
	for i := range want {
		d.Index = i
		want[i] = sample(t, &one, logits, d)
	}
	samplers := make([]Sampler, 3)
	differ := 0
	for _, i := range rng.Perm(len(want)) {
		other := d
		other.Index, other.Params.Seed = i, 12
		if sample(t, &samplers[rng.IntN(3)], logits, other) != want[i] {
			differ++
		}
		d.Index = i
		require.Equal(t, want[i], sample(t, &samplers[rng.IntN(3)], logits, d))
	}
	require.Greater(t, differ, 250, "another seed gives the same tokens")
}

func TestAllocatesNothing(t *testing.T) {
	logits, row := gaussian(5000), make([]float32, 5000)
	var s Sampler
	for name, p := range map[string]Params{
		"greedy": {TopP: 1}, "all": {Temperature: 1, TopP: 1}, "filters": {Temperature: 1, TopP: 0.9, TopK: 900},
	} {
		index := 0
		require.Zerof(t, testing.AllocsPerRun(50, func() {
			copy(row, logits)
			index++
			_, err := s.Sample(row, Draw{Params: p, Index: index, Banned: []int32{4}})
			if err != nil {
				t.Fatal(err)
			}
		}), "for %s", name)
	}
}

// FuzzSample gives foreign logits and parameters: an id that may be drawn, or
// one of the two errors.
func FuzzSample(f *testing.F) {
	f.Add([]byte{0, 0, 128, 63, 0, 0, 0, 64, 0, 0, 64, 64}, 0.9, 0.95, 2, uint64(7), 1)
	f.Add([]byte{0, 0, 192, 127, 1, 0, 0, 0}, 0.0, 1.0, 0, uint64(0), 0)
	f.Add([]byte{255, 255, 127, 127, 255, 255, 127, 255, 1, 0, 0, 0, 1, 0, 0, 128}, 1e-5, 1e-9, 1, uint64(1), 3)
	f.Fuzz(func(t *testing.T, raw []byte, temperature, topP float64, topK int, seed uint64, banned int) {
		d := Draw{Params: Params{Temperature: temperature, TopP: topP, TopK: topK, Seed: seed}, Banned: []int32{int32(banned)}}
		if d.Params.Validate() != nil {
			return
		}
		logits := make([]float32, len(raw)/4)
		for i := range logits {
			logits[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
		id, err := (&Sampler{}).Sample(logits, d)
		if err != nil {
			require.Truef(t, isKnown(err), "unexpected error %v", err)
			return
		}
		require.True(t, id >= 0 && int(id) < len(logits), "id %d of %d", id, len(logits))
		require.NotEqual(t, int32(banned), id)
	})
}
