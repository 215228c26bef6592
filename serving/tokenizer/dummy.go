package tokenizer

import "errors"

// Dummy returns the small built-in vocabulary that goes with seeded dummy
// weights of a model with vocab ids; all its ids are below vocab.
func Dummy(vocab int) (*Tokenizer, error) { return nil, errors.New("tokenizer: not there yet") }
