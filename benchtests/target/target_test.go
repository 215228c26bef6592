package target

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/datasets"
)

func TestByName(t *testing.T) {
	for _, target := range All() {
		got, err := ByName(target.Name)
		require.NoError(t, err)
		assert.Same(t, target, got)
		assert.NotEmpty(t, target.Ready)
		assert.NotEmpty(t, target.Dtypes)
	}
	_, err := ByName("nothing")
	assert.ErrorContains(t, err, "choose from custom")
}

// conf is a server to start; tests change what they are about.
func conf() Config {
	return Config{Model: "/models/gpt2", Served: "gpt2", Dtype: "bfloat16", Port: 8123, MaxModelLen: 1024, MaxNumSeqs: 16,
		Dir: "/run/servers", Extra: []string{"--more", "1"}}
}

func TestEnv(t *testing.T) {
	env := func(target Target, program string, c Config) []string {
		t.Helper()
		vars, err := target.Env(t.Context(), program, c)
		require.NoError(t, err)
		return vars
	}
	assert.Contains(t, env(vllm, "/bin/vllm", conf()), fmt.Sprintf("VLLM_CPU_OMP_THREADS_BIND=0-%d", runtime.NumCPU()-1))
	bound := conf()
	bound.CPUs = []int{0, 1, 5}
	assert.Contains(t, env(vllm, "/bin/vllm", bound), "VLLM_CPU_OMP_THREADS_BIND=0,1,5")
	assert.Contains(t, strings.Join(llamacpp.Args(bound), " "), "-t 3")
	t.Setenv("VLLM_CPU_KVCACHE_SPACE", "40")
	assert.NotContains(t, strings.Join(env(vllm, "/bin/vllm", conf()), " "), "KVCACHE", "the user's own stands")

	c := conf()
	assert.Contains(t, env(tgi, "/nowhere/launcher", c), "PREFIX_CACHING=0")
	c.PrefixCaching = true
	assert.Contains(t, env(tgi, "/nowhere/launcher", c), "PREFIX_CACHING=1")
	assert.Contains(t, env(tgi, "/nowhere/launcher", c), "ATTENTION=flashdecoding-ipex")
	c.GPU = true
	assert.NotContains(t, strings.Join(env(tgi, "/nowhere/launcher", c), " "), "ATTENTION", "the launcher knows the fastest")
	dir := t.TempDir()
	script(t, filepath.Join(dir, "py", "bin", "python3"), "echo /lib/of/python /site packages")
	vars := env(tgi, filepath.Join(dir, "launcher"), c)
	assert.Subset(t, vars, []string{"LD_LIBRARY_PATH=/lib/of/python", "PYTHONPATH=/site packages"})
	assert.Contains(t, strings.Join(vars, "\n"), "PATH="+filepath.Join(dir, "py", "bin")+":"+dir+":")
}

func script(t *testing.T, path, text string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755))
	return path
}

