package sample

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// ErrNotFinite is returned by Sample, wrapped with the first id at fault, for
// logits with a NaN or an infinity: the model or its weights are broken.
var ErrNotFinite = errors.New("logit is not finite")

// ErrNoToken is returned by Sample when Vocab, Allowed and Banned leave no id.
var ErrNoToken = errors.New("every token is masked")

// Draw says which token of a row to draw.
type Draw struct {
	Params  Params   // valid, see Params.Validate
	Index   int      // of the token in the request's output, from 0
	Vocab   int      // ids at or above are never drawn; 0 or more than the row has: all of the row
	Banned  []int32  // ids that are not drawn this time
	History *History // of the request up to here, for Params' penalties; nil has none
}

// Sampler draws tokens. It keeps scratch memory of three rows and nothing about
// requests: any sampler gives the same token. One goroutine uses it at a time.
type Sampler struct {
	row     []float32 // logits as adjusted
	ids     []int32   // candidates, ascending
	weights []float32 // theirs, in (0, 1]
	near    []float32 // typicalP's: minus how far each is from the expected surprise
	cut     cut
}

// Sample returns a token id, which indexes logits [V]; it does not change them.
// It fails with ErrNotFinite or ErrNoToken. After the first call with a row as
// wide it allocates nothing.
func (s *Sampler) Sample(logits []float32, d Draw) (int32, error) {
	if d.Vocab > 0 && d.Vocab < len(logits) {
		logits = logits[:d.Vocab]
	}
	best, err := largest(logits)
	if err != nil {
		return 0, err
	}
	if d.changes() {
		logits = s.adjust(logits, &d)
		if best = unmasked(logits); best < 0 {
			return 0, ErrNoToken
		}
	}
	if d.Params.Greedy() {
		return int32(best), nil
	}
	total := s.softmax(logits, logits[best], s.topK(logits, d.Params.TopK), &d.Params)
	if d.Params.TopP < 1 {
		total = s.topP(d.Params.TopP, total, len(logits))
	}
	if p := d.Params.TypicalP; p > 0 && p < 1 {
		total = s.typicalP(p, total)
	}
	return s.draw(uniform(d.Params.Seed, d.Index) * total), nil
}

// largest returns the first index of the largest logit. All must be finite.
//
// Every row comes by here, so it goes by eights: 18 µs for GPT-2's vocabulary,
// and 46 one at a time, on an EPYC of the Zen 5 kind. Zero times a sum of finite
// numbers is zero, unless the sum is beyond float32, which the slow look sorts out.
func largest(logits []float32) (int, error) {
	best, most := -1, float32(math.Inf(-1))
	var low, high float32 // zeros, or NaN
	rest := logits
	for ; len(rest) >= 8; rest = rest[8:] {
		a, b, c, d, e, f, g, h := rest[0], rest[1], rest[2], rest[3], rest[4], rest[5], rest[6], rest[7]
		low += ((a + b) + (c + d)) * 0
		high += ((e + f) + (g + h)) * 0
		if a > most || b > most || c > most || d > most || e > most || f > most || g > most || h > most {
			for i, x := range rest[:8] {
				if x > most {
					best, most = len(logits)-len(rest)+i, x
				}
			}
		}
	}
	for i, x := range rest {
		low += x * 0
		if x > most {
			best, most = len(logits)-len(rest)+i, x
		}
	}
	if low+high != 0 {
		for i, x := range logits {
			if !(x >= -math.MaxFloat32 && x <= math.MaxFloat32) {
				return 0, fmt.Errorf("%w: token %d has %v", ErrNotFinite, i, x)
			}
		}
	}
	if best < 0 {
		return 0, ErrNoToken
	}
	return best, nil
}

// unmasked returns the first index of the largest logit over −Inf, or −1.
func unmasked(logits []float32) int {
	best, most := -1, float32(math.Inf(-1))
	for i, x := range logits {
		if x > most {
			best, most = i, x
		}
	}
	return best
}

