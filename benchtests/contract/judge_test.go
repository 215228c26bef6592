package contract

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"servebench/results"
)

// pass is a pass of four answers.
func pass(framework, task string, median float64) *results.Summary {
	return &results.Summary{Case: results.Case{Framework: framework, Model: "gpt2", Task: task, Mode: "stream", Parallel: 1},
		Requests: 4, OutputMedian: median, AtMaxTokens: 1}
}

func TestLengths(t *testing.T) {
	check := func(own float64, verdict results.Verdict, detail string, ref ...float64) {
		t.Helper()
		var passes []*results.Summary
		for _, m := range ref {
			passes = append(passes, pass("custom", "qa", m))
		}
		term := LengthTerm(pass("vllm", "qa", own), passes)
		assert.Equal(t, verdict, term.Verdict, "%v beside %v", own, ref)
		assert.Contains(t, term.Detail, detail)
	}
	check(64, "", "")
	check(64, results.Kept, "", 64)
	check(58, results.Kept, "", 64)
	check(57, results.Broken, "the median answer has 57 tokens, the reference's 64: more than 10% apart; 1 of 4 reach max_tokens", 64)
	check(71, results.Broken, "71 tokens", 64)
	check(3, results.Kept, "", 5)
	check(2, results.Broken, "", 5)
	check(64, results.Kept, "", 60, 68, 0)
	check(0, results.Unknown, "is not known", 64)
	check(64, results.Unknown, "no pass over the case", 0)
}

func TestJudge(t *testing.T) {
	checked := &results.Checked{Framework: "vllm", Model: "gpt2", Reference: "custom",
		Prompts: []results.PromptCheck{{Task: "qa", Finding: results.IDsEqual}, {Task: "chat", Finding: results.IDsDiffer, Detail: "differs from token 0 on"}},
		Terms:   []results.Term{{Name: results.TermWeights, Verdict: results.Kept}, {Name: results.TermProbe, Verdict: results.Noted}},
	}
	custom := []*results.Summary{pass("custom", "qa", 64)}
	c := Judge(checked, pass("vllm", "qa", 64), custom)
	assert.Equal(t, "prompts:kept weights:kept probe:noted lengths:kept", c.String())
	assert.Equal(t, results.Kept, c.Verdict())
	assert.Equal(t, "custom", c.Reference)
	assert.Empty(t, c.Notes())

	c = Judge(checked, pass("vllm", "chat", 64), nil)
	assert.Equal(t, "prompts:broken weights:kept probe:noted", c.String())
	assert.Equal(t, []string{"CONTRACT BROKEN, prompts, beside custom: differs: differs from token 0 on"}, c.Notes())

	c = Judge(checked, pass("vllm", "qa", 12), custom)
	assert.Equal(t, "prompts:kept weights:kept probe:noted lengths:broken", c.String())

	// What the measured answers count is looked at too.
	counted := pass("vllm", "qa", 64)
	counted.PromptMismatch = 3
	c = Judge(checked, counted, custom)
	assert.Equal(t, results.Broken, c.Verdict())
	assert.Contains(t, c.Notes()[0], "3 of 4 measured prompts were counted otherwise")

	// The reference itself is compared with nobody.
	checked.Reference, checked.Terms = "", nil
	c = Judge(checked, pass("vllm", "qa", 64), custom)
	assert.Equal(t, "prompts:kept", c.String())
}
