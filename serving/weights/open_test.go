package weights

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/datasets"
	"servebench/datasets/hub"
	"servebench/kernels"
)

// field is a value of a checkpoint's configuration.
func field(t *testing.T, c Checkpoint, key string) any {
	t.Helper()
	var m map[string]any
	require.NoError(t, json.Unmarshal(c.Config(), &m))
	return m[key]
}

// fakeHub serves the files of one model and keeps the paths that were fetched.
func fakeHub(t *testing.T, files map[string]string) (*hub.Client, *[]string) {
	const commit = "0123456789abcdef0123456789abcdef01234567"
	var fetched []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/models/") {
			var list []map[string]string
			for name := range files {
				list = append(list, map[string]string{"rfilename": name})
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"sha": commit, "siblings": list})
			return
		}
		_, name, _ := strings.Cut(r.URL.Path, "/resolve/"+commit+"/")
		body := files[name]
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(body), body))))
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		if r.Method == http.MethodGet {
			fetched = append(fetched, name)
			_, _ = w.Write([]byte(body))
		}
	}))
	t.Cleanup(s.Close)
	return &hub.Client{Endpoint: s.URL, Cache: t.TempDir()}, &fetched
}

func TestResolveFromTheHub(t *testing.T) {
	dir := t.TempDir()
	writeSafetensors(t, filepath.Join(dir, "model.safetensors"), map[string]stored{"a": {"F32", []int{1}, f32(1)}})
	weights, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	require.NoError(t, err)
	client, fetched := fakeHub(t, map[string]string{
		"config.json": `{"model_type":"gpt2"}`, "generation_config.json": `{}`, "tokenizer.json": `{"t":1}`, "tokenizer_config.json": `{"c":1}`,
		"chat_template.jinja": "x", "special_tokens_map.json": `{"s":1}`, "model.safetensors": string(weights), "README.md": "x",
		"pytorch_model.bin": "x", "consolidated.safetensors": "x", "onnx/model.safetensors": "x", "tf_model.h5": "x",
	})
	tokenizer := []string{
		"chat_template.jinja", "config.json", "generation_config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json",
	}
	loc, err := Resolve(t.Context(), "org/name", TokenizerOnly, Options{Hub: client})
	require.NoError(t, err)
	assert.Equal(t, "org/name", loc.ID)
	assert.ElementsMatch(t, tokenizer, *fetched)
	assert.FileExists(t, filepath.Join(loc.Dir, "tokenizer.json"))

	loc, err = Resolve(t.Context(), "org/name", Everything, Options{Hub: client, LoadFormat: Dummy})
	require.NoError(t, err)
	assert.ElementsMatch(t, tokenizer, *fetched, "dummy weights need none")
	c, err := loc.Open(Options{LoadFormat: Dummy})
	require.NoError(t, err)
	assert.Equal(t, "gpt2", field(t, c, "model_type"))

	c, err = Open(t.Context(), "org/name", Options{Hub: client})
	require.NoError(t, err)
	defer c.Close()
	assert.ElementsMatch(t, append(tokenizer, "model.safetensors"), *fetched)
	assert.True(t, c.Has("a"))

	_, err = Open(t.Context(), "gpt2", Options{Hub: &hub.Client{Cache: t.TempDir(), Offline: true}})
	assert.ErrorIs(t, err, hub.ErrOffline)
	assert.ErrorContains(t, err, "openai-community/gpt2", "the alias leads to the id")
}

