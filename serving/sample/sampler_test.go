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

func sample(t testing.TB, s *Sampler, logits []float32, d Draw) int32 {
	t.Helper()
	id, err := s.Sample(logits, d)
	require.NoError(t, err)
	return id
}

func TestSampleDeterministicCases(t *testing.T) {
	greedy := Params{Temperature: 0, TopP: 1}
	hot := Params{Temperature: 5, TopP: 1, Seed: 1}
	only := func(p Params, k int) Params { p.TopK = k; return p }
	with := func(change func(*Params)) Draw {
		d := Draw{Params: greedy}
		change(&d.Params)
		return d
	}
	// after puts 1 into the prompt and 2, twice, into the output.
	after := func(change func(*Params)) Draw {
		d := with(change)
		d.History = NewHistory(d.Params, []int32{1}, 2)
		d.History.Add(2)
		d.History.Add(2)
		return d
	}
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
		"min-p 1":                      {[]float32{1, 3, 2.999}, Draw{Params: Params{Temperature: 5, TopP: 1, MinP: 1}}, 1},

		"bias":                           {[]float32{1, 3, 2}, with(func(p *Params) { p.Bias = []Bias{{0, 2.5}} }), 0},
		"bias down":                      {[]float32{1, 3, 2}, with(func(p *Params) { p.Bias = []Bias{{1, -100}} }), 2},
		"bias of ids that do not exist":  {[]float32{1, 3, 2}, with(func(p *Params) { p.Bias = []Bias{{-1, 9}, {3, 9}} }), 1},
		"bias over the largest float":    {[]float32{1, math.MaxFloat32, 2}, with(func(p *Params) { p.Bias = []Bias{{1, 100}} }), 1},
		"allowed":                        {[]float32{1, 3, 2}, with(func(p *Params) { p.Allowed = []int32{2, 0, 7, -1} }), 2},
		"a bias does not allow":          {[]float32{1, 3, 2}, with(func(p *Params) { p.Allowed = []int32{0}; p.Bias = []Bias{{1, 100}} }), 0},
		"repetition of a prompt":         {[]float32{1, 3, 2}, after(func(p *Params) { p.RepetitionPenalty = 3.1; p.Bias = []Bias{{2, -1}} }), 0},
		"repetition, negative":           {[]float32{-4, -3, -3}, after(func(p *Params) { p.RepetitionPenalty = 1.4 }), 0},
		"repetition under 1":             {[]float32{3.1, 3, 1}, after(func(p *Params) { p.RepetitionPenalty = 0.9 }), 1},
		"repetition over what is finite": {[]float32{1, math.MaxFloat32, 1}, after(func(p *Params) { p.RepetitionPenalty = 1e-300 }), 1},
		"repetition below it":            {[]float32{-math.MaxFloat32, -9, -9}, after(func(p *Params) { p.RepetitionPenalty = 1e300 }), 0},
		"presence is of the output":      {[]float32{1.5, 1.4, 3}, after(func(p *Params) { p.PresencePenalty = 1.55 }), 0},
		"presence is no count":           {[]float32{1.5, 1.4, 3}, after(func(p *Params) { p.PresencePenalty = 1.45 }), 2},
		"frequency is a count":           {[]float32{1.5, 1.4, 3}, after(func(p *Params) { p.FrequencyPenalty = 0.8 }), 0},
		"frequency below":                {[]float32{1.5, 1.4, 3}, after(func(p *Params) { p.FrequencyPenalty = 0.7 }), 2},
		"negative presence":              {[]float32{3, 4, 2}, after(func(p *Params) { p.PresencePenalty = -2 }), 1},
		"negative frequency":             {[]float32{3, 4, 2}, after(func(p *Params) { p.FrequencyPenalty = -1.1 }), 2},
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
		"allowed, banned":  {[]float32{1, 2, 3}, Draw{Params: Params{Allowed: []int32{1}}, Banned: []int32{1}}, ErrNoToken},
		"allowed, masked":  {[]float32{1, 2, 3}, Draw{Params: Params{Allowed: []int32{2}}, Vocab: 2}, ErrNoToken},
		"allowed, no such": {[]float32{1, 2, 3}, Draw{Params: Params{Allowed: []int32{9}}}, ErrNoToken},
		"biased, infinite": {[]float32{1, -inf}, Draw{Params: Params{Bias: []Bias{{0, 1}}}}, ErrNotFinite},
	} {
		for _, temperature := range []float64{0, 1} {
			c.draw.Params.Temperature, c.draw.Params.TopP, c.draw.Params.TopK = temperature, 0.9, 2
			_, err := (&Sampler{}).Sample(c.logits, c.draw)
			require.ErrorIsf(t, err, c.want, "for %s", name)
		}
	}
}

