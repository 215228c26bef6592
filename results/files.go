package results

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// writeFile replaces a file at once: readers see the old content or the new.
func writeFile(path string, data []byte) (err error) {
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return writeFile(path, append(data, '\n'))
}

// syncDir makes new names in a folder last. Some file systems do not know
// how to; their own order of writes has to do.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	_ = d.Sync()
	return d.Close()
}

// pointLatest makes root/latest a relative link to name, at once.
func pointLatest(root, name string) error {
	latest := filepath.Join(root, Latest)
	if st, err := os.Lstat(latest); err == nil && st.Mode()&fs.ModeSymlink == 0 {
		return fmt.Errorf("%s is not a symbolic link: move it away", latest)
	}
	tmp := filepath.Join(root, "."+Latest+"-"+randomHex(4))
	if err := os.Symlink(name, tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, latest); err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return syncDir(root)
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// appendFile is a file that grows by whole commits.
type appendFile struct {
	f    *os.File
	size int64 // committed
}

// openAppend opens a file and cuts off what is behind size. A file that is
// shorter was changed by somebody else.
func openAppend(path string, flag int, size int64) (*appendFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|flag, 0o644)
	if err != nil {
		return nil, err
	}
	a := &appendFile{f: f, size: size}
	st, err := f.Stat()
	if err == nil && st.Size() < size {
		err = fmt.Errorf("%s has %d bytes, it had %d: it was changed after the run wrote it", path, st.Size(), size)
	}
	if err == nil && st.Size() > size {
		err = a.rollback()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return a, nil
}

// write puts data behind what is committed, and on the disk.
func (a *appendFile) write(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	if _, err := a.f.WriteAt(data, a.size); err != nil {
		return err
	}
	return a.f.Sync()
}

// rollback cuts off what was written and not committed.
func (a *appendFile) rollback() error {
	if err := a.f.Truncate(a.size); err != nil {
		return err
	}
	return a.f.Sync()
}

// readAll returns what is committed.
func (a *appendFile) readAll() ([]byte, error) {
	return io.ReadAll(io.NewSectionReader(a.f, 0, a.size))
}
