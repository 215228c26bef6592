package kvcache

import (
	"errors"
	"fmt"
)

// ErrInconsistent is returned by Check, wrapped with the first contradiction found.
var ErrInconsistent = errors.New("KV block accounts are inconsistent")

// Check compares the accounts with tables, which must be all that are in use.
// It returns ErrInconsistent when a block is lost, free twice, free and held,
// twice in one table, counted differently from the tables that hold it, freed in
// the middle of a table, or not found under its key.
func (p *Pool) Check(tables ...*Table) error {
	held := make([]int32, len(p.refs))
	seen := make([]int, len(p.refs)) // 1 + index of the last table that had the block
	for i, t := range tables {
		for j, b := range t.blocks {
			switch {
			case (b == Freed) != (j < t.passed):
				return fmt.Errorf("%w: table %d has block %d at %d, %d are passed", ErrInconsistent, i, b, j, t.passed)
			case b == Freed:
				continue
			case b < 0 || int(b) >= len(p.refs):
				return fmt.Errorf("%w: table %d has block %d of %d", ErrInconsistent, i, b, len(p.refs))
			case seen[b] == i+1:
				return fmt.Errorf("%w: table %d has block %d twice", ErrInconsistent, i, b)
			}
			seen[b] = i + 1
			held[b]++
		}
	}
	isFree, err := p.free.check()
	if err != nil {
		return err
	}
	for b, n := range p.refs {
		switch {
		case n != held[b]:
			return fmt.Errorf("%w: block %d has %d references, %d tables hold it", ErrInconsistent, b, n, held[b])
		case n == 0 && !isFree[b]:
			return fmt.Errorf("%w: block %d is lost: neither free nor held", ErrInconsistent, b)
		case n > 0 && isFree[b]:
			return fmt.Errorf("%w: block %d is free and held by %d tables", ErrInconsistent, b, n)
		}
	}
	return p.index.check()
}

// check walks the list and returns which blocks are in it.
func (l *freeList) check() ([]bool, error) {
	in := make([]bool, len(l.next)-1)
	n := 0
	for b := l.first(); b != l.end(); b = l.next[b] {
		switch {
		case b < 0 || b > l.end() || in[b]:
			return nil, fmt.Errorf("%w: block %d is in the free list twice", ErrInconsistent, b)
		case l.prev[l.next[b]] != b:
			return nil, fmt.Errorf("%w: the free list is linked wrongly at block %d", ErrInconsistent, b)
		}
		in[b] = true
		n++
	}
	if n != l.len {
		return nil, fmt.Errorf("%w: a free list of %d blocks counts %d", ErrInconsistent, n, l.len)
	}
	return in, nil
}

// check holds that every keyed block, and no other, is found under its key.
func (x *index) check() error {
	n := 0
	for b, keyed := range x.keyed {
		if !keyed {
			continue
		}
		if got := x.find(&x.keys[b]); got != int32(b) {
			return fmt.Errorf("%w: block %d's key leads to block %d", ErrInconsistent, b, got)
		}
		n++
	}
	for _, b := range x.heads {
		for ; b != none && n >= 0; b = x.next[b] {
			n--
		}
	}
	if n != 0 {
		return fmt.Errorf("%w: blocks without a key are found by one", ErrInconsistent)
	}
	return nil
}
