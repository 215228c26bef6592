package ratio

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/results"
)

// summary is a pass of n requests, each of 22 output tokens, with the
// throughput given.
func summary(framework string, parallel, repeat int, tokPerS float64) results.Summary {
	gap := time.Duration(22 / tokPerS / 21 * 1e9)
	r := results.Request{
		Case:   results.Case{Framework: framework, Model: "gpt2", Task: "fixed-in21-out22", Mode: results.ModeStream, Parallel: parallel},
		Repeat: repeat, Scheduled: 1, Sent: 1, OutputTokens: 22, PromptTokens: 21, MaxTokens: 22, RecountedTokens: -1,
	}
	for i := range 22 {
		r.Chunks = append(r.Chunks, results.Chunk{At: 1 + time.Duration(i)*gap + 1, Bytes: 1})
	}
	return results.Summarize([]results.Request{r}, results.Options{})
}

// run is the results.csv of one run.
func run(t *testing.T, sums ...results.Summary) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	for i := range sums {
		require.NoError(t, results.WriteCSV(&b, i == 0, &sums[i]))
	}
	return &b
}

// TestKnownRatios makes runs on a machine that drifts, merges and compares
// them: the ratios come out as they were put in.
func TestKnownRatios(t *testing.T) {
	speed := map[string]float64{"custom": 300, "vllm": 100, "llamacpp": 120, "tgi": 20}
	var parts []Part
	for round, drift := range []float64{1, .6, 1.3, .9, 1.1} {
		for framework, v := range speed {
			if framework == "tgi" && round > 2 {
				continue
			}
			parts = append(parts, Part{Round: round + 1, Name: framework, CSV: run(t,
				summary(framework, 1, 0, v*drift/2), summary(framework, 4, 0, v*drift))})
		}
	}
	var table bytes.Buffer
	require.NoError(t, Merge(&table, parts))
	rows, err := Read(&table)
	require.NoError(t, err)
	require.Len(t, rows, 2*(5*3+3))
	rep, err := Compare(rows, "custom", "out_tok_per_s")
	require.NoError(t, err)
	require.Len(t, rep.Cases, 2)
	assert.Empty(t, rep.Warnings)
	for _, c := range rep.Cases {
		assert.Equal(t, "llamacpp", c.Best)
		assert.Len(t, c.Pairs, 5)
		// Times are whole nanoseconds: that is all that is left of the drift.
		assert.InDelta(t, 2.5, c.Ratio.Center, 1e-5)
		assert.InDelta(t, c.Ratio.Lo, c.Ratio.Hi, 1e-4)
		for _, s := range c.Sides {
			assert.InEpsilon(t, speed[s.Framework]*map[int]float64{1: .5, 4: 1}[c.Parallel], s.Median, 1e-5, "the drift's median is 1")
		}
	}
	slow, err := Compare(rows, "custom", "latency_p50_s")
	require.NoError(t, err)
	assert.Equal(t, "llamacpp", slow.Cases[0].Best, "lower is better")
	assert.InDelta(t, 1/2.5, slow.Cases[0].Ratio.Center, 1e-5)
}

// TestInterval holds that the interval has the true ratio in it as often as it
// says, with five rounds and noise of 10% a pass.
func TestInterval(t *testing.T) {
	const trials, truth = 2000, 3.0
	rng := rand.New(rand.NewPCG(1, 2))
	inside := 0
	for range trials {
		ratios := make([]float64, 5)
		for i := range ratios {
			ratios[i] = truth * math.Exp(0.1*rng.NormFloat64()-0.1*rng.NormFloat64())
		}
		e := estimate(ratios)
		require.Less(t, e.Lo, e.Center)
		if e.Lo <= truth && truth <= e.Hi {
			inside++
		}
	}
	// The standard error of the share is 0.5%.
	assert.InDelta(t, Confidence, float64(inside)/trials, 0.02)

	one := estimate([]float64{2})
	assert.InEpsilon(t, 2.0, one.Center, 1e-12)
	assert.True(t, math.IsInf(one.Hi, 1), "one round has no interval")
	assert.Equal(t, "2.00", one.String())
	assert.Equal(t, "—", estimate(nil).String())
}

// rowOf is a row without a file.
func rowOf(framework string, round int, tokPerS float64, change func(*Row)) Row {
	r := Row{Round: round, Case: results.Case{Framework: framework, Model: "gpt2", Task: "fixed-in21-out64", Mode: "stream", Parallel: 1},
		Requests: 4, PromptTokens: 84, OutputMin: 64, OutputMax: 64, figures: map[string]float64{"out_tok_per_s": tokPerS}}
	if change != nil {
		change(&r)
	}
	return r
}

