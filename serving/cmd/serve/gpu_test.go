package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/kernels/cuda"
	"servebench/testdata"
)

// onCUDA are the flags of a server on the library under test, with a KV cache of
// no more than the tests take: the simulated device's memory is the machine's.
func onCUDA(t *testing.T, more ...string) []string {
	t.Helper()
	return append([]string{"--device", "cuda", "--cuda-library", testdata.FastCUDA(t), "--kv-cache-memory-bytes", "8M"}, more...)
}

// freeOnGPU is the memory of the GPU that nobody has, a small context apart.
func freeOnGPU(t *testing.T) int64 {
	t.Helper()
	d, err := cuda.New(cuda.Options{Library: testdata.FastCUDA(t), DType: kernels.F32, MaxTokens: 1, MaxSeqs: 1, MaxBlocks: 1})
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	about, err := d.About()
	require.NoError(t, err)
	return about.Free
}

// asked are requests of every length of prompt, greedy unless they have a seed.
func asked() (bodies []string) {
	for i, words := range []int{1, 9, 40, 120} {
		prompt := strings.Repeat(fmt.Sprintf("word%d and ", i), words)
		for _, fields := range []string{`"temperature":0`, `"temperature":0.8,"top_p":0.9,"top_k":50,"seed":7`, `"temperature":1,"min_p":0.02,"seed":8`} {
			bodies = append(bodies, fmt.Sprintf(`{"prompt":%q,"max_tokens":24,"ignore_eos":true,%s}`, prompt, fields))
		}
	}
	return append(bodies,
		`{"prompt":"What the host draws","max_tokens":20,"ignore_eos":true,"temperature":0,"logprobs":2,"frequency_penalty":0.5}`,
		`{"prompt":"Some for all","n":3,"max_tokens":10,"ignore_eos":true,"seed":3}`)
}

// answers are the texts of all requests, sent one at a time or all at once.
func (r *running) answers(t *testing.T, bodies []string, together bool) []string {
	t.Helper()
	texts := make([]string, len(bodies))
	ask := func(i int) {
		status, b := r.post(t, "/v1/completions", bodies[i])
		assert.Equal(t, 200, status, "%s", b)
		var c completion
		assert.NoError(t, json.Unmarshal(b, &c))
		for _, choice := range c.Choices {
			texts[i] += choice.Text + "|"
		}
	}
	var wg sync.WaitGroup
	for i := range bodies {
		if together {
			wg.Go(func() { ask(i) })
		} else {
			ask(i)
		}
	}
	wg.Wait()
	return texts
}

// TestServeOnCUDA: the server's text on a GPU is the CPU's, token for token, in
// float32; alone, among others, and streamed. When it stops it gives back the GPU's
// memory.
func TestServeOnCUDA(t *testing.T) {
	args := []string{"--dtype", "float32", "--max-num-batched-tokens", "160", "--max-num-seqs", "8"}
	before := freeOnGPU(t)
	r := start(t, onCUDA(t, args...)...)
	for _, line := range []string{"device cuda:0 (", "float32; KV cache of ", "CUDA graphs of decode steps, 4 of them, for up to 8 sequences", "loaded in "} {
		assert.Contains(t, r.said(), line)
	}
	bodies := asked()
	alone, together := r.answers(t, bodies, false), r.answers(t, bodies, true)
	text, last := r.stream(t, strings.TrimSuffix(bodies[0], "}")+`,"stream":true,"stream_options":{"include_usage":true}}`)
	assert.Equal(t, 24, last.Usage.Completion)
	assert.Equal(t, exitOK, r.stop(os.Interrupt), r.said())
	assert.Equal(t, before, freeOnGPU(t), "the GPU's memory is given back")

	cpu := start(t, append([]string{"--device", "cpu"}, args...)...)
	want := cpu.answers(t, bodies, false)
	assert.Equal(t, exitOK, cpu.stop(os.Interrupt), cpu.said())
	assert.Equal(t, want, alone)
	assert.Equal(t, want, together)
	assert.Equal(t, want[0], text+"|")
}

// TestServeHalfOnCUDA: both 16-bit types answer, and auto is the one that suits.
func TestServeHalfOnCUDA(t *testing.T) {
	for _, dtype := range []string{"float16", "bfloat16", "auto"} {
		r := start(t, onCUDA(t, "--dtype", dtype)...)
		text := r.answers(t, asked()[:6], true)
		for i := range text {
			assert.NotEmpty(t, text[i])
		}
		assert.Equal(t, exitOK, r.stop(os.Interrupt), r.said())
		if dtype == "auto" {
			dtype = "bfloat16"
		}
		assert.Contains(t, r.said(), ", "+dtype+"; KV cache")
	}
}

// TestCannotServeOnCUDA: every reason is told, and leaves the GPU's memory free.
func TestCannotServeOnCUDA(t *testing.T) {
	library := testdata.FastCUDA(t)
	before := freeOnGPU(t)
	folder := tinyFolder(t)
	other := filepath.Join(t.TempDir(), "no.so")
	for _, tt := range []struct {
		args   string
		status int
		says   []string
	}{
		{"--device cuda --cuda-library " + other, exitFault, []string{"no.so", "is not there", "make cuda"}},
		{"--device cuda --cuda-library " + folder, exitFault, []string{"is a folder"}},
		{"--device cuda --gpu-memory-utilization 0.0001", exitUsage, []string{"does not fit into GPU memory", "--gpu-memory-utilization 0.0001", "--device cpu"}},
		{"--device cuda --kv-cache-memory-bytes 900G", exitUsage, []string{"--kv-cache-memory-bytes", "of GPU memory that are free"}},
		{"--device cuda --kv-cache-memory-bytes 1K", exitUsage, []string{"--kv-cache-memory-bytes 1024", "--max-model-len is 4096"}},
		{"--device cuda --max-model-len 4097", exitUsage, []string{"--max-model-len 4097"}},
		{"--device auto --dtype float16 --cuda-library " + other, exitUsage, []string{"--device auto takes the CPU", "no.so", "--dtype float16 takes a GPU"}},
	} {
		var stderr bytes.Buffer
		c := &console{w: &stderr}
		args := append([]string{"--port", "0", "--model", folder, "--load-format", "dummy", "--cuda-library", library}, strings.Fields(tt.args)...)
		assert.Equalf(t, tt.status, run(args, io.Discard, c, nil), "for %s: %s", tt.args, stderr.String())
		for _, s := range tt.says {
			assert.Containsf(t, stderr.String(), s, "for %s", tt.args)
		}
		assert.NotContainsf(t, stderr.String(), "ready", "for %s", tt.args)
	}
	assert.Equal(t, before, freeOnGPU(t))
}

// TestAutoDevice: auto leaves the simulated device alone, and says what it takes.
func TestAutoDevice(t *testing.T) {
	library := testdata.FastCUDA(t)
	all, err := cuda.Devices(library)
	require.NoError(t, err)
	if !all[0].Simulated {
		t.Skip("SKIPPED, not tested here: the library under test is a GPU's")
	}
	r := start(t, "--cuda-library", library)
	assert.Contains(t, r.said(), "--device auto takes the CPU: the library of CUDA kernels is the simulated device's")
	assert.Equal(t, exitOK, r.stop(os.Interrupt), r.said())
	var stdout bytes.Buffer
	assert.Equal(t, exitOK, run([]string{"--version", "--cuda-library", library}, &stdout, io.Discard, nil))
	assert.Contains(t, stdout.String(), "\ncuda:0: "+all[0].Name)
	assert.Contains(t, stdout.String(), "simulated")
}
