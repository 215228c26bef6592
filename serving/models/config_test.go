package models_test

import (
	"encoding/json"
	"math"
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

func TestRopeScalingsThatAreRefused(t *testing.T) {
	check := func(name, fields string, is error, says ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			_, err := models.Describe(configOnly(`{"model_type":"llama","vocab_size":10,"hidden_size":8,"intermediate_size":8,
				"num_hidden_layers":1,"num_attention_heads":2,` + fields + `}`))
			require.ErrorIs(t, err, is)
			for _, s := range says {
				require.ErrorContains(t, err, s)
			}
		})
	}
	check("unknown", `"rope_parameters":{"rope_type":"longrope"}`, models.ErrUnsupported, "longrope", "default, dynamic, linear, llama3, yarn")
	check("unknown, old spelling", `"rope_scaling":{"type":"su","factor":2}`, models.ErrUnsupported, `"su"`)
	check("by type of layer", `"rope_parameters":{"full_attention":{"rope_type":"default"}}`, models.ErrUnsupported, "type of layer")
	check("linear without a factor", `"rope_scaling":{"type":"linear"}`, models.ErrConfig, "linear", "no factor")
	check("no scaling", `"rope_scaling":{"type":"linear","factor":0}`, models.ErrConfig, "factor is 0")
	check("llama3 without its frequencies", `"rope_scaling":{"rope_type":"llama3","factor":8}`, models.ErrConfig, "low_freq_factor")
	check("llama3 the wrong way round", `"rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":4}`,
		models.ErrConfig, "high_freq_factor 4")
	check("yarn of nothing", `"rope_scaling":{"rope_type":"yarn","factor":4,"original_max_position_embeddings":0}`, models.ErrConfig,
		"original_max_position_embeddings is 0")
	check("yarn with turns below 0", `"rope_scaling":{"rope_type":"yarn","factor":4,"beta_fast":-1}`, models.ErrConfig, "beta_fast")
	check("yarn that turns off attention", `"rope_scaling":{"rope_type":"yarn","factor":4,"attention_factor":0}`, models.ErrConfig, "attention_factor")
	check("no base", `"rope_parameters":{"rope_theta":0}`, models.ErrConfig, "rope_theta")
}

func TestDescribe(t *testing.T) {
	check := func(name, config string, want models.Spec, kvBytes int) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			got, err := models.Describe(configOnly(config))
			require.NoError(t, err)
			require.Equal(t, want, got)
			require.Equal(t, kvBytes, got.KVBytesPerToken(kernels.BF16))
		})
	}
	attn := func(h, g, e, window int) kernels.Attn {
		return kernels.Attn{Heads: h, KVHeads: g, HeadDim: e, Window: window, Scale: float32(1 / math.Sqrt(float64(e)))}
	}
	// What a file leaves out is what Transformers' configuration class has.
	check("GPT-2's defaults", `{"model_type":"gpt2"}`, models.Spec{
		Architecture: "gpt2", Vocab: 50257, MaxPositions: 1024, Layers: 12, Width: 768, FFN: 3072, Attn: attn(12, 12, 64, 0),
	}, 2*12*768*2)
	check("GPT-2 without a scale", `{"model_type":"gpt2","scale_attn_weights":false,"n_inner":100}`, models.Spec{
		Architecture: "gpt2", Vocab: 50257, MaxPositions: 1024, Layers: 12, Width: 768, FFN: 100,
		Attn: kernels.Attn{Heads: 12, KVHeads: 12, HeadDim: 64, Scale: 1},
	}, 2*12*768*2)
	check("Phi's defaults", `{"model_type":"phi"}`, models.Spec{
		Architecture: "phi", Vocab: 51200, MaxPositions: 2048, Layers: 24, Width: 2048, FFN: 8192, Attn: attn(32, 32, 64, 0),
	}, 2*24*2048*2)
	const sizes = `"vocab_size":32000,"hidden_size":4096,"intermediate_size":14336,"num_hidden_layers":32,"num_attention_heads":32`
	llama := models.Spec{
		Architecture: "llama", Vocab: 32000, MaxPositions: 2048, Layers: 32, Width: 4096, FFN: 14336, FFNGated: true,
		Attn: attn(32, 32, 128, 0),
	}
	check("Llama's defaults", `{"model_type":"llama",`+sizes+`}`, llama, 2*32*4096*2)
	mistral := llama
	mistral.Architecture, mistral.MaxPositions, mistral.Attn = "mistral", 131072, attn(32, 8, 128, 4096)
	check("Mistral's defaults", `{"model_type":"mistral",`+sizes+`}`, mistral, 2*32*1024*2)
	mistral.Attn = attn(32, 32, 128, 0)
	check("Mistral with nulls", `{"model_type":"mistral","sliding_window":null,"num_key_value_heads":null,`+sizes+`}`, mistral, 2*32*4096*2)
	qwen2 := llama
	qwen2.Architecture, qwen2.MaxPositions = "qwen2", 32768
	check("Qwen2 has no window unless asked for", `{"model_type":"qwen2","sliding_window":100,`+sizes+`}`, qwen2, 2*32*4096*2)
	check("Qwen2 with a window in some layers", `{"model_type":"qwen2","use_sliding_window":true,`+sizes+`}`, qwen2, 2*32*4096*2)
	qwen2.Attn.Window = 4096
	check("Qwen2 with a window in all", `{"model_type":"qwen2","use_sliding_window":true,"max_window_layers":0,`+sizes+`}`, qwen2, 2*32*4096*2)
}
