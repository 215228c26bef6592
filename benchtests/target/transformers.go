package target

import (
	"context"
	"encoding/json"
	"strconv"

	"servebench/datasets"
)

// TransformersEnv names the environment variable with the path of Transformers' program.
const TransformersEnv = "SERVEBENCH_TRANSFORMERS"

// transformers is `transformers serve` as a local process, without continuous
// batching, where the sampling settings of the first request would hold for all.
// A model given at the start is loaded before the port opens and never unloaded,
// and requests have to name it as it was given there.
var transformers = Target{
	Name:     "transformers",
	Variable: TransformersEnv,
	Ready:    "/health",
	Capabilities: Capabilities{
		IgnoreEOS:   "ignored, by a generation_config without one",
		StreamUsage: true, // whether asked for or not
		Folders:     true,
		Chat:        true,
		Serial:      true,
		Dtypes:      []string{"bfloat16", "float16", "float32"},
	},
	Program: find(TransformersEnv, "transformers", "Hugging Face Transformers"),
	Version: packages("transformers", "torch"),
	Args: func(c Config) []string {
		args := []string{"serve", c.Model, "--host", c.host(), "--port", strconv.Itoa(c.Port), "--device", "cpu", "--dtype", c.Dtype}
		return append(args, c.Extra...)
	},
	Env:    func(context.Context, string, Config) ([]string, error) { return unlessSet("HF_HUB_OFFLINE=1"), nil },
	Served: func(c Config) string { return c.Model },
	Payload: func(r Request) any {
		return transformersRequest{Request: r.request(), GenerationConfig: generationConfig(r)}
	},
}

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
