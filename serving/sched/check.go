package sched

import (
	"errors"
	"fmt"

	"servebench/serving/kvcache"
)

// ErrInconsistent is returned by Check, wrapped with the first contradiction found.
var ErrInconsistent = errors.New("the scheduler is inconsistent")

// Check verifies the queues and, through kvcache.Pool.Check, the block
// accounts. It costs O(sequences + blocks) and is meant for tests.
func (s *Scheduler) Check() error {
	var tables []*kvcache.Table
	var last *Seq
	for _, q := range []*queue{&s.running, &s.waiting} {
		n := 0
		var prev *Seq
		for x := q.first; x != nil; x = x.next {
			if x.queue != q || x.prev != prev {
				return fmt.Errorf("%w: sequence %d is linked wrongly", ErrInconsistent, x.order)
			}
			if last != nil && x.order <= last.order {
				return fmt.Errorf("%w: sequence %d comes after %d", ErrInconsistent, x.order, last.order)
			}
			if err := s.checkSeq(x, q == &s.running); err != nil {
				return err
			}
			tables = append(tables, &x.table)
			prev, last = x, x
			n++
		}
		if n != q.len || q.last != prev {
			return fmt.Errorf("%w: a queue of %d sequences counts %d", ErrInconsistent, n, q.len)
		}
	}
	if s.running.len > s.cfg.MaxSeqs {
		return fmt.Errorf("%w: %d sequences run, %d may", ErrInconsistent, s.running.len, s.cfg.MaxSeqs)
	}
	return s.pool.Check(tables...)
}

func (s *Scheduler) checkSeq(q *Seq, running bool) error {
	blocks := len(q.table.Blocks())
	switch {
	case q.Len() > q.Limit:
		return fmt.Errorf("%w: sequence %d has %d tokens, its limit is %d", ErrInconsistent, q.order, q.Len(), q.Limit)
	case !running && (blocks != 0 || q.computed != 0 || q.drawn != 0):
		return fmt.Errorf("%w: sequence %d waits with %d blocks, %d tokens computed and %d drawn", ErrInconsistent, q.order, blocks, q.computed, q.drawn)
	case q.computed > q.Len():
		return fmt.Errorf("%w: sequence %d has %d tokens, %d computed", ErrInconsistent, q.order, q.Len(), q.computed)
	case q.table.Passed() > 0 && (s.cfg.Window == 0 || q.table.Passed()*s.pool.BlockSize() > q.computed-s.cfg.Window+1):
		return fmt.Errorf("%w: sequence %d has let go of %d blocks with %d tokens computed and a window of %d",
			ErrInconsistent, q.order, q.table.Passed(), q.computed, s.cfg.Window)
	case s.pool.BlocksFor(q.computed) > blocks:
		return fmt.Errorf("%w: sequence %d has %d blocks for %d tokens computed", ErrInconsistent, q.order, blocks, q.computed)
	}
	return nil
}
