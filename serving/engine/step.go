package engine

import (
	"fmt"
	"runtime/debug"

	"servebench/kernels"
	"servebench/serving/sched"
)

// maxFaults is the number of failed steps in a row after which the engine is
// dead. One may be the requests' doing; the next step is with others.
const maxFaults = 3

// row is one row of logits: whose it is and what came of it.
type row struct {
	stream *Stream
	id     int32
	finish Finish
	err    error
}

// newStep makes a step with room for the largest batch, so that none allocates.
func newStep(tokens, seqs, blocks int) kernels.Step {
	return kernels.Step{
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
		if c.Last {
			s.Out = append(s.Out, int32(len(s.Tokens)-1))
			e.rows = append(e.rows, row{stream: c.Seq.Owner.(*Stream)})
		}
	}
}

// compute runs a batch through the model and gives every request its token.
// An error is one that the engine cannot go on from.
func (e *Engine) compute(b *sched.Batch) error {
	e.fill(b)
	e.tally.Steps++
	logits := e.logits[:len(e.rows)*e.vocab]
	if err := e.forward(logits); err != nil {
		return e.fault(b, err)
	}
	e.faults = 0
	e.samplers.sample(logits, e.vocab, e.cfg.SampleVocab, e.rows)
	e.sched.Done()
	for i := range e.rows {
		e.settle(&e.rows[i])
	}
	e.show()
	for _, r := range e.rows {
		r.stream.publish(r.finish, r.err)
	}
	return nil
}

// settle appends a row's token to its sequence and takes the request out if it ends.
func (e *Engine) settle(r *row) {
	if r.err == nil {
		if r.stream.output() == 0 {
			e.tally.PromptTokens += uint64(r.stream.prompt)
		}
		e.tally.OutputTokens++
		r.finish = r.stream.append(r.id)
	}
	if r.finish != "" || r.err != nil {
		e.forget(r.stream)
		e.tally.count(r.finish, r.err)
	}
}

// forward calls the model; a panic is an error.
func (e *Engine) forward(logits []float32) (err error) {
	defer func() {
		if r := recover(); r != nil {
			e.cfg.Log.Error("engine: panic in the model", "panic", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return e.model.Forward(&e.step, logits)
}

// fault ends the requests of a batch that failed. Their cache content is
// undefined, so none is computed again. It returns the error when it was one
// too many in a row.
func (e *Engine) fault(b *sched.Batch, cause error) error {
	e.faults++
	e.cfg.Log.Error("engine: a step failed", "error", cause, "requests", len(b.Chunks), "in a row", e.faults)
	if e.faults >= maxFaults {
		return fmt.Errorf("%d steps in a row failed, the last with: %w", e.faults, cause)
	}
	err := fmt.Errorf("%w: %w", ErrForward, cause)
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