func TestWarnings(t *testing.T) {
	check := func(want string, change func(*Row)) {
		t.Helper()
		rows := []Row{rowOf("custom", 1, 100, nil), rowOf("vllm", 1, 50, change), rowOf("vllm", 2, 50, change)}
		rep, err := Compare(rows, "custom", "out_tok_per_s")
		require.NoError(t, err)
		if want == "" {
			assert.Empty(t, rep.Warnings)
			return
		}
		require.Len(t, rep.Warnings, 1, "each thing once")
		assert.Equal(t, "gpt2, fixed-in21-out64, stream, 1 in flight, vllm: "+want, rep.Warnings[0].String())
		var text strings.Builder
		require.NoError(t, rep.Markdown(&text))
		assert.Contains(t, text.String(), want)
	}
	check("", nil)
	check("failed: 1 of 4 requests in round 1", func(r *Row) { r.Failed, r.PromptTokens = 1, 63 })
	check("prompts of 22 tokens, not 21", func(r *Row) { r.PromptTokens = 88 })
	check("answers of 60 to 64 tokens, not 64 to 64", func(r *Row) { r.OutputMin = 60 })
	check("noted: INVALID, the client was the limit: x (round 1)", func(r *Row) { r.Notes = "a; INVALID, the client was the limit: x; b" })
	check("noted: OTHER LENGTHS: 2 (round 1)", func(r *Row) { r.Notes = "OTHER LENGTHS: 2" })
	check("", func(r *Row) { r.Notes = "the end of sequence is ignored" })
	check("", func(r *Row) { r.PromptTokens, r.OutputMin, r.OutputMax = 0, 0, 0 })
}

func TestIncomplete(t *testing.T) {
	// A round that one side lacks has no ratio; the medians are over what is there.
	rows := []Row{rowOf("custom", 1, 100, nil), rowOf("custom", 2, 300, nil), rowOf("vllm", 1, 50, nil), rowOf("tgi", 2, 10, nil),
		rowOf("vllm", 2, 0, func(r *Row) { delete(r.figures, "out_tok_per_s") })}
	rep, err := Compare(rows, "custom", "out_tok_per_s")
	require.NoError(t, err)
	assert.Equal(t, []float64{2}, rep.Cases[0].Pairs)
	assert.Equal(t, 200., rep.Cases[0].Sides[0].Median)

	// A best peer that was never measured with the base.
	rep, err = Compare([]Row{rowOf("custom", 1, 100, nil), rowOf("vllm", 2, 50, nil)}, "custom", "out_tok_per_s")
	require.NoError(t, err)
	var text, table strings.Builder
	require.NoError(t, rep.Markdown(&text))
	assert.Contains(t, text.String(), "| **50** | — | 0 |")
	require.NoError(t, rep.CSV(&table, false))
	assert.Contains(t, table.String(), "custom,100,1,vllm,,,,0,,\n")

	_, err = Compare([]Row{rowOf("custom", 1, 100, nil)}, "custom", "out_tok_per_s")
	assert.ErrorContains(t, err, "no case has out_tok_per_s of custom and of another framework")
	_, err = Compare([]Row{rowOf("custom", 1, 1, nil), rowOf("custom", 1, 1, nil)}, "custom", "out_tok_per_s")
	assert.ErrorContains(t, err, "twice in round 1")
}

func TestReadRefuses(t *testing.T) {
	check := func(table, want string) {
		t.Helper()
		_, err := Read(strings.NewReader(table))
		assert.ErrorIs(t, err, ErrTable)
		assert.ErrorContains(t, err, want)
	}
	const head = "framework,model,task,mode,parallel,repeat,requests,failed,out_tok_per_s\n"
	check("", "EOF")
	check("framework,model\n", `no column "task"`)
	check(head+"a,b,c,d,x,0,1,0,1\n", `line 2: parallel is "x"`)
	check(head+"a,b,c,d,1,0,1,0,1\na,b,c,d,1,-1,1,0,1\n", `line 3: repeat is "-1"`)
	check(head+"a,b,c,d,1,0,1,0,NaN\n", `out_tok_per_s is "NaN"`)
	check(head+"a,b\n", "wrong number of fields")

	var b bytes.Buffer
	assert.ErrorContains(t, Merge(&b, []Part{{1, "one", strings.NewReader("a,b\n1,2\n")}, {2, "two", strings.NewReader("a,c\n")}}), "not those of one")
	assert.ErrorContains(t, Merge(&b, []Part{{1, "one", strings.NewReader("")}}), "one: not a table")
}

