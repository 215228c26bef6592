package sched

import "servebench/serving/kvcache"

// Seq is a sequence to compute. The caller sets the exported fields before Add
// and appends to Tokens after a step; nobody else changes them.
type Seq struct {
	Tokens []int32 // prompt, then the sampled tokens; at least one
	Limit  int     // the most tokens it will ever have
	Owner  any     // the caller's; not looked at here

	// Rows at positions LogitsFrom ≤ p < LogitsTo give logits too, not only the
	// row that the next token is sampled from. The caller moves LogitsFrom up as
	// it gets them, so that after a preemption none is asked for twice.
	LogitsFrom, LogitsTo int

	computed   int           // tokens whose keys and values are in the cache
	table      kvcache.Table // their blocks; those of all Tokens at admission
	queue      *queue        // where it is; nil before Add and after Remove
	prev, next *Seq          // neighbours in the queue
	order      uint64        // of arrival
}

// Computed is the number of tokens whose keys and values are in the cache.
func (s *Seq) Computed() int { return s.computed }

// Slot is the cache slot of a position that the last Batch had, or one before it.
func (s *Seq) Slot(pos int) int32 { return s.table.Slot(pos) }

// Blocks are its cache blocks in order, valid until the next Schedule or Remove.
func (s *Seq) Blocks() []int32 { return s.table.Blocks() }

// left is the number of tokens to compute before the next can be sampled.
func (s *Seq) left() int { return len(s.Tokens) - s.computed }

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
