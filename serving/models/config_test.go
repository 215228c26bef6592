package models_test

import (
	"encoding/json"
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
	check("unknown architecture", `{"model_type":"falcon"}`, models.ErrUnsupported, "falcon", "gpt2, llama")
	check("no architecture", `{}`, models.ErrConfig, "model_type")
	check("not an object", `[]`, models.ErrConfig)
	check("wrong type", `{"model_type":"gpt2","n_embd":"wide"}`, models.ErrConfig, "n_embd")
	check("heads that do not divide", `{"model_type":"gpt2","n_embd":10,"n_head":3}`, models.ErrConfig, "n_embd 10", "n_head 3")
	check("no heads", `{"model_type":"gpt2","n_head":0}`, models.ErrConfig)
	check("negative vocabulary", `{"model_type":"gpt2","vocab_size":-1}`, models.ErrConfig, "vocabulary")
	check("absurd layers", `{"model_type":"gpt2","n_layer":1000000000}`, models.ErrConfig, "layers")
	check("other activation", `{"model_type":"gpt2","activation_function":"relu"}`, models.ErrUnsupported, "relu", "gelu_new")
	check("lacking a field", `{"model_type":"llama","vocab_size":10}`, models.ErrConfig, "config.json has no")
	check("rope scaling", llama+`,"rope_scaling":{"rope_type":"llama3"}}`, models.ErrUnsupported, "llama3")
	check("old rope scaling", llama+`,"rope_scaling":{"type":"linear"}}`, models.ErrUnsupported, "linear")
	check("odd head", llama+`,"head_dim":3}`, models.ErrConfig, "even")
	check("uneven groups", llama+`,"num_key_value_heads":3}`, models.ErrConfig, "evenly")
	check("bias", llama+`,"attention_bias":true}`, models.ErrUnsupported, "attention_bias")
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
