package tokenizer

import (
	_ "embed"
	"fmt"
)

// dummyJSON is a byte-level BPE of 4096 tokens made for this project: by
// testdata/make_dummy_vocabulary.py, from the project's own text. Ids 1 to 256
// are the single bytes, each token after them is the result of one merge, so
// that its beginning is a smaller vocabulary.
//
//go:embed dummy.json
var dummyJSON []byte

// dummyLeast is the least vocabulary: <|endoftext|> and the single bytes.
const dummyLeast = 257

// Dummy returns the small built-in vocabulary that goes with seeded dummy
// weights of a model of vocab ids: its first vocab tokens, all 4096 for most
// models. English prompts have about 1.1 to 1.5 times as many tokens as in
// GPT-2's vocabulary, Python 0.8 to 0.9. An error below 257 ids, which the
// single bytes need.
func Dummy(vocab int) (*Tokenizer, error) {
	if vocab < dummyLeast {
		return nil, fmt.Errorf("the built-in vocabulary needs a model of at least %d ids, not %d: give a model with a tokenizer.json", dummyLeast, vocab)
	}
	v, err := parseJSON(dummyJSON)
	if err != nil {
		return nil, fmt.Errorf("built-in vocabulary: %w", err)
	}
	if n := min(vocab, len(v.tokens)); n < len(v.tokens) {
		v.tokens, v.merges = v.tokens[:n], v.merges[:n-dummyLeast]
	}
	end := v.added[0]
	v.eos = []int64{end.ID}
	v.names = map[string]string{"bos_token": end.Content, "eos_token": end.Content}
	return v.tokenizer()
}
