package engine

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"servebench/serving/kvcache"
	"servebench/serving/sched"
)

// defaultMaxWaiting is Config.MaxWaiting's default. At the context of these
// models a waiting request is some kilobytes; what bounds the queue is how long
// a client would wait.
const defaultMaxWaiting = 1024

// defaultMaxLogprobs is Config.MaxLogprobs' default, which is vLLM's: OpenAI's
// chat route lets a client ask for so many.
const defaultMaxLogprobs = 20

// Config bounds an engine. A zero field takes the default that is named.
type Config struct {
	MaxTokens     int          // rows of a step (--max-num-batched-tokens); the model's MaxTokens
	MaxPrefill    int          // of these, rows of prompts while others decode (--long-prefill-token-threshold); MaxTokens
	MaxSeqs       int          // sequences running at once (--max-num-seqs); the model's MaxSeqs
	MaxWaiting    int          // requests that may wait to be admitted; 1024
	MaxLogprobs   int          // most that Request.TopLogprobs may ask for (--max-logprobs); 20
	SampleVocab   int          // ids at or above are never sampled (the tokenizer's size); the model's VocabSize
	SampleThreads int          // threads that sample; GOMAXPROCS
	PrefixCaching bool         // tokens whose keys and values are still in the cache are not computed again (--enable-prefix-caching)
	Log           *slog.Logger // of faults; slog.Default()
}

// withDefaults fills in the zero fields and refuses what the model cannot do.
func (c Config) withDefaults(m Model) (Config, error) {
	for _, f := range []struct {
		name       string
		field      *int
		most, zero int
	}{
		{"--max-num-batched-tokens", &c.MaxTokens, m.MaxTokens(), m.MaxTokens()},
		{"--long-prefill-token-threshold", &c.MaxPrefill, math.MaxInt32, m.MaxTokens()},
		{"--max-num-seqs", &c.MaxSeqs, m.MaxSeqs(), m.MaxSeqs()},
		{"--max-logprobs", &c.MaxLogprobs, m.VocabSize(), min(defaultMaxLogprobs, m.VocabSize())},
		{"the tokenizer's vocabulary", &c.SampleVocab, m.VocabSize(), m.VocabSize()},
		{"MaxWaiting", &c.MaxWaiting, 1 << 20, defaultMaxWaiting},
		{"SampleThreads", &c.SampleThreads, 1 << 10, runtime.GOMAXPROCS(0)},
	} {
		if *f.field == 0 {
			*f.field = f.zero
		}
		if *f.field < 1 || *f.field > f.most {
			return c, fmt.Errorf("%s is %d, must be 1 to %d", f.name, *f.field, f.most)
		}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c, nil
}

// Engine runs requests on a model with continuous batching.
type Engine struct {
	model  Model
	drawer Drawer // the model, where it draws; else nil
	cfg    Config
	vocab  int // V

	// The engine's goroutine's alone.
	pool     *kvcache.Pool
	sched    *sched.Scheduler
	flights  [2]flight // reused
	under    []*flight // of these, those under way, the first submitted first
	tell     []*row    // of a step's rows, those whose readers have something to read
	samplers *samplers
	sampled  time.Time            // when the last step's tokens were
	live     map[*Stream]struct{} // taken in and not ended
	faults   int                  // failed steps in a row
	tally    Stats                // totals; the rest is filled in when it is shown

	wake chan struct{} // something was submitted or cancelled
	done chan struct{} // closed when the engine's goroutine has ended

	mu        sync.Mutex
	submitted []*Stream
	cancelled []*Stream
	reset     bool // ResetPrefixCache was called
	closing   bool
	dead      error // wraps ErrDead
	stats     Stats
}

// New starts an engine on a model; Close ends it. The model stays the caller's
// and must outlive the engine. It fails, naming the flag, on a configuration
// that contradicts the model or itself.
func New(m Model, cfg Config) (*Engine, error) {
	e, err := newEngine(m, cfg)
	if err != nil {
		return nil, err
	}
	go e.run()
	return e, nil
}

// newEngine makes an engine whose goroutine does not run yet.
func newEngine(m Model, cfg Config) (*Engine, error) {
	cfg, err := cfg.withDefaults(m)
	if err != nil {
		return nil, err
	}
	shape := m.KVShape()
	pool, err := kvcache.New(shape.Blocks, shape.BlockSize)
	if err != nil {
		return nil, err
	}
	s, err := sched.New(sched.Config{
		MaxTokens: cfg.MaxTokens, MaxPrefill: cfg.MaxPrefill, MaxSeqs: cfg.MaxSeqs, MaxLen: m.MaxModelLen(),
		Window: m.Window(), PrefixCaching: cfg.PrefixCaching,
	}, pool)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		model: m, cfg: cfg, vocab: m.VocabSize(),
		pool: pool, sched: s,
		under: make([]*flight, 0, 2),
		tell:  make([]*row, 0, cfg.MaxSeqs),
		live:  map[*Stream]struct{}{},
		wake:  make(chan struct{}, 1),
		done:  make(chan struct{}),
	}
	if d, ok := m.(Drawer); ok && d.Draws() {
		e.drawer = d
	}
	for i := range e.flights {
		e.flights[i] = newFlight(cfg.MaxTokens, cfg.MaxSeqs, pool.BlocksFor(s.MaxLen()), m.Window())
	}
	e.samplers = newSamplers(min(cfg.SampleThreads, cfg.MaxSeqs), cfg.Log)
	e.show()
	return e, nil
}

