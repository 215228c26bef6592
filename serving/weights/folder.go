package weights

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"servebench/kernels"
	"servebench/serving/weights/safetensors"
)

const (
	singleName = "model.safetensors"
	indexName  = "model.safetensors.index.json"
	maxIndex   = 256 << 20 // an index has about 100 bytes a tensor
)

// folder is a checkpoint in safetensors files.
type folder struct {
	conf  json.RawMessage
	files []*safetensors.File
	// from has the file of every tensor.
	from map[string]*safetensors.File
}

// openFolder opens model.safetensors, or else the shards that the index lists.
func openFolder(dir string) (_ Checkpoint, err error) {
	f := &folder{from: map[string]*safetensors.File{}}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	if f.conf, err = readConfig(dir); err != nil {
		return nil, err
	}
	file, err := f.open(filepath.Join(dir, singleName))
	if errors.Is(err, fs.ErrNotExist) {
		err = f.openShards(dir)
	} else if err == nil {
		for _, t := range file.Tensors() {
			f.from[t.Name] = file
		}
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (f *folder) open(path string) (*safetensors.File, error) {
	file, err := safetensors.Open(path)
	if err == nil {
		f.files = append(f.files, file)
	}
	return file, err
}

// openShards opens every file that the index names and checks that each tensor
// is where the index says.
func (f *folder) openShards(dir string) error {
	path := filepath.Join(dir, indexName)
	raw, err := readSmall(path, maxIndex)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s has neither %s nor %s%s: %w", dir, singleName, indexName, otherWeights(listDir(dir)), fs.ErrNotExist)
	}
	if err != nil {
		return err
	}
	where, err := readIndex(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	shards := map[string]*safetensors.File{}
	for _, tensor := range slices.Sorted(maps.Keys(where)) {
		name := where[tensor]
		if filepath.Base(name) != name || !strings.HasSuffix(name, ".safetensors") {
			return fmt.Errorf("%s: tensor %q lies in %q, which is not the name of a safetensors file in the folder", path, tensor, name)
		}
		if shards[name] == nil {
			if shards[name], err = f.open(filepath.Join(dir, name)); errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("shard of tensor %q: %w: the model was not copied or downloaded in full", tensor, err)
			} else if err != nil {
				return fmt.Errorf("shard of tensor %q: %w", tensor, err)
			}
		}
		if _, ok := shards[name].Tensor(tensor); !ok {
			return fmt.Errorf("%s: %w: %q is not in %s, where the index says it is", path, ErrNoTensor, tensor, name)
		}
		f.from[tensor] = shards[name]
	}
	return unique(shards, where)
}

// readIndex reads the file of every tensor. Of a key that comes twice
// encoding/json would silently keep the last.
func readIndex(raw []byte) (map[string]string, error) {
	var index struct {
		Map json.RawMessage `json:"weight_map"`
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, err
	}
	if len(index.Map) == 0 {
		return nil, errors.New("weight_map is missing")
	}
	where := map[string]string{}
	if err := json.Unmarshal(index.Map, &where); err != nil {
		return nil, fmt.Errorf("weight_map: %w", err)
	}
	if len(where) == 0 {
		return nil, errors.New("weight_map is empty")
	}
	d := json.NewDecoder(bytes.NewReader(index.Map)) // sound JSON of strings by now
	seen := make(map[string]bool, len(where))
	for _, _ = d.Token(); d.More(); _, _ = d.Token() { // past the brace; then past each value
		key, _ := d.Token()
		name := key.(string)
		if seen[name] {
			return nil, fmt.Errorf("weight_map has tensor %q twice", name)
		}
		seen[name] = true
	}
	return where, nil
}

// unique refuses a tensor that is in a second shard too: which of the two the
// model was saved with cannot be told.
func unique(shards map[string]*safetensors.File, where map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(shards)) {
		for _, t := range shards[name].Tensors() {
			if listed, ok := where[t.Name]; ok && listed != name {
				return fmt.Errorf("tensor %q is in two shards, %s and %s: the folder holds files of two models or versions", t.Name, listed, name)
			}
		}
	}
	return nil
}

// otherWeights tells of weights in a format that is not read, among the files
// of a folder or of a hub's repository.
func otherWeights(files []string) string {
	for _, ext := range []string{".bin", ".pth", ".pt", ".gguf", ".h5", ".msgpack"} {
		for _, name := range files {
			switch {
			case !strings.HasSuffix(name, ext) || strings.Contains(name, "/"):
			case ext == ".gguf":
				return fmt.Sprintf("; give the path of %s itself to serve it", name)
			default:
				return fmt.Sprintf("; %s is not read: load the model with Transformers, "+
					"save it again with save_pretrained, which writes safetensors, and give that folder", name)
			}
		}
	}
	return ""
}

// listDir returns the names of a folder's files.
func listDir(dir string) []string {
	var names []string
	entries, _ := os.ReadDir(dir) // what cannot be listed is not told of
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (f *folder) Config() json.RawMessage { return f.conf }

func (f *folder) Has(name string) bool { return f.from[name] != nil }

// dtypes are the safetensors dtypes that weights come in.
var dtypes = map[string]kernels.DType{"F32": kernels.F32, "F16": kernels.F16, "BF16": kernels.BF16}

func (f *folder) Tensor(name string, shape ...int) (kernels.Tensor, error) {
	t, err := f.describe(name, shape...)
	if err == nil {
		stored, _ := f.from[name].Tensor(name)
		t.Data = stored.Data()
	}
	return t, err
}

// describe is Tensor without the data.
func (f *folder) describe(name string, shape ...int) (kernels.Tensor, error) {
	file := f.from[name]
	if file == nil {
		return kernels.Tensor{}, fmt.Errorf("%w: %q", ErrNoTensor, name)
	}
	t, _ := file.Tensor(name)
	dtype, ok := dtypes[t.DType]
	if !ok {
		return kernels.Tensor{}, fmt.Errorf("tensor %q is of dtype %s; supported: F32, F16, BF16", name, t.DType)
	}
	if err := sameShape(name, t.Shape, shape); err != nil {
		return kernels.Tensor{}, err
	}
	return kernels.Tensor{Name: name, Shape: t.Shape, DType: dtype}, nil
}

func (f *folder) Close() error {
	var errs []error
	for _, file := range f.files {
		errs = append(errs, file.Close())
	}
	f.files, f.from = nil, nil
	return errors.Join(errs...)
}

func sameShape(name string, got, want []int) error {
	if !slices.Equal(got, want) {
		return fmt.Errorf("tensor %q has shape %v in the checkpoint, the model's configuration asks for %v", name, got, want)
	}
	return nil
}

// readSmall reads a file of at most limit bytes.
func readSmall(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is larger than the %d bytes that are read of it", path, limit)
	}
	return b, err
}

// checkConfig demands a JSON object.
func checkConfig(path string, b []byte) error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(b, &object); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if object == nil {
		return fmt.Errorf("%s is null, want a JSON object", path)
	}
	return nil
}
