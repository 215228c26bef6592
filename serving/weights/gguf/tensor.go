package gguf

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"servebench/serving/weights/mapped"
)

// ErrType is returned, wrapped with the tensor's name and type, when a tensor
// is stored in a type that this package does not dequantise.
var ErrType = errors.New("tensor type not supported; supported: F32, F16, BF16, Q8_0, Q4_0, Q4_1")

// Type is the storage type of a tensor's elements, as the file numbers them.
type Type uint32

// The types that Dequantize reads.
const (
	F32  Type = 0
	F16  Type = 1
	Q4_0 Type = 2
	Q4_1 Type = 3
	Q8_0 Type = 8
	BF16 Type = 30
)

// layouts has the elements and bytes of one block of every type that occurs in
// files; those that are not dequantised are here so that their place in the
// file is checked and they are refused by their name.
var layouts = map[Type]struct {
	name            string
	elements, bytes uint64
}{
	F32: {"F32", 1, 4}, F16: {"F16", 1, 2}, BF16: {"BF16", 1, 2},
	Q4_0: {"Q4_0", 32, 18}, Q4_1: {"Q4_1", 32, 20}, Q8_0: {"Q8_0", 32, 34},
	6: {"Q5_0", 32, 22}, 7: {"Q5_1", 32, 24},
	10: {"Q2_K", 256, 84}, 11: {"Q3_K", 256, 110}, 12: {"Q4_K", 256, 144},
	13: {"Q5_K", 256, 176}, 14: {"Q6_K", 256, 210}, 15: {"Q8_K", 256, 292},
	16: {"IQ2_XXS", 256, 66}, 17: {"IQ2_XS", 256, 74}, 18: {"IQ3_XXS", 256, 98},
	19: {"IQ1_S", 256, 50}, 20: {"IQ4_NL", 32, 18}, 21: {"IQ3_S", 256, 110},
	22: {"IQ2_S", 256, 82}, 23: {"IQ4_XS", 256, 136}, 29: {"IQ1_M", 256, 56},
	24: {"I8", 1, 1}, 25: {"I16", 1, 2}, 26: {"I32", 1, 4}, 27: {"I64", 1, 8}, 28: {"F64", 1, 8},
	34: {"TQ1_0", 256, 54}, 35: {"TQ2_0", 256, 66}, 39: {"MXFP4", 32, 17},
}

// String returns the name that llama.cpp uses.
func (t Type) String() string {
	if l, ok := layouts[t]; ok {
		return l.name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// Tensor is one tensor of a file.
type Tensor struct {
	Name  string
	Type  Type
	Shape []int // row-major: the reverse of the order in the file
	off   uint64
	raw   []byte
	file  *mapped.File
}

// Data returns the bytes as stored, valid until the file is closed. The process
// gives up the pages that were read of earlier tensors now and then (package mapped).
func (t Tensor) Data() []byte {
	t.file.Lend(len(t.raw))
	return t.raw
}

// Rows returns the number of rows and the elements of one: the last
// dimension, and the product of the others.
func (t Tensor) Rows() (rows, cols int) {
	rows, cols = 1, 1
	for i, d := range t.Shape {
		if i < len(t.Shape)-1 {
			rows *= d
		} else {
			cols = d
		}
	}
	return rows, cols
}

// minTensorInfo is the size of the smallest description: an empty name, the
// number of dimensions, no dimension, type and offset.
const minTensorInfo = 8 + 4 + 4 + 8

// maxDims is the number of dimensions that ggml has.
const maxDims = 4

// tensor reads the description of tensor i; its shape stays in the file's order.
func (r *reader) tensor(i uint64) Tensor {
	t := Tensor{Name: string(r.str(fmt.Sprintf("the name of tensor %d", i)))}
	dims := r.u32()
	if dims > maxDims {
		r.fail("tensor %q has %d dimensions, want at most %d", t.Name, dims, maxDims)
	}
	for d := uint32(0); d < dims && r.err == nil; d++ {
		n := r.u64()
		if n == 0 || n > 1<<48 {
			r.fail("tensor %q has %d elements in dimension %d", t.Name, n, d)
		}
		t.Shape = append(t.Shape, int(n))
	}
	t.Type, t.off = Type(r.u32()), r.u64()
	return t
}

// layout finds every tensor's bytes. The data starts at the first multiple of
// align that is not below at.
func (f *File) layout(data []byte, at, align uint64) error {
	start := min((at+align-1)/align*align, uint64(len(data))) // a file without tensors may end unpadded
	data = data[start:]
	f.byName = make(map[string]int, len(f.tensors))
	for i := range f.tensors {
		t := &f.tensors[i]
		if _, twice := f.byName[t.Name]; twice {
			return fmt.Errorf("%w: tensor %q is there twice", ErrFormat, t.Name)
		}
		f.byName[t.Name] = i
		size, err := t.size()
		if err != nil {
			return err
		}
		end, carry := bits.Add64(t.off, size, 0)
		switch {
		case t.off%align != 0:
			return fmt.Errorf("%w: tensor %q starts at offset %d, which is no multiple of the alignment %d", ErrFormat, t.Name, t.off, align)
		case carry != 0 || end > uint64(len(data)):
			return fmt.Errorf("%w: tensor %q needs %d bytes from offset %d, but the file has only %d bytes of data; it may be truncated",
				ErrFormat, t.Name, size, t.off, len(data))
		}
		t.raw = data[t.off:end:end]
		slices.Reverse(t.Shape)
	}
	return f.overlaps()
}

// overlaps refuses two tensors that share bytes.
func (f *File) overlaps() error {
	order := make([]*Tensor, len(f.tensors))
	for i := range f.tensors {
		order[i] = &f.tensors[i]
	}
	slices.SortFunc(order, func(a, b *Tensor) int { return cmp.Compare(a.off, b.off) })
	for i := 1; i < len(order); i++ {
		a, b := order[i-1], order[i]
		if a.off+uint64(len(a.raw)) > b.off {
			return fmt.Errorf("%w: tensors %q and %q overlap", ErrFormat, a.Name, b.Name)
		}
	}
	return nil
}

// size is the number of bytes that the shape, in the file's order, needs.
func (t *Tensor) size() (uint64, error) {
	l, known := layouts[t.Type]
	if !known {
		return 0, fmt.Errorf("%w: tensor %q has the unknown %s", ErrFormat, t.Name, t.Type)
	}
	elements := uint64(1)
	for _, d := range t.Shape {
		hi, lo := bits.Mul64(elements, uint64(d))
		if hi != 0 || lo > 1<<48 {
			return 0, fmt.Errorf("%w: tensor %q of shape %v is larger than any file", ErrFormat, t.Name, t.Shape)
		}
		elements = lo
	}
	row := uint64(1)
	if len(t.Shape) > 0 {
		row = uint64(t.Shape[0])
	}
	if row%l.elements != 0 {
		return 0, fmt.Errorf("%w: tensor %q has rows of %d elements, not whole blocks of %d as %s needs",
			ErrFormat, t.Name, row, l.elements, t.Type)
	}
	return elements / l.elements * l.bytes, nil
}
