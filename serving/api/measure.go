package api

import (
	"context"
	"io"
	"sync/atomic"
	"time"

	"servebench/serving/engine"
)

// measured is an Engine whose requests are observed by metrics.
type measured struct {
	Engine
	m *metrics
}

// Submit is Engine's. The request's end is seen by whoever comes first: the
// reader of its tokens, or the end of ctx.
func (e measured) Submit(ctx context.Context, r engine.Request) (Tokens, error) {
	tokens, err := e.Engine.Submit(ctx, r)
	if err != nil {
		return nil, err
	}
	t := &measuredTokens{Tokens: tokens, m: e.m, ctx: ctx, prompt: len(r.Prompt), most: r.MaxTokens}
	t.unwatch = context.AfterFunc(ctx, func() { t.end(endedAbort) })
	return t, nil
}

// measuredTokens observes one request as its handler reads it.
type measuredTokens struct {
	Tokens
	m       *metrics
	ctx     context.Context // Submit's
	unwatch func() bool
	prompt  int // tokens of it
	most    int // max_tokens

	ended atomic.Bool
	read  atomic.Int64 // tokens that Next returned

	// The reader's alone. Tokens that are read late come in a run with one
	// Timing().Last: the run shares the time since the one before.
	since time.Time // Last of the run before
	last  time.Time // Last of this run
	run   int       // tokens of it, the request's first token left out
}

// Next is Tokens'.
func (t *measuredTokens) Next(ctx context.Context) (engine.Token, error) {
	tok, err := t.Tokens.Next(ctx)
	switch {
	case err == nil && tok.Finish == engine.FinishAbort:
		t.end(endedAbort)
	case err == nil:
		t.token()
		if tok.Finish != "" {
			t.end(outcome(tok.Finish))
		}
	case err != io.EOF && ctx.Err() == nil && t.ctx.Err() == nil:
		t.end(endedError)
	}
	return tok, err
}

// Stop is Tokens': the text is complete.
func (t *measuredTokens) Stop() {
	t.end(endedStop)
	t.Tokens.Stop()
}

// Close is Tokens'.
func (t *measuredTokens) Close() {
	t.end(endedAbort)
	t.Tokens.Close()
}

// token observes what is known when a token was read.
func (t *measuredTokens) token() {
	tm := t.Timing()
	if t.read.Add(1) == 1 {
		t.m.firstToken.Observe(tm.First.Sub(tm.Submitted).Seconds())
		cached := float64(t.CachedTokens())
		t.m.allCached.Add(cached)
		t.m.cached.Add(cached)
		t.m.computed.Add(float64(t.prompt) - cached)
		t.since, t.last = tm.First, tm.Last
		return
	}
	if !tm.Last.Equal(t.last) {
		t.endRun()
		t.last = tm.Last
	}
	t.run++
}

// endRun observes the tokens of a run.
func (t *measuredTokens) endRun() {
	if t.run == 0 {
		return
	}
	each := t.last.Sub(t.since).Seconds() / float64(t.run)
	for range t.run {
		t.m.interToken.Observe(each)
	}
	t.since, t.run = t.last, 0
}

// end observes a request once.
func (t *measuredTokens) end(how outcome) {
	if t.ended.Swap(true) {
		return
	}
	t.m.ended[how].Inc()
	if how != endedStop && how != endedLength {
		return // when it was cut off says nothing about how long such requests take
	}
	t.unwatch()
	t.endRun()
	tm, n := t.Timing(), int(t.read.Load())
	t.m.total.Observe(tm.Last.Sub(tm.Submitted).Seconds())
	t.m.queue.Observe(tm.Scheduled.Sub(tm.Submitted).Seconds())
	t.m.inference.Observe(tm.Last.Sub(tm.Scheduled).Seconds())
	t.m.prefill.Observe(tm.First.Sub(tm.Scheduled).Seconds())
	t.m.decode.Observe(tm.Last.Sub(tm.First).Seconds())
	if n > 1 {
		t.m.perToken.Observe(tm.Last.Sub(tm.First).Seconds() / float64(n-1))
	}
	t.m.promptTokens.Observe(float64(t.prompt))
	t.m.outputTokens.Observe(float64(n))
	t.m.maxTokens.Observe(float64(t.most))
	t.m.prefillTokens.Observe(float64(t.prompt - t.CachedTokens()))
}
