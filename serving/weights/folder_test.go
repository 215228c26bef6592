package weights

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/kernels"
)

func TestFolderWithOneFile(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "config.json", `{"model_type":"gpt2"}`)
	writeSafetensors(t, filepath.Join(dir, "model.safetensors"), map[string]stored{
		"a": {"F32", []int{2, 1}, f32(1, 2)},
		"b": {"BF16", []int{3}, []byte{0x80, 0x3f, 0, 0x40, 0x40, 0x40}},
		"h": {"F16", []int{1}, []byte{0, 0x3c}},
		"i": {"I64", []int{1}, make([]byte, 8)},
	})
	c, err := Open(t.Context(), dir, Options{})
	require.NoError(t, err)
	defer c.Close()
	assert.JSONEq(t, `{"model_type":"gpt2"}`, string(c.Config()))
	a, err := c.Tensor("a", 2, 1)
	require.NoError(t, err)
	assert.Equal(t, kernels.Tensor{Name: "a", Shape: []int{2, 1}, DType: kernels.F32, Data: f32(1, 2)}, a)
	b, err := c.Tensor("b", 3)
	require.NoError(t, err)
	assert.Equal(t, []float32{1, 2, 3}, floats(t, b))
	h, err := c.Tensor("h", 1)
	require.NoError(t, err)
	assert.Equal(t, kernels.F16, h.DType)

	assert.True(t, c.Has("a"))
	assert.False(t, c.Has("lm_head.weight"))
	_, err = c.Tensor("lm_head.weight", 1)
	assert.ErrorIs(t, err, ErrNoTensor)
	assert.ErrorContains(t, err, `"lm_head.weight"`)
	_, err = c.Tensor("a", 1, 2)
	assert.EqualError(t, err, `tensor "a" has shape [2 1] in the checkpoint, the model's configuration asks for [1 2]`)
	_, err = c.Tensor("i", 1)
	assert.EqualError(t, err, `tensor "i" is of dtype I64; supported: F32, F16, BF16`)
}

func TestFolderWithShards(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "config.json", `{}`)
	writeFile(t, dir, indexName, `{"metadata":{"total_size":8},"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}}`)
	writeSafetensors(t, filepath.Join(dir, "model-1.safetensors"), map[string]stored{
		"a": {"F32", []int{1}, f32(1)}, "unlisted": {"F32", []int{1}, f32(3)},
	})
	writeSafetensors(t, filepath.Join(dir, "model-2.safetensors"), map[string]stored{"b": {"F32", []int{1}, f32(2)}})
	c, err := Open(t.Context(), dir, Options{LoadFormat: Auto})
	require.NoError(t, err)
	for name, want := range map[string]float32{"a": 1, "b": 2} {
		x, err := c.Tensor(name, 1)
		require.NoError(t, err)
		assert.Equal(t, []float32{want}, floats(t, x))
	}
	assert.False(t, c.Has("unlisted"))
	require.NoError(t, c.Close())
}

