package engine_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/kernels/cuda"
	"servebench/serving/engine"
	"servebench/serving/models"
	"servebench/testdata"
)

// TestOnTheGPU asks whole models on the GPU, or the simulated one, for what the CPU
// gives: with steps submitted ahead
// and steps that are kept, prompts in chunks, prefixes found, preemptions, and
// requests that need their logits on the host. In float32 a token differs only where
// two are as likely to within rounding, which none of these are.
func TestOnTheGPU(t *testing.T) {
	const n, tokens = 5, 20
	opts := cuda.Options{Library: testdata.FastCUDA(t), DType: kernels.F32, MaxTokens: tokens, MaxSeqs: n, MaxBlocks: 32}
	all := append(beginAlike(n), mixed(n)...)
	for i := range all {
		all[i].MaxTokens = 8
		all[i].Prompt = all[i].Prompt[:min(len(all[i].Prompt), 24)]
	}
	for _, model := range []string{"tiny-gpt2", "tiny-mistral"} {
		t.Run(model, func(t *testing.T) {
			host := fast(t, kernels.F32)
			defer func() { require.NoError(t, host.Close()) }()
			want, _ := whole(t, host, model, models.Limits{MaxTokens: 100, MaxSeqs: 1, Blocks: 32, BlockSize: 4}, engine.Config{}, 0, all)
			dev, err := cuda.New(opts)
			require.NoError(t, err)
			defer func() { require.NoError(t, dev.Close()) }()
			limits := models.Limits{MaxTokens: tokens, MaxSeqs: n, Blocks: 13, BlockSize: 4}
			got, st := whole(t, dev, model, limits, engine.Config{PrefixCaching: true}, n, all)
			for i := range want {
				require.Equal(t, output{tokens: want[i]}.ids(), output{tokens: got[i]}.ids(), "request %d", i)
			}
			require.Positive(t, st.PrefixHits)
			t.Logf("%d steps, %d preemptions, %d tokens found", st.Steps, st.Preemptions, st.PrefixHits)
		})
	}
}
