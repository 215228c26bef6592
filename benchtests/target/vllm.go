package target

import (
	"context"
	"fmt"
	"runtime"
)

// VLLMEnv names the environment variable with the path of vLLM's program.
const VLLMEnv = "SERVEBENCH_VLLM"

// byField is the IgnoreEOS of frameworks that sample the token and go on.
const byField = "ignored, by ignore_eos"

// vllm is vLLM as a local process. Its port refuses connections until the
// engine is up.
var vllm = Target{
	Name:     "vllm",
	Variable: VLLMEnv,
	Ready:    "/health",
	Capabilities: Capabilities{
		IgnoreEOS:    byField,
		MinTokens:    true,
		Seed:         true,
		StreamUsage:  true,
		TokenPrompts: true,
		Folders:      true,
		Chat:         true,
		DummyWeights: true,
		PrefixCache:  true,
		Dtypes:       []string{"bfloat16", "float16", "float32"},
	},
	Program: find(VLLMEnv, "vllm", "vLLM"),
	Version: packages("vllm", "torch"),
	Args: func(c Config) []string {
		return append(append([]string{"serve", c.Model}, vllmFlags(c)...), c.Extra...)
	},
	// The CPU build is told where it may run and how many GiB its cache gets; other
	// builds do not read these.
	Env: func(_ context.Context, _ string, _ Config) ([]string, error) {
		return unlessSet("VLLM_CPU_KVCACHE_SPACE=2", fmt.Sprintf("VLLM_CPU_OMP_THREADS_BIND=0-%d", runtime.NumCPU()-1),
			"VLLM_NO_USAGE_STATS=1"), nil
	},
	Payload: openAI,
}
