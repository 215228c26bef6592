package api

import (
	"context"

	"servebench/serving/engine"
	"servebench/serving/tokenizer"
)

// UseEngine gives an engine the type that a Config wants.
func UseEngine(e *engine.Engine) Engine { return realEngine{e} }

type realEngine struct{ *engine.Engine }

func (e realEngine) Submit(ctx context.Context, r engine.Request) (Tokens, error) {
	s, err := e.Engine.Submit(ctx, r)
	if err != nil {
		return nil, err // and not a nil *Stream inside an interface
	}
	return s, nil
}

// UseTokenizer gives a tokenizer the type that a Config wants.
func UseTokenizer(t *tokenizer.Tokenizer) Tokenizer { return realTokenizer{t} }

type realTokenizer struct{ *tokenizer.Tokenizer }

func (t realTokenizer) Stream(prompt []int32, skipSpecial bool) Detokenizer {
	return t.StreamAfter(prompt, skipSpecial)
}