func FuzzRead(f *testing.F) {
	f.Add("round,framework,model,task,mode,parallel,repeat,requests,failed,out_tok_per_s\n1,a,b,fixed-in8-out1,d,1,0,1,0,1\n1,custom,b,c,d,1,0,1,0,2\n")
	f.Fuzz(func(t *testing.T, table string) {
		rows, err := Read(strings.NewReader(table))
		if err != nil {
			return
		}
		rep, err := Compare(rows, "custom", "out_tok_per_s")
		if err != nil {
			return
		}
		var b strings.Builder
		require.NoError(t, rep.Markdown(&b))
		require.NoError(t, rep.CSV(&b, true))
		for _, c := range rep.Cases {
			require.GreaterOrEqual(t, len(c.Sides), 2, fmt.Sprint(c))
		}
	})
}

// TestContract holds that who breaks the contract is marked, and no measure.
func TestContract(t *testing.T) {
	judged := func(framework string, v float64, verdict results.Verdict, median float64) Row {
		return rowOf(framework, 1, v, func(r *Row) {
			r.Contract, r.OutputMedian = verdict, median
			if verdict == results.Broken {
				r.Notes = "x; CONTRACT BROKEN, prompts, beside custom: differs from token 0 on"
			}
		})
	}
	check := func(rows []Row, best string, comparable bool, cell, comparableCell string, warnings ...string) {
		t.Helper()
		rep, err := Compare(rows, "custom", "out_tok_per_s")
		require.NoError(t, err)
		c := rep.Cases[0]
		assert.Equal(t, best, c.Best)
		assert.Equal(t, comparable, c.Comparable())
		var text, table strings.Builder
		require.NoError(t, rep.Markdown(&text))
		require.NoError(t, rep.CSV(&table, false))
		assert.Contains(t, text.String(), cell)
		assert.Equal(t, strings.Contains(cell, "†"), strings.Contains(text.String(), "NOT COMPARABLE"))
		assert.Contains(t, table.String(), comparableCell+"\n")
		var said []string
		for _, w := range rep.Warnings {
			said = append(said, w.Case.Framework+": "+w.Text)
		}
		assert.Equal(t, warnings, said)
	}
	custom := judged("custom", 100, results.Kept, 64)
	check([]Row{custom, judged("vllm", 50, results.Kept, 64)}, "vllm", true, "| 100 | **50** |", ",kept,true")
	check([]Row{custom, judged("vllm", 50, "", 64)}, "vllm", true, "| 100 | **50** |", ",1,kept,")
	check([]Row{custom, judged("vllm", 50, results.Unknown, 64)}, "vllm", true, "| **50**? |", ",1,kept,")

	// The fastest peer breaks it.
	const why = "vllm: prompts, beside custom: differs from token 0 on (round 1, contract broken)"
	broken := judged("vllm", 90, results.Broken, 64)
	check([]Row{custom, broken, judged("tgi", 50, results.Kept, 64)}, "tgi", true, "| 100 | 90† | **50** | 2.00 |", ",kept,true", why)
	check([]Row{custom, judged("tgi", 50, results.Kept, 64), broken}, "tgi", true, "| 100 | **50** | 90† | 2.00 |", ",kept,true", why)
	check([]Row{custom, broken}, "vllm", false, "| 100 | **90**† | 1.11† |", ",kept,false", why)

	// Its answers are short: in runs of one framework each, nobody else sees it.
	check([]Row{custom, judged("vllm", 50, results.Kept, 32)}, "vllm", false, "| **50**† | 2.00† |", ",kept,false",
		"vllm: the median answer has 32 tokens, that of custom 64 (contract broken)")

	head := "framework,model,task,mode,parallel,repeat,requests,failed,contract\n"
	_, err := Read(strings.NewReader(head + "a,b,c,d,1,0,1,0,perhaps\n"))
	require.ErrorIs(t, err, ErrTable)
	rows, err := Read(strings.NewReader(head + "a,b,c,d,1,0,1,0,broken\n"))
	require.NoError(t, err)
	assert.Equal(t, results.Broken, rows[0].Contract)
}

// TestReadBaseline reads a table from before there was a contract.
func TestReadBaseline(t *testing.T) {
	f, err := os.Open(filepath.Join("..", "baseline", "cpu", "results.csv"))
	require.NoError(t, err)
	defer f.Close()
	rows, err := Read(f)
	require.NoError(t, err)
	rep, err := Compare(rows, "custom", "out_tok_per_s")
	require.NoError(t, err)
	var text strings.Builder
	require.NoError(t, rep.Markdown(&text))
	assert.NotContains(t, text.String(), "†")
	assert.NotContains(t, text.String(), "?")
}
