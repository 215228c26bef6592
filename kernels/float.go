package kernels

import (
	"encoding/binary"
	"math"
)

// BF16FromF32 rounds to bfloat16, nearest with ties to even. A NaN stays a
// quiet NaN; what is too large becomes infinite.
func BF16FromF32(f float32) uint16 {
	b := math.Float32bits(f)
	if f != f {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// F32FromBF16 is exact.
func F32FromBF16(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// RoundBF16 is the float32 nearest to f that bfloat16 holds.
func RoundBF16(f float32) float32 { return F32FromBF16(BF16FromF32(f)) }

// F32FromF16 converts IEEE half precision, subnormals included; it is exact.
func F32FromF16(h uint16) float32 {
	sign, exp, frac := uint32(h)>>15<<31, uint32(h)>>10&0x1f, uint32(h)&0x3ff
	switch exp {
	case 0: // zero or subnormal: frac · 2⁻²⁴
		f := float32(frac) * 0x1p-24
		return math.Float32frombits(sign | math.Float32bits(f))
	case 0x1f: // infinity or NaN
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+127-15)<<23 | frac<<13)
}

// RoundF16 is the float32 nearest to f that IEEE half precision holds.
func RoundF16(f float32) float32 { return F32FromF16(F16FromF32(f)) }

// Round is the float32 nearest to f that the type holds.
func (t DType) Round(f float32) float32 {
	switch t {
	case BF16:
		return RoundBF16(f)
	case F16:
		return RoundF16(f)
	}
	return f
}

// F16FromF32 rounds to IEEE half precision, nearest with ties to even. A NaN
// stays a quiet NaN; what is too large becomes infinite.
func F16FromF32(f float32) uint16 {
	b := math.Float32bits(f)
	sign, abs := uint16(b>>16)&0x8000, b&0x7fffffff
	switch {
	case abs > 0x7f800000:
		return sign | 0x7e00 | uint16(abs>>13)&0x3ff
	case abs >= 0x477ff000: // 65520, halfway between the largest half and 2¹⁶
		return sign | 0x7c00
	case abs < 0x38800000: // below 2⁻¹⁴ a half is a multiple of 2⁻²⁴
		return sign | uint16(math.RoundToEven(float64(math.Float32frombits(abs))*0x1p24))
	}
	abs += 0xfff + abs>>13&1
	return sign | uint16((abs-(127-15)<<23)>>13)
}

// Float32 decodes element i of the tensor's data.
func (t Tensor) Float32(i int) float32 {
	switch t.DType {
	case F32:
		return math.Float32frombits(binary.LittleEndian.Uint32(t.Data[4*i:]))
	case BF16:
		return F32FromBF16(binary.LittleEndian.Uint16(t.Data[2*i:]))
	default:
		return F32FromF16(binary.LittleEndian.Uint16(t.Data[2*i:]))
	}
}