func TestProgram(t *testing.T) {
	program := script(t, filepath.Join(t.TempDir(), "serve"), "echo version 1.2; echo more")
	got, err := custom.Program(t.Context(), program)
	require.NoError(t, err)
	assert.Equal(t, program, got)
	for env, target := range map[string]Target{ServeEnv: custom, VLLMEnv: vllm, TGIEnv: tgi, TransformersEnv: transformers,
		LlamaServerEnv: llamacpp, SGLangEnv: sglang, OllamaEnv: ollama} {
		t.Setenv(env, program)
		got, err := target.Program(t.Context(), "")
		require.NoError(t, err, target.Name)
		assert.Equal(t, program, got)
		t.Setenv(env, "/nowhere/program")
		_, err = target.Program(t.Context(), "")
		assert.ErrorContains(t, err, env, "what to do")
	}
	_, err = openai.Program(t.Context(), "")
	assert.ErrorContains(t, err, "-host")
	for _, target := range []Target{custom, llamacpp, tgi} {
		version, err := target.Version(t.Context(), program)
		require.NoError(t, err)
		assert.Equal(t, "version 1.2", version)
	}
	_, err = tgi.Version(t.Context(), script(t, filepath.Join(t.TempDir(), "launcher"), "echo no libpython; exit 3"))
	assert.ErrorContains(t, err, "no libpython")

	// Python's packages are asked for in the program's own environment.
	script(t, filepath.Join(filepath.Dir(program), "python3"), `echo "$3 1.0, $4 2.0"`)
	version, err := vllm.Version(t.Context(), program)
	require.NoError(t, err)
	assert.Equal(t, "vllm 1.0, torch 2.0", version)

	version, err = ollama.Version(t.Context(), script(t, filepath.Join(t.TempDir(), "ollama"),
		"echo Warning: could not connect to a running Ollama instance; echo Warning: client version is 0.32.15"))
	require.NoError(t, err)
	assert.Equal(t, "ollama 0.32.15", version)
	_, err = ollama.Version(t.Context(), script(t, filepath.Join(t.TempDir(), "ollama"), "echo hello"))
	assert.ErrorContains(t, err, "no version")
}

func TestCheckModel(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "model.gguf")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	for _, target := range All() {
		assert.NoError(t, target.CheckModel("openai-community/gpt2"), "a hub id")
		folder, gguf := target.CheckModel(dir), target.CheckModel(file)
		assert.Equal(t, !target.Folders, folder != nil, target.Name)
		assert.Equal(t, !target.GGUF, gguf != nil, target.Name)
	}
	assert.ErrorContains(t, llamacpp.CheckModel(dir), "llamacpp takes .gguf files")
	assert.ErrorContains(t, vllm.CheckModel(file), "vllm takes folders")
}

func TestTGIFolder(t *testing.T) {
	src, run := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"config.json":           `{"rope_parameters":{"rope_theta":100000,"rope_type":"default"},"dtype":"bfloat16","hidden_size":64}`,
		"tokenizer_config.json": `{"tokenizer_class":"TokenizersBackend"}`,
		"chat_template.jinja":   `{{ "hi" }}`,
		"model.safetensors":     "weights",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(src, name), []byte(text), 0o644))
	}
	object := func(name string) map[string]any {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(run, "tgi-gpt2", name))
		require.NoError(t, err)
		var v map[string]any
		require.NoError(t, json.Unmarshal(data, &v))
		return v
	}
	prepare := func(ignoreEOS bool) {
		t.Helper()
		c := Config{Model: src, Served: "gpt2", Dir: run, IgnoreEOS: ignoreEOS}
		require.NoError(t, tgi.Prepare(&c))
		assert.Equal(t, filepath.Join(run, "tgi-gpt2"), c.Model)
	}
	prepare(true)
	assert.Equal(t, map[string]any{"rope_theta": 1e5, "torch_dtype": "bfloat16", "hidden_size": 64.}, object("config.json"))
	assert.Equal(t, `{{ "hi" }}`, object("tokenizer_config.json")["chat_template"])
	assert.Equal(t, map[string]any{"eos_token_id": []any{-1.}}, object("generation_config.json"))
	link, err := os.Readlink(filepath.Join(run, "tgi-gpt2", "model.safetensors"))
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(src, "model.safetensors"), link, "weights are not copied")
	prepare(false) // again, as when a run is gone on with
	assert.Empty(t, object("generation_config.json"))

	hub := Config{Model: "org/name", Dir: run}
	require.NoError(t, tgi.Prepare(&hub))
	assert.Equal(t, "org/name", hub.Model)
	hub.IgnoreEOS = true
	assert.ErrorContains(t, tgi.Prepare(&hub), "only in a local folder")
	refused := func(config, want string) {
		t.Helper()
		require.NoError(t, os.WriteFile(filepath.Join(src, "config.json"), []byte(config), 0o644))
		assert.ErrorContains(t, tgi.Prepare(&Config{Model: src, Served: "x", Dir: run}), want)
	}
	refused(`{"rope_parameters":{"rope_theta":1,"rope_type":"yarn"}}`, "rope_type is yarn")
	refused(`[]`, "config.json")
}

