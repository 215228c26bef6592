package target

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"servebench/datasets"
)

// ServeEnv names the environment variable with the custom server's path.
const ServeEnv = "SERVEBENCH_SERVE"

// BuilderEnv names the environment variable with the image that the custom
// server's is built on, where the Dockerfile's own cannot be pulled.
const BuilderEnv = "SERVEBENCH_BUILDER"

// custom is this project's own server. The suite does not import it: program
// and image are built like any other.
var custom = Target{
	Name:     "custom",
	Variable: ServeEnv,
	Ready:    "/health",
	Capabilities: Capabilities{
		Sync:         true,
		IgnoreEOS:    byField,
		MinTokens:    true,
		Seed:         true,
		StreamUsage:  true,
		TokenPrompts: true,
		Chat:         true,
		DummyWeights: true,
		Folders:      true,
		GGUF:         true,
		PrefixCache:  true,
		Dtypes:       []string{"bfloat16", "float16", "float32"}, // float16 on GPUs
	},
	Program: func(ctx context.Context, given string) (string, error) {
		if given == "" {
			given = os.Getenv(ServeEnv)
		}
		if given == "" {
			program, err := datasets.Build(ctx, "servebench/serving/cmd/serve")
			if err != nil {
				return "", fmt.Errorf("building the custom server (or give a built one with -serve-bin): %w", err)
			}
			return program, nil
		}
		path, err := exec.LookPath(given)
		if err != nil {
			return "", fmt.Errorf("the custom server's program (-serve-bin or $%s): %w", ServeEnv, err)
		}
		return filepath.Abs(path)
	},
	Version: func(ctx context.Context, program string) (string, error) { return firstLine(ctx, program, "--version") },
	Args: func(c Config) []string {
		// Said in any case: left to itself it takes the GPU that a machine has.
		device := "cpu"
		if c.GPU {
			device = "cuda"
		}
		args := append([]string{"--model", c.Model, "--device", device}, vllmFlags(c)...)
		if c.GPU && c.GPUMemory > 0 {
			args = append(args, "--gpu-memory-utilization", share(c.GPUMemory))
		}
		return append(args, c.Extra...)
	},
	Payload: openAI,
	About:   About{Route: "/version", Field: "version"},
	Gauges:  vllmGauges,
	Resets:  []Step{{Method: http.MethodPost, Route: "/reset_prefix_cache"}},
	Tokens:  &vllmTokens,
	Image: &Image{
		GPU: "servebench:cuda", CPU: "servebench:cpu",
		Build: &Build{CPU: "serving/Dockerfile", GPU: "serving/Dockerfile.cuda", Args: map[string]string{"BUILDER": BuilderEnv}},
		Port:  8000, AsUser: true, Models: "/models", Hub: "/hub", TokenEnv: "HF_TOKEN",
	},
}

// vllmFlags are the flags that vLLM and the custom server have in common. A
// model's generation_config.json is left alone: what a request does not say is
// then off in every framework.
func vllmFlags(c Config) []string {
	args := []string{"--served-model-name", c.Served, "--host", c.host(), "--port", strconv.Itoa(c.Port), "--dtype", c.Dtype,
		"--max-model-len", strconv.Itoa(c.MaxModelLen), "--max-num-seqs", strconv.Itoa(c.MaxNumSeqs), "--generation-config", "vllm"}
	if c.MaxNumBatchedTokens > 0 {
		args = append(args, "--max-num-batched-tokens", strconv.Itoa(c.MaxNumBatchedTokens))
	}
	if !c.PrefixCaching {
		args = append(args, "--no-enable-prefix-caching")
	}
	if c.Dummy {
		args = append(args, "--load-format", "dummy", "--seed", strconv.FormatUint(c.Seed, 10))
	}
	return args
}
