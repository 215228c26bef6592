package datasets_test

import (
	"context"
	"errors"
	"os/exec"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/datasets"
	"servebench/testdata"
)

var buildOnce = sync.OnceValues(func() (string, error) { return datasets.BuildTokenizer(context.Background()) })

// realTokenizer starts the module's own tokenizer program, built anew.
func realTokenizer(t *testing.T, from string, args ...string) *datasets.TokenizerProcess {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skipf("SKIPPED, not tested here: the go command, which builds the tokenizer program, is missing: %v", err)
	}
	program, err := buildOnce()
	require.NoError(t, err)
	p, err := datasets.StartTokenizer(t.Context(), from, datasets.TokenizerOptions{Binary: program, Args: args})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	return p
}

// checkAuthored holds that the repository's own prompts are enough for a run
// and a warm-up with a tokenizer.
func checkAuthored(t *testing.T, tok datasets.Tokenizer, m datasets.Model) {
	t.Helper()
	for _, d := range datasets.Datasets() {
		src, err := d.Open(authored(d))
		require.NoError(t, err)
		set, err := datasets.Prepare(t.Context(), src, m, tok, datasets.Options{N: datasets.All})
		require.NoError(t, err)
		t.Logf("%s: %s", d.Name, set.Header.Rows)
		assert.GreaterOrEqual(t, len(set.Prompts), 24, d.Name)
		checkPrompts(t, set, m)
		warm, err := datasets.WarmUp(t.Context(), d.Task, m, tok)
		require.NoError(t, err)
		assert.GreaterOrEqual(t, len(warm.Prompts), 4, d.Name)
	}
}

func TestAuthoredWithDummyVocabulary(t *testing.T) {
	m := model(t, "gpt2")
	checkAuthored(t, realTokenizer(t, m.Hub, "--load-format", "dummy"), m)
}

func TestAuthoredWithSmolLM2(t *testing.T) {
	checkAuthored(t, realTokenizer(t, testdata.Peers(t, "models", "smollm2")), model(t, "smollm2-135m-instruct"))
}

func TestAuthoredWithGPT2(t *testing.T) {
	checkAuthored(t, realTokenizer(t, testdata.Shared(t, "tokenizers", "gpt-2.gguf")), model(t, "gpt2"))
}

// How many rows of the public samples fit, with GPT-2's real vocabulary. The
// figures are facts of the rows, the rules and the vocabulary: one that
// changes says that a rule or a count changed.
func TestRealRowsWithGPT2(t *testing.T) {
	tok := realTokenizer(t, testdata.Shared(t, "tokenizers", "gpt-2.gguf"))
	m := model(t, "gpt2")
	for _, c := range []struct {
		task  datasets.Task
		files [][]string
		want  datasets.Rows
	}{
		{datasets.Chat, [][]string{{"oasst1", "messages.jsonl"}, {"oasst1", "root_prompts.jsonl"}}, datasets.Rows{
			Read: 199, Kept: 38,
			Dropped: map[string]int{"not an opening prompt": 107, "below 20 tokens": 51, "above 100 tokens": 3},
		}},
		{datasets.Summarization, [][]string{{"cnn_dailymail", "3.0.0_validation.jsonl"}}, datasets.Rows{
			Read: 200, Kept: 160, Drawn: 100, Dropped: map[string]int{"above 800 tokens": 40},
		}},
		{datasets.QA, [][]string{{"trivia_qa", "rc_nocontext_validation.jsonl"}}, datasets.Rows{
			Read: 200, Kept: 200, Drawn: 100, Dropped: map[string]int{},
		}},
		{datasets.Code, [][]string{{"openai_humaneval", "HumanEval.jsonl"}}, datasets.Rows{
			Read: 100, Kept: 86, Dropped: map[string]int{"above 50 tokens": 14},
		}},
	} {
		d := datasets.DatasetFor(c.task)
		var paths []string
		for _, f := range c.files {
			paths = append(paths, testdata.Shared(t, append([]string{"data"}, f...)...))
		}
		src, err := d.Open(paths...)
		require.NoError(t, err)
		set, err := datasets.Prepare(t.Context(), src, m, tok, datasets.Options{Seed: datasets.DefaultSeed})
		var few *datasets.TooFewError
		if errors.As(err, &few) {
			t.Log(err)
			assert.Equal(t, c.want, few.Rows, d.Name)
			continue
		}
		require.NoError(t, err)
		t.Logf("%s: %s", d.Name, set.Header.Rows)
		assert.Equal(t, c.want, set.Header.Rows, d.Name)
		assert.Len(t, set.Prompts, 100)
		checkPrompts(t, set, m)
		sum := 0
		for _, p := range set.Prompts {
			sum += p.Tokens.Text
			assert.Equal(t, p.Tokens.Text, p.Tokens.Completion, "GPT-2 puts no token around a text")
		}
		t.Logf("%s: mean prompt %d tokens", d.Name, sum/len(set.Prompts))
	}
}
