package engine

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"servebench/kernels"
	"servebench/serving/sample"
	"servebench/serving/sched"
)

// Stream gives a request's tokens in order. One goroutine reads it at a time;
// a slow reader holds up nobody.
type Stream struct {
	engine *Engine
	req    Request // Prompt is seq.Tokens' beginning
	prompt int     // tokens of it

	// The engine's goroutine's alone.
	seq      sched.Seq
	history  *sample.History
	logprobs []*Logprobs // of the output, if asked for
	begun    bool        // a step had it
	row      int32       // of the step submitted last, where that draws a token of it
	plain    bool        // of its logits, it needs no more than a token that is drawn from them
	unwatch  func() bool // stops the watch on Submit's context

	cancelled Finish  // why it was cancelled, if it was; guarded by Engine.mu
	scores    []Token // the prompt, if asked for; read once scored

	mu     sync.Mutex
	timing Timing
	out    []int32     // seq.Tokens behind the prompt, as far as published
	logs   []*Logprobs // the same of logprobs
	scored bool        // scores is complete
	cached int         // tokens of the prompt found in the prefix cache
	finish Finish
	bare   bool // finish came without a token
	err    error
	read   int  // tokens that Next returned
	over   bool // Next returned the one with Finish
	ready  chan struct{}
}

func newStream(e *Engine, r Request) *Stream {
	s := &Stream{engine: e, req: r, prompt: len(r.Prompt), ready: make(chan struct{}, 1)}
	// Room for everything from the start: the published part is never moved, and
	// steps allocate nothing but the log-probabilities.
	tokens := append(make([]int32, 0, len(r.Prompt)+r.MaxTokens), r.Prompt...)
	s.req.Prompt = tokens[:len(r.Prompt):len(r.Prompt)]
	s.req.StopTokens = slices.Clone(r.StopTokens)
	s.req.Sampling.Bias = slices.Clone(r.Sampling.Bias)
	s.req.Sampling.Allowed = slices.Clone(r.Sampling.Allowed)
	s.history = sample.NewHistory(r.Sampling, r.Prompt, r.MaxTokens)
	s.plain = !r.Logprobs && r.Sampling.Plain()
	s.timing.Submitted = time.Now()
	s.seq = sched.Seq{Tokens: tokens, Limit: cap(tokens), Owner: s}
	if r.Logprobs {
		s.logprobs = make([]*Logprobs, 0, r.MaxTokens)
	}
	if r.PromptLogprobs {
		s.seq.LogitsTo = s.prompt - 1 // every row but the last scores the token behind it
		s.scores = make([]Token, s.prompt)
		for i, id := range s.req.Prompt {
			s.scores[i].ID = id
		}
		s.scored = s.prompt == 1
	}
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
		if len(s.logs) > 0 {
			t.Logprobs = s.logs[s.read]
		}
		s.read++
		if s.read == len(s.out) && !s.bare {
			t.Finish = s.finish
			s.over = s.finish != ""
		}
		return t, nil, true
	case s.err != nil:
		return Token{}, s.err, true
	case s.bare:
		s.over = true
		return Token{ID: -1, Finish: s.finish}, nil, true
	}
	return Token{}, nil, false
}

// CachedTokens is the number of the prompt's tokens that were found in the
// prefix cache. It is settled once Next returned a token.
func (s *Stream) CachedTokens() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cached
}

// errNoScores is what Prompt says to a request that did not ask.
var errNoScores = errors.New("the request did not ask for PromptLogprobs")

