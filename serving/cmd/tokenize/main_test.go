package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/testdata"
)

// ask runs the program over lines and returns the lines after the first.
func ask(t *testing.T, first, input string, args ...string) []string {
	t.Helper()
	var out, complaints bytes.Buffer
	require.Zero(t, run(args, strings.NewReader(input), &out, &complaints), complaints.String())
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	assert.Equal(t, first, lines[0])
	return lines[1:]
}

func TestDummy(t *testing.T) {
	got := ask(t, `{"ready":true,"vocab_size":4096,"chat_template":false,"eos":[0]}`, strings.Join([]string{
		`{"text":"<|endoftext|>"}`,
		`{"text":""}`,
		`{"text":"<|endoftext|>","special":false}`,
		`{"ids":[0,1],"skip_special":true}`,
		`{"ids":[0,1]}`,
		`{"ids":[]}`,
		``,
		`{"ids":[4096]}`,
		`{"ids":[-1]}`,
		`{"ids":[4294967296]}`,
		`{"text":"a","ids":[1]}`,
		`{}`,
		`not json`,
		`{"text":"a"} {"text":"b"}`,
		`{"text":"a"}}`,
		`{"txt":"a"}`,
		`{"messages":[]}`,
		`null`,
		`{"text":"<|endoftext|>"}`, // the last line without its newline
	}, "\n"), "--model", "gpt2", "--load-format", "dummy")
	want := []string{
		`{"ids":[0],"count":1}`,
		`{"ids":[],"count":0}`,
		`{"ids":[0],"count":1}`,
		`{"text":"!"}`,
		`{"text":"<|endoftext|>!"}`,
		`{"text":""}`,
		`vocabulary, which ends at 4095`,
		`id -1 is not in the vocabulary`,
		`not a question`,
		`exactly one of`,
		`exactly one of`,
		`not a question`,
		`more than one JSON value`,
		`more than one JSON value`,
		`unknown field`,
		`at least one message`,
		`exactly one of`,
		`{"ids":[0],"count":1}`,
	}
	require.Len(t, got, len(want))
	for i, w := range want {
		assert.Contains(t, got[i], w)
		if !strings.HasPrefix(w, "{") {
			assert.True(t, strings.HasPrefix(got[i], `{"error":`), got[i])
		}
	}
}

func TestMessages(t *testing.T) {
	const talk = `"messages":[{"role":"user","content":"Hi"}]`
	got := ask(t, `{"ready":true,"vocab_size":49152,"chat_template":true,"eos":[2]}`,
		"{"+talk+"}\n{"+talk+`,"add_generation_prompt":false}`+"\n", "--model", testdata.Peers(t, "models", "smollm2"))
	require.Len(t, got, 2)
	assert.True(t, strings.HasPrefix(got[0], `{"ids":[1,`), got[0])
	assert.True(t, strings.HasPrefix(got[0], strings.Split(got[1], "]")[0]), "the opening of the answer comes after it")
}

// TestLongLine holds that a line beyond the limit is answered, and the one after it too.
func TestLongLine(t *testing.T) {
	input := io.MultiReader(strings.NewReader(`{"text":"`), io.LimitReader(letters{}, maxLine), strings.NewReader("\"}\n{\"text\":\"<|endoftext|>\"}\n"))
	var out, complaints bytes.Buffer
	require.Zero(t, run([]string{"--model", "gpt2", "--load-format", "dummy"}, input, &out, &complaints), complaints.String())
	lines := strings.Split(out.String(), "\n")
	assert.Equal(t, `{"error":"the line is longer than 16 MiB"}`, lines[1])
	assert.Equal(t, `{"ids":[0],"count":1}`, lines[2])
}

// letters is an endless text.
type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// TestAnswersAtOnce holds that an answer does not wait for the next question.
func TestAnswersAtOnce(t *testing.T) {
	inReader, in := io.Pipe()
	out, outWriter := io.Pipe()
	status := make(chan int)
	go func() {
		status <- run([]string{"--model", "gpt2", "--load-format", "dummy"}, inReader, outWriter, io.Discard)
	}()
	line := make([]byte, 200)
	n, err := out.Read(line)
	require.NoError(t, err)
	assert.Contains(t, string(line[:n]), `"ready":true`)
	for i := range 3 {
		_, err := fmt.Fprintf(in, `{"ids":[%d]}`+"\n", i+1)
		require.NoError(t, err)
		n, err := out.Read(line)
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprintf(`{"text":"%c"}`+"\n", "!\"#"[i]), strings.ReplaceAll(string(line[:n]), `\"`, `"`))
	}
	require.NoError(t, in.Close())
	assert.Zero(t, <-status)
}

func TestRefusals(t *testing.T) {
	empty := t.TempDir()
	broken := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(broken, "tokenizer.json"), []byte("{}"), 0o600))
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{nil, 2, "--model is required"},
		{[]string{"--model", "gpt2", "more"}, 2, `unexpected argument "more"`},
		{[]string{"--model", "gpt2", "--load-format", "pt"}, 2, "auto and dummy"},
		{[]string{"--modle", "gpt2"}, 2, "modle"},
		{[]string{"--help"}, 0, "load-format"},
		{[]string{"--model", empty}, 1, "tokenizer.json"},
		{[]string{"--model", broken}, 1, "tokenizer.json"},
		{[]string{"--model", filepath.Join(empty, "none.gguf")}, 1, "none.gguf"},
	} {
		var out, complaints bytes.Buffer
		assert.Equal(t, c.status, run(c.args, strings.NewReader(""), &out, &complaints), "%v", c.args)
		assert.Contains(t, complaints.String(), c.want)
		if c.status == 1 {
			assert.Contains(t, out.String(), `{"error":`)
		} else {
			assert.Empty(t, out.String())
		}
	}
}
