package results

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/perf/benchfmt"
)

func TestContractVerdict(t *testing.T) {
	check := func(want Verdict, text string, verdicts ...Verdict) {
		t.Helper()
		var c Contract
		for i, v := range verdicts {
			c.Add(Term{Name: []string{TermPrompts, TermWeights, TermProbe}[i], Verdict: v})
		}
		assert.Equal(t, want, c.Verdict(), verdicts)
		assert.Equal(t, text, c.String())
	}
	check("", "")
	check("", "", "")
	check(Kept, "prompts:kept", Kept)
	check(Kept, "prompts:kept weights:noted", Kept, Noted)
	check(Unknown, "prompts:unknown weights:noted probe:kept", Unknown, Noted, Kept)
	check(Broken, "prompts:unknown weights:broken probe:kept", Unknown, Broken, Kept)

	// Of two of one name the graver one stays, in whichever order they come.
	for _, order := range [][]Verdict{{Kept, Broken}, {Broken, Kept}} {
		var c Contract
		for _, v := range order {
			c.Add(Term{Name: TermDtype, Verdict: v, Detail: string(v)})
		}
		assert.Equal(t, []Term{{TermDtype, Broken, "broken"}}, c.Terms)
	}
	c := Contract{Reference: "custom", Terms: []Term{{TermProbe, Noted, "late"}, {TermWeights, Broken, "other files"}}}
	assert.Equal(t, []string{"CONTRACT BROKEN, weights, beside custom: other files"}, c.Notes())
}

func TestCompareLengths(t *testing.T) {
	check := func(want Verdict, ref, own []float64) {
		t.Helper()
		before := slices.Clone(own)
		assert.Equal(t, want, CompareLengths(ref, own), "%v beside %v", own, ref)
		assert.Equal(t, before, own, "left in its order")
	}
	check(Unknown, nil, []float64{1})
	check(Unknown, []float64{1}, nil)
	check(Kept, []float64{64}, []float64{64})
	check(Kept, []float64{64}, []float64{70})
	check(Broken, []float64{64}, []float64{71})
	check(Broken, []float64{64, 64}, []float64{57, 57, 57})
	check(Kept, []float64{5}, []float64{3})
	check(Broken, []float64{5}, []float64{2})

	// Sampled answers: what a few say may be chance.
	check(Noted, []float64{10, 11, 9, 30}, []float64{14, 13, 40, 8})
	check(Broken, []float64{10, 11, 9, 12}, []float64{40, 31, 60, 28})
	check(Noted, []float64{10, 11, 9}, []float64{40, 31, 60})
	check(Kept, []float64{64, 64, 64, 12}, []float64{64, 64, 64, 3})
}

// contracts are what the passes of TestContractOutputs have.
var contracts = []Contract{
	{Terms: []Term{{TermPrompts, Kept, "ids equal"}}},
	{Reference: "custom", Terms: []Term{{TermPrompts, Broken, "prompt p1\ndiffers from token 0 on"}, {TermLengths, Broken, "12, not 64"}, {TermProbe, Noted, "9 of 10 equal"}}},
	{Reference: "custom", Terms: []Term{{TermPrompts, Broken, "prompt p1\ndiffers from token 0 on"}, {TermLengths, Broken, "12, not 64"}}},
	{Reference: "custom", Terms: []Term{{TermWeights, Unknown, "runs elsewhere"}}},
	{},
}

// judgedRun is a run with a pass of each of the contracts.
func judgedRun(t *testing.T) (*Run, []string) {
	t.Helper()
	r := create(t, t.TempDir(), RunOptions{})
	frameworks := []string{"custom", "vllm", "tgi", "openai", "old"}
	for i, c := range contracts {
		req := stream(0, 100*ms, 110*ms, 120*ms)
		req.Case.Framework = frameworks[i]
		_, err := r.Add([]Request{req}, Options{Began: time.Unix(1e9, 0), Contract: c, Cache: "reset"})
		require.NoError(t, err)
	}
	return r, frameworks
}

