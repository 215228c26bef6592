package api

import (
	"context"
	"fmt"

	"servebench/serving/engine"
)

// piece is what one token added to an answer.
type piece struct {
	text    string // may be empty: an incomplete character, a special token, a held back stop string
	finish  engine.Finish
	matched string // the stop string that ended it, "" for none
}

// generation turns a request's tokens into text.
type generation struct {
	tokens    Tokens
	text      Detokenizer
	stop      *stopper
	minTokens int // stop strings are looked for in later tokens only
	count     int // tokens so far; those after a stop string's last are not counted
}

func (s *Server) newGeneration(j *job, t Tokens) *generation {
	return &generation{tokens: t, text: s.cfg.Tokenizer.Stream(true), stop: newStopper(j.stop), minTokens: j.req.MinTokens}
}

// next waits for one token. The piece with finish set is the last.
func (g *generation) next(ctx context.Context) (piece, error) {
	tok, err := g.tokens.Next(ctx)
	if err != nil {
		return piece{}, err
	}
	if tok.Finish == engine.FinishAbort {
		return piece{}, fmt.Errorf("the request was aborted: %w", engine.ErrClosed)
	}
	g.count++
	var text string
	if tok.Finish != engine.FinishStop { // the stop token is no part of the text
		text = g.text.Push(tok.ID)
	}
	if tok.Finish != "" {
		text += g.text.Flush()
	}
	p := piece{text: text, finish: tok.Finish}
	if g.count > g.minTokens {
		p.text, p.matched = g.stop.push(text)
	}
	switch {
	case p.matched != "":
		p.finish = engine.FinishStop
		g.tokens.Close()
	case p.finish != "":
		p.text += g.stop.flush()
	}
	return p, nil
}
