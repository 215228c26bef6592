package engine_test

import (
	"context"
	"io"
	"math"
	"math/rand/v2"
	"slices"
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
// kernels': what is sampled with every parameter in play, and its and the
// prompt's log-probabilities, are the same to the last bit alone, in a batch with
// chunked prefill and preemption, and after a restart, on every device and in
// both types. A row that depended on its neighbours would show sooner or later.
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
					n, blocks := 12, 60
					if device == "ref" { // slow
						n, blocks = 4, 28
					}
					all := mixed(n)
					alone, _ := generate(t, dev, model, models.Limits{MaxTokens: 100, MaxSeqs: 1, Blocks: 25, BlockSize: 4}, all)
					together, st := generate(t, dev, model, models.Limits{MaxTokens: 13, MaxSeqs: n, Blocks: blocks, BlockSize: 4}, all)
					require.Positive(t, st.Preemptions, "the cache is too large for this test")
					require.Equal(t, alone, together)

					// A restart, with others in the batch, other chunks and nobody asking
					// for log-probabilities.
					slices.Reverse(all)
					for i := range all {
						all[i].Logprobs, all[i].TopLogprobs, all[i].PromptLogprobs = false, 0, false
					}
					again, _ := generate(t, dev, model, models.Limits{MaxTokens: 31, MaxSeqs: n, Blocks: 25 * n, BlockSize: 4}, all)
					slices.Reverse(again)
					for i := range again {
						require.Equal(t, alone[i].ids(), again[i].ids(), "request %d", i)
					}
				})
			}
		}
	}
}

// mixed are n requests of 30 tokens, each with other parameters.
func mixed(n int) (all []engine.Request) {
	rng := rand.New(rand.NewPCG(4, 4))
	for i := range n {
		r := engine.Request{
			Prompt: make([]int32, 1+rng.IntN(60)), MaxTokens: 30,
			Sampling: sample.Params{
				Temperature: 0.5 * float64(i%3), TopP: 1 - 0.05*float64(i%2), TopK: 40 * (i % 2), MinP: 0.02 * float64(i%4), Seed: uint64(i),
				RepetitionPenalty: []float64{0, 1.2, 0.9}[i%3], PresencePenalty: 0.3 * float64(i%4), FrequencyPenalty: -0.1 * float64(i%5),
			},
			Logprobs: i%4 > 0, PromptLogprobs: i%4 > 1,
		}
		if r.Logprobs {
			r.TopLogprobs = i % 7
		}
		if i%5 == 1 {
			r.Sampling.Bias = []sample.Bias{{ID: 3, Value: -100}, {ID: 50, Value: 1.25}}
		}
		for j := range r.Prompt {
			r.Prompt[j] = rng.Int32N(97)
		}
		all = append(all, r)
	}
	return all
}

// output is all that a stream gave.
type output struct{ prompt, tokens []engine.Token }

func (o output) ids() (ids []int32) {
	for _, t := range o.tokens {
		ids = append(ids, t.ID)
	}
	return ids
}

// TestPromptLogprobsAreTheOutputs gives a request's output to the next as its
// prompt: its tokens have the log-probabilities that they were generated with.
func TestPromptLogprobsAreTheOutputs(t *testing.T) {
	dev := ref.New(kernels.F32)
	defer func() { require.NoError(t, dev.Close()) }()
	limits := models.Limits{MaxTokens: 16, MaxSeqs: 4, Blocks: 60, BlockSize: 4}
	r := engine.Request{
		Prompt: []int32{5, 6, 7}, MaxTokens: 40, Logprobs: true, TopLogprobs: 5, PromptLogprobs: true,
		Sampling: sample.Params{Temperature: 1, TopP: 1, RepetitionPenalty: 1.5, Bias: []sample.Bias{{ID: 9, Value: 5}}, Seed: 3},
	}
	first, _ := generate(t, dev, "tiny-llama", limits, []engine.Request{r})
	want := append(slices.Clone(first[0].prompt), first[0].tokens...)
	want[len(want)-1].Finish = ""
	require.Nil(t, want[0].Logprobs)
	for _, tok := range want[1:] {
		require.Equal(t, tok.ID, tok.Logprobs.Own.ID)
		require.Len(t, tok.Logprobs.Top, 5)
		sum := 0.0
		for _, l := range tok.Logprobs.Top {
			sum += math.Exp(float64(l.Logprob))
		}
		require.LessOrEqual(t, sum, 1+1e-6)
	}
	r.Prompt, r.MaxTokens = append(r.Prompt, first[0].ids()...), 1
	second, _ := generate(t, dev, "tiny-llama", limits, []engine.Request{r, r, r})
	for _, o := range second {
		require.Equal(t, want, o.prompt)
	}
}

// generate asks a tiny model.
func generate(t *testing.T, dev kernels.Device, model string, l models.Limits, all []engine.Request) (out []output, st engine.Stats) {
	t.Helper()
	ck, err := weights.Open(t.Context(), testdata.Path("models", model), weights.Options{})
	require.NoError(t, err)
	defer ck.Close()
	m, err := models.Open(dev, ck, l)
	require.NoError(t, err)
	return ask(t, m, all...)
}

// ask returns the output of every request, submitted at once to an engine of its own.
func ask(t *testing.T, m engine.Model, all ...engine.Request) (out []output, st engine.Stats) {
	t.Helper()
	e, err := engine.New(m, engine.Config{})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close(context.Background())) }()
	var streams []*engine.Stream
	for _, r := range all {
		s, err := e.Submit(t.Context(), r)
		require.NoError(t, err)
		streams = append(streams, s)
	}
	for i, s := range streams {
		var o output
		if all[i].PromptLogprobs {
			o.prompt, err = s.Prompt(t.Context())
			require.NoError(t, err)
		}
		for {
			tok, err := s.Next(t.Context())
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			o.tokens = append(o.tokens, tok)
		}
		require.Equal(t, engine.FinishLength, o.tokens[len(o.tokens)-1].Finish)
		out = append(out, o)
	}
	return out, e.Stats()
}
