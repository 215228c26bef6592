package models_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/kernels/ref"
	"servebench/serving/models"
)

// configOnly is a checkpoint that has a configuration and no tensor.
type configOnly string

func (c configOnly) Config() json.RawMessage { return json.RawMessage(c) }
func (c configOnly) Has(string) bool         { return false }
func (c configOnly) Close() error            { return nil }
func (c configOnly) Tensor(name string, _ ...int) (kernels.Tensor, error) {
	panic("tensor " + name + " asked for before the configuration was refused")
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	check := func(name, config string, is error, says ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			_, err := models.Describe(configOnly(config))
			require.ErrorIs(t, err, is)
			for _, s := range says {
				require.ErrorContains(t, err, s)
			}
			_, err = models.Open(ref.New(kernels.F32), configOnly(config), models.Limits{MaxTokens: 1, MaxSeqs: 1, Blocks: 1, BlockSize: 1})
			require.ErrorIs(t, err, is)
		})
	}
	const llama = `{"model_type":"llama","vocab_size":10,"hidden_size":8,"intermediate_size":8,"num_hidden_layers":1,"num_attention_heads":2`
	check("unknown architecture", `{"model_type":"falcon"}`, models.ErrUnsupported, "falcon", "gpt2, llama, mistral, phi, qwen2")
	check("no architecture", `{}`, models.ErrConfig, "model_type")
	check("not an object", `[]`, models.ErrConfig)
	check("wrong type", `{"model_type":"gpt2","n_embd":"wide"}`, models.ErrConfig, "n_embd")
	check("heads that do not divide", `{"model_type":"gpt2","n_embd":10,"n_head":3}`, models.ErrConfig, "n_embd 10", "n_head 3")
	check("no heads", `{"model_type":"gpt2","n_head":0}`, models.ErrConfig)
	check("negative vocabulary", `{"model_type":"gpt2","vocab_size":-1}`, models.ErrConfig, "vocabulary")
	check("absurd layers", `{"model_type":"gpt2","n_layer":1000000000}`, models.ErrConfig, "layers")
	check("other activation", `{"model_type":"gpt2","activation_function":"relu"}`, models.ErrUnsupported, "relu", "gelu_new")
	check("cross attention", `{"model_type":"gpt2","add_cross_attention":true}`, models.ErrUnsupported, "add_cross_attention")
	check("quantized", `{"model_type":"gpt2","quantization_config":{"quant_method":"awq"}}`, models.ErrUnsupported, "awq", "GGUF")
	check("lacking a field", `{"model_type":"llama","vocab_size":10}`, models.ErrConfig, "config.json has no")
	check("odd head", llama+`,"head_dim":3}`, models.ErrConfig, "even")
	check("uneven groups", llama+`,"num_key_value_heads":3}`, models.ErrConfig, "evenly")
	check("other gate", llama+`,"hidden_act":"relu"}`, models.ErrUnsupported, "hidden_act", "relu")
	check("absurd head", llama+`,"head_dim":1000000000000}`, models.ErrConfig, "head size")
	check("partial rotation", llama+`,"partial_rotary_factor":0.5}`, models.ErrUnsupported, "partial_rotary_factor")

	mistral := strings.Replace(llama, "llama", "mistral", 1) + `,"num_key_value_heads":null`
	check("no positions in the window", mistral+`,"sliding_window":0}`, models.ErrConfig, "sliding_window is 0")
	check("window by layer", mistral+`,"layer_types":["full_attention"]}`, models.ErrUnsupported, "layer_types")

	qwen2 := strings.Replace(mistral, "mistral", "qwen2", 1)
	check("too few layer types", qwen2+`,"layer_types":[]}`, models.ErrConfig, "layer_types")
	check("other layer type", qwen2+`,"layer_types":["chunked_attention"]}`, models.ErrUnsupported, "chunked_attention")
	check("a sliding layer without a window", qwen2+`,"layer_types":["sliding_attention"]}`, models.ErrConfig, "use_sliding_window")
	check("negative window", qwen2+`,"use_sliding_window":true,"sliding_window":-1,"max_window_layers":0}`, models.ErrConfig, "sliding_window")

	check("norms of queries and keys", `{"model_type":"phi","qk_layernorm":true}`, models.ErrUnsupported, "qk_layernorm")
	check("phi heads that do not divide", `{"model_type":"phi","num_attention_heads":3}`, models.ErrConfig, "num_attention_heads 3")
	check("rotation of an odd part", `{"model_type":"phi","partial_rotary_factor":0.02}`, models.ErrConfig, "even")
	check("rotation of more than a head", `{"model_type":"phi","partial_rotary_factor":1.5}`, models.ErrConfig, "partial_rotary_factor")
	check("theta", llama+`,"rope_theta":-1}`, models.ErrConfig, "rope_theta")
}

func TestDescribeTakesDefaultsAsTransformersDoes(t *testing.T) {
	g, err := models.Describe(configOnly(`{"model_type":"gpt2"}`))
	require.NoError(t, err)
	require.Equal(t, models.Spec{
		Architecture: "gpt2", Vocab: 50257, MaxPositions: 1024, Layers: 12, Width: 768, FFN: 3072,
		Attn: kernels.Attn{Heads: 12, KVHeads: 12, HeadDim: 64, Scale: 0.125},
	}, g)
	require.Equal(t, 2*12*768*2, g.KVBytesPerToken(kernels.BF16))
}