// topK returns the k-th largest logit; smaller ones leave. It goes through the
// row once with those that may be among the k in a buffer, and cuts the buffer
// down to k whenever it is full: of a row in no particular order, few get in.
func (s *Sampler) topK(logits []float32, k int) float32 {
	least := float32(math.Inf(-1))
	if k <= 0 || k >= len(logits) {
		return least
	}
	room := 4 * k
	if room >= len(logits) {
		least, _ = s.cut.find(logits, nil, float64(k))
		return least
	}
	s.weights = slices.Grow(s.weights[:0], room)
	few := s.weights[:0]
	for _, x := range logits {
		if x <= least {
			continue
		}
		if few = append(few, x); len(few) == room {
			least, _ = s.cut.find(few, nil, float64(k))
			few = slices.DeleteFunc(few, func(x float32) bool { return x <= least })
			for len(few) < k { // fewer than k are larger
				few = append(few, least)
			}
		}
	}
	if len(few) >= k {
		least, _ = s.cut.find(few, nil, float64(k))
	}
	return least
}

// light is the weight up to which n candidates of so much in all have less
// than 1−p together, so that the others reach p without them. The margin covers
// the rounding of sums.
func light(p, total float64, n int) float32 {
	return float32((1 - p) * total / float64(n) * (1 - 1e-6))
}

// softmax weighs the logits that are at least least, of which most is the
// largest, leaves out those that MinP does, and returns the weights' sum. It makes candidates of those that
// topP could keep: on a trained model's logits some hundreds of V.
func (s *Sampler) softmax(logits []float32, most, least float32, p *Params) (total float64) {
	s.ids = slices.Grow(s.ids[:0], len(logits))[:len(logits)]
	s.weights = slices.Grow(s.weights[:0], len(logits))[:len(logits)]
	scale, n := 1/p.Temperature, 0
	floor := max(leastExponent, math.Log(p.MinP)) // of exponents: the largest weight is 1
	// What is surely below it is told by the logit, without the arithmetic.
	least = max(least, math.Nextafter32(float32(float64(most)+floor*p.Temperature), float32(math.Inf(-1))))
	negligible := light(p.TopP, 1, len(logits)) // the sum is at least the largest one's 1
	for i, x := range logits {
		if x < least {
			continue
		}
		y := (widen(x) - widen(most)) * scale
		if y < floor {
			continue
		}
		w := exp(y)
		total += float64(w)
		s.ids[n], s.weights[n] = int32(i), w
		if w > negligible { // a conditional move: a branch would be guessed wrong half of the time
			n++
		}
	}
	s.ids, s.weights = s.ids[:n], s.weights[:n]
	return total
}

// topP keeps the heaviest candidates that together have p of total, the sum of
// n weights, and returns their sum.
func (s *Sampler) topP(p, total float64, n int) float64 {
	negligible := light(p, total, n)
	n = 0
	for i, w := range s.weights {
		s.ids[n], s.weights[n] = s.ids[i], w
		if w > negligible {
			n++
		}
	}
	s.ids, s.weights = s.ids[:n], s.weights[:n]

	wanted := p * total
	least, mass := s.cut.find(s.weights, s.weights, wanted)
	n, total = 0, 0
	for i, w := range s.weights {
		if w < least {
			continue
		}
		if w == least { // of equals, as many as it takes
			if mass >= wanted {
				continue
			}
			mass += float64(w)
		}
		s.ids[n], s.weights[n] = s.ids[i], w
		total += float64(w)
		n++
	}
	s.ids, s.weights = s.ids[:n], s.weights[:n]
	return total
}

// typicalP keeps the candidates whose surprise, the negative logarithm of their
// share of total, is nearest the expected one, up to those that reach p of total
// together; of equally near ones all stay. It returns their sum. The idea is
// locally typical sampling (Meister et al., TACL 2023).
func (s *Sampler) typicalP(p, total float64) float64 {
	surprise := func(w float32) float64 { return math.Log(total / float64(w)) }
	expected := 0.0
	for _, w := range s.weights {
		expected += float64(w) / total * surprise(w)
	}
	s.near = slices.Grow(s.near[:0], len(s.weights))[:len(s.weights)]
	for i, w := range s.weights {
		s.near[i] = -float32(math.Abs(surprise(w) - expected))
	}
	least, _ := s.cut.find(s.near, s.weights, p*total)
	n, sum := 0, 0.0
	for i, w := range s.weights {
		if s.near[i] < least {
			continue
		}
		s.ids[n], s.weights[n] = s.ids[i], w
		sum += float64(w)
		n++
	}
	s.ids, s.weights = s.ids[:n], s.weights[:n]
	return sum
}

// draw returns the candidate at which the running sum of weights exceeds at.
func (s *Sampler) draw(at float64) int32 {
	sum := 0.0
	for i, w := range s.weights {
		if sum += float64(w); sum > at {
			return s.ids[i]
		}
	}
	return s.ids[len(s.ids)-1] // at is the sum itself, rounded up
}
