package serving_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"runtime"
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

// greedyGolden is testdata/greedy/smollm2.json, made by testdata/make_greedy.py.
type greedyGolden struct {
	GGUF  string `json:"gguf_sha256"`
	Cases []struct {
		Task   string    `json:"task"`
		Row    int       `json:"row"`
		SHA256 string    `json:"sha256"`
		IDs    int       `json:"prompt_ids"`
		Output []int32   `json:"output"`
		Gaps   []float64 `json:"gaps"`
	} `json:"cases"`
}

// closeCall is how near Transformers' two best logits may be for a first
// difference from its choice to count as rounding.
const closeCall = 1e-3

// TestGreedyEqualsTransformers generates 48 tokens for every prompt, all
// prompts at once, with SmolLM2-135M-Instruct's real weights in float32.
func TestGreedyEqualsTransformers(t *testing.T) {
	gguf := testdata.SmolLM2(t)
	data := testdata.Shared(t, "data")
	raw, err := os.ReadFile(testdata.Path("greedy", "smollm2.json"))
	require.NoError(t, err)
	var want greedyGolden
	require.NoError(t, json.Unmarshal(raw, &want))
	requireHash(t, want.GGUF, gguf)

	tok, e := serve(t, gguf)
	prompts := map[string][]string{
		"chat": readRows(t, data+"/oasst1/root_prompts.jsonl", "text", func(text string) string {
			s, err := tok.Chat([]tokenizer.Message{{Role: "user", Content: text}}, true)
			require.NoError(t, err)
			return s
		}),
		"qa": readRows(t, data+"/trivia_qa/rc_nocontext_validation.jsonl", "question", func(q string) string {
			return "Question: " + q + "\nAnswer:"
		}),
		"code":          readRows(t, data+"/openai_humaneval/HumanEval.jsonl", "prompt", func(p string) string { return p }),
		"summarization": readRows(t, data+"/cnn_dailymail/3.0.0_validation.jsonl", "article", func(a string) string { return a + "\n\nSummary:" }),
	}

	streams := make([]*engine.Stream, len(want.Cases))
	for i, c := range want.Cases {
		prompt := prompts[c.Task][c.Row]
		sum := sha256.Sum256([]byte(prompt))
		require.Equal(t, c.SHA256, hex.EncodeToString(sum[:]), "for %s %d: another prompt", c.Task, c.Row)
		ids := tok.Encode(prompt, true)
		require.Len(t, ids, c.IDs, "for %s %d: prompt tokens", c.Task, c.Row)
		streams[i], err = e.Submit(t.Context(), engine.Request{
			Prompt: ids, MaxTokens: len(c.Output), Sampling: sample.Params{TopP: 1},
		})
		require.NoError(t, err)
	}
	exact, close := 0, 0
	for i, c := range want.Cases {
		first := -1
		for n := range c.Output {
			token, err := streams[i].Next(t.Context())
			require.NoError(t, err)
			if first < 0 && token.ID != c.Output[n] {
				first = n
			}
		}
		switch {
		case first < 0:
			exact++
		case c.Gaps[first] < closeCall:
			close++
			t.Logf("for %s %d: differs from token %d on, where the best two logits are %.6f apart", c.Task, c.Row, first, c.Gaps[first])
		default:
			t.Errorf("for %s %d: token %d differs although the best two logits are %.6f apart", c.Task, c.Row, first, c.Gaps[first])
		}
	}
	t.Logf("%d of %d prompts equal Transformers in all tokens, %d after a close call", exact, len(want.Cases), close)
	require.GreaterOrEqual(t, exact+close, 30)
}

func TestKnowsTheCapitalOfFrance(t *testing.T) {
	tok, e := serve(t, testdata.SmolLM2(t))
	prompt, err := tok.Chat([]tokenizer.Message{{Role: "user", Content: "What is the capital of France?"}}, true)
	require.NoError(t, err)
	s, err := e.Submit(t.Context(), engine.Request{
		Prompt: tok.Encode(prompt, true), MaxTokens: 32, StopTokens: tok.EOS(), Sampling: sample.Params{TopP: 1},
	})
	require.NoError(t, err)
	var ids []int32
	for end := engine.Finish(""); end == ""; {
		token, err := s.Next(t.Context())
		require.NoError(t, err)
		ids, end = append(ids, token.ID), token.Finish
	}
	require.Contains(t, tok.Decode(ids, true), "Paris")
}

// serve opens the model in float32 behind an engine with room for all prompts.
func serve(t *testing.T, gguf string) (*tokenizer.Tokenizer, *engine.Engine) {
	t.Helper()
	tok, err := tokenizer.Open(gguf)
	require.NoError(t, err)
	dev, err := cpu.New(cpu.Options{DType: kernels.F32, Threads: runtime.NumCPU()})
	if err != nil {
		t.Skipf("SKIPPED, not tested here: the CPU kernels are not available: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, dev.Close()) })
	ck, err := weights.Open(t.Context(), gguf, weights.Options{})
	require.NoError(t, err)
	m, err := models.Open(dev, ck, models.Limits{MaxTokens: 512, MaxSeqs: 64, Blocks: 2048, BlockSize: 16})
	require.NoError(t, err)
	require.NoError(t, ck.Close())
	e, err := engine.New(m, engine.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close(context.Background())) })
	return tok, e
}

// readRows returns one field of every row, as a prompt.
func readRows(t *testing.T, path, field string, prompt func(string) string) []string {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	var all []string
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var row map[string]any
		require.NoError(t, json.Unmarshal(lines.Bytes(), &row))
		all = append(all, prompt(row[field].(string)))
	}
	require.NoError(t, lines.Err())
	return all
}

func requireHash(t *testing.T, want, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	sum := sha256.Sum256(b)
	require.Equal(t, want, hex.EncodeToString(sum[:]), "%s is another file than the golden answers were made with", path)
}
