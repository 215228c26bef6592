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

// TestPrefixesOnRealModels holds that what the prefix cache and a window spare
// does not show: the same tokens with the cache and without, alone and in a
// batch, in a cache with room for everything and in a small one.
func TestPrefixesOnRealModels(t *testing.T) {
	for _, dtype := range []kernels.DType{kernels.F32, kernels.BF16} {
		devices := map[string]func() (kernels.Device, error){}
		if dtype == kernels.F32 {
			devices["ref"] = func() (kernels.Device, error) { return ref.New(dtype), nil } // slow: once
		}
		for _, isa := range cpu.ISAs() {
			devices[isa] = func() (kernels.Device, error) {
				return cpu.New(cpu.Options{DType: dtype, ISA: isa, Threads: 2})
			}
		}
		for device, open := range devices {
			for _, model := range []string{"tiny-llama", "tiny-mistral"} {
				t.Run(dtype.String()+"/"+device+"/"+model, func(t *testing.T) {
					dev, err := open()
					require.NoError(t, err)
					defer func() { require.NoError(t, dev.Close()) }()
					n := 12
					if device == "ref" {
						n = 2
					}
					all := beginAlike(n)
					roomy := models.Limits{MaxTokens: 100, MaxSeqs: 1, Blocks: 30 * n, BlockSize: 4}
					small := models.Limits{MaxTokens: n + 9, MaxSeqs: n, Blocks: 26 + n, BlockSize: 4}
					if model == "tiny-mistral" {
						small.Blocks = 14 // fewer than a sequence has: the window is 13
					}
					want, st := inWaves(t, dev, model, roomy, false, all)
					require.Zero(t, st.PrefixHits)
					for name, l := range map[string]models.Limits{"roomy": roomy, "small": small} {
						if device == "ref" && name == "roomy" {
							continue
						}
						got, st := inWaves(t, dev, model, l, true, all)
						require.Positive(t, st.PrefixHits, name)
						require.Equal(t, want, got, name)
					}
					got, _ := inWaves(t, dev, model, small, false, all)
					require.Equal(t, want, got, "small, without a prefix cache")
				})
			}
		}
	}
}

// held is a model whose first step waits.
type held struct {
	*models.Model
	release chan struct{}
}

func (h *held) Forward(s *kernels.Step) ([]float32, error) {
	<-h.release
	return h.Model.Forward(s)
}

// TestSharedInOneStepOnRealModels has requests with a prefix in common admitted
// together, so that all but one read keys and values in the step that writes
// them: the same tokens, to the last bit of what they are drawn from, as when
// each computes its own.
func TestSharedInOneStepOnRealModels(t *testing.T) {
	for _, dtype := range []kernels.DType{kernels.F32, kernels.BF16} {
		devices := map[string]func() (kernels.Device, error){}
		if dtype == kernels.F32 {
			devices["ref"] = func() (kernels.Device, error) { return ref.New(dtype), nil }
		}
		for _, isa := range cpu.ISAs() {
			devices[isa] = func() (kernels.Device, error) {
				return cpu.New(cpu.Options{DType: dtype, ISA: isa, Threads: 2})
			}
		}
		for device, open := range devices {
			for _, model := range []string{"tiny-gpt2", "tiny-llama", "tiny-mistral"} {
				t.Run(dtype.String()+"/"+device+"/"+model, func(t *testing.T) {
					dev, err := open()
					require.NoError(t, err)
					defer func() { require.NoError(t, dev.Close()) }()
					n, most := 6, 10
					if device == "ref" {
						n, most = 3, 3
					}
					all := beginAlike(n)
					for i := range all {
						all[i].MaxTokens, all[i].Logprobs = most, true
					}
					want, _ := atOnce(t, dev, model, models.Limits{MaxTokens: 100, MaxSeqs: n, Blocks: 30 * n, BlockSize: 4}, false, all)
					for _, rows := range []int{1000, 29} { // prompts whole, and cut
						l := models.Limits{MaxTokens: rows, MaxSeqs: n + 1, Blocks: 30 * n, BlockSize: 4}
						got, st := atOnce(t, dev, model, l, true, all)
						require.Equal(t, want, got, "%d rows", rows)
						require.GreaterOrEqual(t, int(st.PrefixHits), 36*(n-1), "what is alike is computed once")
					}
				})
			}
		}
	}
}

// atOnce returns the tokens of every request. All are admitted by the second step.
func atOnce(t *testing.T, dev kernels.Device, model string, l models.Limits, prefix bool, all []engine.Request) (out [][]engine.Token, st engine.Stats) {
	t.Helper()
	ck, err := weights.Open(t.Context(), testdata.Path("models", model), weights.Options{})
	require.NoError(t, err)
	defer ck.Close()
	m, err := models.Open(dev, ck, l)
	require.NoError(t, err)
	h := &held{m, make(chan struct{})}
	e, err := engine.New(h, engine.Config{PrefixCaching: prefix})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close(context.Background())) }()
	var streams []*engine.Stream
	for _, r := range append([]engine.Request{{Prompt: []int32{1}, MaxTokens: 1, Sampling: sample.Params{TopP: 1}}}, all...) {
		s, err := e.Submit(t.Context(), r)
		require.NoError(t, err)
		streams = append(streams, s)
	}
	close(h.release)
	for _, s := range streams[1:] {
		out = append(out, read(t, s))
	}
	return out, e.Stats()
}

// read returns a stream's tokens.
func read(t *testing.T, s *engine.Stream) (tokens []engine.Token) {
	t.Helper()
	for {
		tok, err := s.Next(t.Context())
		if err == io.EOF {
			return tokens
		}
		require.NoError(t, err)
		tokens = append(tokens, tok)
	}
}

// beginAlike are requests whose prompts have 37 tokens in common.
func beginAlike(n int) (all []engine.Request) {
	rng := rand.New(rand.NewPCG(9, 9))
	common := make([]int32, 37)
	for i := range common {
		common[i] = rng.Int32N(95)
	}
	for i := range n {
		r := engine.Request{
			Prompt: append([]int32(nil), common...), MaxTokens: 16,
			Sampling: sample.Params{Temperature: 0.6 * float64(i%3), TopP: 0.95, Seed: uint64(i)},
		}
		for range rng.IntN(25) {
			r.Prompt = append(r.Prompt, rng.Int32N(95))
		}
		all = append(all, r)
	}
	return all
}

// inWaves returns the tokens of every request: the first is alone, the others
// come together, and all of them once more.
func inWaves(t *testing.T, dev kernels.Device, model string, l models.Limits, prefix bool, all []engine.Request) (out [][]engine.Token, st engine.Stats) {
	t.Helper()
	ck, err := weights.Open(t.Context(), testdata.Path("models", model), weights.Options{})
	require.NoError(t, err)
	defer ck.Close()
	m, err := models.Open(dev, ck, l)
	require.NoError(t, err)
	e, err := engine.New(m, engine.Config{PrefixCaching: prefix})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close(context.Background())) }()
	for _, wave := range [][]engine.Request{all[:1], all[1:], all} {
		var streams []*engine.Stream
		for _, r := range wave {
			s, err := e.Submit(t.Context(), r)
			require.NoError(t, err)
			streams = append(streams, s)
		}
		for _, s := range streams {
			out = append(out, read(t, s))
		}
	}
	return out, e.Stats()
}
