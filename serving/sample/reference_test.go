package sample

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// past is what a request's tokens have been, for references that count for themselves.
type past struct{ prompt, output []int32 }

// history is past as a sampler gets it.
func (p past) history(params Params) *History {
	h := NewHistory(params, p.prompt, len(p.output))
	for _, id := range p.output {
		h.Add(id)
	}
	return h
}

// penalties gives a draw random penalties, biases and allowed ids, and tokens
// to penalise.
func penalties(rng *rand.Rand, d *Draw, vocab int) (tokens past) {
	some := func(n int) (ids []int32) {
		for range rng.IntN(n) {
			ids = append(ids, rng.Int32N(int32(vocab)+2)) // beyond the row, too
		}
		return ids
	}
	p := &d.Params
	tokens = past{prompt: some(100), output: some(60)}
	p.RepetitionPenalty = []float64{0, 1, 1.2, 0.7, 5}[rng.IntN(5)]
	p.PresencePenalty = []float64{0, 1.5, -0.5}[rng.IntN(3)]
	p.FrequencyPenalty = []float64{0, 0.25, -0.1}[rng.IntN(3)]
	ids := some(9)
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		p.Bias = append(p.Bias, Bias{id, rng.Float32()*20 - 10})
	}
	if rng.IntN(3) == 0 {
		p.Allowed = append(some(vocab), 1, 2, 3)
	}
	d.History = tokens.history(*p)
	return tokens
}

// adjusted is a row with a draw's masks, biases and penalties, straight from
// their definitions; NaN stands for what cannot be drawn.
func adjusted(logits []float32, d Draw, tokens past) []float64 {
	p, row := d.Params, make([]float64, len(logits))
	for i, x := range logits {
		id := int32(i)
		for _, b := range p.Bias {
			if b.ID == id {
				x += b.Value
			}
		}
		y, count := float64(x), 0
		for _, t := range tokens.output {
			if t == id {
				count++
			}
		}
		if r := p.RepetitionPenalty; r != 0 && (count > 0 || slices.Contains(tokens.prompt, id)) {
			if y > 0 {
				y /= r
			} else {
				y *= r
			}
		}
		y -= p.FrequencyPenalty * float64(count)
		if count > 0 {
			y -= p.PresencePenalty
		}
		row[i] = float64(float32(y))
		if d.Vocab > 0 && i >= d.Vocab || slices.Contains(d.Banned, id) || p.Allowed != nil && !slices.Contains(p.Allowed, id) {
			row[i] = math.NaN()
		}
	}
	return row
}

// kept is the set that is drawn from and its shares, by sorting and in vLLM's
// order: temperature, min-p, top-k, top-p; then typical-p, which vLLM lacks.
func kept(logits []float32, d Draw, tokens past) (ids []int32, share []float64) {
	type candidate struct {
		id   int32
		x, w float64
	}
	var c []candidate
	for i, x := range adjusted(logits, d, tokens) {
		if !math.IsNaN(x) {
			c = append(c, candidate{id: int32(i), x: x})
		}
	}
	slices.SortStableFunc(c, func(a, b candidate) int {
		if a.x > b.x {
			return -1
		} else if a.x < b.x {
			return 1
		}
		return 0
	})
	most := c[0].x
	for i := range c {
		c[i].w = math.Exp((c[i].x - most) / d.Params.Temperature)
	}
	c = slices.DeleteFunc(c, func(x candidate) bool { return x.w < d.Params.MinP })
	if k := d.Params.TopK; k > 0 && k < len(c) {
		least := c[k-1].x
		c = slices.DeleteFunc(c, func(x candidate) bool { return x.x < least })
	}
	total := 0.0
	for i := range c {
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
	if p := d.Params.TypicalP; p > 0 && p < 1 {
		expected := 0.0
		for _, x := range c {
			expected -= x.w / total * math.Log(x.w/total)
		}
		far := func(x candidate) float64 { return math.Abs(-math.Log(x.w/total) - expected) }
		slices.SortStableFunc(c, func(a, b candidate) int { return cmp.Compare(far(a), far(b)) })
		sum, n := 0.0, 0
		for n < len(c) && sum < p*total {
			sum += c[n].w
			n++
		}
		// Of equally far ones all stay, as float32 tells them apart.
		for n < len(c) && float32(far(c[n])) == float32(far(c[n-1])) {
			sum += c[n].w
			n++
		}
		c, total = c[:n], sum
	}
	slices.SortFunc(c, func(a, b candidate) int { return int(a.id - b.id) })
	for _, x := range c {
		ids, share = append(ids, x.id), append(share, x.w/total)
	}
	return ids, share
}
