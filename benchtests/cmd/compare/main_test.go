package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/benchtests/target"
	"servebench/datasets"
	"servebench/results"
)

// fakeSuite makes the test binary the suite's program, which measures nothing.
// Its value names a framework that fails.
const fakeSuite = "SERVEBENCH_FAKE_SUITE"

func TestMain(m *testing.M) {
	if broken, ok := os.LookupEnv(fakeSuite); ok {
		if err := suite(broken); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// speeds are the frameworks' output tokens a second.
var speeds = map[string]time.Duration{"custom": 400, "vllm": 100, "transformers": 20}

// checkedBy is what a framework's turn finds out: that the probe of all but the
// first differs, if they are told of the first one's run.
func checkedBy(framework, model, reference string) results.Checked {
	c := results.Checked{Framework: framework, Model: model, Prompts: []results.PromptCheck{{Task: "fixed-in21-out64", Finding: results.IDsEqual}}}
	if reference != "" {
		c.Reference = "custom"
		c.Terms = []results.Term{{Name: results.TermProbe, Verdict: results.Noted, Detail: "9 of 10 equal"}}
	}
	return c
}

// suite writes a run of one case as the suite would, on a machine that is
// slower in each round.
func suite(broken string) error {
	fs := flag.NewFlagSet("suite", flag.ExitOnError)
	dir, framework, model := fs.String("results", "", ""), fs.String("framework", "", ""), fs.String("model", "", "")
	round := fs.Int("seed", 0, "")
	reference := fs.String("reference", "", "")
	for _, name := range []string{"test.bench", "task", "mode", "concurrency", "test.run", "test.timeout", "test.benchtime", "max-num-seqs", "dtype", "serve-bin", "ignore"} {
		fs.String(name, "", "")
	}
	fs.Bool("enable-prefix-caching", false, "")
	fs.Bool("resume", true, "")
	if err := fs.Parse(os.Args[1:]); err != nil {
		return err
	}
	if *framework == broken {
		return fmt.Errorf("fatal: no memory")
	}
	run, err := results.Create(*dir, results.RunOptions{})
	if err != nil {
		return err
	}
	name, path, _ := strings.Cut(*model, "=")
	err = run.AddServer(results.Server{Framework: *framework, Model: name, Version: "1", Path: path})
	if err == nil {
		err = run.AddDataset(results.File{Name: "prompts", SHA256: fmt.Sprint(*round)})
	}
	if err == nil {
		err = run.SetChecked(checkedBy(*framework, name, *reference))
	}
	if err != nil {
		return err
	}
	gap := time.Duration(*round) * time.Second / speeds[*framework]
	r := results.Request{Case: results.Case{Framework: *framework, Model: name, Task: "fixed-in21-out64", Mode: "stream", Parallel: 1},
		Scheduled: 1, Sent: 1, PromptTokens: 21, OutputTokens: 64, MaxTokens: 64, RecountedTokens: -1}
	for i := range 64 {
		r.Chunks = append(r.Chunks, results.Chunk{At: 1 + time.Duration(i+1)*gap, Bytes: 1})
	}
	if _, err := run.Add([]results.Request{r}, results.Options{}); err != nil {
		return err
	}
	return run.Complete()
}

// newComparison makes one of gpt2 on the fake suite.
func newComparison(t *testing.T, broken string, rounds int) *comparison {
	t.Helper()
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	root, err := datasets.ModuleRoot()
	require.NoError(t, err)
	c := &comparison{log: io.Discard, options: options{
		rounds: rounds, models: []model{{"gpt2", "/models/gpt2", "/models/gpt2-bf16.gguf"}}, mode: "stream",
		benchtime: "1x", out: t.TempDir(), env: []string{fakeSuite + "=" + broken}, root: root,
	}}
	for _, name := range []string{"custom", "vllm", "transformers"} {
		f, err := target.ByName(name)
		require.NoError(t, err)
		c.frameworks = append(c.frameworks, f)
	}
	c.cases, err = parseWorkloads("fixed-in21-out64@1")
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(c.out, "bin"), 0o755))
	require.NoError(t, os.Symlink(self, c.program(suiteProgram)))
	return c
}

