package models_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/kernels/ref"
	"servebench/serving/models"
	"servebench/testdata"
)

// zeros is a checkpoint that has a configuration and every tensor, all zeros.
type zeros struct{ configOnly }

func (zeros) Has(string) bool { return true }

func (zeros) Tensor(name string, shape ...int) (kernels.Tensor, error) {
	n := 1
	for _, s := range shape {
		n *= s
	}
	return kernels.Tensor{Name: name, Shape: shape, DType: kernels.BF16, Data: make([]byte, 2*n)}, nil
}

// FuzzConfig checks that no config.json makes this package panic: it is refused
// with an error, or the model that it describes loads and runs.
func FuzzConfig(f *testing.F) {
	for _, model := range []string{
		"tiny-gpt2-options", "tiny-phi", "tiny-mistral", "tiny-qwen2-window", "tiny-llama-llama3", "tiny-llama-yarn", "tiny-llama-linear",
	} {
		config, err := os.ReadFile(testdata.Path("models", model, "config.json"))
		require.NoError(f, err)
		f.Add(config)
	}
	f.Add([]byte(`{"model_type":"llama","vocab_size":3,"hidden_size":4,"intermediate_size":2,"num_hidden_layers":1,"num_attention_heads":2,
		"rope_theta":1e300,"rope_scaling":{"type":"yarn","factor":1e-300,"beta_fast":1e300,"mscale":1,"mscale_all_dim":1e-300,"truncate":false}}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		if !json.Valid(config) {
			return // a checkpoint's configuration is JSON: package weights sees to that
		}
		ck := zeros{configOnly(config)}
		s, err := models.Describe(ck)
		if err != nil {
			return
		}
		positions := min(s.MaxPositions, 8)
		size := s.Vocab + positions + s.Layers*(s.FFN+s.Attn.Heads*s.Attn.HeadDim)
		if size > 1e4 || size*s.Width > 1e6 {
			return // too large to load here
		}
		m, err := models.Open(ref.New(kernels.F32), ck, models.Limits{MaxModelLen: positions, MaxTokens: 8, MaxSeqs: 8, Blocks: 2, BlockSize: 4})
		if err != nil {
			return
		}
		step := &kernels.Step{Starts: []int32{0, int32(positions)}, Lens: []int32{int32(positions)}, Blocks: []int32{1, 0}, MaxBlocks: 2}
		for p := range int32(positions) {
			step.Tokens, step.Positions = append(step.Tokens, 0), append(step.Positions, p)
			step.Slots, step.Out = append(step.Slots, (1-p/4)*4+p%4), append(step.Out, p)
		}
		logits, err := m.Forward(step)
		require.NoError(t, err)
		require.Len(t, logits, positions*s.Vocab)
		require.GreaterOrEqual(t, m.Window(), 0)
	})
}
