package contract

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/benchtests/target"
	"servebench/datasets"
	"servebench/datasets/tokenizertest"
	"servebench/results"
)

// warmed are answers to warm-up prompts: one count of the server each, 0 for none.
func warmed(counts ...int) []results.Request {
	var out []results.Request
	for _, n := range counts {
		out = append(out, results.Request{Prompt: "warm", PromptTokens: n, PreparedTokens: 12})
	}
	return out
}

func TestCheckPrompts(t *testing.T) {
	ids := func(change func([]int32) []int32) func(string) any {
		return func(text string) any {
			return map[string]any{"tokens": change(tokenizertest.Encode(text, true))}
		}
	}
	same := ids(func(x []int32) []int32 { return x })
	custom, err := target.ByName("custom")
	require.NoError(t, err)
	transformers, err := target.ByName("transformers") // has no route
	require.NoError(t, err)

	check := func(name string, encoder Encoder, api datasets.API, tokenize func(string) any, counts []results.Request,
		finding string, verdict results.Verdict, detail string) results.PromptCheck {
		t.Helper()
		f := newFake(t)
		f.tokenize = tokenize
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		got := CheckPrompts(ctx, PromptOptions{
			Server: f.server(), Encoder: encoder, Tokenizer: tokenizertest.Local{}, Task: datasets.QA, API: api, Prompts: prompts(40), Warmed: counts,
		})
		term := PromptTerm(&got)
		assert.Equal(t, finding, got.Finding, name)
		assert.Equal(t, verdict, term.Verdict, name)
		assert.Contains(t, term.Detail, detail, name)
		assert.Equal(t, "qa", got.Task)
		assert.Zero(t, f.requests.Load(), "%s: no prompt is computed for it", name)
		return got
	}
	const completion, chat = datasets.CompletionAPI, datasets.ChatAPI

	got := check("the same", custom, completion, same, nil, results.IDsEqual, results.Kept, "32 of 40 prompts")
	assert.Equal(t, 32, got.Checked)

	got = check("no token before the text", custom, completion, ids(func(x []int32) []int32 { return x[1:] }), warmed(12),
		results.IDsDiffer, results.Broken, "prompt p000 differs from token 0 on")
	assert.Equal(t, 1, got.First.WantN-got.First.GotN)

	got = check("another token in the middle", custom, completion,
		ids(func(x []int32) []int32 { x[3] ^= 1; return x }), nil, results.IDsDiffer, results.Broken, "from token 3 on")
	assert.Equal(t, 3, got.First.At)
	assert.NotEqual(t, got.First.Want[3], got.First.Got[3])
	assert.LessOrEqual(t, len(got.First.Want), 2*around+1)

	got = check("a token more", custom, completion, ids(func(x []int32) []int32 { return append(x, 7) }), nil,
		results.IDsDiffer, results.Broken, "differs from token")
	assert.Equal(t, got.First.WantN, got.First.At)

	check("no token id", custom, completion, func(string) any { return map[string]any{"tokens": []int{-4}} }, nil,
		results.IDsNotLooked, results.Unknown, "no token id")
	check("garbage and a count", custom, completion, func(string) any { return "none" }, warmed(12),
		results.CountsEqual, results.Kept, "the warm-up prompts")

	// Without a route the counts tell.
	check("counts equal", transformers, completion, nil, warmed(12, 0, 12), results.CountsEqual, results.Kept, "the warm-up prompts")
	check("counts differ", transformers, completion, nil, warmed(12, 13), results.IDsDiffer, results.Broken,
		"prompt warm has 12 tokens, the server counts 13")
	check("nothing counted", transformers, completion, nil, warmed(0, 0), results.IDsNotLooked, results.Unknown, "no answer to a warm-up prompt has a count")
	check("no encoder", nil, completion, nil, nil, results.IDsNotLooked, results.Unknown, "cannot be asked")
	failed := warmed(99)
	failed[0].Error = results.ClassTimeout
	check("a failed answer is no witness", transformers, completion, nil, failed, results.IDsNotLooked, results.Unknown, "no answer")

	// In a chat a template is around the text.
	check("chat", custom, chat, same, warmed(12), results.CountsEqual, results.Kept, "with the chat template around them")
	check("another template", custom, chat, same, warmed(20), results.IDsDiffer, results.Broken, "the server counts 20")
	check("a template that nobody counts", custom, chat, same, warmed(0), results.IDsNotLooked, results.Unknown, "what the chat template adds is not known")
	check("other ids in a chat", custom, chat, ids(func(x []int32) []int32 { return x[1:] }), warmed(12), results.IDsDiffer, results.Broken, "from token 0 on")
}

// TestPromptsOfStallingServer holds that a server that answers nothing, or is
// gone, is given up when the caller's time is over.
func TestPromptsOfStallingServer(t *testing.T) {
	custom, err := target.ByName("custom")
	require.NoError(t, err)
	f := newFake(t)
	f.tokenize = func(string) any { return nil }
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	o := PromptOptions{Server: f.server(), Encoder: custom, Tokenizer: tokenizertest.Local{}, Task: datasets.QA,
		API: datasets.CompletionAPI, Prompts: prompts(3), Warmed: warmed(0)}
	got := CheckPrompts(ctx, o)
	assert.Equal(t, results.IDsNotLooked, got.Finding)
	assert.Contains(t, got.Detail, "token ids of prompt p000")

	f.CloseClientConnections()
	f.Close()
	got = CheckPrompts(t.Context(), o)
	assert.Equal(t, results.IDsNotLooked, got.Finding)
	assert.Contains(t, got.Detail, "connect")
}

func TestSample(t *testing.T) {
	for _, n := range []int{0, 1, 31, 32, 33, 100, 1000} {
		places, what := Sample(n)
		assert.Len(t, places, min(n, SampleSize))
		again, _ := Sample(n)
		assert.Equal(t, places, again)
		for i, p := range places {
			assert.Less(t, p, n, what)
			if i > 0 {
				assert.Greater(t, p, places[i-1], what)
			}
		}
	}
}