func TestBody(t *testing.T) {
	prompt := datasets.Prompt{ID: "1", Text: "a < b", Seed: 5,
		Sampling: datasets.Sampling{Temperature: .5, TopP: .9, MaxTokens: 60}}
	greedy := prompt
	greedy.Sampling = datasets.Sampling{TopP: 1, MaxTokens: 2000}
	check := func(target Target, r Request, want string) {
		t.Helper()
		if r.Prompt.ID == "" {
			r.Prompt = prompt
		}
		r.Served = "gpt2"
		got, err := target.Body(r)
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
		assert.True(t, json.Valid(got))
	}
	const sampling = `"temperature":0.5,"top_p":0.9,"max_tokens":60,"seed":5`
	for _, target := range []Target{custom, vllm} {
		check(target, Request{API: datasets.CompletionAPI, Mode: datasets.Sync},
			`{"model":"gpt2","prompt":"a < b",`+sampling+`,"stream":false}`)
		check(target, Request{API: datasets.CompletionAPI, Mode: datasets.Stream, IgnoreEOS: true},
			`{"model":"gpt2","prompt":"a < b",`+sampling+`,"stream":true,"stream_options":{"include_usage":true},"ignore_eos":true}`)
		check(target, Request{API: datasets.ChatAPI, Mode: datasets.Sync},
			`{"model":"gpt2","messages":[{"role":"user","content":"a < b"}],`+sampling+`,"stream":false}`)
	}
	check(llamacpp, Request{API: datasets.CompletionAPI, Mode: datasets.Sync, IgnoreEOS: true},
		`{"model":"gpt2","prompt":"a < b",`+sampling+`,"stream":false,"ignore_eos":true,`+
			`"top_k":0,"min_p":0,"repeat_penalty":1,"cache_prompt":false}`)
	check(llamacpp, Request{API: datasets.CompletionAPI, Mode: datasets.Sync, SharedPrefix: true},
		`{"model":"gpt2","prompt":"a < b",`+sampling+`,"stream":false,"top_k":0,"min_p":0,"repeat_penalty":1,"cache_prompt":true}`)

	check(transformers, Request{API: datasets.CompletionAPI, Mode: datasets.Sync},
		`{"model":"gpt2","prompt":"a < b",`+sampling+`,"stream":false,"generation_config":"{\"do_sample\":true}"}`)
	check(transformers, Request{Prompt: greedy, API: datasets.ChatAPI, Mode: datasets.Stream, IgnoreEOS: true},
		`{"model":"gpt2","messages":[{"role":"user","content":"a < b"}],"temperature":0,"top_p":1,"max_tokens":2000,"seed":5,`+
			`"stream":true,"stream_options":{"include_usage":true},`+
			`"generation_config":"{\"do_sample\":false,\"eos_token_id\":-1,\"pad_token_id\":0}"}`)

	check(tgi, Request{API: datasets.CompletionAPI, Mode: datasets.Sync, IgnoreEOS: true},
		`{"model":"gpt2","prompt":"a < b",`+sampling+`,"stream":false}`)
	check(tgi, Request{Prompt: greedy, API: datasets.CompletionAPI, Mode: datasets.Stream},
		`{"model":"gpt2","prompt":"a < b","temperature":0,"max_tokens":1024,"seed":5,"stream":true,"stream_options":{"include_usage":true}}`)

	check(sglang, Request{API: datasets.CompletionAPI, Mode: datasets.Sync, IgnoreEOS: true},
		`{"model":"gpt2","prompt":"a < b",`+sampling+`,"stream":false,"ignore_eos":true}`)
	check(openai, Request{Prompt: greedy, API: datasets.ChatAPI, Mode: datasets.Stream, IgnoreEOS: true},
		`{"model":"gpt2","messages":[{"role":"user","content":"a < b"}],"temperature":0,"top_p":1,"max_tokens":2000,"seed":5,`+
			`"stream":true,"stream_options":{"include_usage":true}}`)
	check(ollama, Request{API: datasets.CompletionAPI, Mode: datasets.Sync, IgnoreEOS: true},
		`{"model":"gpt2","prompt":"a < b",`+sampling+`,"stream":false}`)

	plain := Target{Name: "plain", Payload: openAI}
	_, err := plain.Body(Request{Prompt: prompt, API: datasets.ChatAPI})
	assert.ErrorContains(t, err, "plain has no chat route")
	_, err = plain.Body(Request{Prompt: prompt, API: datasets.CompletionAPI, Mode: datasets.Sync})
	assert.ErrorContains(t, err, "plain answers in streams alone; measure it with -mode stream")

	// What the custom server is sent without extras is what the prepared files hold.
	own, err := prompt.Body(datasets.Stream, "gpt2", datasets.ChatAPI)
	require.NoError(t, err)
	check(custom, Request{API: datasets.ChatAPI, Mode: datasets.Stream}, string(own))
}

