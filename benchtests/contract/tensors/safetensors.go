package tensors

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// maxHeader is the longest header that the format allows, in bytes.
const maxHeader = 100_000_000

// parseSafetensors reads a header: its length in eight bytes, then a JSON object
// of tensors with offsets from its end on
// (https://github.com/huggingface/safetensors).
func parseSafetensors(r io.Reader, size int64) ([]Tensor, error) {
	var length [8]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > maxHeader || int64(n) > size-8 {
		return nil, fmt.Errorf("%w: neither GGUF nor a safetensors header of %d bytes in a file of %d", ErrFormat, n, size)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(text, &entries); err != nil {
		return nil, fmt.Errorf("%w: safetensors header: %w", ErrFormat, err)
	}
	delete(entries, "__metadata__")
	var tensors []Tensor
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		var e struct {
			Dtype   string   `json:"dtype"`
			Shape   []uint64 `json:"shape"`
			Offsets []int64  `json:"data_offsets"`
		}
		if err := json.Unmarshal(entries[name], &e); err != nil || len(e.Offsets) != 2 {
			return nil, fmt.Errorf("%w: tensor %.100q of a safetensors header: %.100s", ErrFormat, name, entries[name])
		}
		t := Tensor{Name: name, Type: safetensorsType(e.Dtype), Values: product(e.Shape), offset: e.Offsets[0] + 8 + int64(n)}
		err := t.check(size)
		if err == nil && (e.Offsets[0] < 0 || t.Type.size() > 0 && e.Offsets[1]-e.Offsets[0] != t.Values*t.Type.size()) {
			err = fmt.Errorf("%w: tensor %.100q of %d values is at bytes %v", ErrFormat, name, t.Values, e.Offsets)
		}
		if err != nil {
			return nil, err
		}
		tensors = append(tensors, t)
	}
	return tensors, nil
}

func safetensorsType(name string) Type {
	switch name {
	case "F32":
		return F32
	case "F16":
		return F16
	case "BF16":
		return BF16
	}
	return Type(strings.ToLower(name))
}
