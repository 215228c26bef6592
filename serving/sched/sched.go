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
	MaxTokens     int  // rows of a step; at least MaxSeqs
	MaxPrefill    int  // of these, rows of prompts while others decode; 0 is no limit
	MaxSeqs       int  // sequences that run at once, and rows of logits of a step
	MaxLen        int  // tokens of a sequence
	Window        int  // positions that a token sees, itself included; 0 is all
	PrefixCaching bool // tokens whose keys and values are still in the cache are not computed again
}

// Scheduler holds the sequences that wait and run. It is not safe for concurrent use.
type Scheduler struct {
	cfg         Config
	pool        *kvcache.Pool
	running     queue // all of them arrived before all that wait
	waiting     queue
	batch       Batch
	rows        int // that the batch may have
	extra       int // rows of logits in the batch beyond one for every sequence
	arrivals    uint64
	preemptions uint64
	prefix      PrefixStats
}

// PrefixStats counts what was looked for in the prefix cache when sequences
// were first admitted.
type PrefixStats struct {
	Queries uint64 // tokens of these sequences, but those of which every row's logits are wanted
	Hits    uint64 // of these, found
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
	case cfg.MaxPrefill < 0:
		return nil, fmt.Errorf("--long-prefill-token-threshold is %d: at least 1 is needed, or 0 for no limit", cfg.MaxPrefill)
	case cfg.Window < 0:
		return nil, fmt.Errorf("an attention window of %d positions", cfg.Window)
	}
	if SeqBlocks(cfg.MaxLen, cfg.Window, 1, pool.BlockSize()) > pool.Blocks() {
		cfg.MaxLen = min(cfg.MaxLen, pool.Blocks()*pool.BlockSize())
	}
	return &Scheduler{cfg: cfg, pool: pool, batch: Batch{Chunks: make([]Chunk, 0, cfg.MaxSeqs)}}, nil
}

// SeqBlocks is the most blocks that a sequence of up to maxLen tokens holds at
// once when it is computed in chunks of up to chunk tokens and every token sees
// window positions (0: all). The first token of a chunk sees window−1 back, into
// a block that may begin blockSize−1 earlier still.
func SeqBlocks(maxLen, window, chunk, blockSize int) int {
	all := (maxLen + blockSize - 1) / blockSize
	if window == 0 {
		return all
	}
	return min(all, (window+chunk-2+blockSize-1)/blockSize+1)
}

// MaxLen is the most tokens a sequence may have: Config.MaxLen, or what the
// whole pool holds where that is less and no window lets a sequence go on in it.
func (s *Scheduler) MaxLen() int { return s.cfg.MaxLen }

// Running is the number of sequences that hold blocks.
func (s *Scheduler) Running() int { return s.running.len }

// Waiting is the number of sequences that hold none, preempted ones among them.
func (s *Scheduler) Waiting() int { return s.waiting.len }

// PrefixStats counts the prefix cache's work so far.
func (s *Scheduler) PrefixStats() PrefixStats { return s.prefix }

// ResetPrefixCache makes the scheduler find nothing of what was computed before.
func (s *Scheduler) ResetPrefixCache() { s.pool.Reset() }

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
	if s.cfg.PrefixCaching {
		q.Hash(s.pool.BlockSize())
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
	q.computed, q.drawn = 0, 0
	q.queue.remove(q)
}

// Schedule makes the next batch; doc.go has the order. It is empty only when
// no sequence is queued, or those that are wait for tokens that are drawn.
func (s *Scheduler) Schedule() *Batch {
	s.batch.Chunks, s.batch.Tokens, s.extra = s.batch.Chunks[:0], 0, 0
	s.rows = s.cfg.MaxTokens
	s.decode()
	if s.batch.Tokens > 0 && s.cfg.MaxPrefill > 0 {
		s.rows = min(s.rows, s.batch.Tokens+s.cfg.MaxPrefill)
	}
	s.prefill()
	s.admit()
	return &s.batch
}

