package kernels

import (
	"errors"
	"fmt"
	"math"
)

// ErrTensor is returned, wrapped with the tensor's name, when a tensor's data
// does not fit its shape, or its shape does not fit the layout it is loaded in.
var ErrTensor = errors.New("bad tensor")

// Check reports whether the data is as long as shape and dtype say.
func (t Tensor) Check() error {
	if t.DType > F16 {
		return fmt.Errorf("%w: %s has an unknown element type %d", ErrTensor, t.Name, t.DType)
	}
	if len(t.Shape) == 0 {
		return fmt.Errorf("%w: %s has no dimensions", ErrTensor, t.Name)
	}
	size := t.DType.Size()
	for _, d := range t.Shape {
		if d <= 0 || d > math.MaxInt/size {
			return fmt.Errorf("%w: %s has shape %v", ErrTensor, t.Name, t.Shape)
		}
		size *= d
	}
	if size != len(t.Data) {
		return fmt.Errorf("%w: %s has %d bytes of data, %v of %v takes %d",
			ErrTensor, t.Name, len(t.Data), t.Shape, t.DType, size)
	}
	return nil
}

// rows returns rows and columns of the tensor as one part of a weight: of a
// Float those of Weight.Dims, of a matrix N and K.
func (t Tensor) rows(l Layout) (n, k int, err error) {
	rank := len(t.Shape)
	switch {
	case l == Float && rank == 1:
		return 1, t.Shape[0], nil
	case l == Float:
		n = 1
		for _, d := range t.Shape[:rank-1] {
			n *= d
		}
		return n, t.Shape[rank-1], nil
	case l != Matrix && l != MatrixT:
		return 0, 0, fmt.Errorf("%w: %s is loaded in an unknown layout %d", ErrTensor, t.Name, l)
	case rank != 2:
		return 0, 0, fmt.Errorf("%w: %s has shape %v, a matrix has 2 dimensions", ErrTensor, t.Name, t.Shape)
	case l == MatrixT:
		return t.Shape[1], t.Shape[0], nil
	}
	return t.Shape[0], t.Shape[1], nil
}

// maxDim keeps N, K and their sums within a C int on every device.
const maxDim = math.MaxInt32

// StackDims checks the parts of a Load and returns the Dims of the weight that
// they make. Matrices are stacked along N, a Float's parts along rows, except
// that vectors are joined into one longer vector (as the biases of a stacked
// matrix must be).
func StackDims(l Layout, parts []Tensor) (n, k int, err error) {
	if len(parts) == 0 {
		return 0, 0, fmt.Errorf("%w: a weight needs at least one part", ErrTensor)
	}
	for i, t := range parts {
		if err := t.Check(); err != nil {
			return 0, 0, err
		}
		tn, tk, err := t.rows(l)
		if err != nil {
			return 0, 0, err
		}
		vector := l == Float && len(t.Shape) == 1
		first := parts[0]
		switch {
		case vector && len(first.Shape) == 1:
			n, k = 1, k+tk
		case i > 0 && (vector || tk != k || l == Float && len(first.Shape) == 1):
			return 0, 0, fmt.Errorf("%w: %s %v does not stack under %s %v",
				ErrTensor, t.Name, t.Shape, first.Name, first.Shape)
		default:
			n, k = n+tn, tk
		}
		if n > maxDim || k > maxDim {
			return 0, 0, fmt.Errorf("%w: with %s the weight is [%d, %d], at most %d fit", ErrTensor, t.Name, n, k, maxDim)
		}
	}
	return n, k, nil
}