func TestFoldersThatAreRefused(t *testing.T) {
	index := func(text string) map[string]string { return map[string]string{"config.json": "{}", indexName: text} }
	for want, files := range map[string]map[string]string{
		"has no config.json":                                 {"model.safetensors": "x"},
		"config.json: invalid":                               {"config.json": "{x", "model.safetensors": "x"},
		"config.json is null":                                {"config.json": "null"},
		"cannot unmarshal array":                             {"config.json": "[]"},
		"has neither model.saf":                              {"config.json": "{}"},
		"pytorch_model.bin is not read: load the model with": {"config.json": "{}", "pytorch_model.bin": "x"},
		"give the path of m.gguf itself":                     {"config.json": "{}", "m.gguf": "x"},
		"not a sound safetensors file":                       {"config.json": "{}", "model.safetensors": "x"},
		"weight_map is missing":                              index(`{}`),
		"weight_map is empty":                                index(`{"weight_map":{}}`),
		"weight_map: json: cannot unmarshal":                 index(`{"weight_map":{"t":1}}`),
		"weight_map: json: cannot unmarshal array":           index(`{"weight_map":[]}`),
		`weight_map has tensor "t" twice`:                    index(`{"weight_map":{"t":"a.safetensors","u":"a.safetensors","t":"b.safetensors"}}`),

		"index.json: invalid":                          index(`{x`),
		`"../../x.safetensors", which is not the name`: index(`{"weight_map":{"t":"../../x.safetensors"}}`),
		`"x.bin", which is not the name`:               index(`{"weight_map":{"t":"x.bin"}}`),
		`shard of tensor "t": open`:                    index(`{"weight_map":{"t":"model-1.safetensors"}}`),
		"was not copied or downloaded in full":         index(`{"weight_map":{"t":"model-1.safetensors"}}`),
	} {
		dir := t.TempDir()
		for name, text := range files {
			writeFile(t, dir, name, text)
		}
		_, err := Open(t.Context(), dir, Options{})
		assert.ErrorContains(t, err, want)
	}
	dir := t.TempDir()
	writeFile(t, dir, "config.json", `{}`)
	writeFile(t, dir, indexName, `{"weight_map":{"a":"model-1.safetensors","lost":"model-1.safetensors"}}`)
	writeSafetensors(t, filepath.Join(dir, "model-1.safetensors"), map[string]stored{"a": {"F32", []int{1}, f32(1)}})
	_, err := Open(t.Context(), dir, Options{})
	require.ErrorIs(t, err, ErrNoTensor)
	assert.ErrorContains(t, err, `"lost" is not in model-1.safetensors, where the index says it is`)
}

// TestFolderOfTwoVersions: shards that were saved in another division lie
// beside those of the index.
func TestFolderOfTwoVersions(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "config.json", `{}`)
	writeFile(t, dir, indexName, `{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}`)
	one := stored{"F32", []int{1}, f32(1)}
	writeSafetensors(t, filepath.Join(dir, "model-00001-of-00002.safetensors"), map[string]stored{"a": one})
	writeSafetensors(t, filepath.Join(dir, "model-00002-of-00002.safetensors"), map[string]stored{"a": one, "b": one})
	_, err := Open(t.Context(), dir, Options{})
	assert.ErrorContains(t, err, `tensor "a" is in two shards, model-00001-of-00002.safetensors and model-00002-of-00002.safetensors`)
}

// TestShardsBesideConsolidated: Mistral's repositories hold the same weights
// again under other names.
func TestShardsBesideConsolidated(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "config.json", `{}`)
	writeFile(t, dir, indexName, `{"weight_map":{"a":"model-00001-of-00001.safetensors"}}`)
	writeSafetensors(t, filepath.Join(dir, "model-00001-of-00001.safetensors"), map[string]stored{"a": {"F32", []int{1}, f32(1)}})
	writeSafetensors(t, filepath.Join(dir, "consolidated.safetensors"), map[string]stored{"a": {"F32", []int{1}, f32(2)}, "tok_embeddings.weight": {"F32", []int{1}, f32(3)}})
	c, err := Open(t.Context(), dir, Options{})
	require.NoError(t, err)
	defer c.Close()
	a, err := c.Tensor("a", 1)
	require.NoError(t, err)
	assert.Equal(t, []float32{1}, floats(t, a))
	assert.False(t, c.Has("tok_embeddings.weight"))
}

// FuzzIndex asserts that an index is read without a panic, and only where each
// tensor is listed once.
func FuzzIndex(f *testing.F) {
	for _, s := range []string{`{"weight_map":{"a":"x.safetensors","a":"y"}}`, `{"weight_map":null}`, `{"weight_map":{"a":null}}`, `{}`, `[]`, `{"weight_map":{"":""}} `} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		where, err := readIndex(raw)
		require.Equal(t, err == nil, len(where) > 0)
	})
}

func TestReadSmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(path, make([]byte, 11), 0o600))
	_, err := readSmall(path, 10)
	assert.ErrorContains(t, err, "larger than the 10 bytes")
	b, err := readSmall(path, 11)
	require.NoError(t, err)
	assert.Len(t, b, 11)
	_, err = readSmall(path+"x", 10)
	assert.ErrorIs(t, err, fs.ErrNotExist)
}
