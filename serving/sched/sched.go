package sched

import (
	"errors"
	"fmt"

	"servebench/serving/kvcache"
)

// ErrNeverFits is returned by Add, as a *NeverFitsError, for a sequence that
// could not be finished if it were alone.
var ErrNeverFits = errors.New("the sequence never fits")

// NeverFitsError is ErrNeverFits with its numbers.
type NeverFitsError struct {
	Tokens int // most tokens the sequence can come to have
	Limit  int // tokens that fit: Scheduler.MaxLen
}

func (e *NeverFitsError) Error() string {
	return fmt.Sprintf("a sequence of up to %d tokens never fits: the limit is %d", e.Tokens, e.Limit)
}

// Is makes errors.Is(err, ErrNeverFits) true.
func (e *NeverFitsError) Is(target error) bool { return target == ErrNeverFits }

// Config bounds a scheduler.
type Config struct {
	MaxTokens int // rows of a step; at least MaxSeqs
	MaxSeqs   int // sequences that run at once, and rows of logits of a step
	MaxLen    int // tokens of a sequence
}

// Scheduler holds the sequences that wait and run. It is not safe for concurrent use.
type Scheduler struct {
	cfg         Config
	pool        *kvcache.Pool
	running     queue // all of them arrived before all that wait
	waiting     queue
	batch       Batch
	extra       int // rows of logits in the batch beyond one for every sequence
	arrivals    uint64
	preemptions uint64
}

// Chunk is consecutive tokens of one sequence: Seq.Tokens[Start : Start+Len],
// at positions Start and up.
type Chunk struct {
	Seq   *Seq
	Start int
	Len   int
	Last  bool // nothing is left behind it: its last row gives the next token
}

// Wants reports whether the row of a position of the chunk gives logits.
func (c Chunk) Wants(pos int) bool {
	return c.Last && pos == c.Start+c.Len-1 || pos >= c.Seq.LogitsFrom && pos < c.Seq.LogitsTo
}

// Batch is the work of one step. The scheduler reuses its memory: it is valid
// until the next Schedule.
type Batch struct {
	Chunks []Chunk // those that decode first; at most one a sequence
	Tokens int     // rows: the sum of Len
}

// New returns a scheduler that gives out the pool's blocks, which must all be free.
func New(cfg Config, pool *kvcache.Pool) (*Scheduler, error) {
	switch {
	case cfg.MaxSeqs < 1:
		return nil, fmt.Errorf("--max-num-seqs is %d: at least 1 is needed", cfg.MaxSeqs)
	case cfg.MaxTokens < cfg.MaxSeqs:
		return nil, fmt.Errorf("--max-num-batched-tokens is %d, below --max-num-seqs, %d: every running sequence needs a row",
			cfg.MaxTokens, cfg.MaxSeqs)
	case cfg.MaxLen < 1:
		return nil, fmt.Errorf("--max-model-len is %d: at least 1 is needed", cfg.MaxLen)
	}
	cfg.MaxLen = min(cfg.MaxLen, pool.Blocks()*pool.BlockSize())
	return &Scheduler{cfg: cfg, pool: pool, batch: Batch{Chunks: make([]Chunk, 0, cfg.MaxSeqs)}}, nil
}

// MaxLen is the most tokens a sequence may have: Config.MaxLen, or what the
// whole pool holds where that is less.
func (s *Scheduler) MaxLen() int { return s.cfg.MaxLen }

// Running is the number of sequences that hold blocks.
func (s *Scheduler) Running() int { return s.running.len }

// Waiting is the number of sequences that hold none, preempted ones among them.
func (s *Scheduler) Waiting() int { return s.waiting.len }

// Preemptions counts how often a running sequence lost its blocks.
func (s *Scheduler) Preemptions() uint64 { return s.preemptions }