// decode takes every running sequence that lacks one token. Oldest first, and
// the newest gives up its blocks when none is free: it is not in the batch yet.
func (s *Scheduler) decode() {
	for q := s.running.first; q != nil; {
		if q.decodes() {
			for q.queue == &s.running && !s.pool.Grow(&q.table, q.Len()) {
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

// WouldPreempt reports whether Schedule, called now, takes blocks from a sequence.
// It must not be called then while a token is drawn: a sequence that is computed
// again needs to know all of its tokens.
func (s *Scheduler) WouldPreempt() bool {
	missing := 0
	for q := s.running.first; q != nil; q = q.next {
		if q.decodes() {
			missing += s.pool.Missing(&q.table, q.Len())
		}
	}
	return missing > s.pool.FreeBlocks()
}

// prefill goes on with the prompt that is begun, if there is one. Only the newest
// running sequence can be in the middle of its prompt: what cuts a prompt short
// is the end of the rows, of the rows of logits or of the free blocks, and
// without any of the three nobody is admitted behind it.
func (s *Scheduler) prefill() {
	if q := s.running.last; q != nil && q.left() > 1 && s.room() > 0 {
		s.extend(q)
		if n := s.chunk(q); n > 0 {
			s.take(q, n)
		}
	}
}

// admit begins waiting sequences in order of arrival.
func (s *Scheduler) admit() {
	for s.waiting.first != nil && s.room() > 0 && s.running.len+s.extra < s.cfg.MaxSeqs {
		q := s.waiting.first
		if !s.begin(q) {
			return
		}
		s.waiting.remove(q)
		s.running.pushBack(q)
		s.take(q, s.chunk(q))
	}
}

// begin gives a waiting sequence the blocks to begin with: those that the prefix
// cache has, and free ones for the rest. It reports false when that would leave
// fewer than one for each sequence that runs.
func (s *Scheduler) begin(q *Seq) bool {
	free := s.pool.FreeBlocks() - s.running.len
	if free < 1 {
		return false // even with all but the last token found
	}
	m := s.find(q)
	held := min(s.pool.BlocksFor(len(q.Tokens)), m.Skip+s.due(q))
	if held-m.End()+m.Idle > free {
		return false
	}
	s.pool.Reserve(&q.table, q.Limit)
	s.pool.Share(&q.table, m.Skip, m.Blocks)
	s.pool.Grow(&q.table, held*s.pool.BlockSize())
	q.computed = m.End() * s.pool.BlockSize()
	if !q.admitted {
		q.admitted = true
		q.cached = q.computed
		if s.cfg.PrefixCaching && q.LogitsFrom >= q.LogitsTo {
			s.prefix.Queries += uint64(len(q.Tokens))
			s.prefix.Hits += uint64(q.cached)
		}
	}
	return true
}

// find looks for the beginning of a sequence in the prefix cache.
func (s *Scheduler) find(q *Seq) kvcache.Match {
	if !s.cfg.PrefixCaching {
		return kvcache.Match{}
	}
	n := q.needless()
	q.chain.Extend(q.Tokens[:n], s.pool.BlockSize())
	return s.pool.Find(q.chain.Keys()[:n/s.pool.BlockSize()], s.cfg.Window)
}

// due is the number of blocks that a sequence holds while its prompt is computed.
func (s *Scheduler) due(q *Seq) int {
	n := SeqBlocks(len(q.Tokens), s.cfg.Window, min(s.cfg.MaxTokens, len(q.Tokens)), s.pool.BlockSize())
	return min(n, s.pool.Blocks())
}

// extend gives a sequence in the middle of its prompt the blocks that it is due
// behind those that its window has passed, as far as there are any.
func (s *Scheduler) extend(q *Seq) {
	blocks := len(q.table.Blocks())
	want := min(s.pool.BlocksFor(len(q.Tokens)), q.table.Passed()+s.due(q)) - blocks
	if want > 0 {
		s.pool.Grow(&q.table, (blocks+min(want, s.pool.FreeBlocks()))*s.pool.BlockSize())
	}
}

// chunk is how many of a sequence's tokens the batch takes: as many as are
// left, have a row and have a block.
func (s *Scheduler) chunk(q *Seq) int {
	return min(q.left(), s.room(), len(q.table.Blocks())*s.pool.BlockSize()-q.computed)
}

// room is the number of rows left in the batch.
func (s *Scheduler) room() int { return s.rows - s.batch.Tokens }

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
	c := Chunk{Seq: q, Start: q.computed, Len: n, Last: n == q.left()}
	s.batch.Chunks = append(s.batch.Chunks, c)
	s.batch.Tokens += n
	s.register(q, c.Start, c.Start+c.Len)
}

// preempt frees a running sequence's blocks; it will be computed again, with
// what was sampled as part of its prompt, before anyone who waits now.
func (s *Scheduler) preempt(q *Seq) {
	if q.drawn > 0 {
		panic("sched: a sequence is preempted while a token of it is drawn")
	}
	s.pool.Free(&q.table)
	q.computed = 0
	s.running.remove(q)
	s.waiting.pushFront(q)
	s.preemptions++
}

// Revise takes the sequences out of the last batch that have ended, or lost their
// blocks, since. It is for a batch that was made while a step was under way and
// is computed only once that has told its tokens.
func (s *Scheduler) Revise() *Batch {
	kept := s.batch.Chunks[:0]
	s.batch.Tokens = 0
	for _, c := range s.batch.Chunks {
		if c.Seq.queue == &s.running {
			kept = append(kept, c)
			s.batch.Tokens += c.Len
			s.register(c.Seq, c.Start, c.Start+c.Len) // with tokens that were not known
		}
	}
	s.batch.Chunks = kept
	return &s.batch
}

// Done counts the tokens of the last batch as computed and lets go of the blocks
// that the window has passed. Sequences removed since are passed over.
func (s *Scheduler) Done() {
	for _, c := range s.batch.Chunks {
		q := c.Seq
		if q.queue != &s.running {
			continue
		}
		q.computed = c.Start + c.Len
		if s.cfg.Window > 0 {
			// The next token is at position computed.
			s.pool.Pass(&q.table, q.computed-s.cfg.Window+1)
		}
	}
}

// Submitted is Done for a batch that the device has taken and is yet to compute:
// whatever is scheduled from now on is computed behind it. Chunks that are the
// last of their sequence have its next token drawn, which Append tells.
func (s *Scheduler) Submitted() {
	s.Done()
	for _, c := range s.batch.Chunks {
		if c.Last && c.Seq.queue == &s.running {
			c.Seq.drawn++
		}
	}
}

// Append adds a sequence's next token to it, which goes on behind that. What ends
// with it is for Remove alone.
func (s *Scheduler) Append(q *Seq, id int32) {
	n := len(q.Tokens)
	q.Tokens = append(q.Tokens, id)
	if q.drawn > 0 {
		q.drawn--
		s.register(q, n, q.computed) // a step under way may have its key and value already
	}
}

// register makes the blocks known that tokens from ≤ i < to of a sequence fill, so
// far as the tokens themselves are. The step that writes them may be still to come
// or be under way, but who finds them reads them in that step or in a later one.
func (s *Scheduler) register(q *Seq, from, to int) {
	to = min(to, len(q.Tokens))
	if !s.cfg.PrefixCaching || to <= from {
		return
	}
	size := s.pool.BlockSize()
	q.chain.Extend(q.Tokens[:to], size)
	for i := max(from/size, q.table.Passed()); i < to/size; i++ {
		s.pool.Register(&q.table, i, &q.chain.Keys()[i])
	}
}

// Failed takes sequences out whose step could not be computed, in the place of
// Done: what the cache holds for them is in doubt and their blocks are made
// unknown. Those that run beside them may share some of these and are preempted.
// No token may be drawn then but of the sequences that are taken out.
func (s *Scheduler) Failed(seqs ...*Seq) {
	for _, q := range seqs {
		s.Discard(q)
	}
	for s.running.last != nil {
		s.preempt(s.running.last)
	}
}

// Discard is Remove for a sequence whose cache content is in doubt: nothing of
// it will be found again.
func (s *Scheduler) Discard(q *Seq) {
	s.pool.Forget(&q.table)
	s.Remove(q)
}
