package engine

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"servebench/serving/sample"
)

// helperWorth is how many logits there must be to look at for a helper to be
// woken. To have it on its core, where a device's worker may still spin, takes
// about 50 µs (2 cores); in that time the engine's own thread goes through
// 140 000. Twice as many are a draw, and where the draw is uncertain one thread
// is the steadier: of 4 greedy rows of GPT-2's vocabulary, 0.09 ms in place of 0.13.
const helperWorth = 400_000

// How often a row is gone through, by what is asked of it, in greedy's passes.
const (
	greedyPasses   = 1
	drawnPasses    = 8 // exponentials, top-k and top-p
	logprobsPasses = 8
)

// samplers draw a step's tokens on several threads, the engine's own among
// them. A row of GPT-2's vocabulary costs 0.02 ms (greedy) to 0.33 ms (top-p),
// 0.05 more with penalties and 0.25 more with log-probabilities, in which no
// other core has work.
type samplers struct {
	own     sample.Sampler
	helpers int
	worth   int // logits that a helper is woken for: helperWorth
	log     *slog.Logger
	start   chan struct{} // one value wakes one helper for one step

	// One step's work.
	logits       []float32
	width, vocab int
	rows         []row
	next         atomic.Int64 // row to do
	busy         sync.WaitGroup
}

func newSamplers(threads int, log *slog.Logger) *samplers {
	s := &samplers{helpers: threads - 1, worth: helperWorth, start: make(chan struct{}), log: log}
	for range s.helpers {
		go func() {
			var own sample.Sampler
			for range s.start {
				s.work(&own)
				s.busy.Done()
			}
		}()
	}
	return s
}

// close ends the helpers.
func (s *samplers) close() { close(s.start) }

// sample sets id or err of every row from logits [len(rows), width], of which
// ids below vocab may be drawn.
func (s *samplers) sample(logits []float32, width, vocab int, rows []row) {
	s.logits, s.width, s.vocab, s.rows = logits, width, vocab, rows
	s.next.Store(0)
	helpers := s.wanted()
	s.busy.Add(helpers)
	for range helpers {
		s.start <- struct{}{}
	}
	s.work(&s.own)
	s.busy.Wait()
}

// wanted is how many helpers the step's rows are worth.
func (s *samplers) wanted() int {
	passes := 0
	for i := range s.rows {
		r := &s.rows[i].stream.req
		if r.Sampling.Temperature > 0 {
			passes += drawnPasses
		} else {
			passes += greedyPasses
		}
		if r.Logprobs {
			passes += logprobsPasses
		}
	}
	return max(0, min(s.helpers, len(s.rows)-1, passes*s.width/s.worth))
}

// work does rows until none is left.
func (s *samplers) work(own *sample.Sampler) {
	for {
		i := int(s.next.Add(1)) - 1
		if i >= len(s.rows) {
			return
		}
		s.draw(own, &s.rows[i], s.logits[i*s.width:(i+1)*s.width])
	}
}

// draw does one row; a panic ends that request alone.
func (s *samplers) draw(own *sample.Sampler, r *row, logits []float32) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("engine: panic in the sampler", "panic", p, "stack", string(debug.Stack()))
			r.err = fmt.Errorf("%w: panic: %v", ErrSample, p)
		}
	}()
	if err := s.evaluate(own, r, logits); err != nil {
		r.err = fmt.Errorf("%w: %w", ErrSample, err)
	}
}

// evaluate draws the next token, or takes the prompt's, and has its
// log-probabilities computed where they are asked for. Those take two
// allocations a token, nothing else any.
func (s *samplers) evaluate(own *sample.Sampler, r *row, logits []float32) (err error) {
	st := r.stream
	if r.prompt > 0 {
		r.id = st.seq.Tokens[r.prompt]
	} else if r.id, err = own.Sample(logits, sample.Draw{
		Params: st.req.Sampling, Index: st.output(), Vocab: s.vocab, Banned: st.banned(), History: st.history,
	}); err != nil {
		return err
	}
	if !st.req.Logprobs {
		return nil
	}
	r.logprobs = &Logprobs{Top: make([]Logprob, st.req.TopLogprobs)}
	return own.Logprobs(logits, r.id, s.vocab, r.logprobs)
}
