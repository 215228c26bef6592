package datasets_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/datasets"
	"servebench/datasets/tokenizertest"
)

func authoredSet(t *testing.T, task datasets.Task, name string) *datasets.Set {
	t.Helper()
	d := datasets.DatasetFor(task)
	src, err := d.Open(authored(d))
	require.NoError(t, err)
	set, err := datasets.Prepare(t.Context(), src, model(t, name), tokenizertest.Local{}, datasets.Options{Seed: 7, N: 20})
	require.NoError(t, err)
	return set
}

func TestWriteAndLoad(t *testing.T) {
	for _, task := range datasets.Tasks() {
		set, twin := authoredSet(t, task, "mistral-7b-instruct"), authoredSet(t, task, "mistral-7b-instruct")
		for _, api := range datasets.APIs() {
			for _, mode := range datasets.Modes() {
				dir := t.TempDir()
				path, err := set.WriteFile(dir, mode, api)
				require.NoError(t, err)
				assert.Equal(t, filepath.Join(dir, set.FileName(mode, api)), path)
				files, err := os.ReadDir(filepath.Dir(path))
				require.NoError(t, err)
				assert.Len(t, files, 1, "nothing is left beside the file")

				got, err := datasets.Load(path)
				require.NoError(t, err)
				want := *set
				want.Header.API, want.Header.Mode = api, mode
				assert.Equal(t, want, *got)

				first := read(t, path)
				_, err = twin.WriteFile(dir, mode, api)
				require.NoError(t, err)
				assert.Equal(t, first, read(t, path), "the same rows give the same bytes")
			}
		}
	}
}

func TestBodies(t *testing.T) {
	p := datasets.Prompt{
		ID: "x", Task: datasets.Chat, Text: "a <b> & \"c\"\n",
		Sampling: datasets.Sampling{Temperature: .9, TopP: 1, MaxTokens: 100}, Seed: 5,
	}
	for _, c := range []struct {
		mode datasets.Mode
		api  datasets.API
		want string
	}{
		{datasets.Sync, datasets.CompletionAPI, `{"model":"m","prompt":"a <b> & \"c\"\n","temperature":0.9,"top_p":1,"max_tokens":100,"seed":5,"stream":false}`},
		{datasets.Stream, datasets.CompletionAPI, `{"model":"m","prompt":"a <b> & \"c\"\n","temperature":0.9,"top_p":1,"max_tokens":100,"seed":5,"stream":true,"stream_options":{"include_usage":true}}`},
		{datasets.Sync, datasets.ChatAPI, `{"model":"m","messages":[{"role":"user","content":"a <b> & \"c\"\n"}],"temperature":0.9,"top_p":1,"max_tokens":100,"seed":5,"stream":false}`},
		{datasets.Stream, datasets.ChatAPI, `{"model":"m","messages":[{"role":"user","content":"a <b> & \"c\"\n"}],"temperature":0.9,"top_p":1,"max_tokens":100,"seed":5,"stream":true,"stream_options":{"include_usage":true}}`},
	} {
		got, err := p.Body(c.mode, "m", c.api)
		require.NoError(t, err)
		assert.Equal(t, c.want, string(got))
	}
}

// A line's body can be sent as it is: it is JSON of one line under "body".
func TestLines(t *testing.T) {
	set := authoredSet(t, datasets.QA, "gpt2")
	var b bytes.Buffer
	require.NoError(t, set.Write(&b, datasets.Stream, datasets.CompletionAPI))
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	require.Len(t, lines, 1+len(set.Prompts))
	for i, text := range lines[1:] {
		var l struct {
			ID     string
			Tokens datasets.Tokens
			Body   datasets.Request
		}
		require.NoError(t, json.Unmarshal([]byte(text), &l))
		p := set.Prompts[i]
		assert.Equal(t, p.ID, l.ID)
		assert.Equal(t, p.Tokens, l.Tokens)
		assert.Equal(t, p.Text, l.Body.Prompt)
		assert.Equal(t, "openai-community/gpt2", l.Body.Model)
		assert.Equal(t, 40, l.Body.MaxTokens)
		assert.Equal(t, p.Tokens.Completion, p.PromptTokens(datasets.CompletionAPI))
		assert.Equal(t, p.Tokens.Chat, p.PromptTokens(datasets.ChatAPI))
	}
	header := lines[0]
	for _, want := range []string{
		`"format":"servebench-prompts"`, `"version":1`, `"hub":"mandarjoshi/trivia_qa"`, `"rule":"the prompt is closed book`,
		`"window":{"min":100,"max":500}`, `"output_window":{"min":10,"max":30}`, `"output_rule":"max_tokens caps`,
		`"tokenizer":"openai-community/gpt2"`, `"name":"trivia_qa.jsonl"`,
	} {
		assert.Contains(t, header, want)
	}
}

