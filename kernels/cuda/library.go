package cuda

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// LibraryName is the file that `make cuda` builds.
const LibraryName = "libservebench_cuda.so"

// LibraryVariable names the environment variable with the library's path.
const LibraryVariable = "SERVEBENCH_CUDA_LIBRARY"

// library is a loaded library. It stays loaded: CUDA's runtime cannot be unloaded.
type library struct {
	path string
	fn   [functionCount]uintptr
}

// loaded has the libraries of this process by their paths.
var loaded struct {
	sync.Mutex
	by map[string]*library
}

// openLibrary loads the library at path, or the one that is found when path is
// "". It returns ErrLibrary or ErrUnavailable.
func openLibrary(path string) (*library, error) {
	if err := available(); err != nil {
		return nil, err
	}
	path, err := findLibrary(path)
	if err != nil {
		return nil, err
	}
	loaded.Lock()
	defer loaded.Unlock()
	if l := loaded.by[path]; l != nil {
		return l, nil
	}
	handle, err := dlopen(path)
	if err != nil {
		return nil, openError(path, err)
	}
	l := &library{path: path}
	for f, name := range functionNames {
		if l.fn[f], err = dlsym(handle, name); err != nil {
			return nil, fmt.Errorf("%w: %s lacks %s: it is not %s, or of another version than this program: build both from the same sources (make cuda build)",
				ErrLibrary, path, name, LibraryName)
		}
	}
	c := caller{lib: l}
	if v := uint32(c.call(fnVersion)); v != abiVersion {
		return nil, fmt.Errorf("%w: %s has version %d of the interface, this program version %d: build both from the same sources (make cuda build)",
			ErrLibrary, path, v, abiVersion)
	}
	if loaded.by == nil {
		loaded.by = map[string]*library{}
	}
	loaded.by[path] = l
	return l, nil
}

// findLibrary returns the path to load. One that is given, or in the environment,
// must be there; else it is looked for
//
//	next to the executable, and in ../lib of its folder,
//	and left to the system's loader (LD_LIBRARY_PATH, /etc/ld.so.conf).
func findLibrary(path string) (string, error) {
	from := "the path given"
	if path == "" {
		path, from = os.Getenv(LibraryVariable), "$"+LibraryVariable
	}
	if path != "" {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("%w: %s, %s, is not there: `make cuda` builds it", ErrLibrary, path, from)
		case err != nil:
			return "", fmt.Errorf("%w: %s: %w", ErrLibrary, from, err)
		case info.IsDir():
			return "", fmt.Errorf("%w: %s, %s, is a folder: give the file, %s", ErrLibrary, path, from, filepath.Join(path, LibraryName))
		}
		// Without a slash the loader would look elsewhere.
		if path, err = filepath.Abs(path); err != nil {
			return "", fmt.Errorf("%w: %s: %w", ErrLibrary, from, err)
		}
		return path, nil
	}
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		for _, folder := range []string{filepath.Dir(exe), filepath.Join(filepath.Dir(exe), "..", "lib")} {
			file := filepath.Join(folder, LibraryName)
			if _, err := os.Stat(file); err == nil {
				return file, nil
			}
		}
	}
	return LibraryName, nil
}

// openError says what to do about a library that the loader refused. The loader
// begins with the name of the file that it could not open: the library's own, or
// one that it needs.
func openError(path string, err error) error {
	missing, _, ok := strings.Cut(err.Error(), ": cannot open shared object file")
	switch {
	case ok && missing == path && path == LibraryName:
		return fmt.Errorf("%w: %s is neither next to the program, nor in ../lib, nor where the system looks: `make cuda` builds it; --cuda-library or $%s names it elsewhere",
			ErrLibrary, LibraryName, LibraryVariable)
	case ok && missing != path:
		return fmt.Errorf("%w: %s needs %s, which is not there: install the CUDA toolkit's runtime libraries (cuBLAS among them) of the version that it was built with, or name their folder in LD_LIBRARY_PATH",
			ErrLibrary, path, missing)
	}
	return fmt.Errorf("%w: %w", ErrLibrary, err)
}

// caller calls functions of a library; one goroutine at a time.
type caller struct {
	lib  *library
	args [8]uintptr // passed from here, so that a call's are not allocated
}

// call returns what the function returns. Arguments that are addresses keep to
// what address says.
func (c *caller) call(f function, args ...uintptr) uintptr {
	return invoke(c.lib.fn[f], c.args[:copy(c.args[:], args)])
}
