//go:build cgo && linux && amd64

package cpu

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
)

// TestPackedRows loads stacked matrices whose sizes are no multiples of a panel,
// a word or a line, in every dtype and layout, and reads every row back by
// Embed: the elements are those of the checkpoint, rounded to the device's dtype.
func TestPackedRows(t *testing.T) {
	heights := []int{5, 30, 16, 1, 17} // parts that begin and end within panels
	for _, dtype := range []kernels.DType{kernels.F32, kernels.BF16} {
		for _, from := range []kernels.DType{kernels.F32, kernels.F16, kernels.BF16} {
			for layout, name := range []string{kernels.Matrix: "matrix", kernels.MatrixT: "transposed"} {
				t.Run(fmt.Sprintf("%v/%v/%s", dtype, from, name), func(t *testing.T) {
					for _, k := range []int{1, 2, 7, 8, 15, 63, 64, 65, 127, 128, 129, 300} {
						packed(t, dtype, from, kernels.Layout(layout), heights, k)
					}
				})
			}
		}
	}
}

func packed(t *testing.T, dtype, from kernels.DType, layout kernels.Layout, heights []int, k int) {
	t.Helper()
	d := newDevice(t, Options{DType: dtype, Threads: 2})
	var parts []kernels.Tensor
	var want []float32
	for p, n := range heights {
		part := kernels.Tensor{Name: fmt.Sprint("part ", p), Shape: []int{n, k}, DType: from, Data: make([]byte, n*k*from.Size())}
		if layout == kernels.MatrixT {
			part.Shape = []int{k, n}
		}
		for i := range n * k {
			row, col := i/k, i%k
			at := i
			if layout == kernels.MatrixT {
				at = col*n + row
			}
			v := put(part.Data[at*from.Size():], from, sample(len(want)))
			if dtype == kernels.BF16 {
				v = kernels.RoundBF16(v)
			}
			want = append(want, v)
		}
		parts = append(parts, part)
	}
	w, err := d.Load(layout, parts...)
	require.NoError(t, err)
	rows := len(want) / k
	out := newAny(t, d, rows, k)
	s := &kernels.Step{Starts: []int32{0, int32(rows)}, Lens: []int32{int32(rows)}}
	for i := range int32(rows) {
		s.Tokens, s.Positions, s.Slots = append(s.Tokens, i), append(s.Positions, i), append(s.Slots, i)
	}
	require.NoError(t, d.Begin(s))
	d.Embed(out, w, nil)
	require.NoError(t, d.End())
	got, err := d.Read(out, len(want))
	require.NoError(t, err)
	for i := range want {
		if math.IsNaN(float64(want[i])) {
			require.True(t, math.IsNaN(float64(got[i])), "k %d, row %d, column %d", k, i/k, i%k)
			continue
		}
		require.Equal(t, math.Float32bits(want[i]), math.Float32bits(got[i]), "k %d, row %d, column %d: want %v, got %v", k, i/k, i%k, want[i], got[i])
	}
}

// sample has numbers that lie between two bfloat16, ties, and what is no number.
func sample(i int) float32 {
	switch i % 19 {
	case 0:
		return float32(math.NaN())
	case 1:
		return float32(math.Inf(1 - i%2*2))
	case 2:
		return 1 + 0x1p-8 // a tie
	case 3:
		return -1 - 3*0x1p-8
	case 4:
		return 0x1p-24 // the least float16
	case 5:
		return float32(math.Copysign(0, -1))
	}
	return float32(i%4093-2000) * 0.0137
}

// put writes f in a dtype and returns what that then is.
func put(to []byte, dtype kernels.DType, f float32) float32 {
	switch dtype {
	case kernels.BF16:
		h := kernels.BF16FromF32(f)
		binary.LittleEndian.PutUint16(to, h)
		return kernels.F32FromBF16(h)
	case kernels.F16:
		// A float16 of the same sign and size, give or take: any will do.
		h := uint16(math.Float32bits(f)>>16&0x8000) | uint16(math.Float32bits(f)>>13&0x7fff)
		binary.LittleEndian.PutUint16(to, h)
		return kernels.F32FromF16(h)
	}
	binary.LittleEndian.PutUint32(to, math.Float32bits(f))
	return f
}
