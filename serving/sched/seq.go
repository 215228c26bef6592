package sched

import "servebench/serving/kvcache"

// Seq is a sequence to compute. The caller sets the exported fields before Add;
// Tokens grows by Scheduler.Append, or by the caller itself where no token is drawn
// while a batch is scheduled.
type Seq struct {
	Tokens []int32 // prompt, then the sampled tokens; at least one
	Limit  int     // the most tokens it will ever have
	Owner  any     // the caller's; not looked at here

	// Rows at positions LogitsFrom ≤ p < LogitsTo give logits too, not only the
	// row that the next token is sampled from. The caller moves LogitsFrom up as
	// it gets them, so that after a preemption none is asked for twice.
	LogitsFrom, LogitsTo int

	computed   int           // tokens whose keys and values are in the cache, or will be once the steps under way are done
	drawn      int           // tokens behind Tokens that a step under way draws; 0 or 1 when a batch is scheduled
	cached     int           // of computed, found there at the first admission
	admitted   bool          // there was a first admission
	table      kvcache.Table // their blocks, and what is reserved; doc.go says how much
	chain      kvcache.Chain // keys of the full blocks
	queue      *queue        // where it is; nil before Add and after Remove
	prev, next *Seq          // neighbours in the queue
	order      uint64        // of arrival
}

// Hash computes the keys of the full blocks of Tokens, in a time linear in
// their number, and makes room for those to come. With a prefix cache, who calls
// it before Add, in a goroutine of its own choice, keeps that out of the step;
// else the scheduler does it.
func (s *Seq) Hash(blockSize int) {
	s.chain.Reserve(s.Limit, blockSize)
	s.chain.Extend(s.Tokens, blockSize)
}

// Len is the number of its tokens, with those that a step under way draws.
func (s *Seq) Len() int { return len(s.Tokens) + s.drawn }

// Computed is the number of tokens whose keys and values are in the cache, or will
// be once what was Submitted is computed.
func (s *Seq) Computed() int { return s.computed }

// Cached is the number of tokens that were in the prefix cache when the
// sequence was first admitted.
func (s *Seq) Cached() int { return s.cached }

// Slot is the cache slot of a position that the last Batch had, or one before it
// that the window has not passed.
func (s *Seq) Slot(pos int) int32 { return s.table.Slot(pos) }

// Blocks are its cache blocks in order, kvcache.Freed those that the window has
// passed, valid until the next Schedule, Done or Remove.
func (s *Seq) Blocks() []int32 { return s.table.Blocks() }

// needless is the number of tokens at its beginning that need not be computed
// if their keys and values are at hand: no row of theirs gives logits.
func (s *Seq) needless() int {
	n := len(s.Tokens) - 1
	if s.LogitsFrom < s.LogitsTo {
		n = min(n, s.LogitsFrom)
	}
	return n
}

// left is the number of tokens to compute before the next can be sampled.
func (s *Seq) left() int { return s.Len() - s.computed }

// decodes reports whether one token is to be computed for the next, and there is
// a next: one that is drawn may be known to be the last.
func (s *Seq) decodes() bool { return s.left() == 1 && (s.drawn == 0 || s.Len() < s.Limit) }

// queue is a list of sequences through their prev and next, so that one in the
// middle leaves without a search and nothing is allocated.
type queue struct {
	first, last *Seq
	len         int
}

func (q *queue) pushBack(s *Seq) {
	s.queue, s.prev, s.next = q, q.last, nil
	if q.last == nil {
		q.first = s
	} else {
		q.last.next = s
	}
	q.last = s
	q.len++
}

func (q *queue) pushFront(s *Seq) {
	s.queue, s.prev, s.next = q, nil, q.first
	if q.first == nil {
		q.last = s
	} else {
		q.first.prev = s
	}
	q.first = s
	q.len++
}

func (q *queue) remove(s *Seq) {
	if s.prev == nil {
		q.first = s.next
	} else {
		s.prev.next = s.next
	}
	if s.next == nil {
		q.last = s.prev
	} else {
		s.next.prev = s.prev
	}
	s.queue, s.prev, s.next = nil, nil, nil
	q.len--
}
