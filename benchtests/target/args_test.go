package target

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/datasets"
)

// TestArgs holds every command line: as a process on CPUs, with what a prompt
// begins with kept, of random weights, with a limit of a step's tokens, and in a
// container on two GPUs.
func TestArgs(t *testing.T) {
	check := func(target Target, c Config, want string) {
		t.Helper()
		assert.Equal(t, strings.Fields(want), target.Args(c), target.Name)
	}
	cold, warm, dummy, steps := conf(), conf(), conf(), conf()
	warm.PrefixCaching, dummy.PrefixCaching, steps.PrefixCaching = true, true, true
	dummy.Dummy, dummy.Seed = true, 7
	steps.MaxNumBatchedTokens = 4096
	gpus := warm
	gpus.GPU, gpus.TensorParallel, gpus.GPUMemory, gpus.Host, gpus.Port, gpus.Dir = true, 2, .85, AnyHost, 8000, "/tmp"
	gpu := gpus
	gpu.TensorParallel, gpu.GPUMemory = 0, 0

	common := func(host string, port int) string {
		return fmt.Sprintf("--served-model-name gpt2 --host %s --port %d --dtype bfloat16 --max-model-len 1024 --max-num-seqs 16 --generation-config vllm", host, port)
	}
	here, inside := common("127.0.0.1", 8123), common("0.0.0.0", 8000)
	check(custom, cold, "--model /models/gpt2 --device cpu "+here+" --no-enable-prefix-caching --more 1")
	check(custom, warm, "--model /models/gpt2 --device cpu "+here+" --more 1")
	check(custom, steps, "--model /models/gpt2 --device cpu "+here+" --max-num-batched-tokens 4096 --more 1")
	check(custom, gpus, "--model /models/gpt2 --device cuda "+inside+" --gpu-memory-utilization 0.85 --more 1")
	check(custom, gpu, "--model /models/gpt2 --device cuda "+inside+" --more 1")
	check(vllm, cold, "serve /models/gpt2 "+here+" --no-enable-prefix-caching --more 1")
	check(vllm, dummy, "serve /models/gpt2 "+here+" --load-format dummy --seed 7 --more 1")
	check(vllm, gpus, "serve /models/gpt2 "+inside+" --tensor-parallel-size 2 --gpu-memory-utilization 0.85 --more 1")
	check(vllm, gpu, "serve /models/gpt2 "+inside+" --tensor-parallel-size 1 --more 1")

	slots := func(host string, port int) string {
		return fmt.Sprintf("-m /models/gpt2 --alias gpt2 --host %s --port %d -np 16 -c 16384 --no-webui --metrics", host, port)
	}
	cpu := fmt.Sprintf(" --device none -t %d --more 1", runtime.NumCPU())
	check(llamacpp, cold, slots("127.0.0.1", 8123)+" --no-cache-prompt --cache-ram 0"+cpu)
	check(llamacpp, warm, slots("127.0.0.1", 8123)+cpu)
	check(llamacpp, steps, slots("127.0.0.1", 8123)+" -b 4096"+cpu)
	check(llamacpp, gpus, slots("0.0.0.0", 8000)+" -ngl 999 -sm row --more 1")
	check(llamacpp, gpu, slots("0.0.0.0", 8000)+" -ngl 999 -sm none --more 1")

	check(transformers, cold, "serve /models/gpt2 --host 127.0.0.1 --port 8123 --device cpu --dtype bfloat16 --more 1")
	check(transformers, gpus, "serve /models/gpt2 --host 0.0.0.0 --port 8000 --device cuda --dtype bfloat16 --more 1")
	batches := gpus
	batches.Extra, batches.MaxNumBatchedTokens = []string{continuousBatching}, 4096
	check(transformers, batches, "serve /models/gpt2 --host 0.0.0.0 --port 8000 --device cuda --dtype bfloat16"+
		" --cb-max-batch-tokens 4096 --cb-max-memory-percent 0.85 --continuous-batching")
	assert.Equal(t, "/models/gpt2", transformers.Served(cold), "a pinned model is asked for as it was given")

	launcher := func(host string, port, prometheus int, uds string, shards, prefill int) string {
		return fmt.Sprintf("--model-id /models/gpt2 --dtype bfloat16 --hostname %s --port %d --prometheus-port %d%s --num-shard %d"+
			" --max-input-tokens 1023 --max-total-tokens 1024 --max-batch-prefill-tokens %d"+
			" --max-batch-total-tokens 16384 --max-concurrent-requests 128 --usage-stats off", host, port, prometheus, uds, shards, prefill)
	}
	uds := " --shard-uds-path " + socket("/run/servers")
	check(tgi, cold, launcher("127.0.0.1", 8123, 9123, uds, 1, 2048)+" --cuda-graphs 0 --more 1")
	check(tgi, steps, launcher("127.0.0.1", 8123, 9123, uds, 1, 4096)+" --cuda-graphs 0 --more 1")
	check(tgi, gpus, launcher("0.0.0.0", 8000, 9000, "", 2, 2048)+" --cuda-memory-fraction 0.85 --more 1")

	radix := func(host string, port int) string {
		return fmt.Sprintf("serve --model-path /models/gpt2 --served-model-name gpt2 --host %s --port %d --dtype bfloat16"+
			" --context-length 1024 --max-running-requests 16 --sampling-defaults openai --enable-metrics", host, port)
	}
	check(sglang, cold, radix("127.0.0.1", 8123)+" --disable-radix-cache --device cpu --more 1")
	check(sglang, dummy, radix("127.0.0.1", 8123)+" --load-format dummy --random-seed 7 --device cpu --more 1")
	check(sglang, steps, radix("127.0.0.1", 8123)+" --chunked-prefill-size 4096 --device cpu --more 1")
	check(sglang, gpus, radix("0.0.0.0", 8000)+" --tp-size 2 --mem-fraction-static 0.85 --more 1")

	check(ollama, cold, "serve --more 1")
	assert.Nil(t, openai.Args, "nothing is started")
}

