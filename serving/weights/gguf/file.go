package gguf

import (
	"errors"
	"fmt"

	"servebench/serving/weights/mapped"
)

// ErrFormat is returned, wrapped with what is wrong and where, when a file is
// not a sound GGUF file of a version that this package reads.
var ErrFormat = errors.New("not a sound GGUF file")

// File is an opened GGUF file: its metadata, through the getters of the
// embedded Metadata, and its tensors. Several goroutines may read it.
type File struct {
	Metadata
	Version uint32 // 2 or 3
	tensors []Tensor
	byName  map[string]int
	mapped  *mapped.File // nil for bytes that were given
}

// Open maps a GGUF file and checks everything in it but the values of the
// tensors' elements: ErrFormat when it is not sound. Close it after use.
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

// Close unmaps the file. Slices that Data returned must not be touched
// afterwards; strings and slices from the metadata's getters are copies and stay.
func (f *File) Close() error {
	f.Metadata, f.tensors, f.byName = Metadata{}, nil, nil
	if f.mapped == nil {
		return nil
	}
	return f.mapped.Close()
}

// Tensors returns the tensors in the order of the file.
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
	r := &reader{data: data}
	if magic := r.take(4); r.err != nil {
		return nil, r.err
	} else if string(magic) != "GGUF" {
		return nil, fmt.Errorf("%w: it starts with %q instead of \"GGUF\"", ErrFormat, magic)
	}
	f := &File{Version: r.u32()}
	switch {
	case f.Version == 2 || f.Version == 3:
	case f.Version != 0 && f.Version&0xffff == 0:
		return nil, fmt.Errorf("%w: it is big-endian; convert it with gguf_convert_endian.py of llama.cpp", ErrFormat)
	default:
		return nil, fmt.Errorf("%w: version %d; versions 2 and 3 are supported", ErrFormat, f.Version)
	}
	tensors := r.count("tensor count", minTensorInfo)
	values := r.count("metadata count", minValue)
	if err := f.read(r, values); err != nil {
		return nil, err
	}
	align, err := f.alignment()
	if err != nil {
		return nil, err
	}
	for i := uint64(0); i < tensors && r.err == nil; i++ {
		f.tensors = append(f.tensors, r.tensor(i))
	}
	if r.err != nil {
		return nil, r.err
	}
	return f, f.layout(data, uint64(r.at), align)
}

// alignment is what tensor offsets are multiples of.
func (f *File) alignment() (uint64, error) {
	const key, standard = "general.alignment", 32
	if !f.Has(key) {
		return standard, nil
	}
	a, err := f.Uint(key)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if a == 0 || a&(a-1) != 0 || a > 1<<31 {
		return 0, fmt.Errorf("%w: %s is %d, not a power of two", ErrFormat, key, a)
	}
	return a, nil
}
