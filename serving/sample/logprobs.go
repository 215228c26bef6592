package sample

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Logprobs are natural logarithms of probabilities as the model gives them:
// the softmax of a row's logits before biases, penalties and temperature.
type Logprobs struct {
	Own Logprob   // of the token itself
	Top []Logprob // the likeliest ids, descending; of equals the lower id first
}

// Logprob is one id's log-probability.
type Logprob struct {
	ID int32
	// Rank is the id's place in the order that Top has, 1 for its first. It is
	// vLLM's rank, but for equal logits, which vLLM gives their last one's.
	Rank    int
	Logprob float32 // at most 0 but for rounding; finite
}

// Logprobs sets to.Own for the id and as many of to.Top as there is room for,
// shortening it to vocab if that is less. The softmax is over all of logits [V];
// rank and Top are among the ids below vocab, those that can be drawn (0: all).
// Logits are not changed and nothing is allocated. It fails with ErrNotFinite.
//
// One pass finds the largest logit, and one sums the exponentials and keeps the
// likeliest ids in a heap; few get in once it has filled.
func (s *Sampler) Logprobs(logits []float32, id int32, vocab int, to *Logprobs) error {
	if vocab <= 0 || vocab > len(logits) {
		vocab = len(logits)
	}
	best, err := largest(logits[:vocab])
	if err != nil {
		return err
	}
	if id < 0 || int(id) >= len(logits) || math.IsNaN(float64(logits[id])) || logits[id] > math.MaxFloat32 {
		return fmt.Errorf("%w: token %d has none", ErrNotFinite, id)
	}
	most, own := float64(logits[best]), logits[id]
	for _, x := range logits[vocab:] { // padding of the matrix, as a rule
		if x <= math.MaxFloat32 {
			most = max(most, float64(x))
		}
	}
	top := to.Top[:min(len(to.Top), vocab)]
	sum, rank := 0.0, 1
	for i, x := range logits[:vocab] {
		if y := widen(x) - most; y >= leastExponent {
			sum += float64(exp(y))
		}
		if x > own {
			rank++
		}
		switch {
		case i < len(top):
			top[i] = Logprob{ID: int32(i), Logprob: x}
			if i == len(top)-1 {
				heapify(top)
			}
		case len(top) > 0 && x > top[0].Logprob: // an equal one has a lower id
			top[0] = Logprob{ID: int32(i), Logprob: x}
			sink(top, 0)
		}
	}
	for _, x := range logits[:min(int(id), vocab)] {
		if x == own {
			rank++
		}
	}
	for _, x := range logits[vocab:] {
		if y := float64(x) - most; y >= leastExponent && y <= 0 {
			sum += float64(exp(y))
		}
	}
	norm := most + math.Log(sum)
	to.Own = Logprob{ID: id, Rank: rank, Logprob: logprob(own, norm)}
	slices.SortFunc(top, func(a, b Logprob) int {
		return cmp.Or(cmp.Compare(b.Logprob, a.Logprob), cmp.Compare(a.ID, b.ID))
	})
	for i := range top {
		top[i].Rank, top[i].Logprob = i+1, logprob(top[i].Logprob, norm)
	}
	to.Top = top
	return nil
}

// logprob is finite even where the logit is −Inf, as padding may be, or the
// largest is as far from it as float32 reaches.
func logprob(logit float32, norm float64) float32 {
	return float32(max(float64(logit)-norm, -math.MaxFloat32))
}

// heapify orders h so that none is likelier than those it is above of: h[0] is
// the least likely.
func heapify(h []Logprob) {
	for i := len(h)/2 - 1; i >= 0; i-- {
		sink(h, i)
	}
}

// sink moves h[i] down to where it belongs.
func sink(h []Logprob, i int) {
	for {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < len(h) && lessLikely(h[child], h[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

func lessLikely(a, b Logprob) bool {
	return a.Logprob < b.Logprob || a.Logprob == b.Logprob && a.ID > b.ID
}
