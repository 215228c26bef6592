package tensors

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
)

// ErrFormat is returned, wrapped with where, for what is neither a safetensors
// nor a GGUF file, or a broken one.
var ErrFormat = errors.New("not a weights file")

// ErrNone is returned for a folder without weights files.
var ErrNone = errors.New("no .safetensors or .gguf file")

// Type is how values are stored.
type Type string

// The types whose values can be compared. Any other is quantised, or holds no
// weights, and goes by its own name.
const (
	F32  Type = "float32"
	F16  Type = "float16"
	BF16 Type = "bfloat16"
)

// size returns a value's bytes, 0 for a type whose values cannot be compared.
func (t Type) size() int64 {
	switch t {
	case F32:
		return 4
	case F16, BF16:
		return 2
	}
	return 0
}

// Tensor is a tensor as a file's header describes it.
type Tensor struct {
	Name   string
	Type   Type
	Values int64
	// Digest is the SHA-256 of its values, in their order by bits and each with
	// its number; "" before Weights.Digest, and for a type that cannot be compared.
	Digest string

	file   string
	offset int64
}

// Weights are the tensors of a model.
type Weights struct{ Tensors []Tensor }

// maxTensors and maxValues are far above any model's.
const (
	maxTensors = 1 << 20
	maxValues  = 1 << 44
)

// Open reads the headers of a model's weights: a .safetensors or .gguf file, or
// a folder with such files, of which .safetensors are taken if there are any.
func Open(path string) (*Weights, error) {
	files, err := list(path)
	if err != nil {
		return nil, fmt.Errorf("weights: %w", err)
	}
	w := &Weights{}
	for _, name := range files {
		tensors, err := header(name)
		if err != nil {
			return nil, fmt.Errorf("weights: %s: %w", name, err)
		}
		w.Tensors = append(w.Tensors, tensors...)
	}
	return w, nil
}

// list returns the weights files of a path.
func list(path string) ([]string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return []string{path}, nil
	}
	for _, ext := range []string{".safetensors", ".gguf"} {
		files, err := filepath.Glob(filepath.Join(escape(path), "*"+ext))
		if err != nil {
			return nil, err
		}
		if len(files) > 0 {
			return files, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", path, ErrNone)
}

// escape makes a folder's name match itself alone.
func escape(dir string) string {
	var out []rune
	for _, r := range dir {
		if slices.Contains([]rune{'*', '?', '[', '\\'}, r) {
			out = append(out, '\\')
		}
		out = append(out, r)
	}
	return string(out)
}

// header reads the header of one file.
func header(name string) ([]Tensor, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	magic := make([]byte, len(ggufMagic))
	if _, err := io.ReadFull(f, magic); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	parse := parseSafetensors
	if string(magic) == ggufMagic {
		parse = parseGGUF
	}
	tensors, err := parse(io.NewSectionReader(f, 0, st.Size()), st.Size())
	for i := range tensors {
		tensors[i].file = name
	}
	return tensors, err
}

// check returns what is wrong with a tensor of a file of size bytes.
func (t *Tensor) check(size int64) error {
	if t.Values < 0 || t.Values > maxValues || t.offset < 0 || t.offset > size || t.Values*t.Type.size() > size-t.offset {
		return fmt.Errorf("%w: tensor %.100q has %d values from byte %d on, and the file %d bytes", ErrFormat, t.Name, t.Values, t.offset, size)
	}
	return nil
}

// product multiplies dimensions; −1 is a number that no tensor has.
func product(dims []uint64) int64 {
	n := uint64(1)
	for _, d := range dims {
		high, low := bits.Mul64(n, d)
		if high > 0 || low > maxValues {
			return -1
		}
		n = low
	}
	return int64(n)
}

// Dtype returns the type that most values are stored in.
func (w *Weights) Dtype() Type {
	counts := map[Type]int64{}
	most := Type("")
	for _, t := range w.Tensors {
		counts[t.Type] += t.Values
		if counts[t.Type] > counts[most] || most == "" {
			most = t.Type
		}
	}
	return most
}
