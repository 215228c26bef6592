package tokenizer

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
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
