package engine

import (
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"servebench/kernels"
	"servebench/serving/sched"
)

// maxFaults is the number of failed steps in a row after which the engine is
// dead. One may be the requests' doing; the next step is with others.
const maxFaults = 3

// compute runs a batch through the model. An error is one that the engine cannot
// go on from.
func (e *Engine) compute(b *sched.Batch) error {
	if e.drawer != nil && drawable(b) {
		return e.submit(b)
	}
	if len(e.under) > 0 {
		// Its tokens are wanted on the host, by samplers at least.
		if err := e.land(); err != nil {
			return err
		}
		if b = e.sched.Revise(); len(b.Chunks) == 0 {
			return nil
		}
	}
	return e.forward(b)
}

// forward computes a batch, samples from its logits and gives every request its
// token. Where the model draws, it does so for those that do not need their logits.
func (e *Engine) forward(b *sched.Batch) error {
	f := e.spare()
	if e.drawer != nil {
		hostFirst(b)
	}
	e.describe(f, b)
	f.host = len(f.rows)
	if e.drawer != nil {
		f.draw()
	}
	e.begin(f)
	logits, ids, err := e.logits(f)
	if err != nil {
		return e.fault(err, f)
	}
	e.faults = 0
	e.samplers.sample(logits, e.vocab, e.cfg.SampleVocab, f.rows[:f.host])
	f.drew(ids)
	e.sched.Done()
	e.emit(f)
	return nil
}

// submit gives the device a batch behind the one that it computes, and gives every
// request the token of that one. The tokens of this one are drawn by the device.
func (e *Engine) submit(b *sched.Batch) error {
	f := e.spare()
	e.describe(f, b)
	f.draw()
	e.begin(f)
	if err := e.queue(f); err != nil {
		for len(e.under) > 0 { // the step before is none the worse for it
			if err := e.land(); err != nil {
				return err
			}
		}
		return e.fault(err, f)
	}
	e.under = append(e.under, f)
	e.sched.Submitted()
	if len(e.under) > 1 {
		return e.land()
	}
	e.show()
	return nil
}

// land waits for the step that was submitted first and gives every request its token.
func (e *Engine) land() error {
	f := e.under[0]
	ids, err := e.drawn(f)
	e.under = append(e.under[:0], e.under[1:]...)
	if err != nil {
		failed := append([]*flight{f}, e.under...) // what is behind it has read what it left
		e.drain()
		return e.fault(err, failed...)
	}
	e.faults = 0
	f.drew(ids)
	e.emit(f)
	return nil
}

// drain waits for what is under way and drops it.
func (e *Engine) drain() {
	for _, f := range e.under {
		_, _ = e.drawn(f)
	}
	e.under = e.under[:0]
}

// begin counts a step and notes when its requests were scheduled for the first time.
func (e *Engine) begin(f *flight) {
	e.tally.Steps++
	var now time.Time
	for _, s := range f.streams {
		if !s.begun {
			if now.IsZero() {
				now = time.Now()
			}
			s.begin(now)
		}
	}
}

// emit gives every request of a step what came of its rows, and tells the readers.
func (e *Engine) emit(f *flight) {
	e.sampled = time.Now()
	e.tell = e.tell[:0]
	for i := range f.rows {
		r := &f.rows[i]
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
}

// settle appends a row's token to its sequence, or a score to those of its
// prompt, and takes the request out if it ends. It reports whether the reader
// is to be told.
func (e *Engine) settle(r *row) bool {
	s := r.stream
	if _, ok := e.live[s]; !ok { // it has ended since: by an earlier row or step, or cancelled
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

// logits has the model compute a step and returns the logits of the rows that the
// host samples, and what was drawn for all, if there are others; a panic is an error.
func (e *Engine) logits(f *flight) (logits []float32, ids []int32, err error) {
	defer e.recovered(&err)
	if f.host == len(f.rows) {
		logits, err = e.model.Forward(&f.step)
	} else {
		logits, ids, err = e.drawer.Both(&f.step, e.cfg.SampleVocab, f.draws, f.host)
		if err == nil {
			err = e.check(f, ids)
		}
	}
	if err == nil && len(logits) != f.host*e.vocab {
		err = fmt.Errorf("%d logits for %d rows of %d", len(logits), f.host, e.vocab)
	}
	return logits, ids, err
}

// queue has the model take a step; a panic is an error.
func (e *Engine) queue(f *flight) (err error) {
	defer e.recovered(&err)
	return e.drawer.Submit(&f.step, e.cfg.SampleVocab, f.draws)
}

// drawn waits for the ids that the model drew for the rows of f, the step that was
// submitted first; a panic is an error.
func (e *Engine) drawn(f *flight) (ids []int32, err error) {
	defer e.recovered(&err)
	if ids, err = e.drawer.Drawn(); err != nil {
		return nil, err
	}
	return ids, e.check(f, ids)
}

// check reports what cannot be drawn for the rows of f.
func (e *Engine) check(f *flight, ids []int32) error {
	if len(ids) != len(f.rows) {
		return fmt.Errorf("%d tokens drawn for %d rows", len(ids), len(f.rows))
	}
	for i, id := range ids {
		if id != kernels.NoToken && (id < 0 || int(id) >= e.cfg.SampleVocab) {
			return fmt.Errorf("token %d drawn for row %d, of %d that there are", id, i, e.cfg.SampleVocab)
		}
	}
	return nil
}

// recovered makes a panic of the model's the error that a call of it ends with.
func (e *Engine) recovered(err *error) {
	if r := recover(); r != nil {
		e.cfg.Log.Error("engine: panic in the model", "panic", r, "stack", string(debug.Stack()))
		*err = fmt.Errorf("panic: %v", r)
	}
}

// fault ends the requests of steps that failed. Their cache content is undefined,
// so none is computed again and nothing of it is found again. Nothing is under way
// when it is called. It returns the error when it was one too many in a row.
func (e *Engine) fault(cause error, failed ...*flight) error {
	var ended []*Stream
	for _, f := range failed {
		for _, s := range f.streams {
			if _, ok := e.live[s]; ok && !slices.Contains(ended, s) {
				ended = append(ended, s)
			}
		}
	}
	e.faults++
	e.cfg.Log.Error("engine: a step failed", "error", cause, "requests", len(ended), "in a row", e.faults)
	if e.faults >= maxFaults {
		return fmt.Errorf("%d steps in a row failed, the last with: %w", e.faults, cause)
	}
	err := fmt.Errorf("%w: %w", ErrForward, cause)
	if e.drawer != nil {
		// A sequence that has left since the step was submitted may have left
		// blocks that are known and were never filled.
		e.sched.ResetPrefixCache()
	}
	seqs := make([]*sched.Seq, len(ended))
	for i, s := range ended {
		seqs[i] = &s.seq
	}
	e.sched.Failed(seqs...)
	for _, s := range ended {
		e.forget(s)
		e.tally.count("", err)
	}
	e.show()
	for _, s := range ended {
		s.publish("", err)
	}
	return nil
}
