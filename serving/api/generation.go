package api

import (
	"context"
	"fmt"
	"slices"

	"servebench/serving/engine"
)

// piece is what one token added to a choice.
type piece struct {
	choice  int
	text    string // may be empty: an incomplete character, a special token, a held back stop string
	token   engine.Token
	count   int            // tokens of the choice so far, this one included
	prompt  []engine.Token // the prompt's, in a choice's first piece, where they are told with log-probabilities
	finish  engine.Finish
	matched string // the stop string that ended it, "" for none
	stopID  bool   // token is a stop token that the request gave, and ended it
}

// noToken is the id of a piece without a token: a prompt given back alone.
const noToken = -1

// generation turns the tokens of one choice into text.
type generation struct {
	index  int
	job    *job
	req    *engine.Request
	tokens Tokens
	text   Detokenizer
	stop   *stopper
	begun  bool
	count  int // tokens so far; those after a stop string's last are not counted
	cached int // tokens of the prompt that the prefix cache had, known from the first piece on
}

func (s *Server) newGeneration(j *job, index int, t Tokens) *generation {
	q := &j.seqs[index]
	return &generation{index: index, job: j, req: q, tokens: t,
		text: s.cfg.Tokenizer.Stream(q.Prompt, !j.out.special), stop: newStopper(j.stop)}
}

// next waits for one token. The piece with finish set is the last.
func (g *generation) next(ctx context.Context) (p piece, err error) {
	p.choice = g.index
	first := !g.begun
	if first && g.req.PromptLogprobs {
		if p.prompt, err = g.tokens.Prompt(ctx); err != nil {
			return p, err
		}
	}
	if p.token, err = g.tokens.Next(ctx); err != nil {
		return p, err
	}
	if p.token.Finish == engine.FinishAbort {
		return p, fmt.Errorf("the request was aborted: %w", engine.ErrClosed)
	}
	if first {
		g.begun = true
		g.cached = g.tokens.CachedTokens()
		p.text = g.job.inputs[g.index/g.job.n].echo
	}
	if g.job.out.promptOnly {
		p.token, p.finish = engine.Token{ID: noToken}, engine.FinishLength
		return p, nil
	}
	g.count++
	p.count, p.finish = g.count, p.token.Finish
	g.decode(&p)
	return p, nil
}

// decode adds a token's text to its piece, and looks for the end in it.
func (g *generation) decode(p *piece) {
	stopped := p.finish == engine.FinishStop
	p.stopID = stopped && slices.Contains(g.job.stopIDs, p.token.ID)
	var text string
	if !stopped || g.job.out.includeStop {
		text = g.text.Push(p.token.ID)
	}
	if p.finish != "" {
		text += g.text.Flush()
	}
	text, p.matched = g.stop.push(text, g.count > g.req.MinTokens)
	switch {
	case p.matched != "":
		p.finish, p.stopID = engine.FinishStop, false
		if g.job.out.includeStop {
			text += p.matched
		}
		g.tokens.Stop()
	case p.finish != "":
		text += g.stop.flush()
	}
	if p.text == "" {
		p.text = text // no copy for all but an echoed first piece
	} else {
		p.text += text
	}
}
