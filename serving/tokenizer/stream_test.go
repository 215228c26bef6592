package tokenizer

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// checkStream holds that a stream's pieces are valid UTF-8 and join to Decode's text.
func checkStream(t *testing.T, tok *Tokenizer, ids []int32) {
	t.Helper()
	for _, skip := range []bool{false, true} {
		var text strings.Builder
		s := tok.Stream(skip)
		for _, id := range ids {
			piece := s.Push(id)
			assert.True(t, utf8.ValidString(piece), "piece %q of %v", piece, ids)
			text.WriteString(piece)
		}
		text.WriteString(s.Flush())
		assert.Equal(t, tok.Decode(ids, skip), text.String(), "stream of %v", ids)
		assert.Empty(t, s.Flush(), "second flush")
	}
}

func TestSpelling(t *testing.T) {
	tok, err := Dummy(4096)
	require.NoError(t, err)
	for _, text := range []string{" ", "e", " the", "\n", "\x80"} {
		id, ok := tok.bpe.whole[text]
		if !ok {
			id = tok.bpe.bytes[text[0]]
		}
		assert.Equal(t, text, tok.Bytes(id))
		raw, ok := tokenBytes(tok.Spelling(id))
		assert.True(t, ok)
		assert.Equal(t, text, raw)
	}
	assert.Equal(t, "Ġ", tok.Spelling(tok.bpe.bytes[' ']))
	assert.Equal(t, "<|endoftext|>", tok.Bytes(0))
	assert.Equal(t, "<|endoftext|>", tok.Spelling(0))
	for _, id := range []int32{-1, 4096, 1 << 30} {
		assert.Empty(t, tok.Bytes(id))
		assert.Empty(t, tok.Spelling(id))
	}
}