func TestCompare(t *testing.T) {
	c := newComparison(t, "", 3)
	require.NoError(t, c.execute(t.Context()))
	var table strings.Builder
	require.NoError(t, c.report(t.Context(), &table))
	assert.Contains(t, table.String(), "| model | task | in flight | custom | vllm | transformers | custom ÷ best peer [95% interval] | rounds |")
	assert.Contains(t, table.String(), "| 4.00 [4.00, 4.00] | 3 |", "the ratio, though the machine drifted")
	assert.Contains(t, table.String(), "| 0.25 [0.25, 0.25] | 3 |", "of the time to the first token")
	assert.NotContains(t, table.String(), "Warnings")
	assert.NotContains(t, table.String(), "Not the same")
	assert.Contains(t, table.String(), "- custom, gpt2: prompts of fixed-in21-out64 ids equal; what the others are compared with\n")
	assert.Contains(t, table.String(), "- vllm, gpt2: prompts of fixed-in21-out64 ids equal; probe beside custom noted (9 of 10 equal)\n")

	stat, err := os.ReadFile(filepath.Join(c.out, "benchstat.txt"))
	require.NoError(t, err)
	assert.Regexp(t, `(?s)custom +│ +vllm +│ +transformers`, string(stat))
	assert.Len(t, regexp.MustCompile(`(?m)^ +│ +out-tok/s`).FindAllString(string(stat), -1), 1, "rounds do not part the tables")
	for _, name := range []string{"ratios.md", "ratios.csv", "results.csv", "environment-vllm-gpt2.json", "contract-vllm-gpt2.json"} {
		assert.FileExists(t, filepath.Join(c.out, name))
	}

	// What is done is not done again.
	c.env = []string{fakeSuite + "=custom"}
	require.NoError(t, c.execute(t.Context()))
	c.rounds = 4
	assert.ErrorContains(t, c.execute(t.Context()), "04-gpt2-custom")
}

// TestWrongFlags: what the suite refuses is told once, and no other turn is begun.
func TestWrongFlags(t *testing.T) {
	c := newComparison(t, "", 3)
	var log strings.Builder
	c.log, c.more = &log, []string{"-benchtime", "2s"}
	err := c.execute(t.Context())
	require.ErrorIs(t, err, errFlags)
	assert.ErrorContains(t, err, "flag provided but not defined: -benchtime (")
	assert.Equal(t, 1, strings.Count(log.String(), "FAILED"), "turns begun")
}

func TestCompareFails(t *testing.T) {
	c := newComparison(t, "transformers", 2)
	err := c.execute(t.Context())
	assert.ErrorContains(t, err, "01-gpt2-transformers: exit status 1")
	assert.ErrorContains(t, err, "fatal: no memory")
	assert.ErrorContains(t, err, "02-gpt2-transformers")
	var table strings.Builder
	require.NoError(t, c.report(t.Context(), &table), "the others are compared")
	assert.Contains(t, table.String(), "| 4.00 [4.00, 4.00] | 2 |")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.rounds = 3
	assert.ErrorContains(t, c.execute(ctx), "5 turns to go; go on with -out")
	c.out = t.TempDir()
	assert.ErrorContains(t, c.report(t.Context(), io.Discard), "no turn was measured")
}

func TestDifferences(t *testing.T) {
	vllm := &target.Target{Name: "vllm"}
	at := func(round int, prompts, version string) finished {
		return finished{turn: turn{round: round, framework: vllm}, env: results.Environment{
			Datasets: []results.File{{Name: "p", SHA256: prompts}},
			Servers:  []results.Server{{Framework: "vllm", Model: "gpt2", Version: version}},
		}}
	}
	assert.Empty(t, differences([]finished{at(1, "a", "1"), at(1, "a", "1"), at(2, "b", "1")}))
	assert.Equal(t, []string{"01--vllm: the prompts in round 1 of p was a, is b"}, differences([]finished{at(1, "a", "1"), at(1, "b", "1")}))
	assert.Equal(t, []string{"02--vllm: the version of vllm was 1, is 2"}, differences([]finished{at(1, "a", "1"), at(2, "b", "2")}))
}

func TestPlan(t *testing.T) {
	var frameworks []*target.Target
	for _, name := range []string{"custom", "vllm", "transformers"} {
		f, err := target.ByName(name)
		require.NoError(t, err)
		frameworks = append(frameworks, f)
	}
	all, err := parseWorkloads("fixed-in21-out64@1+4+16, chat@16")
	require.NoError(t, err)
	var names []string
	o := &options{rounds: 2, models: []model{{name: "a"}, {name: "b"}}, frameworks: frameworks, cases: all, serialMost: 4}
	for _, turn := range o.plan() {
		names = append(names, turn.name())
		if turn.framework.Serial {
			assert.Equal(t, []workload{{"fixed-in21-out64", []int{1, 4}}, {"chat", []int{4}}}, turn.cases, "many in flight would only wait")
		}
	}
	assert.Equal(t, strings.Fields("01-a-custom 01-a-vllm 01-a-transformers 01-b-custom 01-b-vllm 01-b-transformers "+
		"02-a-transformers 02-a-vllm 02-a-custom 02-b-transformers 02-b-vllm 02-b-custom"), names)
	assert.Equal(t, []int{1, 4, 16}, all[0].parallels, "what is planned is not changed")

	for text, want := range map[string]string{
		"": "unknown task", "math@1": "unknown task", "chat": "is not like", "chat@": "is not like", "chat@1+x": "is not like", "chat@0": "is not like", "chat@1,chat@2": "twice",
	} {
		_, err := parseWorkloads(text)
		assert.ErrorContains(t, err, want, text)
	}
}

