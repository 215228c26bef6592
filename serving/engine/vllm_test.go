package engine_test

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/kernels/cpu"
	"servebench/serving/engine"
	"servebench/serving/models"
	"servebench/serving/sample"
	"servebench/serving/tokenizer"
	"servebench/serving/weights"
	"servebench/testdata"
)

// vllmLogprobError is what a log-probability may be off vLLM's, which rounds
// the logits to bfloat16: half a step of 2⁻³ for those from 16 to 32, which
// SmolLM2's likeliest are, for the token and as much for the sum.
const vllmLogprobError = 0.125

// recorded is the part of an exchange with vLLM that is compared.
type recorded struct {
	Prompt            string
	MaxTokens         int     `json:"max_tokens"`
	RepetitionPenalty float64 `json:"repetition_penalty"`
	PresencePenalty   float64 `json:"presence_penalty"`
	FrequencyPenalty  float64 `json:"frequency_penalty"`
	Logprobs          *int
	Choices           []struct {
		Text     string
		Logprobs *struct {
			TokenLogprobs []float64 `json:"token_logprobs"`
			Tokens        []string
		}
	}
}

// readRecorded reads an exchange's request and response into one.
func readRecorded(t *testing.T, name string) (r recorded) {
	t.Helper()
	raw, err := os.ReadFile(testdata.Shared(t, "peers", "vllm", name+".http"))
	require.NoError(t, err)
	bodies := 0
	for line := range strings.Lines(string(raw)) {
		if strings.HasPrefix(line, "{") {
			bodies++
			if bodies == 2 {
				r.Logprobs = nil // the request's is a number, a choice's an object
			}
			require.NoError(t, json.Unmarshal([]byte(line), &r))
		}
	}
	require.Equal(t, 2, bodies)
	require.Len(t, r.Choices, 1)
	return r
}

// TestVLLM asks SmolLM2-135M-Instruct, greedily, what vLLM was asked, with
// penalties and for log-probabilities.
func TestVLLM(t *testing.T) {
	folder := testdata.Peers(t, "models", "smollm2")
	tok, err := tokenizer.Open(folder)
	require.NoError(t, err)
	ck, err := weights.Open(t.Context(), folder, weights.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, ck.Close()) }()
	dev, err := cpu.New(cpu.Options{DType: kernels.BF16, Threads: 2})
	require.NoError(t, err)
	defer func() { require.NoError(t, dev.Close()) }()
	m, err := models.Open(dev, ck, models.Limits{MaxTokens: 64, MaxSeqs: 8, Blocks: 32, BlockSize: 16})
	require.NoError(t, err)
	for _, name := range []string{
		"completions_repetition_penalty", "completions_frequency_presence_penalty", "completions_logprobs",
	} {
		r := readRecorded(t, name)
		q := engine.Request{
			Prompt: tok.EncodePrompt(r.Prompt), MaxTokens: r.MaxTokens, Logprobs: true, TopLogprobs: 1,
			Sampling: sample.Params{
				TopP: 1, RepetitionPenalty: r.RepetitionPenalty, PresencePenalty: r.PresencePenalty, FrequencyPenalty: r.FrequencyPenalty,
			},
		}
		all, _ := ask(t, m, q)
		got := all[0]
		require.Equalf(t, r.Choices[0].Text, tok.Decode(got.ids(), true), "for %s", name)
		want := r.Choices[0].Logprobs
		if want == nil {
			continue
		}
		worst := 0.0
		for i, lp := range want.TokenLogprobs {
			own := got.tokens[i].Logprobs
			require.Equal(t, own.Top[0], own.Own)
			worst = max(worst, math.Abs(lp-float64(own.Own.Logprob)))
		}
		t.Logf("%s: largest error %.3f, %.0f%% of what is allowed", name, worst, 100*worst/vllmLogprobError)
		require.Less(t, worst, vllmLogprobError)
	}
}
