package mapped

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/edsrzf/mmap-go"
)

// ErrNotRegular is returned, wrapped with the path, for a folder, a device or a pipe.
var ErrNotRegular = errors.New("not a regular file")

// sweep is how many bytes are lent before the pages are given back. Giving back
// costs a fault for each page that is still wanted; 64 MiB are a matrix or a
// few, which a device has copied by the time that it asks for the next.
const sweep = 64 << 20

// File is a mapped file. Several goroutines may use it.
type File struct {
	data mmap.MMap // nil for an empty file
	lent atomic.Int64
}

// Open maps a file: ErrNotRegular for what is none, errors of the system else.
// Close it after use.
func Open(path string) (*File, error) {
	src, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer src.Close() // the mapping stays
	info, err := src.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w", path, ErrNotRegular)
	}
	if info.Size() == 0 {
		return &File{}, nil
	}
	m, err := mmap.Map(src, mmap.RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: map into memory: %w", path, err)
	}
	sequential(m)
	return &File{data: m}, nil
}

// Bytes returns the whole file, valid until Close.
func (f *File) Bytes() []byte { return f.data }

// Lend tells that n bytes of the file are about to be read, once. On a nil File
// it does nothing.
func (f *File) Lend(n int) {
	if f == nil || f.data == nil {
		return
	}
	before := f.lent.Add(int64(n)) - int64(n)
	if before/sweep != (before+int64(n))/sweep {
		giveBack(f.data)
	}
}

// Close unmaps the file. Parts of Bytes must not be touched afterwards.
func (f *File) Close() error {
	if f.data == nil {
		return nil
	}
	return f.data.Unmap()
}
