package engine_test

import (
	"context"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/kernels/cpu"
	"servebench/kernels/ref"
	"servebench/serving/engine"
	"servebench/serving/models"
	"servebench/serving/sample"
	"servebench/serving/weights"
	"servebench/testdata"
)

var _ engine.Model = (*models.Model)(nil)

// TestRealModels holds the engine's promise together with the models' and the
// kernels': sampled output is the same, token for token, alone and in a batch
// with chunked prefill and preemption, on every device and in both types. A row
// that depended on its neighbours in its last bit would show sooner or later.
func TestRealModels(t *testing.T) {
	for _, dtype := range []kernels.DType{kernels.F32, kernels.BF16} {
		devices := map[string]func() (kernels.Device, error){
			"ref": func() (kernels.Device, error) { return ref.New(dtype), nil },
		}
		for _, isa := range cpu.ISAs() {
			devices[isa] = func() (kernels.Device, error) {
				return cpu.New(cpu.Options{DType: dtype, ISA: isa, Threads: 2})
			}
		}
		for device, open := range devices {
			for _, model := range []string{"tiny-gpt2", "tiny-llama"} {
				t.Run(dtype.String()+"/"+device+"/"+model, func(t *testing.T) {
					dev, err := open()
					require.NoError(t, err)
					defer func() { require.NoError(t, dev.Close()) }()
					var all []engine.Request
					rng := rand.New(rand.NewPCG(4, 4))
					n, blocks := 10, 60
					if device == "ref" { // slow
						n, blocks = 3, 26
					}
					for i := range n {
						r := engine.Request{
							Prompt: make([]int32, 1+rng.IntN(60)), MaxTokens: 30,
							Sampling: sample.Params{Temperature: 0.5 * float64(i%3), TopP: 0.95, Seed: uint64(i)},
						}
						for j := range r.Prompt {
							r.Prompt[j] = rng.Int32N(97)
						}
						all = append(all, r)
					}
					alone, _ := generate(t, dev, model, models.Limits{MaxTokens: 100, MaxSeqs: 1, Blocks: 25, BlockSize: 4}, all)
					together, st := generate(t, dev, model, models.Limits{MaxTokens: 13, MaxSeqs: n, Blocks: blocks, BlockSize: 4}, all)
					require.Positive(t, st.Preemptions, "the cache is too large for this test")
					require.Equal(t, alone, together)
				})
			}
		}
	}
}

// generate returns the tokens of every request, submitted at once.
func generate(t *testing.T, dev kernels.Device, model string, l models.Limits, all []engine.Request) (out [][]engine.Token, st engine.Stats) {
	t.Helper()
	ck, err := weights.Open(t.Context(), testdata.Path("models", model), weights.Options{})
	require.NoError(t, err)
	defer ck.Close()
	m, err := models.Open(dev, ck, l)
	require.NoError(t, err)
	e, err := engine.New(m, engine.Config{})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close(context.Background())) }()
	var streams []*engine.Stream
	for _, r := range all {
		s, err := e.Submit(t.Context(), r)
		require.NoError(t, err)
		streams = append(streams, s)
	}
	for _, s := range streams {
		var tokens []engine.Token
		for {
			tok, err := s.Next(t.Context())
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			tokens = append(tokens, tok)
		}
		require.Equal(t, engine.FinishLength, tokens[len(tokens)-1].Finish)
		out = append(out, tokens)
	}
	return out, e.Stats()
}
