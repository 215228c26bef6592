package sample

import "math"

// order maps a float32 that is not NaN to an integer of the same order.
func order(x float32) uint32 {
	b := math.Float32bits(x)
	if b>>31 != 0 {
		return ^b
	}
	return b | 1<<31
}

// value32 is the inverse of order.
func value32(o uint32) float32 {
	if o>>31 != 0 {
		return math.Float32frombits(o &^ (1 << 31))
	}
	return math.Float32frombits(^o)
}

// The 32 bits of an order are looked at in three digits, from the top.
const (
	digit1, digit2, digit3 = 11, 11, 10 // their bits
	shift1, shift2         = digit2 + digit3, digit3
)

// cut finds the order at which the heaviest of a set reach a wanted mass.
type cut struct {
	mass [1 << digit1]float64
}

// find returns the largest value of x such that the elements as large or larger
// have at least the wanted mass, and the mass of those that are larger. Elements
// have the masses given, which are positive, or 1 each where there are none.
// When all of x has less than wanted, the value is the smallest in x. The larger
// of −0 and 0 is 0 here, so the mass of those larger than −0 counts those equal
// to it.
//
// One pass makes a histogram of the leading 11 bits and finds the bin where the
// wanted mass is reached, the next two refine within that bin: O(len(x)),
// whatever x is, where a sort or a heap grows with the size of what is kept.
func (c *cut) find(x, masses []float32, wanted float64) (value float32, above float64) {
	t, above := c.digit(x, masses, 0, 32, shift1, 0, wanted)
	t, above = c.digit(x, masses, t, shift1, shift2, above, wanted)
	t, above = c.digit(x, masses, t, shift2, 0, above, wanted)
	return value32(t), above
}

// digit refines t, whose bits from hi up are found, by those from lo to hi.
func (c *cut) digit(x, masses []float32, t uint32, hi, lo uint, above, wanted float64) (uint32, float64) {
	bins := c.mass[:1<<(hi-lo)]
	clear(bins)
	highest := 0 // of the bins that have something
	for e, v := range x {
		o := order(v)
		if uint64(o)>>hi != uint64(t)>>hi {
			continue
		}
		m := 1.0
		if masses != nil {
			m = float64(masses[e])
		}
		i := int(o>>lo) & (len(bins) - 1)
		bins[i] += m
		highest = max(highest, i)
	}
	lowest := highest
	for i := highest; i >= 0; i-- {
		if bins[i] == 0 {
			continue
		}
		if above+bins[i] >= wanted {
			return t | uint32(i)<<lo, above
		}
		above += bins[i]
		lowest = i
	}
	return t | uint32(lowest)<<lo, above - bins[lowest]
}
