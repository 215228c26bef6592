package target

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"

	"servebench/datasets"
)

// TransformersEnv names the environment variable with the path of Transformers' program.
const TransformersEnv = "SERVEBENCH_TRANSFORMERS"

// continuousBatching is the flag, given with the config's Extra, that lets
// Transformers compute requests together.
const continuousBatching = "--continuous-batching"

// transformers is `transformers serve`, recorded at 5.19.0. It is started
// without continuous batching unless that is asked for: the sampling settings of
// the first request hold for all then. A model given at the start is loaded
// before the port opens and never unloaded, and requests have to name it as it
// was given there.
var transformers = Target{
	Name:     "transformers",
	Variable: TransformersEnv,
	Binary:   "transformers",
	Ready:    "/health",
	Capabilities: Capabilities{
		Sync:        true,
		IgnoreEOS:   "ignored, by a generation_config without one",
		StreamUsage: true, // whether asked for or not
		Folders:     true,
		Chat:        true,
		Serial:      true,
		ListsOthers: true, // the hub's cache
		Dtypes:      []string{"bfloat16", "float16", "float32"},
	},
	Adapt: func(caps *Capabilities, c Config) {
		if slices.Contains(c.Extra, continuousBatching) {
			caps.Serial, caps.FirstSampling = false, true
		}
	},
	Program: find(TransformersEnv, "transformers", "Hugging Face Transformers"),
	Version: packages("transformers", "torch"),
	Args: func(c Config) []string {
		device := "cpu"
		if c.GPU {
			device = "cuda"
		}
		args := []string{"serve", c.Model, "--host", c.host(), "--port", strconv.Itoa(c.Port), "--device", device, "--dtype", c.Dtype}
		if slices.Contains(c.Extra, continuousBatching) {
			if c.MaxNumBatchedTokens > 0 {
				args = append(args, "--cb-max-batch-tokens", strconv.Itoa(c.MaxNumBatchedTokens))
			}
			if c.GPU && c.GPUMemory > 0 {
				args = append(args, "--cb-max-memory-percent", share(c.GPUMemory))
			}
		}
		return append(args, c.Extra...)
	},
	Env:    func(context.Context, string, Config) ([]string, error) { return unlessSet("HF_HUB_OFFLINE=1"), nil },
	Served: func(c Config) string { return c.Model },
	Payload: func(r Request) any {
		return transformersRequest{Request: r.request(), GenerationConfig: generationConfig(r)}
	},
	// The project's own images are for its tests: the newest tag that names a
	// version is older than `transformers serve`. So one is built; PyTorch's usual
	// wheel runs on both.
	Image: &Image{
		GPU: "servebench-transformers:5.19.0", CPU: "servebench-transformers:5.19.0",
		Build: &Build{CPU: transformersDockerfile, GPU: transformersDockerfile},
		Env: func(c Config) []string {
			if c.local() {
				return []string{"HF_HUB_OFFLINE=1"}
			}
			return nil
		},
		Port: 8000, Models: "/models", Hub: "/root/.cache/huggingface", TokenEnv: "HF_TOKEN",
		ShmSize: 1 << 30, // as PyTorch's own images ask for
	},
}

const transformersDockerfile = "benchtests/target/Dockerfile.transformers"

// transformersRequest is a request without the fields that Transformers answers
// with 422, such as ignore_eos.
type transformersRequest struct {
	datasets.Request
	// GenerationConfig is JSON in a string; it takes the place of the model's,
	// which fills in what it leaves out, and the request's fields are laid over it.
	GenerationConfig string `json:"generation_config"`
}

// generationConfig says what a request of OpenAI's API cannot: a temperature
// alone does not make Transformers sample, and an end of sequence that is no
// token is never met.
func generationConfig(r Request) string {
	c := struct {
		DoSample bool `json:"do_sample"`
		EOS      int  `json:"eos_token_id,omitempty"`
		Pad      *int `json:"pad_token_id,omitempty"` // or it is the end of sequence, of which there is none; a lone request has no padding
	}{DoSample: r.Prompt.Temperature > 0}
	if r.IgnoreEOS {
		c.EOS, c.Pad = -1, new(int)
	}
	text, err := json.Marshal(c)
	if err != nil {
		panic(err) // three numbers
	}
	return string(text)
}
