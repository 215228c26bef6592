package kerneltest

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
)

// rig is a device in a test: what should not fail fails the test.
type rig struct {
	t   *testing.T
	dev kernels.Device
}

func (r rig) load(l kernels.Layout, parts ...kernels.Tensor) kernels.Weight {
	r.t.Helper()
	w, err := r.dev.Load(l, parts...)
	require.NoError(r.t, err)
	return w
}

// float loads values as a Float of the given shape.
func (r rig) float(values []float32, shape ...int) kernels.Weight {
	r.t.Helper()
	return r.load(kernels.Float, tensor("float", kernels.F32, values, shape...))
}

// step runs ops as one step.
func (r rig) step(s *kernels.Step, ops func()) {
	r.t.Helper()
	require.NoError(r.t, r.dev.Begin(s))
	ops()
	require.NoError(r.t, r.dev.End())
}

func (r rig) empty(rows, cols int) kernels.Buffer {
	r.t.Helper()
	b, err := r.dev.NewBuffer(rows, cols)
	require.NoError(r.t, err)
	return b
}

// buffer makes a buffer that holds values [rows, cols], exactly.
func (r rig) buffer(values []float32, cols int) kernels.Buffer {
	r.t.Helper()
	rows := len(values) / cols
	b, table := r.empty(rows, cols), r.float(values, rows, cols)
	r.step(rowsStep(rows), func() { r.dev.Embed(b, table, nil) })
	return b
}

// canvas makes a buffer of rows and two more, all of them marked.
func (r rig) canvas(rows, cols int) kernels.Buffer {
	r.t.Helper()
	marks := make([]float32, (rows+2)*cols)
	for i := range marks {
		marks[i] = 12345
	}
	return r.buffer(marks, cols)
}

// read returns a copy of all of a buffer.
func (r rig) read(b kernels.Buffer) []float32 {
	r.t.Helper()
	rows, cols := b.Dims()
	out, err := r.dev.Read(b, rows*cols)
	require.NoError(r.t, err)
	return slices.Clone(out)
}

// rowsStep is a step of n rows of one sequence, for operations without a cache.
func rowsStep(n int) *kernels.Step {
	s := &kernels.Step{
		Tokens: make([]int32, n), Positions: make([]int32, n), Slots: make([]int32, n),
		Starts: []int32{0, int32(n)}, Lens: []int32{int32(n)},
	}
	for i := range n {
		s.Tokens[i], s.Positions[i] = int32(i), int32(i)
	}
	return s
}

// tensor encodes values.
func tensor(name string, dtype kernels.DType, values []float32, shape ...int) kernels.Tensor {
	t := kernels.Tensor{Name: name, Shape: shape, DType: dtype}
	for _, v := range values {
		switch dtype {
		case kernels.F32:
			t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(v))
		case kernels.BF16:
			t.Data = binary.LittleEndian.AppendUint16(t.Data, kernels.BF16FromF32(v))
		case kernels.F16:
			t.Data = binary.LittleEndian.AppendUint16(t.Data, kernels.F16FromF32(v))
		}
	}
	return t
}

// uniform returns n values in (-scale, scale), the same ones for a seed.
func uniform(seed uint64, n int, scale float64) []float32 {
	rng := rand.New(rand.NewPCG(seed, 1))
	values := make([]float32, n)
	for i := range values {
		values[i] = float32((2*rng.Float64() - 1) * scale)
	}
	return values
}

// matrix returns values of an [n, k] matrix, in ±1/√k.
func matrix(seed uint64, n, k int) []float32 {
	return uniform(seed, n*k, 1/math.Sqrt(float64(k)))
}

// angles is a rotation table [positions, dims] as kernels.Rope has it.
func angles(positions, dims int) []float32 {
	table := make([]float32, 0, positions*dims)
	for p := range positions {
		for _, f := range []func(float64) float64{math.Cos, math.Sin} {
			for i := range dims / 2 {
				table = append(table, float32(f(float64(p)*math.Pow(10000, -2*float64(i)/float64(dims)))))
			}
		}
	}
	return table
}