// BenchmarkServe has the names of the suite's cases, for TestPattern.
func BenchmarkServe(b *testing.B) {
	for _, task := range []string{"fixed-in21-out64", "fixed-in405-out64", "fixed-prefix400-in21-out64"} {
		for _, n := range []int{1, 4, 16} {
			c := results.Case{Framework: "custom", Model: "gpt2", Task: task, Mode: "stream", Parallel: n}
			b.Run(c.String(), func(*testing.B) { fmt.Println("\nran", task, n) })
		}
	}
}

// TestPattern has go test itself say which cases the pattern means.
func TestPattern(t *testing.T) {
	all, err := parseWorkloads(defaultCases)
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	flags := suiteFlags(all, "stream")
	assert.Equal(t, []string{"-task", "fixed-in21-out64,fixed-in405-out64,fixed-prefix400-in21-out64", "-mode", "stream", "-concurrency", "1,4,16"}, flags[2:])
	out, err := exec.Command(self, "-test.run=^$", "-test.benchtime=1x", flags[0], flags[1]).CombinedOutput()
	require.NoError(t, err, "%s", out)
	var ran []string
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "ran ") {
			ran = append(ran, strings.TrimSpace(line[4:]))
		}
	}
	assert.Equal(t, []string{"fixed-in21-out64 1", "fixed-in21-out64 4", "fixed-in21-out64 16", "fixed-in405-out64 1", "fixed-in405-out64 16",
		"fixed-prefix400-in21-out64 16"}, ran)
}

func TestParse(t *testing.T) {
	peers := t.TempDir()
	touch := func(path string) {
		path = filepath.Join(peers, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755))
	}
	for _, name := range []string{target.VLLMEnv, target.TGIEnv, target.LlamaServerEnv, target.TransformersEnv} {
		t.Setenv(name, "")
	}
	t.Setenv("PATH", t.TempDir())
	parse := func(args ...string) (*options, error) {
		return parse(t.Context(), append([]string{"-peers", "/nowhere," + peers}, args...), io.Discard)
	}
	_, err := parse()
	assert.ErrorContains(t, err, "models/gpt2")
	touch("models/gpt2/config.json")
	_, err = parse("-models", "gpt2")
	assert.ErrorContains(t, err, "setup.sh DIR vllm", "what to do")
	assert.ErrorContains(t, err, "tgi/setup.sh", "all that is missing is told at once")
	assert.ErrorContains(t, err, "gpt2-bf16.gguf")

	for _, path := range []string{"models/gpt2-bf16.gguf", "py/bin/vllm", "llama/llama-server"} {
		touch(path)
	}
	o, err := parse("-models", "gpt2", "-frameworks", "custom,vllm,llamacpp", "--", "-num-prompts", "9")
	require.NoError(t, err)
	assert.Equal(t, []string{target.VLLMEnv + "=" + filepath.Join(peers, "py/bin/vllm"), target.LlamaServerEnv + "=" + filepath.Join(peers, "llama/llama-server")}, o.env)
	assert.Equal(t, []string{"-num-prompts", "9"}, o.more)
	assert.Equal(t, filepath.Join(peers, "models/gpt2"), o.models[0].path(o.frameworks[1]))
	assert.Equal(t, filepath.Join(peers, "models/gpt2-bf16.gguf"), o.models[0].path(o.frameworks[2]))
	c := &comparison{options: *o}
	args := strings.Join(c.suiteArgs(turn{2, o.models[0], o.frameworks[2], o.cases}), " ")
	assert.Contains(t, args, "-seed 2 -max-num-seqs 16 -enable-prefix-caching")
	assert.NotContains(t, args, "-dtype", "the file's")

	for want, args := range map[string][]string{
		"-rounds 0":          {"-rounds", "0"},
		"-frameworks: unkno": {"-frameworks", "vlm"},
		"-models: unknown":   {"-models", "gpt3"},
		"no setup makes it":  {"-models", "phi-2"},
		"-cases: ":           {"-cases", "x"},
		"-mode: ":            {"-mode", "x"},
	} {
		_, err := parse(args...)
		assert.ErrorContains(t, err, want)
	}
}
