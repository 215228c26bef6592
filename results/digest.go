package results

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// File is a file and its content's hash.
type File struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes,omitempty"` // 0 where only the hash is known
	SHA256 string `json:"sha256"`
}

// Digest is a set of files and one hash over them: that of the text that
// sha256sum prints for the files, sorted by name, so that
//
//	cd DIR && LC_ALL=C sha256sum *.safetensors | sha256sum
//
// gives it again. The zero Digest is "not known".
type Digest struct {
	SHA256 string `json:"sha256,omitempty"`
	Files  []File `json:"files,omitempty"`
}

// ErrNoWeights is returned when a folder has no weights files.
var ErrNoWeights = errors.New("no .safetensors or .gguf file")

// DigestWeights hashes a model's weights: path is a .gguf or .safetensors
// file, or a folder with such files, of which .safetensors are taken if there
// are any. Hashes are remembered in the user's cache folder by path, size and
// modification time; a file in a Hugging Face cache that is stored under its
// SHA-256 is not read.
func DigestWeights(path string) (Digest, error) {
	st, err := os.Stat(path)
	if err != nil {
		return Digest{}, fmt.Errorf("weights: %w", err)
	}
	if !st.IsDir() {
		return DigestFiles(path)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return Digest{}, fmt.Errorf("weights: %w", err)
	}
	for _, ext := range []string{".safetensors", ".gguf"} {
		var paths []string
		for _, e := range entries {
			if filepath.Ext(e.Name()) == ext {
				paths = append(paths, filepath.Join(path, e.Name()))
			}
		}
		if len(paths) > 0 {
			return DigestFiles(paths...)
		}
	}
	return Digest{}, fmt.Errorf("weights: %s: %w", path, ErrNoWeights)
}

// DigestFiles hashes the files named, in the same way. Their base names have to differ.
func DigestFiles(paths ...string) (Digest, error) {
	files := make(map[string]File)
	for _, p := range paths {
		name := filepath.Base(p)
		if _, ok := files[name]; ok {
			return Digest{}, fmt.Errorf("digest: two files are named %s", name)
		}
		f, err := describe(p)
		if err != nil {
			return Digest{}, fmt.Errorf("digest: %w", err)
		}
		files[name] = f
	}
	var d Digest
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		d.Files = append(d.Files, files[name])
		fmt.Fprintf(h, "%s  %s\n", files[name].SHA256, name)
	}
	if len(d.Files) > 0 {
		d.SHA256 = hex.EncodeToString(h.Sum(nil))
	}
	return d, nil
}

// blobName matches a blob of a Hugging Face cache that is named by its
// SHA-256 (files that are not in large-file storage have a SHA-1 there).
var blobName = regexp.MustCompile(`^[0-9a-f]{64}$`)

// describe returns a file's size and hash, from a cache where it can.
func describe(path string) (File, error) {
	st, err := os.Stat(path)
	if err != nil {
		return File{}, err
	}
	if !st.Mode().IsRegular() {
		return File{}, fmt.Errorf("%s is not a regular file", path)
	}
	f := File{Name: filepath.Base(path), Bytes: st.Size()}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return File{}, err
	}
	if real, err = filepath.Abs(real); err != nil {
		return File{}, err
	}
	if dir, blob := filepath.Split(real); filepath.Base(dir) == "blobs" && blobName.MatchString(blob) {
		f.SHA256 = blob
		return f, nil
	}
	k := hashKey{real, st.Size(), st.ModTime().UnixNano()}
	if f.SHA256 = hashes.get(k); f.SHA256 != "" {
		return f, nil
	}
	if f.SHA256, err = HashFile(real); err != nil {
		return File{}, err
	}
	hashes.put(k, f.SHA256)
	return f, nil
}

// HashFile returns the SHA-256 of a file's content, in hexadecimal.
func HashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// hashKey tells when a file has to be read again.
type hashKey struct {
	path        string
	size, mtime int64
}

// String is the key in the cache's file.
func (k hashKey) String() string {
	return fmt.Sprintf("%d %d %s", k.size, k.mtime, filepath.ToSlash(k.path))
}

// hashCache remembers hashes in a file of the user's cache folder. It is a
// convenience: whatever fails about it only costs time.
type hashCache struct{ mu sync.Mutex }

var hashes hashCache

func (*hashCache) file() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "servebench", "sha256.json")
}

func (c *hashCache) load() map[string]string {
	m := make(map[string]string)
	if data, err := os.ReadFile(c.file()); err == nil && json.Unmarshal(data, &m) != nil {
		return make(map[string]string)
	}
	return m
}

// get returns "" for a file that has to be read.
func (c *hashCache) get(k hashKey) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.load()[k.String()]; blobName.MatchString(h) {
		return h
	}
	return ""
}

// put remembers a hash. Older ones of the same path go.
func (c *hashCache) put(k hashKey, hash string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := c.file()
	if name == "" {
		return
	}
	m := c.load()
	maps.DeleteFunc(m, func(key, _ string) bool {
		parts := strings.SplitN(key, " ", 3)
		return len(parts) != 3 || parts[2] == filepath.ToSlash(k.path)
	})
	m[k.String()] = hash
	if os.MkdirAll(filepath.Dir(name), 0o755) == nil {
		_ = writeJSON(name, m)
	}
}