func TestServedName(t *testing.T) {
	answer, status := "", http.StatusOK
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/v1/models", r.URL.Path)
		w.WriteHeader(status)
		fmt.Fprint(w, answer)
	}))
	defer srv.Close()
	check := func(models, want string) {
		t.Helper()
		answer = models
		got, err := vllm.ServedName(t.Context(), nil, srv.URL+"/", "gpt2", "openai-community/gpt2")
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	check(`{"data":[{"id":"x"},{"id":"openai-community/gpt2"}]}`, "openai-community/gpt2")
	check(`{"data":[{"id":"gpt2"},{"id":"openai-community/gpt2"}]}`, "gpt2")
	check(`{"data":[{"id":"/models/other"}]}`, "/models/other")

	refused := func(models, want string) {
		t.Helper()
		answer = models
		_, err := vllm.ServedName(t.Context(), nil, srv.URL, "gpt2")
		assert.ErrorContains(t, err, want)
	}
	refused(`{"data":[{"id":"a"},{"id":"b"}]}`, `none of which is ["gpt2"]`)
	refused(`{"data":[]}`, "none of which")
	refused(`<html>`, "no list")
	status = http.StatusInternalServerError
	refused(`{"data":[{"id":"gpt2"}]}`, "status 500")
	srv.Close()
	_, err := vllm.ServedName(t.Context(), nil, srv.URL, "gpt2")
	assert.ErrorContains(t, err, "ask the server for its models")
}

// FuzzTGIFolder has configurations that somebody else wrote: a folder that TGI
// can read, or an error.
func FuzzTGIFolder(f *testing.F) {
	f.Add([]byte(`{"rope_parameters":{"rope_theta":1e5,"rope_type":"default"},"dtype":"bfloat16"}`))
	f.Add([]byte(`{"rope_parameters":[],"dtype":{}}`))
	f.Add([]byte(`null`))
	src, dst := f.TempDir(), f.TempDir()
	f.Fuzz(func(t *testing.T, config []byte) {
		for _, name := range []string{"config.json", "tokenizer_config.json", "generation_config.json"} {
			require.NoError(t, os.WriteFile(filepath.Join(src, name), config, 0o644))
		}
		if convertFolder(src, dst, true) != nil {
			return
		}
		data, err := os.ReadFile(filepath.Join(dst, "generation_config.json"))
		require.NoError(t, err)
		var object map[string]any
		require.NoError(t, json.Unmarshal(data, &object))
		require.Equal(t, []any{-1.}, object["eos_token_id"])
	})
}
