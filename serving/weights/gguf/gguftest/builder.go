package gguftest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Builder collects a file's parts.
type Builder struct {
	Version uint32
	Align   int // written as general.alignment by the caller, if not 32
	values  [][]byte
	tensors []tensor
}

type tensor struct {
	name   string
	typ    uint32
	shape  []uint64 // in the file's order
	data   []byte
	offset *uint64
}

// New starts a file of version 3.
func New() *Builder { return &Builder{Version: 3, Align: 32} }

// Set adds a metadata value of any of the format's types: Go's fixed-size
// integers and floats, bool, string, and slices of them.
func (b *Builder) Set(key string, v any) *Builder {
	typ, raw := encode(v)
	b.values = append(b.values, join(str(key), u32(typ), raw))
	return b
}

// Raw adds a metadata entry as it is.
func (b *Builder) Raw(entry []byte) *Builder {
	b.values = append(b.values, entry)
	return b
}

// Tensor adds a tensor of ggml type typ; shape is row-major.
func (b *Builder) Tensor(name string, typ uint32, shape []int, data []byte) *Builder {
	t := tensor{name: name, typ: typ, data: data}
	for i := len(shape) - 1; i >= 0; i-- {
		t.shape = append(t.shape, uint64(shape[i]))
	}
	b.tensors = append(b.tensors, t)
	return b
}

// Offset makes the last tensor claim that offset.
func (b *Builder) Offset(off uint64) *Builder {
	b.tensors[len(b.tensors)-1].offset = &off
	return b
}

// Bytes lays the file out.
func (b *Builder) Bytes() []byte {
	var out, data bytes.Buffer
	out.WriteString("GGUF")
	out.Write(join(u32(b.Version), u64(uint64(len(b.tensors))), u64(uint64(len(b.values)))))
	for _, v := range b.values {
		out.Write(v)
	}
	for _, t := range b.tensors {
		data.Write(make([]byte, pad(data.Len(), b.Align)))
		off := uint64(data.Len())
		if t.offset != nil {
			off = *t.offset
		}
		out.Write(join(str(t.name), u32(uint32(len(t.shape)))))
		for _, d := range t.shape {
			out.Write(u64(d))
		}
		out.Write(join(u32(t.typ), u64(off)))
		data.Write(t.data)
	}
	out.Write(make([]byte, pad(out.Len(), b.Align)))
	out.Write(data.Bytes())
	return out.Bytes()
}

// Write lays the file out in a temporary folder of the test and returns its path.
func (b *Builder) Write(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func pad(n, align int) int { return (align - n%align) % align }

func u32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
func u64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }
func str(s string) []byte { return append(u64(uint64(len(s))), s...) }

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// encode returns the format's type number and bytes of v.
func encode(v any) (uint32, []byte) {
	switch v := v.(type) {
	case string:
		return 8, str(v)
	case []string:
		all := make([][]byte, len(v))
		for i, s := range v {
			all[i] = str(s)
		}
		return 9, join(u32(8), u64(uint64(len(v))), join(all...))
	case []uint8, []int8, []uint16, []int16, []uint32, []int32, []float32, []bool, []uint64, []int64, []float64:
		return 9, join(u32(number(v)), u64(uint64(binary.Size(v)/width(v))), fixed(v))
	}
	return number(v), fixed(v)
}

func fixed(v any) []byte {
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// number is the format's number of a fixed-size type, or of a slice's element.
func number(v any) uint32 {
	switch v.(type) {
	case uint8, []uint8:
		return 0
	case int8, []int8:
		return 1
	case uint16, []uint16:
		return 2
	case int16, []int16:
		return 3
	case uint32, []uint32:
		return 4
	case int32, []int32:
		return 5
	case float32, []float32:
		return 6
	case bool, []bool:
		return 7
	case uint64, []uint64:
		return 10
	case int64, []int64:
		return 11
	case float64, []float64:
		return 12
	}
	panic(fmt.Sprintf("gguftest: no GGUF type for %T", v))
}

// width is the size of a slice's element.
func width(v any) int {
	switch number(v) {
	case 0, 1, 7:
		return 1
	case 2, 3:
		return 2
	case 4, 5, 6:
		return 4
	}
	return 8
}