// The prompts' hash is the same for all bodies, and another one for another draw.
func TestHash(t *testing.T) {
	a, b := authoredSet(t, datasets.Code, "gpt2"), authoredSet(t, datasets.Code, "phi-2")
	assert.Len(t, a.Header.PromptsSHA256, 64)
	assert.NotEqual(t, a.Header.PromptsSHA256, b.Header.PromptsSHA256, "other sampling parameters")
	assert.Equal(t, a.Header.PromptsSHA256, authoredSet(t, datasets.Code, "gpt2").Header.PromptsSHA256)
}

func TestLoadRefuses(t *testing.T) {
	set := authoredSet(t, datasets.Chat, "gpt2")
	var b bytes.Buffer
	require.NoError(t, set.Write(&b, datasets.Sync, datasets.CompletionAPI))
	good := b.String()
	_, err := datasets.Read(strings.NewReader(good))
	require.NoError(t, err)
	lines := strings.SplitAfter(good, "\n")
	for name, c := range map[string]struct{ text, want string }{
		"nothing":           {"", "no header line"},
		"no JSON":           {"hello\n", "line 1"},
		"rows of a dataset": {chatRow("x", 30), `format "" version 0`},
		"later version":     {strings.Replace(good, `"version":1`, `"version":2`, 1), `version 2, want "servebench-prompts" version 1`},
		"unknown field":     {strings.Replace(good, `"seed":7`, `"seed":7,"shape":1`, 1), `unknown field "shape"`},
		"unknown route":     {strings.Replace(good, `"api":"completion"`, `"api":"rpc"`, 1), `unknown api "rpc"`},
		"other mode":        {strings.Replace(good, `"mode":"sync"`, `"mode":"stream"`, 1), "line 2"},
		"line gone":         {strings.Join(lines[:len(lines)-2], ""), "19 prompts, but the header says 20"},
		"line cut":          {good[:len(good)-30], "line 21"},
		"lines swapped":     {lines[0] + lines[2] + lines[1] + strings.Join(lines[3:], ""), "the prompts' hash is"},
		"text changed":      {strings.Replace(good, "heat pump", "hot pump", 1), "the prompts' hash is"},
		"tokens changed":    {strings.Replace(good, `"chat":`, `"chat":1`, 1), "the prompts' hash is"},
		"body reformatted":  {strings.Replace(good, `"temperature":0.9`, `"temperature":0.90`, 2), "line"},
		"two values":        {lines[0] + strings.TrimSpace(lines[1]) + lines[2] + strings.Join(lines[3:], ""), "line 2"},
	} {
		t.Run(name, func(t *testing.T) {
			require.NotEqual(t, good, c.text)
			_, err := datasets.Read(strings.NewReader(c.text))
			assert.ErrorContains(t, err, c.want)
			assert.ErrorIs(t, err, datasets.ErrFormat)
		})
	}
	_, err = datasets.Load("no-such-file.jsonl")
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestWriteFileFails(t *testing.T) {
	set := authoredSet(t, datasets.Chat, "gpt2")
	_, err := set.WriteFile(write(t, "a-file", nil), datasets.Sync, datasets.ChatAPI)
	assert.Error(t, err)

	// What is in the way stays, and nothing is left beside it.
	dir := t.TempDir()
	path := filepath.Join(dir, set.FileName(datasets.Sync, datasets.ChatAPI))
	require.NoError(t, os.MkdirAll(filepath.Join(path, "occupied"), 0o755))
	_, err = set.WriteFile(dir, datasets.Sync, datasets.ChatAPI)
	assert.ErrorContains(t, err, path)
	files, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	assert.Len(t, files, 1)
}

// FuzzRead reads foreign bytes: what is accepted is written again as it was.
func FuzzRead(f *testing.F) {
	src, err := datasets.DatasetFor(datasets.Chat).Open(authored(datasets.DatasetFor(datasets.Chat)))
	if err != nil {
		f.Fatal(err)
	}
	for _, m := range datasets.Models()[:1] {
		set, err := datasets.Prepare(f.Context(), src, m, tokenizertest.Local{}, datasets.Options{N: 2})
		if err != nil {
			f.Fatal(err)
		}
		for _, api := range datasets.APIs() {
			var b bytes.Buffer
			if err := set.Write(&b, datasets.Stream, api); err != nil {
				f.Fatal(err)
			}
			f.Add(b.Bytes())
		}
	}
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := datasets.Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := set.Write(&b, set.Header.Mode, set.Header.API); err != nil {
			t.Fatal(err)
		}
		again, err := datasets.Read(&b)
		if err != nil {
			t.Fatal(err)
		}
		if again.Header.PromptsSHA256 != set.Header.PromptsSHA256 {
			t.Fatal("written and read again it is another set")
		}
	})
}
