package gguf

import (
	"encoding/binary"
	"fmt"
	"math"

	"servebench/kernels"
)

// block is the number of elements that share a scale in Q8_0, Q4_0 and Q4_1.
const block = 32

// Dequantize writes rows [first, first+n) as little-endian float32 to dst,
// which has 4·n·cols bytes (see Rows). The values are exactly those of the
// gguf Python package's dequantize:
//
//	Q8_0  float16 d, int8 q[32]              x[i] = d·q[i]
//	Q4_0  float16 d, 16 bytes of two q       x[i] = d·(q[i] − 8)
//	Q4_1  float16 d, m, 16 bytes of two q    x[i] = d·q[i] + m
//
// where byte i holds q[i] in its low and q[i+16] in its high half. ErrType for
// a type that is none of these and neither F32, F16 nor BF16.
// It panics when dst or the rows do not fit.
func (t Tensor) Dequantize(dst []byte, first, n int) error {
	rows, cols := t.Rows()
	if first < 0 || n < 0 || first > rows-n || len(dst) != 4*n*cols {
		panic(fmt.Sprintf("gguf: Dequantize of rows [%d, %d+%d) of %d, %d elements each, into %d bytes",
			first, first, n, rows, cols, len(dst)))
	}
	decode, ok := decoders[t.Type]
	if !ok {
		return fmt.Errorf("tensor %q is %s: %w", t.Name, t.Type, ErrType)
	}
	l := layouts[t.Type]
	row := uint64(cols) / l.elements * l.bytes
	t.file.Lend(n * int(row))
	decode(dst, t.raw[uint64(first)*row:uint64(first+n)*row])
	return nil
}

var decoders = map[Type]func(dst, src []byte){
	F32: func(dst, src []byte) { copy(dst, src) }, F16: decodeF16, BF16: decodeBF16,
	Q8_0: decodeQ8, Q4_0: decodeQ4, Q4_1: decodeQ41,
}

func put(dst []byte, i int, x float32) {
	binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(x))
}

func decodeF16(dst, src []byte) {
	for i := range len(src) / 2 {
		put(dst, i, half(src[2*i:]))
	}
}

func decodeBF16(dst, src []byte) {
	for i := range len(src) / 2 {
		binary.LittleEndian.PutUint32(dst[4*i:], uint32(binary.LittleEndian.Uint16(src[2*i:]))<<16)
	}
}

func decodeQ8(dst, src []byte) {
	const size = 2 + block
	for ; len(src) > 0; src, dst = src[size:], dst[4*block:] {
		d := half(src)
		for i, q := range src[2:size] {
			put(dst, i, d*float32(int8(q)))
		}
	}
}

func decodeQ4(dst, src []byte) {
	const size = 2 + block/2
	for ; len(src) > 0; src, dst = src[size:], dst[4*block:] {
		d := half(src)
		for i, q := range src[2:size] {
			put(dst, i, d*float32(int(q&15)-8))
			put(dst, i+block/2, d*float32(int(q>>4)-8))
		}
	}
}

func decodeQ41(dst, src []byte) {
	const size = 2 + 2 + block/2
	for ; len(src) > 0; src, dst = src[size:], dst[4*block:] {
		d, m := half(src), half(src[2:])
		for i, q := range src[4:size] {
			// The conversions keep the compiler from fusing the product into the sum.
			put(dst, i, float32(d*float32(q&15))+m)
			put(dst, i+block/2, float32(d*float32(q>>4))+m)
		}
	}
}

// half reads an IEEE 754 binary16; every one is exact in float32.
func half(b []byte) float32 { return kernels.F32FromF16(binary.LittleEndian.Uint16(b)) }
