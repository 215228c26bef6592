package engine

import (
	"fmt"
	"runtime/debug"
	"time"

	"servebench/kernels"
	"servebench/serving/kvcache"
	"servebench/serving/sched"
)

// maxFaults is the number of failed steps in a row after which the engine is
// dead. One may be the requests' doing; the next step is with others.
const maxFaults = 3

// row is one row of logits: whose it is and what came of it.
type row struct {
	stream   *Stream
	prompt   int       // index of the prompt's token that it scores; 0 where it gives the next token
	id       int32     // the next token
	logprobs *Logprobs // of either, if asked for
	finish   Finish
	err      error
}

// A table's Freed blocks are a step's.
var _ = [1]struct{}{}[kvcache.Freed-kernels.Freed]

// newStep makes a step with room for the largest batch, so that none allocates.
func newStep(tokens, seqs, blocks, window int) kernels.Step {
	return kernels.Step{
		Window:    window,
		Tokens:    make([]int32, 0, tokens),
		Positions: make([]int32, 0, tokens),
		Slots:     make([]int32, 0, tokens),
		Starts:    make([]int32, 0, seqs+1),
		Lens:      make([]int32, 0, seqs),
		Blocks:    make([]int32, 0, seqs*blocks),
		Out:       make([]int32, 0, seqs),
	}
}

// fill describes a batch as a step and notes whose rows of logits it wants.
func (e *Engine) fill(b *sched.Batch) {
	s := &e.step
	s.Tokens, s.Positions, s.Slots = s.Tokens[:0], s.Positions[:0], s.Slots[:0]
	s.Starts, s.Lens, s.Out = append(s.Starts[:0], 0), s.Lens[:0], s.Out[:0]
	e.rows = e.rows[:0]
	s.MaxBlocks = 0
	for _, c := range b.Chunks {
		s.MaxBlocks = max(s.MaxBlocks, e.pool.BlocksFor(c.Start+c.Len))
	}
	s.Blocks = s.Blocks[:len(b.Chunks)*s.MaxBlocks]
	clear(s.Blocks)
	for i, c := range b.Chunks {
		end := c.Start + c.Len
		s.Tokens = append(s.Tokens, c.Seq.Tokens[c.Start:end]...)
		for p := c.Start; p < end; p++ {
			s.Positions = append(s.Positions, int32(p))
			s.Slots = append(s.Slots, c.Seq.Slot(p))
		}
		s.Starts = append(s.Starts, int32(len(s.Tokens)))
		s.Lens = append(s.Lens, int32(end))
		copy(s.Blocks[i*s.MaxBlocks:], c.Seq.Blocks()[:e.pool.BlocksFor(end)])
		e.want(c)
	}
}

// want notes which rows of a chunk, the step's last so far, give logits: that of
// the last token, and those that score the prompt's next token.
func (e *Engine) want(c sched.Chunk) {
	end := c.Start + c.Len
	for p := c.Start; p < end; p++ {
		if !c.Wants(p) {
			continue
		}
		r := row{stream: c.Seq.Owner.(*Stream)}
		if p+1 < r.stream.prompt {
			r.prompt = p + 1
		}
		e.step.Out = append(e.step.Out, int32(len(e.step.Tokens)-end+p))
		e.rows = append(e.rows, r)
	}
}

// compute runs a batch through the model and gives every request its token.
// An error is one that the engine cannot go on from.
func (e *Engine) compute(b *sched.Batch) error {
	e.fill(b)
	e.begin(b)
	e.tally.Steps++
	logits, err := e.forward()
	if err != nil {
		return e.fault(b, err)
	}
	e.faults = 0
	e.samplers.sample(logits, e.vocab, e.cfg.SampleVocab, e.rows)
	e.sampled = time.Now()
	e.sched.Done()
	e.tell = e.tell[:0]
	for i := range e.rows {
		r := &e.rows[i]
		if !e.settle(r) {
			continue
		}
		if n := len(e.tell); n > 0 && e.tell[n-1].stream == r.stream {
			e.tell = e.tell[:n-1] // the later one says it all
		}
		e.tell = append(e.tell, r)
	}
	e.show()
	for _, r := range e.tell {
		r.stream.publish(r.finish, r.err)
	}
	return nil
}

// begin notes when the requests of a batch were scheduled for the first time.
func (e *Engine) begin(b *sched.Batch) {
	var now time.Time
	for _, c := range b.Chunks {
		if s := c.Seq.Owner.(*Stream); !s.begun {
			if now.IsZero() {
				now = time.Now()
			}
			s.begin(now)
		}
	}
}

// settle appends a row's token to its sequence, or a score to those of its
// prompt, and takes the request out if it ends. It reports whether the reader
// is to be told.
func (e *Engine) settle(r *row) bool {
	s := r.stream
	if _, ok := e.live[s]; !ok { // an earlier row of the step ended it
		return false
	}
	if r.err != nil {
		e.sched.Discard(&s.seq) // logits that are no numbers come from such keys and values
		e.forget(s)
		e.tally.count("", r.err)
		return true
	}
	if r.prompt > 0 {
		return s.score(r.prompt, r.logprobs)
	}
	if s.output() == 0 {
		e.tally.PromptTokens += uint64(s.prompt)
	}
	e.tally.OutputTokens++
	if r.finish = s.append(r.id, r.logprobs); r.finish != "" {
		e.forget(s)
		e.tally.count(r.finish, nil)
	}
	return true
}

// forward calls the model; a panic is an error.
func (e *Engine) forward() (logits []float32, err error) {
	defer func() {
		if r := recover(); r != nil {
			e.cfg.Log.Error("engine: panic in the model", "panic", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	if logits, err = e.model.Forward(&e.step); err == nil && len(logits) != len(e.rows)*e.vocab {
		err = fmt.Errorf("%d logits for %d rows of %d", len(logits), len(e.rows), e.vocab)
	}
	return logits, err
}

// fault ends the requests of a batch that failed. Their cache content is
// undefined, so none is computed again and nothing of it is found again. It returns the error when it was one
// too many in a row.
func (e *Engine) fault(b *sched.Batch, cause error) error {
	e.faults++
	e.cfg.Log.Error("engine: a step failed", "error", cause, "requests", len(b.Chunks), "in a row", e.faults)
	if e.faults >= maxFaults {
		return fmt.Errorf("%d steps in a row failed, the last with: %w", e.faults, cause)
	}
	err := fmt.Errorf("%w: %w", ErrForward, cause)
	e.sched.Failed()
	for _, c := range b.Chunks {
		e.forget(c.Seq.Owner.(*Stream))
		e.tally.count("", err)
	}
	e.show()
	for _, c := range b.Chunks {
		c.Seq.Owner.(*Stream).publish("", err)
	}
	return nil
}
