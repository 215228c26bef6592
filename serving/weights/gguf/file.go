package gguf

import "errors"

// ErrNoKey is returned, wrapped with the key, when the metadata lacks a key.
var ErrNoKey = errors.New("key not in the GGUF metadata")

// ErrType is returned, wrapped with the tensor's name and type, when a tensor
// is stored in a type that this package does not dequantise.
var ErrType = errors.New("tensor type not supported")

// File is an opened GGUF file: its metadata, with typed getters, and the
// descriptions of its tensors. It may be read from several goroutines.
type File struct {
	Metadata
	tensors []Tensor
}

// Tensor describes one tensor; its elements are read with Data or Dequantize.
type Tensor struct {
	Name  string
	Type  Type
	Shape []int // row-major, as in Go and NumPy: the reverse of the order in the file
	raw   []byte
}

// Type is the storage type of a tensor's elements.
type Type uint32

// Open maps a GGUF file of version 2 or 3 into memory and checks all of it but
// the tensors' elements. Whatever is wrong with it is told in an error.
func Open(path string) (*File, error) { return nil, errors.ErrUnsupported }

// Close unmaps the file; slices from Data are invalid afterwards, everything else stays valid.
func (f *File) Close() error { return nil }

// Tensors returns the tensors in the order of the file.
func (f *File) Tensors() []Tensor { return f.tensors }

// Tensor returns the tensor of that name.
func (f *File) Tensor(name string) (Tensor, bool) { return Tensor{}, false }

// Data returns the tensor's bytes as stored, valid until the file is closed.
func (t Tensor) Data() []byte { return t.raw }

// Dequantize returns the elements as float32, exactly as the gguf Python
// package's dequantize does. ErrType for a type that is not F32, F16, BF16,
// Q8_0, Q4_0 or Q4_1.
func (t Tensor) Dequantize() ([]float32, error) { return nil, ErrType }

// Metadata is the key-value part of a file. A getter of a missing key returns
// ErrNoKey; of a value of another type an error that names key, type wanted
// and type found.
type Metadata struct{}

// Keys returns the keys in the order of the file.
func (m *Metadata) Keys() []string { return nil }

// Has reports whether the key is present.
func (m *Metadata) Has(key string) bool { return false }

// String returns a string value.
func (m *Metadata) String(key string) (string, error) { return "", ErrNoKey }

// Bool returns a bool value.
func (m *Metadata) Bool(key string) (bool, error) { return false, ErrNoKey }

// Uint returns a value of any integer type that is not negative.
func (m *Metadata) Uint(key string) (uint64, error) { return 0, ErrNoKey }

// Int returns a value of any integer type that fits int64.
func (m *Metadata) Int(key string) (int64, error) { return 0, ErrNoKey }

// Float returns a value of any float or integer type.
func (m *Metadata) Float(key string) (float64, error) { return 0, ErrNoKey }

// Strings returns an array of strings (tokenizer.ggml.tokens, tokenizer.ggml.merges).
func (m *Metadata) Strings(key string) ([]string, error) { return nil, ErrNoKey }

// Ints returns an array of any integer type (tokenizer.ggml.token_type).
func (m *Metadata) Ints(key string) ([]int64, error) { return nil, ErrNoKey }

// Floats returns an array of any float or integer type (tokenizer.ggml.scores).
func (m *Metadata) Floats(key string) ([]float64, error) { return nil, ErrNoKey }
