package cuda

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
)

// rowsTable is a table of float32 on the device, and its rows here.
func rowsTable(t *testing.T, d *Device, rng *rand.Rand, rows, width int) (kernels.Weight, [][]float32) {
	t.Helper()
	var data []byte
	values := make([][]float32, rows)
	for i := range values {
		for range width {
			x := 2*rng.Float32() + 0.5
			values[i] = append(values[i], x)
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
		}
	}
	w, err := d.Load(kernels.Float, kernels.Tensor{Name: "rows", Shape: []int{rows, width}, DType: kernels.F32, Data: data})
	require.NoError(t, err)
	return w, values
}

// rowsStep is a step of n single rows without a cache.
func rowsStep(n int) *kernels.Step {
	s := &kernels.Step{Starts: []int32{0}}
	for i := range n {
		s.Tokens, s.Positions, s.Slots = append(s.Tokens, int32(i)), append(s.Positions, 0), append(s.Slots, 0)
		s.Starts, s.Lens = append(s.Starts, int32(i+1)), append(s.Lens, 1)
	}
	return s
}

// Norms of every number of groups that a thread keeps of a row, which the widths of
// kerneltest are too small for; wider ones are refused, and the device goes on.
func TestWideNorms(t *testing.T) {
	const rows = 2
	rng := rand.New(rand.NewPCG(9, 4))
	d := newDevice(t, kernels.BF16)
	norm := func(width int) (got []float32, want [][]float64, err error) {
		table, x := rowsTable(t, d, rng, rows, width)
		weight, w := rowsTable(t, d, rng, 1, width)
		in, err := d.NewBuffer(rows, width)
		require.NoError(t, err)
		out, err := d.NewBuffer(rows, width)
		require.NoError(t, err)
		require.NoError(t, d.Begin(rowsStep(rows)))
		d.Embed(in, table, nil)
		d.Norm(out, in, nil, kernels.Norm{Weight: weight, Eps: 1e-5, Mean: true}, rows)
		if err := d.End(); err != nil {
			return nil, nil, err
		}
		got, err = d.Read(out, rows*width)
		require.NoError(t, err)
		for _, row := range x {
			mean, square := 0.0, 0.0
			for _, v := range row {
				mean += float64(v) / float64(width)
			}
			for _, v := range row {
				square += (float64(v) - mean) * (float64(v) - mean) / float64(width)
			}
			var of []float64
			for i, v := range row {
				of = append(of, (float64(v)-mean)/math.Sqrt(square+1e-5)*float64(w[0][i]))
			}
			want = append(want, of)
		}
		return got, want, nil
	}
	for _, width := range []int{1025, 2047, 4094, 4096, 4097, 4100, 8192, 8196, 16381, 16384, 16388, 32764, 32768} {
		got, want, err := norm(width)
		require.NoError(t, err)
		for i, row := range want {
			for j, w := range row {
				g := float64(got[i*width+j])
				if !(math.Abs(g-w) <= 2e-6+1e-6*math.Abs(w)) {
					require.Failf(t, "too far from the reference", "width %d: element %d of row %d: got %v, want %v", width, j, i, g, w)
				}
			}
		}
	}
	for _, width := range []int{16385, 32772} {
		_, _, err := norm(width)
		require.ErrorIs(t, err, errArgument, "width %d", width)
		require.ErrorContains(t, err, "too long")
	}
	_, _, err := norm(8)
	require.NoError(t, err)
}