func TestValidate(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, change := range []func(*Params){
		func(*Params) {},
		func(p *Params) { p.Temperature, p.TopP, p.TopK, p.MinP = 0, 1e-300, -1, 1 },
		func(p *Params) { p.RepetitionPenalty, p.PresencePenalty, p.FrequencyPenalty = 1e-9, -2, 2 },
		func(p *Params) { p.Bias, p.Allowed = []Bias{{1, -100}, {2, 100}}, []int32{0} },
	} {
		p := Params{Temperature: 1, TopP: 1}
		change(&p)
		require.NoErrorf(t, p.Validate(), "for %+v", p)
	}
	for name, c := range map[string]struct {
		set    func(p *Params, x float64)
		values []float64
	}{
		"temperature":        {func(p *Params, x float64) { p.Temperature = x }, []float64{-0.1, nan, inf, -inf}},
		"top_p":              {func(p *Params, x float64) { p.TopP = x }, []float64{0, -1, 1.01, nan, inf}},
		"typical_p":          {func(p *Params, x float64) { p.TypicalP = x }, []float64{-0.1, 1.01, nan, inf}},
		"min_p":              {func(p *Params, x float64) { p.MinP = x }, []float64{-0.1, 1.01, nan, inf}},
		"repetition_penalty": {func(p *Params, x float64) { p.RepetitionPenalty = x }, []float64{-1, nan, inf}},
		"presence_penalty":   {func(p *Params, x float64) { p.PresencePenalty = x }, []float64{-2.01, 2.01, nan, inf}},
		"frequency_penalty":  {func(p *Params, x float64) { p.FrequencyPenalty = x }, []float64{-2.01, 2.01, nan, -inf}},
		"logit_bias of token 7": {
			func(p *Params, x float64) { p.Bias = []Bias{{3, 1}, {7, float32(x)}} },
			[]float64{-100.1, 100.1, nan, inf},
		},
		"allowed_token_ids": {func(p *Params, _ float64) { p.Allowed = []int32{} }, []float64{0}},
	} {
		for _, x := range c.values {
			p := Params{Temperature: 1, TopP: 1}
			c.set(&p, x)
			require.ErrorIsf(t, p.Validate(), ErrParams, "for %s %v", name, x)
			require.ErrorContainsf(t, p.Validate(), name, "for %v", x)
		}
	}
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
		if rng.IntN(3) == 0 {
			d.Params.MinP = []float64{1, 0.5, 0.1, 1e-3, 1e-9}[rng.IntN(5)]
		}
		if seed%4 == 3 {
			d.Params.TypicalP = []float64{0.2, 0.5, 0.95, 1 - 1e-9, 1}[rng.IntN(5)]
		}
		if len(logits) > 5 {
			d.Banned = []int32{rng.Int32N(int32(len(logits)))}
			d.Vocab = len(logits) - rng.IntN(3)
		}
		var tokens past
		if len(logits) > 5 && rng.IntN(2) == 0 {
			tokens = penalties(rng, &d, len(logits))
		}
		before := slices.Clone(logits)
		got := sample(t, &s, logits, d)
		require.True(t, slices.Equal(before, logits), "the model's logits were changed")
		ids, share := kept(logits, d, tokens)
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
	const draws = 25_000
	logits := []float32{0.5, -1, 2, 1.5, 2, -3, 0, 1, 0.25, -0.5, 1.75, -2, 0.5, 2.25}
	all := Params{
		Temperature: 0.9, TopP: 0.9, TopK: 8, MinP: 0.08, RepetitionPenalty: 1.3, PresencePenalty: 0.2, FrequencyPenalty: 0.15,
		Bias: []Bias{{0, 1.5}, {4, -3}, {9, 2}},
	}
	without := func(change func(p *Params)) Params { p := all; change(&p); return p }
	tokens := past{prompt: []int32{1, 2, 2, 3, 40}, output: []int32{13, 2, 13, 3, 10}}
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
		"min-p 0.2":             {Params: Params{Temperature: 1, TopP: 1, MinP: 0.2}},
		"min-p 0.5, hot":        {Params: Params{Temperature: 3, TopP: 1, MinP: 0.5}},
		"min-p before top-p":    {Params: Params{Temperature: 1.2, TopP: 0.8, MinP: 0.3}},
		"min-p and top-k":       {Params: Params{Temperature: 1.2, TopP: 1, TopK: 5, MinP: 0.1}},
		"typical 0.4":           {Params: Params{Temperature: 1, TopP: 1, TypicalP: 0.4}},
		"typical after top-p":   {Params: Params{Temperature: 1.4, TopP: 0.9, TypicalP: 0.8}},
		"bias":                  {Params: Params{Temperature: 1, TopP: 1, Bias: []Bias{{5, 4}, {13, -1.5}}}},
		"allowed":               {Params: Params{Temperature: 1, TopP: 0.97, Allowed: []int32{0, 2, 4, 13, 6}}},
		"repetition":            {Params: Params{Temperature: 1, TopP: 1, RepetitionPenalty: 1.5}},
		"presence":              {Params: Params{Temperature: 1, TopP: 1, PresencePenalty: 1}},
		"frequency":             {Params: Params{Temperature: 1, TopP: 1, FrequencyPenalty: 0.7}},
		"all of them":           {Params: all, Banned: []int32{7}},
		"all but the filters":   {Params: without(func(p *Params) { p.TopP, p.TopK, p.MinP = 1, 0, 0 }), Vocab: 13},
	} {
		if d.Params.penalises() {
			d.History = tokens.history(d.Params)
		}
		ids, share := kept(logits, d, tokens)
		byIndex, bySeed := map[int32]int{}, map[int32]int{}
		var s Sampler
		for i := range draws {
			for _, c := range []struct {
				counts map[int32]int
				seed   uint64
				index  int
			}{{byIndex, 42, i}, {bySeed, uint64(i), 0}} {
				d.Params.Seed, d.Index = c.seed, c.index
				id, err := s.Sample(logits, d)
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
	logits := gaussian(5000)
	var s Sampler
	lp := Logprobs{Top: make([]Logprob, 20)}
	for name, p := range map[string]Params{
		"greedy": {TopP: 1}, "all": {Temperature: 1, TopP: 1}, "filters": {Temperature: 1, TopP: 0.9, TopK: 900, MinP: 1e-3, TypicalP: 0.9},
		"penalties": {
			Temperature: 1, TopP: 0.9, RepetitionPenalty: 1.1, FrequencyPenalty: 0.1, Bias: []Bias{{3, 1}}, Allowed: []int32{3, 4, 5},
		},
	} {
		index := 0
		history := NewHistory(p, []int32{1, 2, 3}, 60)
		require.Zerof(t, testing.AllocsPerRun(50, func() {
			index++
			id, err := s.Sample(logits, Draw{Params: p, Index: index, Banned: []int32{4}, History: history})
			if err != nil {
				t.Fatal(err)
			}
			history.Add(int32(index)) // a new one, so that the table fills
			if err := s.Logprobs(logits, id, 4999, &lp); err != nil {
				t.Fatal(err)
			}
		}), "for %s", name)
	}
}

// FuzzSample gives foreign logits and parameters: an id that may be drawn, or
// one of the two errors, and log-probabilities of it that are some.
func FuzzSample(f *testing.F) {
	f.Add([]byte{0, 0, 128, 63, 0, 0, 0, 64, 0, 0, 64, 64}, 0.9, 0.95, 0.1, 2, uint64(7), 1, 1.2, 0.5, float32(3))
	f.Add([]byte{0, 0, 192, 127, 1, 0, 0, 0}, 0.0, 1.0, 0.0, 0, uint64(0), 0, 0.0, 0.0, float32(0))
	f.Add([]byte{255, 255, 127, 127, 255, 255, 127, 255, 1, 0, 0, 0, 1, 0, 0, 128}, 1e-5, 1e-9, 1.0, 1, uint64(1), 3, 1e-300, -2.0, float32(100))
	f.Add([]byte("000x0\xff\x7f\xff"), 1e-5, 1e-9, 1.0, 1, uint64(1), -37, 1e-300, -2.0, float32(100)) // as far apart as can be
	f.Fuzz(func(t *testing.T, raw []byte, temperature, topP, minP float64, topK int, seed uint64, banned int, repetition, presence float64, bias float32) {
		p := Params{
			Temperature: temperature, TopP: topP, MinP: minP, TopK: topK, Seed: seed,
			RepetitionPenalty: repetition, PresencePenalty: presence, FrequencyPenalty: -presence,
			Bias: []Bias{{ID: int32(banned) + 1, Value: bias}, {ID: 0, Value: -bias}},
		}
		if seed%3 == 0 {
			p.Allowed = []int32{int32(seed >> 8), 0, 1, 2, -1}
		}
		if p.Validate() != nil {
			return
		}
		d := Draw{Params: p, Banned: []int32{int32(banned)}, History: NewHistory(p, []int32{0, int32(topK), -1}, 0)}
		d.History.Add(1)
		d.History.Add(int32(seed))
		logits := make([]float32, len(raw)/4)
		for i := range logits {
			logits[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
		var s Sampler
		id, err := s.Sample(logits, d)
		if err != nil {
			require.Truef(t, isKnown(err), "unexpected error %v", err)
			return
		}
		require.True(t, id >= 0 && int(id) < len(logits), "id %d of %d", id, len(logits))
		require.NotEqual(t, int32(banned), id)
		if p.Allowed != nil {
			require.Contains(t, p.Allowed, id)
		}
		lp := Logprobs{Top: make([]Logprob, 3)}
		require.NoError(t, s.Logprobs(logits, id, 0, &lp))
		for _, l := range append(lp.Top, lp.Own) {
			require.Truef(t, l.Logprob <= 1e-5 && !math.IsInf(float64(l.Logprob), 0), "log-probability %v of %d", l.Logprob, l.ID)
		}
	})
}
