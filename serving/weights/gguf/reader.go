package gguf

import (
	"encoding/binary"
	"fmt"
)

// reader walks a file. Once something does not fit into the bytes that are
// left, err says what and where, and every later call returns zeros.
type reader struct {
	data []byte
	at   int
	err  error
}

// fail keeps the first error.
func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: at byte %d: %s", ErrFormat, r.at, fmt.Sprintf(format, args...))
	}
}

// left is the number of bytes not read yet.
func (r *reader) left() uint64 { return uint64(len(r.data) - r.at) }

// take returns the next n bytes, which belong to the file.
func (r *reader) take(n uint64) []byte {
	if r.err == nil && n > r.left() {
		r.fail("%d bytes wanted, the file has %d left", n, r.left())
	}
	if r.err != nil {
		return nil
	}
	b := r.data[r.at : r.at+int(n)]
	r.at += int(n)
	return b
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// count reads the number of things that follow, each at least size bytes long.
func (r *reader) count(what string, size uint64) uint64 {
	n := r.u64()
	if r.err == nil && n > r.left()/size {
		r.fail("%s %d cannot fit into the %d bytes left", what, n, r.left())
	}
	if r.err != nil {
		return 0
	}
	return n
}

// str reads a string's bytes, which belong to the file.
func (r *reader) str(what string) []byte { return r.take(r.count("length of "+what, 1)) }
