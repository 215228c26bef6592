package mapped

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestFilesThatAreNone: each is an error of its own kind.
func TestFilesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(dir)
	assert.ErrorIs(t, err, ErrNotRegular)
	assert.ErrorContains(t, err, dir)
	_, err = Open(filepath.Join(dir, "absent"))
	assert.ErrorIs(t, err, fs.ErrNotExist)
	empty := filepath.Join(dir, "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	f, err := Open(empty)
	require.NoError(t, err)
	assert.Empty(t, f.Bytes())
	f.Lend(sweep)
	require.NoError(t, f.Close())
	(*File)(nil).Lend(1)
}

// TestPagesAreGivenBack reads a file of several sweeps: the pages that the
// process holds stay bounded, and what was read before is still right.
func TestPagesAreGivenBack(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED, not tested here: other systems give pages back by themselves")
	}
	const part, parts = sweep / 4, 6
	path := filepath.Join(t.TempDir(), "f")
	file, err := os.Create(path)
	require.NoError(t, err)
	for i := range parts {
		_, err := file.Write(bytes.Repeat([]byte{byte(i + 1)}, part))
		require.NoError(t, err)
	}
	require.NoError(t, file.Close())
	f, err := Open(path)
	require.NoError(t, err)
	defer f.Close()
	resident := func() int {
		before := rss(t)
		require.NoError(t, unix.Madvise(f.data, unix.MADV_DONTNEED))
		return before - rss(t)
	}
	read := func(i int) {
		b := f.Bytes()[i*part : (i+1)*part]
		f.Lend(len(b))
		require.Equal(t, part, bytes.Count(b, []byte{byte(i + 1)}))
	}
	for i := range 3 {
		read(i)
	}
	assert.Greater(t, resident(), 2*part, "the measure sees mapped pages")
	for i := range parts {
		read(i)
	}
	assert.LessOrEqual(t, resident(), sweep+part)
	read(0)
}

// rss is what the process holds of files, in bytes.
func rss(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	fields := bytes.Fields(b)
	require.Greater(t, len(fields), 2)
	pages := 0
	for _, d := range fields[2] { // shared pages
		pages = pages*10 + int(d-'0')
	}
	return pages * os.Getpagesize()
}
