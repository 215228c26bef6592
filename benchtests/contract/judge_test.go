package contract

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"servebench/results"
)

// pass is a pass with an answer of each length; 0 is one that nobody counts.
func pass(framework, task string, lengths ...int) *results.Summary {
	var reqs []results.Request
	for i, n := range lengths {
		reqs = append(reqs, results.Request{Case: results.Case{Framework: framework, Model: "gpt2", Task: task, Mode: "stream", Parallel: 1},
			Index: i, Scheduled: 1, Sent: 1, Chunks: []results.Chunk{{At: 2, Bytes: 1}}, OutputTokens: n, RecountedTokens: -1, MaxTokens: 64})
	}
	s := results.Summarize(reqs, results.Options{})
	return &s
}

func TestLengths(t *testing.T) {
	check := func(own []int, verdict results.Verdict, detail string, ref ...[]int) {
		t.Helper()
		var passes []*results.Summary
		for _, lengths := range ref {
			passes = append(passes, pass("custom", "qa", lengths...))
		}
		term := LengthTerm(pass("vllm", "qa", own...), passes)
		assert.Equal(t, verdict, term.Verdict, "%v beside %v", own, ref)
		assert.Contains(t, term.Detail, detail)
	}
	check([]int{64}, "", "")
	check([]int{64, 64}, results.Kept, "", []int{64, 64})
	check([]int{58, 58}, results.Kept, "", []int{64, 64})
	check([]int{57, 57}, results.Broken, "the median answer has 57 tokens, the reference's 64: more than 10% apart, 0 of 2 reach max_tokens", []int{64, 64})
	check([]int{64, 64, 64, 64}, results.Broken, "the reference's 10.5: more than 10% apart, 4 of 4 reach max_tokens", []int{10, 11}, []int{9, 12})
	check([]int{20, 9, 18, 30}, results.Noted, "may be chance", []int{10, 11}, []int{9, 32})
	check([]int{0}, results.Unknown, "is not known", []int{64})
	check([]int{64}, results.Unknown, "is not known", []int{0})
	check([]int{64}, results.Kept, "", []int{0}, []int{64})
}

func TestJudge(t *testing.T) {
	checked := &results.Checked{Framework: "vllm", Model: "gpt2", Reference: "custom",
		Prompts: []results.PromptCheck{{Task: "qa", Finding: results.IDsEqual}, {Task: "chat", Finding: results.IDsDiffer, Detail: "differs from token 0 on"}},
		Terms:   []results.Term{{Name: results.TermWeights, Verdict: results.Kept}, {Name: results.TermProbe, Verdict: results.Noted}},
	}
	custom := []*results.Summary{pass("custom", "qa", 64, 64, 64, 64)}
	c := Judge(checked, pass("vllm", "qa", 64, 64, 64, 64), custom)
	assert.Equal(t, "prompts:kept weights:kept probe:noted lengths:kept", c.String())
	assert.Equal(t, results.Kept, c.Verdict())
	assert.Equal(t, "custom", c.Reference)
	assert.Empty(t, c.Notes())

	c = Judge(checked, pass("vllm", "chat", 64, 64, 64, 64), nil)
	assert.Equal(t, "prompts:broken weights:kept probe:noted", c.String())
	assert.Equal(t, []string{"CONTRACT BROKEN, prompts, beside custom: differs: differs from token 0 on"}, c.Notes())

	c = Judge(checked, pass("vllm", "qa", 12, 12, 12, 12), custom)
	assert.Equal(t, "prompts:kept weights:kept probe:noted lengths:broken", c.String())

	// What the measured answers count is looked at too.
	counted := pass("vllm", "qa", 64, 64, 64, 64)
	counted.PromptMismatch = 3
	c = Judge(checked, counted, custom)
	assert.Equal(t, results.Broken, c.Verdict())
	assert.Contains(t, c.Notes()[0], "3 of 4 measured prompts were counted otherwise")

	// The reference itself is compared with nobody.
	checked.Reference, checked.Terms = "", nil
	c = Judge(checked, pass("vllm", "qa", 64, 64, 64, 64), custom)
	assert.Equal(t, "prompts:kept", c.String())
}