func TestSockets(t *testing.T) {
	assert.Less(t, len(socket("/a/long/folder")), 100, "a socket's name may have 107 bytes")
	assert.NotEqual(t, socket("a"), socket("b"))
	for _, p := range []int{1024, 59999, 65535} {
		assert.NotEqual(t, p, neighbour(p))
		assert.Less(t, neighbour(p), 65536)
	}
}

// TestOllamaEnv holds the settings that Ollama takes from nowhere else.
func TestOllamaEnv(t *testing.T) {
	c := conf()
	vars, err := ollama.Env(t.Context(), "/bin/ollama", c)
	require.NoError(t, err)
	assert.Subset(t, vars, []string{"OLLAMA_HOST=127.0.0.1:8123", "OLLAMA_NUM_PARALLEL=16", "OLLAMA_CONTEXT_LENGTH=1024",
		"OLLAMA_MODELS=/run/servers/ollama", "OLLAMA_KEEP_ALIVE=-1", "CUDA_VISIBLE_DEVICES=-1"})
	c.GPU, c.TensorParallel, c.Host, c.Port = true, 2, AnyHost, 11434
	vars = ollama.Image.Env(c)
	assert.Subset(t, vars, []string{"OLLAMA_HOST=0.0.0.0:11434", "OLLAMA_SCHED_SPREAD=1"})
	assert.NotContains(t, strings.Join(vars, " "), "CUDA_VISIBLE_DEVICES")
}

// TestCheck has configs that a framework cannot do.
func TestCheck(t *testing.T) {
	refused := func(target Target, change func(*Config), want string) {
		t.Helper()
		c := conf()
		c.Dtype = target.Dtypes[0]
		assert.NoError(t, target.Check(c), target.Name)
		change(&c)
		assert.ErrorContains(t, target.Check(c), want)
	}
	refused(tgi, func(c *Config) { c.Dtype = "float32" }, "choose from bfloat16, float16")
	refused(vllm, func(c *Config) { c.TensorParallel = 2 }, "only where there are GPUs")
	refused(vllm, func(c *Config) { c.TensorParallel = -1 }, "1 or more")
	refused(transformers, func(c *Config) { c.GPU, c.TensorParallel = true, 2 }, "transformers does not split a model over 2 GPUs")
	refused(sglang, func(c *Config) { c.GPUMemory = 1.5 }, "at most 1")
	refused(ollama, func(c *Config) { c.Dummy = true }, "ollama cannot make random weights")
	refused(llamacpp, func(c *Config) { c.Model = t.TempDir() }, "takes .gguf files")
	assert.ErrorContains(t, openai.Check(conf()), "-host")

	both := conf()
	both.Dtype, both.GPUMemory = "int8", 2
	err := vllm.Check(both)
	assert.ErrorContains(t, err, "int8")
	assert.ErrorContains(t, err, "at most 1", "everything is told at once")
}

// TestCapabilitiesFor has what depends on how a server is started.
func TestCapabilitiesFor(t *testing.T) {
	c := conf()
	assert.True(t, transformers.CapabilitiesFor(c).Serial)
	assert.False(t, transformers.CapabilitiesFor(c).FirstSampling)
	c.Extra = []string{continuousBatching}
	assert.False(t, transformers.CapabilitiesFor(c).Serial)
	assert.True(t, transformers.CapabilitiesFor(c).FirstSampling)
	assert.True(t, transformers.Serial, "the target is as it was")
	onCPU, onGPU := vllm, vllm
	onCPU.Capabilities, onGPU.Capabilities = vllm.CapabilitiesFor(Config{}), vllm.CapabilitiesFor(Config{GPU: true})
	for _, at := range []struct {
		target Target
		seed   bool
	}{{onCPU, false}, {onGPU, true}} {
		assert.Equal(t, at.seed, at.target.Seed)
		data, err := at.target.Body(Request{Prompt: datasets.Prompt{Text: "hello", Seed: 5}, Mode: datasets.Sync, Served: "gpt2"})
		require.NoError(t, err)
		assert.Equal(t, at.seed, strings.Contains(string(data), `"seed":5`), "%s", data)
		assert.Contains(t, string(data), `"model":"gpt2"`)
	}
	for _, target := range All() {
		if target.Adapt == nil {
			assert.Equal(t, target.Capabilities, target.CapabilitiesFor(c), target.Name)
		}
	}
}
