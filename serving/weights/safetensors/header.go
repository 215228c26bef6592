package safetensors

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math/bits"
	"slices"
)

// sizes has the bytes of an element of the dtypes whose elements are whole
// bytes. A tensor of another dtype is placed by its offsets alone: whoever asks
// for it refuses it by name.
var sizes = map[string]uint64{
	"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1,
	"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1, "C64": 8,
}

// entry is a tensor in the header.
type entry struct {
	DType   string   `json:"dtype"`
	Shape   []uint64 `json:"shape"`
	Offsets []uint64 `json:"data_offsets"` // begin and end in the data
}

// metadataKey is the one key of the header that is no tensor.
const metadataKey = "__metadata__"

// decode reads the header, whose keys encoding/json would merge if one came twice.
func decode(header []byte) ([]Tensor, error) {
	broken := func(err error) error {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("%w: header: %w", ErrFormat, err)
	}
	d := json.NewDecoder(bytes.NewReader(header))
	if open, err := d.Token(); err != nil {
		return nil, broken(err)
	} else if open != json.Delim('{') {
		return nil, fmt.Errorf("%w: the header is no JSON object", ErrFormat)
	}
	var tensors []Tensor
	seen := map[string]bool{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, broken(err)
		}
		name, _ := token.(string) // the decoder accepts no other key
		if seen[name] {
			return nil, fmt.Errorf("%w: tensor %q is there twice", ErrFormat, name)
		}
		seen[name] = true
		if name == metadataKey {
			if err := d.Decode(&map[string]string{}); err != nil {
				return nil, broken(fmt.Errorf("%s: %w", metadataKey, err))
			}
			continue
		}
		var e entry
		if err := d.Decode(&e); err != nil {
			return nil, broken(fmt.Errorf("tensor %q: %w", name, err))
		}
		t, err := e.tensor(name)
		if err != nil {
			return nil, err
		}
		tensors = append(tensors, t)
	}
	if _, err := d.Token(); err != nil {
		return nil, broken(err)
	}
	if _, err := d.Token(); err != io.EOF { // spaces may pad the header
		return nil, fmt.Errorf("%w: the header goes on after its JSON object", ErrFormat)
	}
	return tensors, nil
}

// tensor checks what can be checked of an entry alone.
func (e entry) tensor(name string) (Tensor, error) {
	t := Tensor{Name: name, DType: e.DType}
	if e.DType == "" || e.Shape == nil || len(e.Offsets) != 2 {
		return t, fmt.Errorf("%w: tensor %q needs dtype, shape and two data_offsets", ErrFormat, name)
	}
	t.begin, t.end = e.Offsets[0], e.Offsets[1]
	if t.begin > t.end {
		return t, fmt.Errorf("%w: tensor %q ends at %d, before its start at %d", ErrFormat, name, t.end, t.begin)
	}
	elements := uint64(1)
	for _, n := range e.Shape {
		hi, lo := bits.Mul64(elements, n)
		if hi != 0 || lo > 1<<48 || n > 1<<48 {
			return t, fmt.Errorf("%w: tensor %q of shape %v is larger than any file", ErrFormat, name, e.Shape)
		}
		elements = lo
		t.Shape = append(t.Shape, int(n))
	}
	if size, known := sizes[e.DType]; known && elements*size != t.end-t.begin {
		return t, fmt.Errorf("%w: tensor %q of dtype %s and shape %v needs %d bytes, its data_offsets %v give it %d",
			ErrFormat, name, e.DType, e.Shape, elements*size, e.Offsets, t.end-t.begin)
	}
	return t, nil
}

// place sorts the tensors by their place in the data and gives each its bytes.
func (f *File) place(data []byte) error {
	slices.SortFunc(f.tensors, func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end), cmp.Compare(a.Name, b.Name))
	})
	at, before := uint64(0), "the start"
	for i := range f.tensors {
		t := &f.tensors[i]
		switch {
		case t.end > uint64(len(data)):
			return fmt.Errorf("%w: tensor %q ends at %d, but the file has only %d bytes of data; it may be truncated",
				ErrFormat, t.Name, t.end, len(data))
		case t.begin < at:
			return fmt.Errorf("%w: tensor %q, from %d, overlaps %s, which ends at %d", ErrFormat, t.Name, t.begin, before, at)
		case t.begin > at:
			return fmt.Errorf("%w: a hole of %d bytes between %s and tensor %q", ErrFormat, t.begin-at, before, t.Name)
		}
		t.raw = data[t.begin:t.end:t.end]
		at, before = t.end, fmt.Sprintf("tensor %q", t.Name)
	}
	if at != uint64(len(data)) {
		return fmt.Errorf("%w: %d bytes after %s belong to no tensor", ErrFormat, uint64(len(data))-at, before)
	}
	return nil
}
