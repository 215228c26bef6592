package ref

import (
	"errors"
	"fmt"

	"servebench/kernels"
)

// New returns a device that keeps matrices and caches in the values of dtype,
// F32, BF16 or F16. Any other dtype panics.
func New(dtype kernels.DType) kernels.Device {
	if dtype > kernels.F16 {
		panic("ref: a device is float32, bfloat16 or float16, not " + dtype.String())
	}
	return &device{dtype: dtype}
}

type device struct {
	dtype  kernels.DType
	step   *kernels.Step // nil outside of a step
	kv     *kv           // the cache that step has been checked against
	err    error         // the step's first
	input  []float32     // MatMul's rounded x [rows, K]
	closed bool
}

// weight is row-major [n, k]; a matrix of a 16-bit device has rounded values.
type weight struct {
	n, k   int
	matrix bool
	data   []float32
}

func (w *weight) Dims() (n, k int)      { return w.n, w.k }
func (w *weight) row(i int32) []float32 { return w.data[int(i)*w.k:][:w.k] }

// buffer is row-major [rows, cols].
type buffer struct {
	rows, cols int
	data       []float32
}

func (b *buffer) Dims() (rows, cols int) { return b.rows, b.cols }
func (b *buffer) row(i int) []float32    { return b.data[i*b.cols:][:b.cols] }

// kv holds keys and values, each [L, Blocks·B, G, E]; a 16-bit device's have rounded values.
type kv struct {
	shape        kernels.KVShape
	keys, values []float32
}

func (c *kv) Shape() kernels.KVShape { return c.shape }

// at is where head g of a slot begins.
func (c *kv) at(layer, slot, g int) int {
	return ((layer*c.shape.Blocks*c.shape.BlockSize+slot)*c.shape.KVHeads + g) * c.shape.HeadDim
}

var (
	errClosed = errors.New("ref: the device is closed")
	errInStep = errors.New("ref: End the step first")
)

func (d *device) Name() string         { return "ref (Go, float64)" }
func (d *device) DType() kernels.DType { return d.dtype }

// round is the value that the device keeps f as.
func (d *device) round(f float32) float32 { return d.dtype.Round(f) }

func (d *device) Load(l kernels.Layout, parts ...kernels.Tensor) (kernels.Weight, error) {
	if d.closed {
		return nil, errClosed
	}
	n, k, err := kernels.StackDims(l, parts)
	if err != nil {
		return nil, err
	}
	w := &weight{n: n, k: k, matrix: l != kernels.Float, data: make([]float32, n*k)}
	at := 0
	for _, t := range parts {
		elems := len(t.Data) / t.DType.Size()
		into := w.data[at:][:elems]
		spread(elems, 4, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				switch l {
				case kernels.Float:
					into[i] = t.Float32(i)
				case kernels.Matrix:
					into[i] = d.round(t.Float32(i))
				case kernels.MatrixT:
					tn := t.Shape[1]
					into[i] = d.round(t.Float32(i%k*tn + i/k))
				}
			}
		})
		at += elems
	}
	return w, nil
}

func (d *device) NewBuffer(rows, cols int) (kernels.Buffer, error) {
	if d.closed {
		return nil, errClosed
	}
	if err := kernels.CheckBuffer(rows, cols); err != nil {
		return nil, err
	}
	return &buffer{rows, cols, make([]float32, rows*cols)}, nil
}

func (d *device) NewKV(sh kernels.KVShape) (kernels.KV, error) {
	if d.closed {
		return nil, errClosed
	}
	if err := sh.Check(); err != nil {
		return nil, err
	}
	n := sh.Layers * sh.Blocks * sh.BlockSize * sh.KVHeads * sh.HeadDim
	return &kv{sh, make([]float32, n), make([]float32, n)}, nil
}

func (d *device) Begin(s *kernels.Step) error {
	if d.closed {
		return errClosed
	}
	if d.step != nil {
		return errInStep
	}
	if err := s.Check(); err != nil {
		return err
	}
	d.step, d.kv, d.err = s, nil, nil
	return nil
}

func (d *device) End() error {
	if d.step == nil {
		return errors.New("ref: End without Begin")
	}
	d.step = nil
	return d.err
}

func (d *device) Read(b kernels.Buffer, n int) ([]float32, error) {
	switch {
	case d.closed:
		return nil, errClosed
	case d.step != nil:
		return nil, errInStep
	}
	src := b.(*buffer).data
	if n > len(src) {
		return nil, fmt.Errorf("ref: Read of %d elements from a buffer of %d", n, len(src))
	}
	return src[:n:n], nil
}

func (d *device) Close() error {
	d.closed, d.step, d.input = true, nil, nil
	return nil
}

// begun reports whether an operation of the step should run.
func (d *device) begun() bool {
	if d.step == nil {
		panic("ref: an operation outside of Begin and End")
	}
	return d.err == nil
}

// fits checks the step against c once and reports whether it fits.
func (d *device) fits(c *kv) bool {
	if d.kv != c {
		if d.err = d.step.CheckKV(c.shape); d.err != nil {
			return false
		}
		d.kv = c
	}
	return true
}
