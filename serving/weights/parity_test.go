package weights_test

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/kernels/ref"
	"servebench/serving/models"
	"servebench/serving/weights"
	"servebench/serving/weights/safetensors"
	"servebench/testdata"
)

// TestContainersAreEqual opens the checkpoints of testdata/models and the GGUF
// files that testdata/make_gguf.py made of them by llama.cpp's rules: the same
// tensors, bit for bit, and through the model the same logits, bit for bit.
func TestContainersAreEqual(t *testing.T) {
	for file, folder := range map[string]string{
		"tiny-gpt2": "tiny-gpt2", "tiny-llama": "tiny-llama", "tiny-llama-tied": "tiny-llama-tied", "tiny-llama-bias": "tiny-llama-bias",
		"tiny-llama-linear": "tiny-llama-linear", "tiny-llama-llama3": "tiny-llama-llama3", "tiny-llama-yarn": "tiny-llama-yarn",
		"tiny-mistral": "tiny-mistral", "tiny-qwen2": "tiny-qwen2", "tiny-phi": "tiny-phi", "tiny-phi-fused": "tiny-phi",
	} {
		t.Run(file, func(t *testing.T) {
			dir, path := testdata.Path("models", folder), testdata.Path("gguf", file+".gguf")
			sameTensors(t, dir, path)
			prompt := prompt(t, dir)
			want, got := logits(t, dir, prompt), logits(t, path, prompt)
			require.Equal(t, len(want), len(got))
			for i := range want {
				require.Equal(t, math.Float32bits(want[i]), math.Float32bits(got[i]), "logit %d", i)
			}
		})
	}
}

// sameTensors compares all tensors of a folder with those of a GGUF file.
func sameTensors(t *testing.T, dir, path string) {
	t.Helper()
	f, err := safetensors.Open(dir + "/model.safetensors")
	require.NoError(t, err)
	defer f.Close()
	g, err := weights.Open(t.Context(), path, weights.Options{})
	require.NoError(t, err)
	defer g.Close()
	shapes := weights.Shapes(g)
	for _, want := range f.Tensors() {
		got, err := g.Tensor(want.Name, want.Shape...)
		require.NoError(t, err)
		assert.Equal(t, kernels.Tensor{Name: want.Name, Shape: want.Shape, DType: kernels.F32, Data: want.Data()}, got)
		require.True(t, shapes.Has(want.Name))
		shape, err := shapes.Tensor(want.Name, want.Shape...)
		require.NoError(t, err)
		got.Data = nil
		assert.Equal(t, got, shape)
	}
}

// prompt is the longest of a folder's golden.json.
func prompt(t *testing.T, dir string) []int32 {
	t.Helper()
	b, err := os.ReadFile(dir + "/golden.json")
	require.NoError(t, err)
	var golden struct {
		Runs []struct {
			Prompt []int32 `json:"prompt"`
		} `json:"runs"`
	}
	require.NoError(t, json.Unmarshal(b, &golden))
	var longest []int32
	for _, r := range golden.Runs {
		if len(r.Prompt) > len(longest) {
			longest = r.Prompt
		}
	}
	require.Greater(t, len(longest), 16)
	return longest
}

// logits are those of every token of a prompt, in float32.
func logits(t *testing.T, model string, prompt []int32) []float32 {
	t.Helper()
	ck, err := weights.Open(t.Context(), model, weights.Options{})
	require.NoError(t, err)
	defer ck.Close()
	dev := ref.New(kernels.F32)
	defer dev.Close()
	n := len(prompt)
	m, err := models.Open(dev, ck, models.Limits{MaxTokens: n, MaxSeqs: n, Blocks: n, BlockSize: 1})
	require.NoError(t, err)
	s := &kernels.Step{Tokens: prompt, Starts: []int32{0, int32(n)}, Lens: []int32{int32(n)}, MaxBlocks: n}
	for i := range int32(n) {
		s.Positions, s.Slots, s.Blocks, s.Out = append(s.Positions, i), append(s.Slots, i), append(s.Blocks, i), append(s.Out, i)
	}
	out, err := m.Forward(s)
	require.NoError(t, err)
	return slices.Clone(out) // the device is closed
}
