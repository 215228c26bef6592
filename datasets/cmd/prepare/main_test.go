package main

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/datasets"
	"servebench/datasets/tokenizertest"
	"servebench/testdata"
)

func TestMain(m *testing.M) {
	tokenizertest.Main()
	os.Exit(m.Run())
}

// files are all files under dir, by their path in it.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, path))
		out[path] = string(data)
		return err
	}))
	return out
}

func TestPrepare(t *testing.T) {
	tokenizertest.Use(t, tokenizertest.Good)
	in := testdata.Path("prompts", "oasst1.jsonl")
	var made [2]map[string]string
	for i := range made {
		dir := t.TempDir()
		var out, log bytes.Buffer
		require.NoError(t, run(t.Context(), []string{"-dataset", "oasst1", "-in", in, "-model", "gpt2,phi-2", "-n", "24", "-out", dir}, &out, &log))
		made[i] = files(t, dir)
		assert.Contains(t, out.String(), "oasst1 for gpt2: 35 rows read, 31 kept, 1 dropped: below 20 tokens, "+
			"1 dropped: deleted, 1 dropped: not English, 1 dropped: not an opening prompt; 24 drawn, sha256 ")
		assert.Contains(t, out.String(), "  wrote "+filepath.Join(dir, "phi-2", "oasst1-chat-stream.jsonl"))
		assert.Empty(t, log.String())
	}
	assert.Equal(t, made[0], made[1], "two runs write the same bytes")
	assert.Len(t, made[0], 8)
	for _, m := range []string{"gpt2", "phi-2"} {
		for _, name := range []string{"completion-sync", "completion-stream", "chat-sync", "chat-stream"} {
			assert.NotEmpty(t, made[0][m+"/oasst1-"+name+".jsonl"])
		}
	}
}

func TestTokenizerFlag(t *testing.T) {
	tokenizertest.Use(t, tokenizertest.Good)
	dir := t.TempDir()
	in := testdata.Path("prompts", "trivia_qa.jsonl")
	args := []string{"-dataset", "trivia_qa", "-in", in, "-model", "phi-2", "-n", "5", "-seed", "9", "-tokenizer", "some/vocabulary.gguf", "-out", dir}
	require.NoError(t, run(t.Context(), args, &bytes.Buffer{}, &bytes.Buffer{}))
	set, err := datasets.Load(filepath.Join(dir, "phi-2", "trivia_qa-completion-sync.jsonl"))
	require.NoError(t, err)
	assert.Equal(t, "vocabulary.gguf", set.Header.Tokenizer)
	assert.Equal(t, uint64(9), set.Header.Seed)
	assert.Len(t, set.Prompts, 5)
}

func TestErrors(t *testing.T) {
	tokenizertest.Use(t, tokenizertest.Good)
	in := testdata.Path("prompts", "oasst1.jsonl")
	for name, c := range map[string]struct{ args, want string }{
		"no dataset":      {"-model gpt2 -out OUT", `-dataset: unknown dataset "": choose from oasst1, cnn_dailymail, trivia_qa, openai_humaneval, or all`},
		"unknown dataset": {"-dataset squad -model gpt2 -out OUT", `unknown dataset "squad"`},
		"unknown model":   {"-dataset oasst1 -model gpt2,gpt5 -out OUT", `-model: unknown model "gpt5": choose from gpt2, phi-2`},
		"no out":          {"-dataset oasst1 -model gpt2", "-out is missing"},
		"unknown flag":    {"-dataset oasst1 -mode sync", "flag provided but not defined: -mode"},
		"argument":        {"-dataset oasst1 -model gpt2 -out OUT more", `unexpected argument "more"`},
		"n":               {"-dataset oasst1 -model gpt2 -out OUT -n 0", "-n is 0, want at least 1"},
		"in for all":      {"-dataset all -model gpt2 -out OUT -in IN", "-in has the rows of one dataset, but -dataset names 4"},
		"in and split":    {"-dataset oasst1 -model gpt2 -out OUT -in IN -split train", "give one of them"},
		"tokenizer for 2": {"-dataset oasst1 -model gpt2,phi-2 -out OUT -in IN -tokenizer x", "-tokenizer is the tokenizer of one model"},
		"no such file":    {"-dataset oasst1 -model gpt2 -out OUT -in nowhere.jsonl", "nowhere.jsonl"},
		"wrong dataset":   {"-dataset trivia_qa -model gpt2 -out OUT -in IN", `oasst1.jsonl:1 is not a row of mandarjoshi/trivia_qa (rc.nocontext): no field "question"`},
		"too few":         {"-dataset oasst1 -model gpt2 -out OUT -in IN", "too few prompts of oasst1 for gpt2: 31 found, 100 needed"},
		"unknown split":   {"-dataset oasst1 -model gpt2 -out OUT -split test", `unknown split of oasst1 "test": choose from train, validation`},
	} {
		t.Run(name, func(t *testing.T) {
			out := t.TempDir()
			args := strings.Fields(strings.NewReplacer("OUT", out, "IN", in).Replace(c.args))
			err := run(t.Context(), args, &bytes.Buffer{}, &bytes.Buffer{})
			assert.ErrorContains(t, err, c.want)
			assert.Empty(t, files(t, out), "nothing is written")
		})
	}
}

func TestHelp(t *testing.T) {
	var log bytes.Buffer
	assert.ErrorIs(t, run(t.Context(), []string{"-help"}, &bytes.Buffer{}, &log), flag.ErrHelp)
	assert.Contains(t, log.String(), "-dataset names")
}

func TestTokenizerFails(t *testing.T) {
	tokenizertest.Use(t, tokenizertest.DieAtOne)
	out := t.TempDir()
	err := run(t.Context(), []string{"-dataset", "oasst1", "-in", testdata.Path("prompts", "oasst1.jsonl"), "-model", "gpt2", "-out", out}, &bytes.Buffer{}, &bytes.Buffer{})
	assert.ErrorContains(t, err, "out of luck")
	assert.ErrorContains(t, err, "oasst1.jsonl:1 to oasst1.jsonl:")
	assert.Empty(t, files(t, out))

	tokenizertest.Use(t, tokenizertest.NotReady)
	err = run(t.Context(), []string{"-dataset", "oasst1", "-in", testdata.Path("prompts", "oasst1.jsonl"), "-model", "gpt2", "-out", out}, &bytes.Buffer{}, &bytes.Buffer{})
	assert.ErrorContains(t, err, "tokenizer of gpt2 (a local one can be given with -tokenizer)")
}