// Submit queues a request and returns its stream. Cancelling ctx ends the
// request with FinishAbort and frees its cache blocks within a step. It fails
// with ErrEmptyPrompt, ErrBadToken, ErrBadParams, ErrTooLong, ErrOverloaded,
// ErrClosed, ErrDead, or ctx's error when it is done already.
func (e *Engine) Submit(ctx context.Context, r Request) (*Stream, error) {
	if err := r.validate(e.vocab, e.sched.MaxLen(), e.cfg.MaxLogprobs); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := newStream(e, r)
	if e.cfg.PrefixCaching {
		s.seq.Hash(e.pool.BlockSize()) // here, not in the engine's goroutine
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.dead != nil:
		return nil, e.dead
	case e.closing:
		return nil, ErrClosed
	case len(e.submitted)+e.stats.Waiting >= e.cfg.MaxWaiting:
		return nil, fmt.Errorf("%w: %d of at most %d", ErrOverloaded, len(e.submitted)+e.stats.Waiting, e.cfg.MaxWaiting)
	}
	s.unwatch = context.AfterFunc(ctx, s.Close)
	e.submitted = append(e.submitted, s)
	e.signal()
	return s, nil
}

// cancel asks for a request's end, for the reason given first.
func (e *Engine) cancel(s *Stream, why Finish) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.cancelled == "" {
		s.cancelled = why
		e.cancelled = append(e.cancelled, s)
		e.signal()
	}
}

// ResetPrefixCache makes requests that are submitted from now on find nothing of
// what was computed before. Requests that run keep what they found.
func (e *Engine) ResetPrefixCache() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reset = true
	e.signal()
}

// signal wakes the engine's goroutine if it waits, or is about to.
func (e *Engine) signal() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// MaxModelLen is the most tokens of prompt and output together that Submit
// accepts: the model's, or less where the cache is smaller and the model has no
// window that fits in it.
func (e *Engine) MaxModelLen() int { return e.sched.MaxLen() }

// MaxLogprobs is the most that Submit accepts as a request's TopLogprobs.
func (e *Engine) MaxLogprobs() int { return e.cfg.MaxLogprobs }

// Healthy returns nil while the engine takes requests, else why it does not:
// ErrDead with the fault, or ErrClosed.
func (e *Engine) Healthy() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.dead == nil && e.closing {
		return ErrClosed
	}
	return e.dead
}

// Stats returns a snapshot of queues, cache and totals.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	st := e.stats
	st.Waiting += len(e.submitted)
	return st
}

// Close ends every request with FinishAbort, stops the engine's goroutines and
// waits for them until ctx is done. It may be called again.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	e.closing = true
	e.signal()
	e.mu.Unlock()
	select {
	case <-e.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the engine is still in a step: %w", ctx.Err())
	}
}

