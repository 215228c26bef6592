package engine_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/kernels/cpu"
	"servebench/kernels/ref"
	"servebench/serving/engine"
	"servebench/serving/models"
	"servebench/serving/models/modeltest"
	"servebench/serving/sample"
	"servebench/serving/weights"
	"servebench/testdata"
)

var _ engine.Drawer = (*models.Model)(nil)

// fast opens the device that tests of whole models compute on.
func fast(t *testing.T, dtype kernels.DType) kernels.Device {
	t.Helper()
	if len(cpu.ISAs()) == 0 {
		return ref.New(dtype)
	}
	dev, err := cpu.New(cpu.Options{DType: dtype, Threads: 2})
	require.NoError(t, err)
	return dev
}

// TestDrawnOnRealModels holds that what is sampled is the same to the last bit
// whether the host samples from logits step by step, or the device draws and is
// given one step while it computes another, with and without steps that it keeps,
// in a cache with room for everything and in a small one, with the prefix cache, and
// whoever else needs the logits on the host.
func TestDrawnOnRealModels(t *testing.T) {
	for _, model := range []string{"tiny-gpt2", "tiny-llama", "tiny-mistral", "tiny-phi"} {
		t.Run(model, func(t *testing.T) {
			const n = 12
			plain, all := beginAlike(n), append(beginAlike(n), mixed(n)...)
			for _, r := range mixed(n) {
				p := r.Sampling
				r.Sampling = sample.Params{Temperature: p.Temperature, TopP: p.TopP, TopK: p.TopK, MinP: p.MinP, Seed: p.Seed}
				r.Logprobs, r.TopLogprobs, r.PromptLogprobs = false, 0, false
				plain = append(plain, r)
			}
			roomy := models.Limits{MaxTokens: 100, MaxSeqs: 1, Blocks: 30 * n, BlockSize: 4}
			small := models.Limits{MaxTokens: n + 9, MaxSeqs: n, Blocks: 26 + n, BlockSize: 4}
			if model == "tiny-mistral" {
				small.Blocks = 14 // fewer than a sequence has: the window is 13
			}
			for name, requests := range map[string][]engine.Request{"plain": plain, "mixed": all} {
				host := fast(t, kernels.F32)
				want, _ := whole(t, host, model, roomy, engine.Config{}, 0, requests)
				require.NoError(t, host.Close())
				for _, c := range []struct {
					name    string
					limits  models.Limits
					capture int
					prefix  bool
				}{
					{"roomy", roomy, 0, false},
					{"small", small, 0, false},
					{"small, kept", small, n, true},
					{"small, half of it kept", small, n / 2, false},
				} {
					q := modeltest.NewQueue(fast(t, kernels.F32))
					got, st := whole(t, q, model, c.limits, engine.Config{PrefixCaching: c.prefix}, c.capture, requests)
					require.Equal(t, want, got, "%s, %s", name, c.name)
					counts := q.Counts()
					t.Logf("%s, %s: %+v; %d preemptions", name, c.name, counts, st.Preemptions)
					require.Positive(t, counts.Ahead)
					require.Equal(t, c.capture > 0, counts.Kept > 0)
					if c.limits != roomy && !c.prefix && model != "tiny-mistral" {
						require.Positive(t, st.Preemptions, "the cache is too large for this test")
					}
					require.NoError(t, q.Close())
				}
			}
		})
	}
}

// whole returns the tokens of every request, submitted at once, with as many
// sequences' steps kept as the device is to capture.
func whole(t *testing.T, dev kernels.Device, model string, l models.Limits, cfg engine.Config, capture int, all []engine.Request) (out [][]engine.Token, st engine.Stats) {
	t.Helper()
	ck, err := weights.Open(t.Context(), testdata.Path("models", model), weights.Options{})
	require.NoError(t, err)
	defer ck.Close()
	m, err := models.Open(dev, ck, l)
	require.NoError(t, err)
	_, err = m.Capture(capture)
	require.NoError(t, err)
	e, err := engine.New(m, cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close(context.Background())) }()
	var streams []*engine.Stream
	for _, r := range all {
		s, err := e.Submit(t.Context(), r)
		require.NoError(t, err)
		streams = append(streams, s)
	}
	for _, s := range streams {
		out = append(out, read(t, s))
	}
	return out, e.Stats()
}
