package kerneltest

import (
	"cmp"
	"math"
	"math/bits"
	"slices"

	"servebench/kernels"
)

// uniform64 is the number in [0, 1) of a seed and an index: the leading 53 of the
// first 64 bits of Philox4x32-10 (Salmon et al., SC 2011) with the index as counter
// and the seed as key.
func uniform64(seed, index uint64) float64 {
	counter := [4]uint32{uint32(index), uint32(index >> 32)}
	key := [2]uint32{uint32(seed), uint32(seed >> 32)}
	for range 10 {
		hi0, lo0 := bits.Mul32(0xD2511F53, counter[0])
		hi1, lo1 := bits.Mul32(0xCD9E8D57, counter[2])
		counter = [4]uint32{hi1 ^ counter[1] ^ key[0], lo1, hi0 ^ counter[3] ^ key[1], lo0}
		key[0] += 0x9E3779B9
		key[1] += 0xBB67AE85
	}
	return float64((uint64(counter[0])<<32|uint64(counter[1]))>>11) / (1 << 53)
}

// doubt is how near to each other, relatively, two numbers may be whose order a
// device need not see as this sampler does: weights are rounded to float32, 6e-8,
// and sums of up to 10⁵ of them are made in another order, in float64.
const doubt = 1e-6

// pick draws from a row of logits as kernels.Draw says, by sorting it. sure is
// false where the token hangs on numbers nearer to each other than doubt.
func pick(logits []float32, d kernels.Draw) (id int32, sure bool) {
	for _, x := range logits {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return kernels.NoToken, true
		}
	}
	order := make([]int32, len(logits)) // the heaviest first, of equals the lowest id
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(logits[b], logits[a]), cmp.Compare(a, b))
	})
	if d.Temperature == 0 {
		return order[0], true
	}
	sure = true
	most := float64(logits[order[0]])
	apart := func(a, b, scale float64) { sure = sure && math.Abs(a-b) > doubt*scale }
	weight := func(id int32) float64 {
		return math.Exp((float64(logits[id]) - most) / d.Temperature)
	}
	kept := order
	if d.TopK > 0 && d.TopK < len(order) {
		least := logits[order[d.TopK-1]]
		kept = slices.DeleteFunc(slices.Clone(order), func(id int32) bool { return logits[id] < least })
	}
	total := 0.0
	for i, id := range kept {
		if d.MinP > 0 && d.MinP < 1 {
			apart(weight(id), d.MinP, 1)
		}
		if weight(id) < d.MinP {
			kept = kept[:i]
			break
		}
		total += weight(id)
	}
	if d.TopP < 1 {
		sum, wanted := 0.0, d.TopP*total
		for i, id := range kept {
			sum += weight(id)
			apart(sum, wanted, total)
			if sum >= wanted {
				kept, total = kept[:i+1], sum
				break
			}
		}
	}
	slices.Sort(kept)
	at, sum := uniform64(d.Seed, d.Index)*total, 0.0
	for _, id := range kept {
		sum += weight(id)
		if at > 0 {
			apart(sum, at, total)
		}
		if sum > at {
			return id, sure
		}
	}
	return kept[len(kept)-1], false
}
