package target

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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

func TestCustomArgs(t *testing.T) {
	c := Config{Model: "/models/gpt2", Served: "gpt2", Dtype: "float32", Port: 8123}
	assert.Equal(t, []string{"--model", "/models/gpt2", "--served-model-name", "gpt2", "--host", "127.0.0.1",
		"--port", "8123", "--dtype", "float32"}, custom.Args(c))
	c.Dummy, c.Seed, c.Extra = true, 7, []string{"--threads", "1"}
	assert.Subset(t, custom.Args(c), []string{"--load-format", "dummy", "--seed", "7"})
	assert.Equal(t, []string{"--threads", "1"}, custom.Args(c)[len(custom.Args(c))-2:], "the user's come last")
}

func TestCustomProgram(t *testing.T) {
	program := filepath.Join(t.TempDir(), "serve")
	require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\necho version 1.2\necho more\n"), 0o755))
	got, err := custom.Program(t.Context(), program)
	require.NoError(t, err)
	assert.Equal(t, program, got)
	version, err := custom.Version(t.Context(), program)
	require.NoError(t, err)
	assert.Equal(t, "version 1.2", version)

	t.Setenv(ServeEnv, program)
	got, err = custom.Program(t.Context(), "")
	require.NoError(t, err)
	assert.Equal(t, program, got)
	_, err = custom.Program(t.Context(), "/nowhere/serve")
	assert.ErrorContains(t, err, ServeEnv)
}

func TestLlamacpp(t *testing.T) {
	args := llamacpp.Args(Config{Model: "gpt2.gguf", Served: "gpt2", Port: 8123, Extra: []string{"-np", "4"}})
	assert.Subset(t, args, []string{"-m", "gpt2.gguf", "--alias", "gpt2", "--port", "8123", "--no-cache-prompt"})
	assert.Equal(t, []string{"-np", "4"}, args[len(args)-2:], "the user's come last")
	t.Setenv(LlamaServerEnv, "/nowhere/llama-server")
	_, err := llamacpp.Program(t.Context(), "")
	assert.ErrorContains(t, err, LlamaServerEnv)
}

func TestBody(t *testing.T) {
	prompt := datasets.Prompt{ID: "1", Text: "a < b", Seed: 5,
		Sampling: datasets.Sampling{Temperature: .5, TopP: .9, MaxTokens: 60}}
	check := func(target Target, r Request, want string) {
		t.Helper()
		r.Prompt, r.Served = prompt, "gpt2"
		got, err := target.Body(r)
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
		assert.True(t, json.Valid(got))
	}
	const sampling = `"temperature":0.5,"top_p":0.9,"max_tokens":60,"seed":5`
	check(custom, Request{API: datasets.CompletionAPI, Mode: datasets.Sync},
		`{"model":"gpt2","prompt":"a < b",`+sampling+`,"stream":false}`)
	check(custom, Request{API: datasets.CompletionAPI, Mode: datasets.Stream, IgnoreEOS: true},
		`{"model":"gpt2","prompt":"a < b",`+sampling+`,"stream":true,"stream_options":{"include_usage":true},"ignore_eos":true}`)
	check(custom, Request{API: datasets.ChatAPI, Mode: datasets.Sync},
		`{"model":"gpt2","messages":[{"role":"user","content":"a < b"}],`+sampling+`,"stream":false}`)

	check(llamacpp, Request{API: datasets.CompletionAPI, Mode: datasets.Sync, IgnoreEOS: true},
		`{"model":"gpt2","prompt":"a < b",`+sampling+`,"stream":false,"ignore_eos":true,`+
			`"cache_prompt":false,"min_p":0,"repeat_penalty":1,"top_k":0}`)

	plain := Target{Name: "plain"} // can do nothing
	check(plain, Request{API: datasets.CompletionAPI, Mode: datasets.Stream, IgnoreEOS: true},
		`{"model":"gpt2","prompt":"a < b",`+sampling+`,"stream":true}`)
	_, err := plain.Body(Request{Prompt: prompt, API: datasets.ChatAPI})
	assert.ErrorContains(t, err, "plain has no chat route")

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
		got, err := ServedName(t.Context(), srv.URL+"/", "gpt2", "openai-community/gpt2")
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	check(`{"data":[{"id":"x"},{"id":"openai-community/gpt2"}]}`, "openai-community/gpt2")
	check(`{"data":[{"id":"gpt2"},{"id":"openai-community/gpt2"}]}`, "gpt2")
	check(`{"data":[{"id":"/models/other"}]}`, "/models/other")

	refused := func(models, want string) {
		t.Helper()
		answer = models
		_, err := ServedName(t.Context(), srv.URL, "gpt2")
		assert.ErrorContains(t, err, want)
	}
	refused(`{"data":[{"id":"a"},{"id":"b"}]}`, `none of which is ["gpt2"]`)
	refused(`{"data":[]}`, "none of which")
	refused(`<html>`, "no list")
	status = http.StatusInternalServerError
	refused(`{"data":[{"id":"gpt2"}]}`, "status 500")
	srv.Close()
	_, err := ServedName(t.Context(), srv.URL, "gpt2")
	assert.ErrorContains(t, err, "ask the server for its models")
}