// TestContractOutputs holds that a broken contract is seen in every output.
func TestContractOutputs(t *testing.T) {
	r, frameworks := judgedRun(t)
	table := content(t, r, FileCSV)
	same(t, table, recomputed(t, r.Dir()), "the journal has the contract")
	rows := strings.Split(strings.TrimSpace(table), "\n")
	header := strings.Split(rows[0], ",")
	cell := func(row int, column string) string {
		t.Helper()
		at := slices.Index(header, column)
		require.GreaterOrEqual(t, at, 0, column)
		return strings.Split(rows[1+row], ",")[at]
	}
	for i, want := range []string{"kept", "broken", "broken", "unknown", ""} {
		assert.Equal(t, want, cell(i, "contract"), frameworks[i])
		assert.Equal(t, "reset", cell(i, "cache"))
	}
	assert.Equal(t, "prompts:broken lengths:broken probe:noted", cell(1, "contract_terms"))
	assert.Equal(t, "custom", cell(1, "contract_reference"))
	assert.Contains(t, rows[2], "CONTRACT BROKEN, prompts, beside custom: prompt p1 differs from token 0 on; CONTRACT BROKEN, lengths", "on one line")
	assert.NotContains(t, rows[1], "CONTRACT")

	// bench.txt: another configuration, and the names as they are.
	bench := content(t, r, FileBench)
	assert.Contains(t, bench, "vllm", "the broken pass is there")
	assert.Equal(t, 2, strings.Count(bench, "# framework=vllm"), "why, a line each")
	got := map[string]string{}
	reader := benchfmt.NewReader(strings.NewReader(bench), FileBench)
	for reader.Scan() {
		switch rec := reader.Result().(type) {
		case *benchfmt.Result:
			got[string(rec.Name.Full())] = rec.GetConfig("contract")
		case *benchfmt.SyntaxError:
			t.Error(rec)
		}
	}
	require.NoError(t, reader.Err())
	require.Len(t, got, 5)
	for name, value := range got {
		broken := strings.Contains(name, "framework=vllm") || strings.Contains(name, "framework=tgi")
		assert.True(t, strings.HasPrefix(name, "Serve/framework="), name)
		assert.Equal(t, map[bool]string{true: "broken, prompts and lengths", false: ""}[broken], value, name)
	}

	var text bytes.Buffer
	require.NoError(t, WriteTable(&text, "# ", r.Finished()))
	lines := strings.Split(strings.TrimSpace(text.String()), "\n")
	require.Len(t, lines, 1+5+4)
	assert.True(t, strings.HasSuffix(lines[0], "contract"), lines[0])
	assert.True(t, strings.HasSuffix(lines[1], "kept"), lines[1])
	assert.True(t, strings.HasSuffix(lines[2], "BROKEN[1][2][3]"), lines[2])
	assert.True(t, strings.HasSuffix(lines[3], "BROKEN[1][2]"), "the same footnotes: %s", lines[3])
	assert.True(t, strings.HasSuffix(lines[4], "unknown[4]"), lines[4])
	assert.True(t, strings.HasSuffix(lines[5], " -"), lines[5])
	assert.Equal(t, "# [1] NOT COMPARABLE, prompts beside custom: prompt p1 differs from token 0 on", lines[6])
	assert.Equal(t, "# [3] for information, probe beside custom: 9 of 10 equal", lines[8])
	assert.Equal(t, "# [4] not known, weights beside custom: runs elsewhere", lines[9])
}

// TestContractResumed holds that bench.txt goes on with the right configuration.
func TestContractResumed(t *testing.T) {
	r := create(t, t.TempDir(), RunOptions{})
	add := func(r *Run, repeat int, c Contract) {
		t.Helper()
		req := stream(0, 100*ms, 110*ms)
		req.Repeat = repeat
		_, err := r.Add([]Request{req}, Options{Contract: c})
		require.NoError(t, err)
	}
	add(r, 0, contracts[1])
	require.NoError(t, r.Close())
	again := reopen(t, r.Dir())
	add(again, 1, contracts[1])
	add(again, 2, contracts[0])
	bench := content(t, again, FileBench)
	assert.Equal(t, 1, strings.Count(bench, "contract: broken"))
	assert.Equal(t, 1, strings.Count(bench, "\ncontract:\n"))
}

func TestNoContractNoColumn(t *testing.T) {
	r := create(t, t.TempDir(), RunOptions{})
	fill(t, r, 1, 3)
	var text bytes.Buffer
	require.NoError(t, WriteTable(&text, "", r.Finished()))
	assert.NotContains(t, text.String(), "contract")
	assert.NotContains(t, content(t, r, FileBench), "contract")
	f, err := Load(r.Dir())
	require.NoError(t, err)
	checked, err := f.Checked()
	require.NoError(t, err)
	assert.Empty(t, checked, "a run from before there were checks")
}

func TestChecked(t *testing.T) {
	r := create(t, t.TempDir(), RunOptions{})
	one := Checked{Framework: "custom", Model: "gpt2", Dtype: Dtype{Asked: "bfloat16"},
		Prompts: []PromptCheck{{Task: "qa", Finding: IDsDiffer, First: &IDDifference{Prompt: "p<1>", At: 2, Want: []int32{1}, Got: []int32{2}}}},
		Probe:   &Probe{API: "completion", MaxTokens: 48, Answers: []ProbeAnswer{{Prompt: "probe-1", Text: "a\nb", IDs: []int32{1, 2}}}}}
	two := Checked{Framework: "vllm", Model: "gpt2", Reference: "custom", Terms: []Term{{TermWeights, Kept, "the same files"}}}
	for _, c := range []Checked{one, two} {
		require.NoError(t, r.SetChecked(c))
	}
	one.Prompts = append(one.Prompts, PromptCheck{Task: "chat", Finding: CountsEqual})
	require.NoError(t, r.SetChecked(one))
	want := []Checked{one, two}
	assert.Equal(t, want, r.Checked(), "one replaced, in its place")
	require.NoError(t, r.Close())
	assert.Equal(t, want, reopen(t, r.Dir()).Checked())
	f, err := Load(r.Dir())
	require.NoError(t, err)
	got, err := f.Checked()
	require.NoError(t, err)
	assert.Equal(t, want, got)
	assert.Equal(t, 4, strings.Count(content(t, r, FileContract), "\n"), "a line each")

	for _, broken := range []string{"", "{", `{"format":99,"checked":[]}`, `{"format":1,"checked":3}`} {
		require.NoError(t, os.WriteFile(filepath.Join(r.Dir(), FileContract), []byte(broken), 0o644))
		_, err = f.Checked()
		assert.ErrorContains(t, err, FileContract, broken)
	}
}

func TestIDDifference(t *testing.T) {
	d := IDDifference{Prompt: "p1", At: -1, WantN: 12, GotN: 13}
	assert.Equal(t, "prompt p1 has 12 tokens, the server counts 13", d.String())
	d = IDDifference{Prompt: "p1", At: 3, Want: []int32{4, 5}, Got: []int32{4, 6}, WantN: 12, GotN: 12}
	assert.Equal(t, "prompt p1 differs from token 3 on: want …[4 5]… of 12, the server has …[4 6]… of 12", d.String())
}
