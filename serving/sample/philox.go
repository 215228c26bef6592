package sample

import "math/bits"

// philox is Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011): a bijection of the counter under a key, so that number i
// of a seed costs the same wherever one starts, and a device can compute it in
// a thread of its own. It passes BigCrush.
func philox(counter [4]uint32, key [2]uint32) [4]uint32 {
	const (
		mul0, mul1   = 0xD2511F53, 0xCD9E8D57
		weyl0, weyl1 = 0x9E3779B9, 0xBB67AE85
	)
	for range 10 {
		hi0, lo0 := bits.Mul32(mul0, counter[0])
		hi1, lo1 := bits.Mul32(mul1, counter[2])
		counter = [4]uint32{hi1 ^ counter[1] ^ key[0], lo1, hi0 ^ counter[3] ^ key[1], lo0}
		key[0] += weyl0
		key[1] += weyl1
	}
	return counter
}

// uniform is the number in [0, 1) that a seed has for an output index: a
// multiple of 2⁻⁵³.
func uniform(seed uint64, index int) float64 {
	r := philox(
		[4]uint32{uint32(index), uint32(uint64(index) >> 32), 0, 0},
		[2]uint32{uint32(seed), uint32(seed >> 32)},
	)
	return float64((uint64(r[0])<<32|uint64(r[1]))>>11) / (1 << 53)
}
