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

	// With a route that empties the cache, without one, and with one that fails:
	// every prompt has an opening that no other pass has.
	check := func(name, word, says string) {
		t.Helper()
		got, cache, note, err := Cold(t.Context(), o)
		require.NoError(t, err, name)
		assert.Equal(t, word, cache, name)
		assert.Contains(t, note, says, name)
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
	f.canReset = true
	check("a route", CacheReset, "on all frameworks alike")
	assert.EqualValues(t, 1, f.resets.Load())
	f.canReset = false
	check("no route", CachePrefixed, "on all frameworks alike")
	o.Resetter = transformers
	check("a framework without one", CachePrefixed, "on all frameworks alike")
	o.Resetter = nil
	check("none", CachePrefixed, "on all frameworks alike")
	o.Resetter = failing{}
	check("one that fails", CachePrefixed, "the cache was not emptied: busy")

	o.Resetter = vllm
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