// Add queues a sequence. It fails with ErrNeverFits when Limit is over MaxLen,
// and on a sequence that has no token, more than Limit, or is queued already.
func (s *Scheduler) Add(q *Seq) error {
	switch {
	case q.queue != nil:
		return errors.New("the sequence is queued already")
	case len(q.Tokens) == 0 || len(q.Tokens) > q.Limit:
		return fmt.Errorf("a sequence of %d tokens with a limit of %d", len(q.Tokens), q.Limit)
	case q.Limit > s.cfg.MaxLen:
		return &NeverFitsError{Tokens: q.Limit, Limit: s.cfg.MaxLen}
	}
	q.order, s.arrivals = s.arrivals, s.arrivals+1
	q.computed = 0
	s.waiting.pushBack(q)
	return nil
}

// Remove takes a sequence out, wherever it is, and frees its blocks. A sequence
// that is not queued is left alone.
func (s *Scheduler) Remove(q *Seq) {
	if q.queue == nil {
		return
	}
	s.pool.Free(&q.table)
	q.computed = 0
	q.queue.remove(q)
}

// Schedule makes the next batch; doc.go has the order. It is empty only when
// no sequence is queued.
func (s *Scheduler) Schedule() *Batch {
	s.batch.Chunks, s.batch.Tokens, s.extra = s.batch.Chunks[:0], 0, 0
	s.decode()
	s.prefill()
	s.admit()
	return &s.batch
}

// decode takes every running sequence that lacks one token. Oldest first, and
// the newest gives up its blocks when none is free: it is not in the batch yet.
func (s *Scheduler) decode() {
	for q := s.running.first; q != nil; {
		if q.left() == 1 {
			for q.queue == &s.running && !s.pool.Grow(&q.table, len(q.Tokens)) {
				s.preempt(s.running.last)
			}
			if q.queue != &s.running { // it was the newest itself, so the last
				return
			}
			s.take(q, 1)
		}
		q = q.next
	}
}

// prefill goes on with the prompts that are begun; their blocks are theirs already.
func (s *Scheduler) prefill() {
	for q := s.running.first; q != nil && s.room() > 0; q = q.next {
		if q.left() > 1 {
			s.take(q, min(q.left(), s.room()))
		}
	}
}

// admit begins waiting sequences in order of arrival. One that this batch
// preempted stays out: of the blocks that it had, at least one is taken.
func (s *Scheduler) admit() {
	for s.waiting.first != nil && s.room() > 0 && s.running.len+s.extra < s.cfg.MaxSeqs {
		q := s.waiting.first
		if s.pool.BlocksFor(len(q.Tokens))+s.running.len > s.pool.FreeBlocks() {
			return
		}
		s.pool.Reserve(&q.table, q.Limit)
		s.pool.Grow(&q.table, len(q.Tokens))
		s.waiting.remove(q)
		s.running.pushBack(q)
		s.take(q, min(q.left(), s.room()))
	}
}

// room is the number of rows left in the batch.
func (s *Scheduler) room() int { return s.cfg.MaxTokens - s.batch.Tokens }

// take puts the next tokens of a sequence into the batch, n or fewer. Every
// running sequence has one of the step's MaxSeqs rows of logits; those that no
// sequence runs for are left to prompts whose rows are wanted, which are cut
// where they are used up.
func (s *Scheduler) take(q *Seq, n int) {
	if first := max(q.LogitsFrom, q.computed); first < q.LogitsTo {
		before := first - q.computed
		n = min(n, before+1+s.cfg.MaxSeqs-s.running.len-s.extra)
		s.extra += max(0, n-before-1)
	}
	s.batch.Chunks = append(s.batch.Chunks, Chunk{Seq: q, Start: q.computed, Len: n, Last: n == q.left()})
	s.batch.Tokens += n
}

// preempt frees a running sequence's blocks; it will be computed again, with
// what was sampled as part of its prompt, before anyone who waits now.
func (s *Scheduler) preempt(q *Seq) {
	s.pool.Free(&q.table)
	q.computed = 0
	s.running.remove(q)
	s.waiting.pushFront(q)
	s.preemptions++
}

// Done counts the tokens of the last batch as computed. Sequences removed since
// are passed over.
func (s *Scheduler) Done() {
	for _, c := range s.batch.Chunks {
		if c.Seq.queue == &s.running {
			c.Seq.computed = c.Start + c.Len
		}
	}
}
