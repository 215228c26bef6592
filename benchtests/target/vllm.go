package target

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
)

// VLLMEnv names the environment variable with the path of vLLM's program.
const VLLMEnv = "SERVEBENCH_VLLM"

// byField is the IgnoreEOS of frameworks that sample the token and go on.
const byField = "ignored, by ignore_eos"

// vllm is vLLM, recorded at 0.32.0. Its port refuses connections until the
// engine is up.
var vllm = Target{
	Name:     "vllm",
	Variable: VLLMEnv,
	Binary:   "vllm",
	Ready:    "/health",
	Capabilities: Capabilities{
		Sync:         true,
		IgnoreEOS:    byField,
		MinTokens:    true,
		Seed:         true,
		StreamUsage:  true,
		TokenPrompts: true,
		Folders:      true,
		Chat:         true,
		DummyWeights: true,
		PrefixCache:  true,
		MultiGPU:     true,
		Dtypes:       []string{"bfloat16", "float16", "float32"},
	},
	// The CPU build dies of a seed when a prompt is computed in pieces, as soon as
	// those in flight have more tokens than a step: it takes back the number that
	// the first piece drew, which torch's generator for CPUs cannot ("CPU Generator
	// does not use offset", seen at 0.32.0).
	Adapt: func(caps *Capabilities, c Config) {
		if !c.GPU {
			caps.Seed, caps.SeedStops = false, true
		}
	},
	Program: find(VLLMEnv, "vllm", "vLLM"),
	Version: packages("vllm", "torch"),
	Args: func(c Config) []string {
		args := append([]string{"serve", c.Model}, vllmFlags(c)...)
		if n := c.tensorParallel(); n > 0 {
			args = append(args, "--tensor-parallel-size", strconv.Itoa(n))
		}
		if c.GPU && c.GPUMemory > 0 {
			args = append(args, "--gpu-memory-utilization", share(c.GPUMemory))
		}
		return append(args, c.Extra...)
	},
	Env: func(_ context.Context, _ string, c Config) ([]string, error) {
		// The CPU build is told where it may run, or it takes every core of the
		// machine but one for its own.
		return unlessSet(append(vllmEnv(c), "VLLM_CPU_OMP_THREADS_BIND="+cores(c))...), nil
	},
	Payload: openAI,
	About:   About{Route: "/version", Field: "version"},
	Gauges:  vllmGauges,
	Resets:  []Step{{Method: http.MethodPost, Route: "/reset_prefix_cache"}},
	Tokens:  &vllmTokens,
	// The images are the project's own. That v0.32.0 is there was seen where
	// others pin it; that the one for CPUs is a repository of its own whose tags
	// name the architecture, and what it asks for, is in vLLM's
	// docs/getting_started/installation/cpu.x86.inc.md. Their entrypoint has been
	// a module and is a command now, so it is said.
	Image: &Image{
		GPU: "vllm/vllm-openai:v0.32.0", CPU: "vllm/vllm-openai-cpu:v0.32.0-x86_64",
		Entrypoint: []string{"vllm"},
		Env:        vllmEnv,
		Port:       8000, Models: "/models", Hub: "/root/.cache/huggingface", TokenEnv: "HF_TOKEN",
		// Shards talk through /dev/shm; the docs share the host's, or take 4 GB of it.
		ShmSize: 4 << 30,
		// The CPU build binds threads and memory to NUMA nodes.
		CapAdd: []string{"SYS_NICE"}, SecurityOpt: []string{"seccomp=unconfined"},
	},
}

// vllmEnv are the variables of vLLM wherever it runs. The routes of its
// developers' mode are those that empty its prefix cache. Other builds do not
// read how many GiB the CPU build's cache gets.
func vllmEnv(c Config) []string {
	vars := []string{"VLLM_SERVER_DEV_MODE=1", "VLLM_NO_USAGE_STATS=1"}
	if !c.GPU {
		vars = append(vars, "VLLM_CPU_KVCACHE_SPACE=2")
	}
	return vars
}

// cores lists the CPUs that threads are bound to.
func cores(c Config) string {
	if len(c.CPUs) == 0 {
		return fmt.Sprintf("0-%d", runtime.NumCPU()-1)
	}
	return strings.Trim(strings.Join(strings.Fields(fmt.Sprint(c.CPUs)), ","), "[]")
}

// share writes a share as flags take it.
func share(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }

// vllmGauges are vLLM's names, which the custom server has too. The first
// engine called its cache the GPU's, even on a CPU.
var vllmGauges = Gauges{
	Route:   "/metrics",
	Running: []string{"vllm:num_requests_running"},
	Waiting: []string{"vllm:num_requests_waiting"},
	KVCache: []string{"vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"},
}

// vllmTokens is vLLM's route, which SGLang and the custom server have too.
var vllmTokens = TokenRoute{
	Route: "/tokenize",
	Body: func(model, text string) any {
		return object{"model": model, "prompt": text, "add_special_tokens": true}
	},
	IDs: parseTokens,
}