// Prompt waits for the prompt to be computed and returns its tokens with their
// Logprobs, which the first one has none of. Only for requests with
// PromptLogprobs, by the goroutine that calls Next; it may be called again. Its
// errors are Next's, and io.EOF when the request was ended before that.
func (s *Stream) Prompt(ctx context.Context) ([]Token, error) {
	if s.scores == nil {
		return nil, errNoScores
	}
	for {
		s.mu.Lock()
		scored, finish, err := s.scored, s.finish, s.err
		s.mu.Unlock()
		switch {
		case scored:
			return s.scores, nil
		case err != nil:
			return nil, err
		case finish != "":
			return nil, io.EOF
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Timing is when a request got where, on the monotonic clock. A zero time is
// yet to come.
type Timing struct {
	Submitted time.Time // Submit was called
	Scheduled time.Time // its first step began
	First     time.Time // its first token was sampled
	Last      time.Time // its last token was sampled
}

// Timing returns what is known so far. It may be called from any goroutine.
func (s *Stream) Timing() Timing {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.timing
}

// Close ends the request, if it still runs, with FinishAbort, as cancelling
// Submit's context does. It does not wait and may be called again.
func (s *Stream) Close() { s.engine.cancel(s, FinishAbort) }

// Stop ends the request, if it still runs, with FinishStop: its reader found
// what it was to stop at, as a stop string. Otherwise it is as Close; of the two
// the one that came first counts.
func (s *Stream) Stop() { s.engine.cancel(s, FinishStop) }

// begin notes when the first step began that the request is in.
func (s *Stream) begin(now time.Time) {
	s.begun = true
	s.mu.Lock()
	s.timing.Scheduled = now
	s.mu.Unlock()
}

// score takes the log-probabilities of a token of the prompt, which come in
// order, and reports whether they are the last.
func (s *Stream) score(i int, lp *Logprobs) bool {
	s.scores[i].Logprobs = lp
	s.seq.LogitsFrom = i
	return i == s.prompt-1
}

// output is the number of tokens sampled. The engine's goroutine's alone.
func (s *Stream) output() int { return len(s.seq.Tokens) - s.prompt }

// append adds a sampled token and says why the request ends with it, if it does.
func (s *Stream) append(id int32, lp *Logprobs) (finish Finish) {
	switch {
	case slices.Contains(s.req.StopTokens, id):
		finish = FinishStop
	case s.output()+1 == s.req.MaxTokens:
		finish = FinishLength
	}
	if finish == "" {
		s.engine.sched.Append(&s.seq, id)
	} else {
		s.seq.Tokens = append(s.seq.Tokens, id) // the scheduler is to know nothing of its last one
	}
	s.history.Add(id)
	if lp != nil {
		s.logprobs = append(s.logprobs, lp)
	}
	return finish
}

// next is the index in the output of the token that the next step's row gives: the
// number sampled, and one more while a step under way draws one.
func (s *Stream) next() int { return s.seq.Len() - s.prompt }

// banned returns the ids that the next token may not be.
func (s *Stream) banned() []int32 {
	if s.next() >= s.req.MinTokens {
		return nil
	}
	return s.req.StopTokens
}

// drawable reports whether kernels.Draw says all that there is to say about the
// next token.
func (s *Stream) drawable() bool { return s.plain && len(s.banned()) == 0 }

// draw says how the next token is drawn.
func (s *Stream) draw() kernels.Draw {
	p := &s.req.Sampling
	d := kernels.Draw{TopP: p.TopP, MinP: p.MinP, TopK: max(0, p.TopK), Seed: p.Seed, Index: uint64(s.next())}
	if !p.Greedy() {
		d.Temperature = p.Temperature
	}
	return d
}

// publish shows the reader what there is, and why it ends if it does.
func (s *Stream) publish(finish Finish, err error) {
	s.mu.Lock()
	more := s.output() > len(s.out)
	if more {
		s.timing.Last = s.engine.sampled
		if len(s.out) == 0 {
			s.timing.First = s.engine.sampled
		}
	}
	s.out, s.logs = s.seq.Tokens[s.prompt:], s.logprobs
	s.cached = s.seq.Cached()
	s.scored = s.scored || s.scores != nil && s.seq.LogitsFrom == s.seq.LogitsTo
	s.finish, s.bare, s.err = finish, finish != "" && !more, err
	s.mu.Unlock()
	if finish != "" || err != nil {
		s.unwatch()
	}
	select {
	case s.ready <- struct{}{}:
	default: // the reader has not come for the last signal yet
	}
}
