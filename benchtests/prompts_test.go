package benchtests

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/datasets"
	"servebench/datasets/tokenizertest"
)

func promptsOf(t *testing.T, args ...string) *promptSource {
	t.Helper()
	o, err := parse(args...)
	require.NoError(t, err)
	return &promptSource{opt: o, model: mustModel("gpt2"), tok: tokenizertest.Local{}}
}

func ids(prompts []datasets.Prompt) []string {
	var out []string
	for _, p := range prompts {
		out = append(out, p.ID)
	}
	return out
}

func TestAuthoredPrompts(t *testing.T) {
	for _, task := range datasets.Tasks() {
		p, err := promptsOf(t).load(t.Context(), task)
		require.NoError(t, err)
		assert.GreaterOrEqual(t, len(p.prompts), 24, task)
		assert.GreaterOrEqual(t, len(p.warm), minWarm, task)
		assert.Equal(t, datasets.CompletionAPI, p.api)
		for _, w := range p.warm {
			assert.NotContains(t, ids(p.prompts), w.ID, "a warm-up prompt of %s is measured", task)
		}
		again, err := promptsOf(t).load(t.Context(), task)
		require.NoError(t, err)
		assert.Equal(t, p, again, "the same draw every time")
	}
}

func TestPromptsFromFolder(t *testing.T) {
	authored, err := promptsOf(t).load(t.Context(), datasets.QA)
	require.NoError(t, err)

	// Rows under the dataset's name.
	rows := t.TempDir()
	data, err := os.ReadFile(filepath.Join(promptsOf(t).opt.root, "testdata", "prompts", "trivia_qa.jsonl"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(rows, "trivia_qa.jsonl"), data, 0o644))
	p, err := promptsOf(t, "-prompts", rows, "-num-prompts", "7").load(t.Context(), datasets.QA)
	require.NoError(t, err)
	assert.Equal(t, ids(authored.prompts)[:7], ids(p.prompts))
	_, err = promptsOf(t, "-prompts", rows).load(t.Context(), datasets.QA)
	assert.ErrorContains(t, err, "-num-prompts", "a hundred are drawn of a dataset")

	// A prepared file.
	src := promptsOf(t)
	set, err := src.prepare(t.Context(), datasets.QA)
	require.NoError(t, err)
	prepared := t.TempDir()
	_, err = set.WriteFile(prepared, datasets.Stream, datasets.CompletionAPI)
	require.NoError(t, err)
	p, err = promptsOf(t, "-prompts", prepared).load(t.Context(), datasets.QA)
	require.NoError(t, err)
	assert.Equal(t, authored.prompts, p.prompts)

	// A damaged one is told, not passed over.
	file := filepath.Join(prepared, set.FileName(datasets.Stream, datasets.CompletionAPI))
	require.NoError(t, os.WriteFile(file, []byte("{}\n"), 0o644))
	_, err = promptsOf(t, "-prompts", prepared).load(t.Context(), datasets.QA)
	assert.ErrorIs(t, err, datasets.ErrFormat)

	// Nothing.
	_, err = promptsOf(t, "-prompts", t.TempDir()).load(t.Context(), datasets.QA)
	assert.ErrorContains(t, err, "trivia_qa.jsonl")
}
