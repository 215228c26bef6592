package target

import (
	"context"
	"net/http"
	"strconv"
)

// SGLangEnv names the environment variable with the path of SGLang's program.
const SGLangEnv = "SERVEBENCH_SGLANG"

// sglang is SGLang. Nothing is recorded of it: what is said here was read in
// python/sglang/srt of its repository, at v0.5.19. Its port opens before the
// model is loaded, and /health is 503 until then.
var sglang = Target{
	Name:     "sglang",
	Variable: SGLangEnv,
	Binary:   "sglang",
	Ready:    "/health",
	Capabilities: Capabilities{
		Sync:      true,
		IgnoreEOS: byField,
		MinTokens: true,
		// Not Seed: it is kept only with --enable-deterministic-inference, which
		// takes other kernels; else a batch's size changes the sums.
		StreamUsage:  true,
		TokenPrompts: true,
		Folders:      true,
		Chat:         true,
		DummyWeights: true,
		PrefixCache:  true,
		MultiGPU:     true,
		Dtypes:       []string{"bfloat16", "float16", "float32"},
	},
	Program: find(SGLangEnv, "sglang", "SGLang"),
	Version: packages("sglang", "torch"),
	Args:    sglangArgs,
	Env: func(_ context.Context, _ string, c Config) ([]string, error) {
		return unlessSet(append(sglangEnv(c), "HF_HUB_OFFLINE=1")...), nil
	},
	Payload: openAI,
	About:   About{Route: "/server_info", Field: "version"},
	Gauges: Gauges{
		Route:   "/metrics",
		Running: []string{"sglang:num_running_reqs"},
		Waiting: []string{"sglang:num_queue_reqs"},
		KVCache: []string{"sglang:token_usage"},
	},
	// It is refused with 400 while requests run.
	Resets: []Step{{Method: http.MethodPost, Route: "/flush_cache"}},
	Tokens: &vllmTokens,
	// The project's own image, the last one for drivers of CUDA 12, as its
	// docs/get-started/install.mdx says; shared memory and limits are those of its
	// docker/compose.yaml. For CPUs no tag with a version was found.
	Image: &Image{
		GPU:        "lmsysorg/sglang:v0.5.19-cu129",
		Entrypoint: []string{"sglang"},
		Env:        sglangEnv,
		Port:       30000, Models: "/models", Hub: "/root/.cache/huggingface", TokenEnv: "HF_TOKEN",
		ShmSize: 32 << 30,
		Ulimits: []Ulimit{{"memlock", -1, -1}, {"stack", 64 << 20, 64 << 20}},
	},
}

// sglangArgs are its flags. What a request leaves out is OpenAI's default, not
// the model's generation_config.json. A batch of decodes is never above
// --max-running-requests, and CUDA graphs are made up to it.
func sglangArgs(c Config) []string {
	args := []string{"serve", "--model-path", c.Model, "--served-model-name", c.Served, "--host", c.host(), "--port", strconv.Itoa(c.Port),
		"--dtype", c.Dtype, "--context-length", strconv.Itoa(c.MaxModelLen), "--max-running-requests", strconv.Itoa(c.MaxNumSeqs),
		"--sampling-defaults", "openai", "--enable-metrics"}
	if c.MaxNumBatchedTokens > 0 {
		args = append(args, "--chunked-prefill-size", strconv.Itoa(c.MaxNumBatchedTokens))
	}
	if !c.PrefixCaching {
		args = append(args, "--disable-radix-cache")
	}
	if c.Dummy {
		args = append(args, "--load-format", "dummy", "--random-seed", strconv.FormatUint(c.Seed, 10))
	}
	switch n := c.tensorParallel(); {
	case n == 0:
		args = append(args, "--device", "cpu")
	default:
		args = append(args, "--tp-size", strconv.Itoa(n))
		if c.GPUMemory > 0 {
			args = append(args, "--mem-fraction-static", share(c.GPUMemory))
		}
	}
	return append(args, c.Extra...)
}

// sglangEnv turns on the engine for CPUs, which a build for them has.
func sglangEnv(c Config) []string {
	if c.GPU {
		return nil
	}
	return []string{"SGLANG_USE_CPU_ENGINE=1"}
}
