package tensors

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

const ggufMagic = "GGUF"

// Bounds of what a GGUF header may say. The longest strings are chat templates,
// the longest arrays vocabularies.
const (
	maxString    = 64 << 20
	maxElements  = 1 << 28
	maxDims      = 8
	maxAlignment = 1 << 20
	maxNesting   = 4
)

// Types of metadata values, from
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
const (
	ggufUint32 = 4
	ggufString = 8
	ggufArray  = 9
)

// ggufSizes are the bytes of a metadata value, by type; 0 for string and array.
var ggufSizes = []int64{1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8}

// ggmlTypes names the types of tensors that are of floats; others are quantised.
var ggmlTypes = map[uint32]Type{0: F32, 1: F16, 30: BF16,
	2: "q4_0", 3: "q4_1", 6: "q5_0", 7: "q5_1", 8: "q8_0",
	10: "q2_k", 11: "q3_k", 12: "q4_k", 13: "q5_k", 14: "q6_k", 15: "q8_k"}

// parseGGUF reads the header of a GGUF file of version 2 or 3.
func parseGGUF(r io.Reader, size int64) ([]Tensor, error) {
	g := &ggufReader{r: bufio.NewReader(r), left: size}
	g.skip(int64(len(ggufMagic)))
	version, tensors, pairs := g.uint32(), g.uint64(), g.uint64()
	if g.err == nil && (version < 2 || version > 3) {
		g.fail("GGUF version %d, this program knows 2 and 3", version)
	}
	if g.err == nil && (tensors > maxTensors || pairs > maxTensors) {
		g.fail("a GGUF header with %d tensors and %d values", tensors, pairs)
	}
	alignment := int64(32)
	for range pairs {
		if g.err != nil {
			break
		}
		key, kind := g.string(), g.uint32()
		if key == "general.alignment" && kind == ggufUint32 {
			alignment = int64(g.uint32())
			continue
		}
		g.value(kind, 0)
	}
	if g.err == nil && (alignment < 1 || alignment > maxAlignment) {
		g.fail("tensors aligned to %d bytes", alignment)
	}
	var list []Tensor
	for range tensors {
		if g.err != nil {
			return nil, g.err
		}
		list = append(list, g.tensor())
	}
	if g.err != nil {
		return nil, g.err
	}
	begin := (size - g.left + alignment - 1) / alignment * alignment
	for i := range list {
		t := &list[i]
		if t.offset > size {
			t.offset = size + 1
		} else {
			t.offset += begin
		}
		if err := t.check(size); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// ggufReader reads a header; err is the first fault, and after it everything is 0.
type ggufReader struct {
	r    *bufio.Reader
	left int64 // bytes of the file that were not read
	err  error
}

func (g *ggufReader) fail(format string, args ...any) {
	if g.err == nil {
		g.err = fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
	}
}

// take returns the next n bytes, n zeros after a fault.
func (g *ggufReader) take(n int64) []byte {
	if g.err == nil && n > g.left {
		g.fail("the GGUF header goes on behind the file's end")
	}
	if g.err != nil {
		return make([]byte, min(n, 8))
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(g.r, b); err != nil {
		g.fail("%v", err)
	}
	g.left -= n
	return b
}

func (g *ggufReader) skip(n int64) {
	if g.err == nil && n > g.left {
		g.fail("the GGUF header goes on behind the file's end")
	}
	if g.err != nil {
		return
	}
	if _, err := io.CopyN(io.Discard, g.r, n); err != nil {
		g.fail("%v", err)
	}
	g.left -= n
}

func (g *ggufReader) uint32() uint32 { return binary.LittleEndian.Uint32(g.take(4)) }
func (g *ggufReader) uint64() uint64 { return binary.LittleEndian.Uint64(g.take(8)) }

// length reads a length that may be at most so much.
func (g *ggufReader) length(most int64) int64 {
	n := g.uint64()
	if n > uint64(most) {
		g.fail("a GGUF header with a length of %d", n)
		return 0
	}
	return int64(n)
}

func (g *ggufReader) string() string { return string(g.take(g.length(maxString))) }

// value passes over a metadata value.
func (g *ggufReader) value(kind uint32, nested int) {
	switch {
	case int(kind) >= len(ggufSizes) || nested > maxNesting:
		g.fail("a GGUF value of type %d", kind)
	case kind == ggufString:
		g.skip(g.length(maxString))
	case kind == ggufArray:
		of, n := g.uint32(), g.length(maxElements)
		if int(of) < len(ggufSizes) && ggufSizes[of] > 0 {
			g.skip(n * ggufSizes[of])
			return
		}
		for range n {
			if g.err != nil {
				return
			}
			g.value(of, nested+1)
		}
	default:
		g.skip(ggufSizes[kind])
	}
}

// tensor reads a tensor's entry; its offset is from the first tensor on.
func (g *ggufReader) tensor() Tensor {
	name, n := g.string(), g.uint32()
	if n > maxDims {
		g.fail("tensor %.100q has %d dimensions", name, n)
		return Tensor{}
	}
	dims := make([]uint64, n)
	for i := range dims {
		dims[i] = g.uint64()
	}
	kind := g.uint32()
	t := Tensor{Name: name, Type: ggmlTypes[kind], Values: product(dims), offset: int64(min(g.uint64(), 1<<62))}
	if t.Type == "" {
		t.Type = Type(fmt.Sprintf("type %d", kind))
	}
	return t
}
