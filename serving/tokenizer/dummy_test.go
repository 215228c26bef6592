package tokenizer

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDummy(t *testing.T) {
	const text = "The quick brown fox can't jump over 12 lazy dogs.\n\tdef f(x): return x\x00é👍<|endoftext|>"
	for _, c := range []struct{ vocab, size int }{{257, 257}, {258, 258}, {1000, 1000}, {4096, 4096}, {50257, 4096}} {
		tok, err := Dummy(c.vocab)
		require.NoError(t, err)
		assert.Equal(t, c.size, tok.Size())
		assert.Equal(t, []int32{0}, tok.EOS())
		assert.False(t, tok.HasChatTemplate())
		ids := tok.Encode(text, true)
		for _, id := range ids {
			assert.Less(t, int(id), c.size)
		}
		assert.Equal(t, int32(0), ids[len(ids)-1])
		assert.Equal(t, text, tok.Decode(ids, false))
		assert.Equal(t, strings.TrimSuffix(text, "<|endoftext|>"), tok.Decode(ids, true))
	}
	full, err := Dummy(1 << 20)
	require.NoError(t, err)
	assert.Less(t, len(full.Encode(text, true)), 45, "words are not single bytes")
	_, err = Dummy(256)
	assert.ErrorContains(t, err, "257")
}
