package contract

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/benchtests/target"
	"servebench/datasets/tokenizertest"
)

func TestCold(t *testing.T) {
	vllm, err := target.ByName("vllm")
	require.NoError(t, err)
	transformers, err := target.ByName("transformers")
	require.NoError(t, err)
	f := newFake(t)
	o := ColdOptions{Server: f.server(), Resetter: vllm, Tokenizer: tokenizertest.Local{}, Prompts: prompts(5), Key: "7 gpt2 qa stream 1 0"}

	f.canReset = true
	got, cache, note, err := Cold(t.Context(), o)
	require.NoError(t, err)
	assert.Equal(t, CacheReset, cache)
	assert.Empty(t, note)
	assert.Equal(t, o.Prompts, got, "as they are")
	assert.EqualValues(t, 1, f.resets.Load())

	// Without the route, with one that fails, or without any, every prompt has
	// an opening that no other pass has.
	check := func(name, because string) {
		t.Helper()
		got, cache, note, err := Cold(t.Context(), o)
		require.NoError(t, err, name)
		assert.Equal(t, CachePrefixed, cache, name)
		assert.Contains(t, note, because, name)
		require.Len(t, got, 5)
		opening := Opening(o.Key)
		assert.Contains(t, note, opening)
		for i, p := range got {
			assert.Equal(t, opening+o.Prompts[i].Text, p.Text)
			assert.Equal(t, o.Prompts[i].ID, p.ID)
			assert.Equal(t, len(tokenizertest.Encode(p.Text, true)), p.Tokens.Completion, "counted anew")
			assert.Equal(t, len(tokenizertest.Encode(p.Text, false)), p.Tokens.Text)
			assert.Equal(t, len(tokenizertest.Encode(tokenizertest.Render(p.Messages()), false)), p.Tokens.Chat)
			assert.Less(t, len(tokenizertest.Encode(opening, false)), 16, "shorter than a block")
		}
		assert.NotContains(t, o.Prompts[0].Text, opening, "the draw is left alone")
	}
	f.canReset = false
	check("no route", "cannot be emptied")
	o.Resetter = transformers
	check("a framework without one", "cannot be emptied")
	o.Resetter = nil
	check("none", "cannot be emptied")
	o.Resetter = failing{}
	check("one that fails", "was not emptied (busy)")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, _, err = Cold(ctx, o)
	assert.ErrorIs(t, err, context.Canceled)

	seen := map[string]bool{}
	for _, key := range []string{"a", "b", "a 0", "a 1"} {
		opening := Opening(key)
		assert.Equal(t, opening, Opening(key), "the same for every framework")
		assert.False(t, seen[opening])
		assert.True(t, strings.HasSuffix(opening, " "))
		seen[opening] = true
	}
}

// failing is a Resetter whose server is busy.
type failing struct{}

func (failing) Reset(context.Context, *http.Client, string, string) error { return errors.New("busy") }