// TestModelsThatCannotBeHad: the error says why, and what to do instead.
func TestModelsThatCannotBeHad(t *testing.T) {
	client, _ := fakeHub(t, map[string]string{"config.json": "{}", "pytorch_model-00001-of-00002.bin": "x", "onnx/model.bin": "x"})
	_, err := Resolve(t.Context(), "org/name", Everything, Options{Hub: client})
	require.ErrorIs(t, err, hub.ErrNotFound)
	assert.ErrorContains(t, err, "file model*.safetensors; pytorch_model-00001-of-00002.bin is not read: load the model with Transformers")
	_, err = Resolve(t.Context(), "org/name", TokenizerOnly, Options{Hub: client})
	require.NoError(t, err, "but its tokenizer is of use")

	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Error-Code", "GatedRepo")
		w.Header().Set("X-Error-Message", "Access to model meta-llama/Llama-2-7b-chat-hf is restricted.")
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(gate.Close)
	for name, c := range map[string]*hub.Client{
		"gated":   {Endpoint: gate.URL, Cache: t.TempDir(), Token: "hf_secret"},
		"offline": {Cache: t.TempDir(), Offline: true},
	} {
		_, err = Resolve(t.Context(), "llama-2-7b-chat", Everything, Options{Hub: c})
		require.Error(t, err, name)
		assert.ErrorContains(t, err, "meta-llama/Llama-2-7b-chat-hf")
		assert.ErrorContains(t, err, "or give a folder or a .gguf file that is on this machine, or --load-format dummy")
		assert.NotContains(t, err.Error(), "\n")
		assert.NotContains(t, err.Error(), "hf_secret")
		if name == "gated" {
			assert.ErrorContains(t, err, `"Access to model meta-llama/Llama-2-7b-chat-hf is restricted."; accept its licence at `+gate.URL+"/meta-llama/Llama-2-7b-chat-hf")
		}
		_, err = Resolve(t.Context(), "llama-2-7b-chat", Everything, Options{Hub: c, LoadFormat: Dummy})
		require.NoError(t, err, "dummy weights need no access")
	}
}

func TestResolvePaths(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "m.gguf", "x")
	writeFile(t, dir, "m.bin", "x")
	loc, err := Resolve(t.Context(), dir, Everything, Options{})
	require.NoError(t, err)
	assert.Equal(t, Location{Dir: dir}, loc)
	loc, err = Resolve(t.Context(), filepath.Join(dir, "m.gguf"), Everything, Options{})
	require.NoError(t, err)
	assert.Equal(t, Location{GGUF: filepath.Join(dir, "m.gguf")}, loc)
	_, err = Resolve(t.Context(), filepath.Join(dir, "m.bin"), Everything, Options{})
	assert.ErrorContains(t, err, "neither a folder nor a .gguf file")
	for _, path := range []string{dir + "/gone", "./gone", "../gone/x", "a/b/c", "gone.gguf", ""} {
		_, err = Resolve(t.Context(), path, Everything, Options{})
		assert.ErrorIs(t, err, fs.ErrNotExist, path)
	}
	_, err = Resolve(t.Context(), dir, Everything, Options{LoadFormat: "pt"})
	assert.EqualError(t, err, `load format "pt" is not supported; supported: auto, dummy`)
	_, err = Location{ID: "openai-community/gpt2"}.Open(Options{})
	assert.ErrorContains(t, err, "resolved for dummy weights")
}

func TestKnown(t *testing.T) {
	for model, want := range map[string]string{
		"GPT2": "openai-community/gpt2", "openai-community/gpt2": "openai-community/gpt2",
		"huggingfacetb/smollm2-135m-instruct": "HuggingFaceTB/SmolLM2-135M-Instruct",
	} {
		id, ok := Known(model)
		assert.True(t, ok, model)
		assert.Equal(t, want, id)
	}
	_, ok := Known("org/other")
	assert.False(t, ok)
	// The suite's names and ids are the server's.
	for _, m := range datasets.Models() {
		for _, name := range []string{m.Name, m.Hub} {
			id, ok := Known(name)
			assert.True(t, ok, name)
			assert.Equal(t, m.Hub, id)
		}
	}
}

