package target

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/datasets"
)

// TestOllamaLoad holds how a server gets a file and makes models of it.
func TestOllamaLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "model.gguf")
	require.NoError(t, os.WriteFile(file, []byte("gguf"), 0o644))
	digest, err := hashFile(file)
	require.NoError(t, err)
	c := conf()
	c.Model, c.MaxNumBatchedTokens = file, 256
	blob := "/api/blobs/" + digest
	create := func(tag, template string) string {
		return `POST /api/create {"files":{"model.gguf":"` + digest + `"},"model":"servebench/gpt2:` + tag +
			`","parameters":{"min_p":0,"num_batch":256,"num_ctx":1024,"num_gpu":0,"repeat_penalty":1,"top_k":0},"stream":false` + template + `}`
	}
	text, chat := create("text", `,"template":"{{ .Prompt }}"`), create("chat", "")
	check := func(answers map[string]string, want ...string) {
		t.Helper()
		f := newFake(t, answers)
		require.NoError(t, ollama.Load(t.Context(), nil, f.URL, c))
		assert.ElementsMatch(t, want, f.requests())
	}
	const success = `{"status":"success"}`
	check(map[string]string{"POST " + blob: "201 ", "POST /api/create": success}, "HEAD "+blob, "POST "+blob+" gguf", text, chat)
	check(map[string]string{"HEAD " + blob: "", "POST /api/create": success}, "HEAD "+blob, text, chat)
	c.GPU, c.MaxNumBatchedTokens = true, 0
	f := newFake(t, map[string]string{"HEAD " + blob: "", "POST /api/create": success})
	require.NoError(t, ollama.Load(t.Context(), nil, f.URL, c))
	assert.NotContains(t, strings.Join(f.requests(), " "), "num_gpu", "it takes all that fits")

	refused := func(change func(*Config), answers map[string]string, want string) {
		t.Helper()
		c := c
		change(&c)
		assert.ErrorContains(t, ollama.Load(t.Context(), nil, newFake(t, answers).URL, c), want)
	}
	same := func(*Config) {}
	refused(func(c *Config) { c.Model = "org/name" }, nil, "ollama is given a .gguf file")
	refused(func(c *Config) { c.Model = t.TempDir() }, nil, "is a directory")
	refused(same, map[string]string{"POST " + blob: `400 {"error":"digest mismatch"}`}, "digest mismatch")
	refused(same, map[string]string{"HEAD " + blob: "", "POST /api/create": `400 {"error":"unsupported architecture"}`}, "unsupported architecture")
	refused(same, map[string]string{"HEAD " + blob: "", "POST /api/create": `{"error":"no space"}`}, "no space")
	refused(same, map[string]string{"HEAD " + blob: "", "POST /api/create": `oops`}, "invalid character")
	f.Close()
	assert.ErrorContains(t, ollama.Load(t.Context(), nil, f.URL, c), "give "+file)
}

// TestOllamaNames holds that a completion is put into no template, and that the
// models of others keep their names.
func TestOllamaNames(t *testing.T) {
	for served, want := range map[string]string{"gpt2": "servebench/gpt2", "org/model:x": "servebench/org-model-x", "..a": "servebench/a",
		strings.Repeat("x", 100): "servebench/" + strings.Repeat("x", 64)} {
		assert.Equal(t, want, ollama.Served(Config{Served: served}))
	}
	model := func(served string, api datasets.API) any {
		return ollama.Payload(Request{API: api, Mode: datasets.Sync, Served: served}).(datasets.Request).Model
	}
	assert.Equal(t, "servebench/gpt2:text", model("servebench/gpt2", datasets.CompletionAPI))
	assert.Equal(t, "servebench/gpt2:chat", model("servebench/gpt2", datasets.ChatAPI))
	assert.Equal(t, "llama3:latest", model("llama3:latest", datasets.CompletionAPI))
}
