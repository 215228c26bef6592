package safetensors

import (
	"encoding/binary"
	"errors"
	"fmt"

	"servebench/serving/weights/mapped"
)

// ErrFormat is returned, wrapped with what is wrong and with the tensor's
// name, when a file is not a sound safetensors file.
var ErrFormat = errors.New("not a sound safetensors file")

// maxHeader is the length of header that the reference implementation accepts.
const maxHeader = 100_000_000

// lengthSize is the size of the header's length at the start of a file.
const lengthSize = 8

// File is an opened file. Several goroutines may read it.
type File struct {
	tensors []Tensor
	byName  map[string]int
	mapped  *mapped.File // nil for bytes that were given
}

// Tensor is one tensor of a file.
type Tensor struct {
	Name       string
	DType      string // as the file names it: F32, F16, BF16, …
	Shape      []int  // row-major
	begin, end uint64 // in the data, which follows the header
	raw        []byte
	file       *mapped.File
}

// Data returns the little-endian elements, valid until the file is closed.
// The process gives up the pages that were read of earlier tensors now and then
// (package mapped).
func (t Tensor) Data() []byte {
	t.file.Lend(len(t.raw))
	return t.raw
}

// Open maps a file and checks all of its header: ErrFormat when it is not
// sound. Close it after use.
func Open(path string) (*File, error) {
	m, err := mapped.Open(path)
	if errors.Is(err, mapped.ErrNotRegular) {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if err != nil {
		return nil, err
	}
	f, err := parse(m.Bytes())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), m.Close())
	}
	f.mapped = m
	for i := range f.tensors {
		f.tensors[i].file = m
	}
	return f, nil
}

// Close unmaps the file. Slices that Data returned must not be touched afterwards.
func (f *File) Close() error {
	f.tensors, f.byName = nil, nil
	if f.mapped == nil {
		return nil
	}
	return f.mapped.Close()
}

// Tensors returns the tensors in the order of their data.
func (f *File) Tensors() []Tensor { return f.tensors }

// Tensor returns the tensor of that name.
func (f *File) Tensor(name string) (Tensor, bool) {
	i, ok := f.byName[name]
	if !ok {
		return Tensor{}, false
	}
	return f.tensors[i], true
}

// parse reads a whole file; its result refers to data.
func parse(data []byte) (*File, error) {
	if len(data) < lengthSize {
		return nil, fmt.Errorf("%w: %d bytes do not hold the header's length", ErrFormat, len(data))
	}
	n, rest := binary.LittleEndian.Uint64(data), data[lengthSize:]
	if n > uint64(len(rest)) || n > maxHeader {
		return nil, fmt.Errorf("%w: the header's length is given as %d, the file has %d bytes and the format allows %d; it may be truncated",
			ErrFormat, n, len(data), maxHeader)
	}
	tensors, err := decode(rest[:n])
	if err != nil {
		return nil, err
	}
	f := &File{tensors: tensors, byName: make(map[string]int, len(tensors))}
	if err := f.place(rest[n:]); err != nil {
		return nil, err
	}
	for i, t := range f.tensors {
		f.byName[t.Name] = i
	}
	return f, nil
}