// TestKnownConfigs adds up the parameters that the published checkpoints have.
func TestKnownConfigs(t *testing.T) {
	params := map[string]int{
		"openai-community/gpt2": 124_439_808, "microsoft/phi-2": 2_779_683_840, "meta-llama/Llama-2-7b-chat-hf": 6_738_415_616,
		"mistralai/Mistral-7B-Instruct-v0.1": 7_241_732_096, "HuggingFaceTB/SmolLM2-135M-Instruct": 134_515_008,
		"TinyLlama/TinyLlama-1.1B-Chat-v1.0": 1_100_048_384, "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
	}
	for id := range known {
		config, ok := knownConfig(id)
		require.True(t, ok, id)
		require.NoError(t, checkConfig(id, config))
		assert.Equal(t, params[id], parameters(t, config), id)
	}
	assert.Len(t, params, len(known))
}

// parameters is the size of an architecture by its configuration, as its paper gives it.
func parameters(t *testing.T, config []byte) int {
	t.Helper()
	var c struct {
		Type       string `json:"model_type"`
		Tie        bool   `json:"tie_word_embeddings"`
		V          int    `json:"vocab_size"`
		P          int    `json:"n_positions"`
		GPT2Width  int    `json:"n_embd"`
		GPT2Layers int    `json:"n_layer"`
		D          int    `json:"hidden_size"`
		F          int    `json:"intermediate_size"`
		L          int    `json:"num_hidden_layers"`
		H          int    `json:"num_attention_heads"`
		G          int    `json:"num_key_value_heads"`
	}
	require.NoError(t, json.Unmarshal(config, &c))
	switch c.Type {
	case "gpt2":
		d := c.GPT2Width
		return c.V*d + c.P*d + c.GPT2Layers*(12*d*d+13*d) + 2*d
	case "phi":
		return 2*c.V*c.D + c.V + c.L*(4*c.D*c.D+4*c.D+2*c.D*c.F+c.F+c.D+2*c.D) + 2*c.D
	}
	kv := c.D / c.H * c.G
	layer := 2*c.D*c.D + 2*c.D*kv + 3*c.D*c.F + 2*c.D
	if c.Type == "qwen2" {
		layer += c.D + 2*kv
	}
	total := c.V*c.D + c.L*layer + c.D
	if !c.Tie {
		total += c.V * c.D
	}
	return total
}

func TestDummyNeedsNoFileAndNoNetwork(t *testing.T) {
	for id, want := range map[string]string{
		"gpt2": "gpt2", "HuggingFaceTB/SmolLM2-135M-Instruct": "llama", "microsoft/phi-2": "phi", "llama-2-7b-chat": "llama",
		"mistral-7b-instruct": "mistral",
	} {
		offline := &hub.Client{Cache: t.TempDir(), Offline: true}
		loc, err := Resolve(t.Context(), id, Everything, Options{LoadFormat: Dummy, Hub: offline})
		require.NoError(t, err)
		assert.Empty(t, loc.Dir+loc.GGUF)
		c, err := loc.Open(Options{LoadFormat: Dummy})
		require.NoError(t, err)
		assert.Equal(t, want, field(t, c, "model_type"))
		assert.True(t, c.Has("anything"))
		require.NoError(t, c.Close())
	}
}

func TestDummyFromFolderAndGGUF(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "config.json", `{"model_type":"llama","num_hidden_layers":2}`)
	for model, want := range map[string]string{dir: "llama", llamaMeta().Set("llama.vocab_size", uint32(5)).Write(t): "llama"} {
		c, err := Open(t.Context(), model, Options{LoadFormat: Dummy})
		require.NoError(t, err)
		assert.Equal(t, want, field(t, c, "model_type"))
		_, err = c.Tensor("model.layers.0.mlp.up_proj.weight", 4, 4)
		require.NoError(t, err)
	}
	writeFile(t, dir, "config.json", `{"n_layer":"two"}`)
	_, err := Open(t.Context(), dir, Options{LoadFormat: Dummy})
	assert.ErrorContains(t, err, "config.json")
}

