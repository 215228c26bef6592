package engine

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"servebench/serving/sched"
)

// Stream gives a request's tokens in order. One goroutine reads it at a time;
// a slow reader holds up nobody.
type Stream struct {
	engine *Engine
	req    Request // Prompt is seq.Tokens' beginning
	prompt int     // tokens of it

	// The engine's goroutine's alone.
	seq     sched.Seq
	unwatch func() bool // stops the watch on Submit's context

	cancelled bool // guarded by Engine.mu

	mu     sync.Mutex
	out    []int32 // seq.Tokens behind the prompt, as far as published
	finish Finish
	err    error
	read   int  // tokens that Next returned
	over   bool // Next returned the one with Finish
	ready  chan struct{}
}

func newStream(e *Engine, r Request) *Stream {
	s := &Stream{engine: e, req: r, prompt: len(r.Prompt), ready: make(chan struct{}, 1)}
	// Room for everything from the start: the published part is never moved,
	// and steps allocate nothing.
	tokens := append(make([]int32, 0, len(r.Prompt)+r.MaxTokens), r.Prompt...)
	s.req.Prompt = tokens[:len(r.Prompt):len(r.Prompt)]
	s.req.StopTokens = slices.Clone(r.StopTokens)
	s.seq = sched.Seq{Tokens: tokens, Limit: cap(tokens), Owner: s}
	return s
}

// Next waits for the next token. The last one has Finish set; after it Next
// returns io.EOF. A request that failed returns its error instead, from then
// on: ErrForward, ErrSample or ErrDead. When ctx (this call's, not Submit's) is
// done first, Next returns its error and the request runs on.
func (s *Stream) Next(ctx context.Context) (Token, error) {
	for {
		if t, err, ok := s.take(); ok {
			return t, err
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			return Token{}, ctx.Err()
		}
	}
}

// take returns what Next has to say without waiting, if there is anything.
func (s *Stream) take() (t Token, err error, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over:
		return Token{}, io.EOF, true
	case s.read < len(s.out):
		t.ID = s.out[s.read]
		s.read++
		if s.read == len(s.out) && s.finish != FinishAbort {
			t.Finish = s.finish
			s.over = s.finish != ""
		}
		return t, nil, true
	case s.err != nil:
		return Token{}, s.err, true
	case s.finish == FinishAbort:
		s.over = true
		return Token{ID: -1, Finish: FinishAbort}, nil, true
	}
	return Token{}, nil, false
}

// CachedTokens is the number of the prompt's tokens that were found in the
// prefix cache. It is settled once Next returned a token.
func (s *Stream) CachedTokens() int { return 0 }

// Prompt waits for the prompt to be computed and returns its tokens with their
// Logprobs, which the first one has none of. Only for requests with
// PromptLogprobs; errors are Next's.
func (s *Stream) Prompt(ctx context.Context) ([]Token, error) {
	return nil, errors.New("engine: log-probabilities of prompts are not computed")
}

// Timing is when a request got where. A zero time is yet to come.
type Timing struct {
	Submitted time.Time // Submit was called
	Scheduled time.Time // its first step began
	First     time.Time // its first token was sampled
	Last      time.Time // its last token was sampled
}

// Timing returns what is known so far. It may be called from any goroutine.
func (s *Stream) Timing() Timing { return Timing{} }

// Close ends the request, if it still runs, as cancelling Submit's context
// does. It does not wait and may be called again.
func (s *Stream) Close() { s.engine.cancel(s) }

// output is the number of tokens sampled. The engine's goroutine's alone.
func (s *Stream) output() int { return len(s.seq.Tokens) - s.prompt }

// append adds a sampled token and says why the request ends with it, if it does.
func (s *Stream) append(id int32) Finish {
	s.seq.Tokens = append(s.seq.Tokens, id)
	switch {
	case slices.Contains(s.req.StopTokens, id):
		return FinishStop
	case s.output() == s.req.MaxTokens:
		return FinishLength
	}
	return ""
}

// banned returns the ids that the next token may not be.
func (s *Stream) banned() []int32 {
	if s.output() >= s.req.MinTokens {
		return nil
	}
	return s.req.StopTokens
}

// publish shows the reader what there is, and why it ends if it does.
func (s *Stream) publish(finish Finish, err error) {
	s.mu.Lock()
	s.out, s.finish, s.err = s.seq.Tokens[s.prompt:], finish, err
	s.mu.Unlock()
	if finish != "" || err != nil {
		s.unwatch()
	}
	select {
	case s.ready <- struct{}{}:
	default: // the reader has not come for the last signal yet
	}
}