// run is the engine's goroutine. The thread is its own: a GPU's context and a
// CPU's thread placement belong to one.
func (e *Engine) run() {
	runtime.LockOSThread()
	defer close(e.done)
	defer e.samplers.close()
	for {
		switch e.turn() {
		case idle:
			<-e.wake
		case stopped:
			return
		}
	}
}

// What a turn of the engine's goroutine came to.
type turned int

const (
	stepped turned = iota // a step was computed, submitted or waited for
	idle                  // there is nothing to do until something is submitted
	stopped               // the engine is closed or dead; nothing runs
)

// turn takes in what is new and runs one step.
func (e *Engine) turn() (t turned) {
	defer func() {
		if r := recover(); r != nil {
			e.cfg.Log.Error("engine: panic between steps", "panic", r, "stack", string(debug.Stack()))
			e.die(fmt.Errorf("panic: %v", r))
			t = stopped
		}
	}()
	if closing := e.intake(); closing {
		e.drain()
		e.endAll(FinishAbort, nil)
		return stopped
	}
	t, err := e.advance()
	if err != nil {
		e.die(err)
		return stopped
	}
	return t
}

// advance schedules one step and computes it; where the model draws, submits it and
// waits for the one before it. With nothing to schedule it waits for that alone. An
// error is one that the engine cannot go on from.
func (e *Engine) advance() (turned, error) {
	if len(e.under) > 0 && e.sched.WouldPreempt() {
		// Who loses his blocks has to know all of his tokens.
		if err := e.land(); err != nil {
			return stopped, err
		}
	}
	batch := e.sched.Schedule()
	queued := e.sched.Running() + e.sched.Waiting()
	switch {
	case len(batch.Chunks) > 0:
		return stepped, e.compute(batch)
	case len(e.under) > 0:
		return stepped, e.land()
	case queued > 0:
		return stopped, fmt.Errorf("no sequence of %d can go on", queued)
	}
	return idle, nil
}

// intake moves what was submitted to the scheduler and takes out what was
// cancelled. It reports whether Close was called.
func (e *Engine) intake() (closing bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.reset {
		e.sched.ResetPrefixCache()
		e.reset = false
	}
	if len(e.submitted)+len(e.cancelled) == 0 {
		return e.closing
	}
	for _, s := range e.submitted {
		if err := e.sched.Add(&s.seq); err != nil { // Submit let it through
			panic(err)
		}
		e.live[s] = struct{}{}
	}
	ended := e.cancelled[:0]
	for _, s := range e.cancelled {
		if _, ok := e.live[s]; ok { // it has not ended by itself since
			e.forget(s)
			e.tally.count(s.cancelled, nil)
			ended = append(ended, s)
		}
	}
	e.showLocked()
	for _, s := range ended {
		s.publish(s.cancelled, nil)
	}
	clear(e.submitted)
	clear(e.cancelled)
	e.submitted, e.cancelled = e.submitted[:0], e.cancelled[:0]
	return e.closing
}

// forget takes a request out of the scheduler, which frees its blocks.
func (e *Engine) forget(s *Stream) {
	e.sched.Remove(&s.seq)
	delete(e.live, s)
}

// die fails every request and those to come.
func (e *Engine) die(cause error) {
	e.drain()
	err := fmt.Errorf("%w: %w", ErrDead, cause)
	e.cfg.Log.Error("engine: dead, no request will be served", "cause", cause)
	e.mu.Lock()
	e.dead = err
	for _, s := range e.submitted {
		e.live[s] = struct{}{}
	}
	e.submitted = nil
	e.mu.Unlock()
	e.endAll("", err)
}

// endAll ends every request, with a reason or an error.
func (e *Engine) endAll(finish Finish, err error) {
	ended := make([]*Stream, 0, len(e.live))
	for s := range e.live {
		e.forget(s)
		e.tally.count(finish, err)
		ended = append(ended, s)
	}
	e.show()
	for _, s := range ended {
		s.publish(finish, err)
	}
}