func newGPT2Dummy(t testing.TB, seed uint64) Checkpoint {
	config, ok := knownConfig("openai-community/gpt2")
	require.True(t, ok)
	c, err := newDummy(config, seed)
	require.NoError(t, err)
	return c
}

func TestDummyTensors(t *testing.T) {
	c := newGPT2Dummy(t, 0)
	moments := func(name string, shape ...int) (mean, std float64) {
		x, err := c.Tensor(name, shape...)
		require.NoError(t, err)
		require.Equal(t, kernels.BF16, x.DType)
		all := floats(t, x)
		for _, v := range all {
			mean += float64(v)
		}
		mean /= float64(len(all))
		for _, v := range all {
			std += (float64(v) - mean) * (float64(v) - mean)
		}
		return mean, math.Sqrt(std / float64(len(all)))
	}
	// 1,000,000 draws: the mean is within 5 standard errors, 1e-4, and the
	// deviation too (1.4e-5·5), unless the generator is wrong.
	mean, std := moments("transformer.wte.weight", 1000, 1000)
	assert.InDelta(t, 0, mean, 1e-4)
	assert.InDelta(t, 0.02, std, 1e-4)
	_, std = moments("transformer.h.3.mlp.c_proj.weight", 1000, 1000)
	assert.InDelta(t, 0.02/math.Sqrt(24), std, 1e-4)
	for name, want := range map[string]float64{"transformer.ln_f.weight": 1, "transformer.ln_f.bias": 0, "transformer.h.0.attn.c_attn.bias": 0} {
		mean, std = moments(name, 768)
		assert.Equal(t, want, mean, name)
		assert.Zero(t, std, name)
	}
	for _, shape := range [][]int{{0, 2}, {-1}, {1 << 40, 1 << 40}, {1 << 62, 4}, {1 << 37}} {
		_, err := c.Tensor("x", shape...)
		assert.ErrorContains(t, err, `dummy tensor "x" cannot have shape`)
	}
}

func TestDummyIsTheSameEverywhere(t *testing.T) {
	sum := func(seed uint64, name string) string {
		x, err := newGPT2Dummy(t, seed).Tensor(name, 300, 200)
		require.NoError(t, err)
		return fmt.Sprintf("%x", sha256.Sum256(x.Data))[:16]
	}
	// From testdata/make_dummy.py; another value breaks every comparison of runs on dummy weights.
	assert.Equal(t, "f641d066aee9421e", sum(0, "transformer.wte.weight"))
	assert.Equal(t, "0184e940c39cd3ef", sum(1, "transformer.h.0.mlp.c_proj.weight"))
	assert.NotEqual(t, sum(0, "a"), sum(1, "a"))

	// In memory that was used before as well.
	c := newGPT2Dummy(t, 0)
	for _, name := range []string{"a", "x.bias", "norm.weight"} {
		first, err := c.Tensor(name, 1000)
		require.NoError(t, err)
		want := slices.Clone(first.Data)
		c.(Recycler).Recycle(first.Data)
		other, err := c.Tensor("b", 10, 100)
		require.NoError(t, err)
		c.(Recycler).Recycle(other.Data)
		again, err := c.Tensor(name, 1000)
		require.NoError(t, err)
		assert.Equal(t, want, again.Data, name)
	}
	assert.NotEqual(t, sum(0, "a"), sum(0, "b"))
	many := sum(7, "a")
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	assert.Equal(t, many, sum(7, "a"), "with one thread")
}

func BenchmarkDummy(b *testing.B) {
	c := newGPT2Dummy(b, 0)
	b.SetBytes(2 * 4096 * 4096)
	for b.Loop() {
		x, err := c.Tensor("transformer.wte.weight", 4096, 4096)
		require.NoError(b, err)
		c.(Recycler).Recycle(x.Data)
	}
}
