package datasets_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/datasets"
	"servebench/datasets/tokenizertest"
)

func articles(t *testing.T) *datasets.Source {
	t.Helper()
	d := datasets.DatasetFor(datasets.Summarization)
	src, err := d.Open(authored(d))
	require.NoError(t, err)
	return src
}

func TestFixedNames(t *testing.T) {
	check := func(f datasets.Fixed, name string) {
		t.Helper()
		assert.Equal(t, datasets.Task(name), f.Task())
		got, ok := f.Task().Fixed()
		assert.True(t, ok, name)
		assert.Equal(t, f, got)
		task, err := datasets.ParseTask(name)
		require.NoError(t, err)
		w := task.Windows()
		assert.Equal(t, datasets.Window{Min: f.Prefix + f.Input, Max: f.Prefix + f.Input}, w.In)
		for _, m := range datasets.Models() {
			assert.Equal(t, datasets.CompletionAPI, m.API(task), m.Name)
			assert.Equal(t, datasets.Sampling{TopP: 1, MaxTokens: f.Output}, m.Sampling(task), m.Name)
		}
	}
	check(datasets.Fixed{Input: 21, Output: 64}, "fixed-in21-out64")
	check(datasets.Fixed{Prefix: 400, Input: 21, Output: 64}, "fixed-prefix400-in21-out64")
	for _, name := range []string{"fixed", "fixed-", "fixed-in21", "fixed-in7-out64", "fixed-in21-out0", "fixed-in021-out64", "fixed-in21-out64x",
		"fixed-prefix0-in21-out64", "fixed-prefix-1-in21-out64", "fixed-in99999999-out1", "in21-out64", "fixed-in 21-out64"} {
		_, err := datasets.ParseTask(name)
		assert.ErrorContains(t, err, "unknown task", name)
	}
	assert.NotContains(t, datasets.Tasks(), datasets.Task("fixed-in21-out64"), "the matrix has it only when asked for")
}

func FuzzFixed(f *testing.F) {
	f.Add("fixed-in21-out64")
	f.Add("fixed-prefix400-in21-out64")
	f.Fuzz(func(t *testing.T, name string) {
		if fixed, ok := datasets.Task(name).Fixed(); ok {
			require.NoError(t, fixed.Check())
			require.Equal(t, name, string(fixed.Task()), "one name for one task")
		}
	})
}

func TestDrawFixed(t *testing.T) {
	ctx, tok, gpt2 := t.Context(), tokenizertest.Local{}, model(t, "gpt2")
	for _, f := range []datasets.Fixed{
		{Input: 21, Output: 64}, {Input: 405, Output: 64}, {Prefix: 400, Input: 21, Output: 64}, {Input: datasets.MinInput, Output: 1},
	} {
		t.Run(string(f.Task()), func(t *testing.T) {
			draw := func(key string, seed uint64) *datasets.Set {
				set, err := datasets.DrawFixed(ctx, articles(t), gpt2, tok, f, datasets.FixedOptions{Seed: seed, Key: key, N: 40})
				require.NoError(t, err)
				require.Len(t, set.Prompts, 40)
				return set
			}
			set := draw("a", 1)
			assert.Equal(t, set, draw("a", 1), "the same draw every time")
			seen := map[string]bool{}
			for _, p := range set.Prompts {
				ids := tokenizertest.Encode(p.Text, true)
				require.Len(t, ids, f.Prefix+f.Input, p.Text)
				require.Equal(t, f.Prefix+f.Input, p.PromptTokens(datasets.CompletionAPI))
				require.Equal(t, f.Output, p.MaxTokens)
				require.Equal(t, tokenizertest.Encode(set.Prompts[0].Text, true)[:f.Prefix], ids[:f.Prefix], "the prefix")
				require.False(t, seen[p.Text], "twice")
				seen[p.Text] = true
			}
			for _, other := range []*datasets.Set{draw("b", 1), draw("a", 2)} {
				assert.NotEqual(t, set.Header.PromptsSHA256, other.Header.PromptsSHA256)
				for _, p := range other.Prompts {
					require.False(t, seen[p.Text], "a prompt of another draw")
				}
				if f.Prefix > 0 {
					assert.NotEqual(t, opening(set, f.Prefix/4), opening(other, f.Prefix/4), "a prefix of its own")
				}
			}
		})
	}
}

// opening returns the first words of a set's first prompt.
func opening(s *datasets.Set, n int) []string { return strings.Fields(s.Prompts[0].Text)[:n] }

// TestDrawFixedCold holds that a cache of what prompts begin with is of no
// use: of two prompts none shares more than a few tokens.
func TestDrawFixedCold(t *testing.T) {
	f := datasets.Fixed{Input: 64, Output: 64}
	var all [][]int32
	for _, key := range []string{"stream 1 pass 0", "stream 1 pass 1", "stream 16 pass 0"} {
		set, err := datasets.DrawFixed(t.Context(), articles(t), model(t, "gpt2"), tokenizertest.Local{}, f,
			datasets.FixedOptions{Seed: 1, Key: key, N: 256})
		require.NoError(t, err)
		for _, p := range set.Prompts {
			all = append(all, tokenizertest.Encode(p.Text, true))
		}
	}
	slices.SortFunc(all, slices.Compare)
	for i := 1; i < len(all); i++ {
		n := 0
		for n < len(all[i]) && all[i][n] == all[i-1][n] {
			n++
		}
		require.Less(t, n, 32, "prompts begin alike")
	}
}

func TestDrawFixedRefuses(t *testing.T) {
	check := func(f datasets.Fixed, n int, want string) {
		t.Helper()
		_, err := datasets.DrawFixed(t.Context(), articles(t), model(t, "gpt2"), tokenizertest.Local{}, f, datasets.FixedOptions{N: n})
		assert.ErrorContains(t, err, want)
	}
	check(datasets.Fixed{Input: 7, Output: 1}, 1, "prompts can differ")
	check(datasets.Fixed{Input: 21}, 1, "answers of 0 tokens")
	check(datasets.Fixed{Input: 21, Output: 1, Prefix: -1}, 1, "a shared prefix of -1")
	check(datasets.Fixed{Input: 21, Output: 1}, 1<<20, "too few for 1048576 prompts")
	check(datasets.Fixed{Input: 1 << 20, Output: 1}, 1, "too few for 1 prompts of 1048576 tokens")
}
