package kvcache

import "slices"

// Match is blocks that hold the beginning of a sequence.
type Match struct {
	Skip   int     // blocks before them that the window has passed
	Blocks []int32 // valid until the next Find
	Idle   int     // of Blocks, those that nobody holds: sharing one takes it from the free blocks
}

// End is the number of blocks of the sequence that need not be computed.
func (m Match) End() int { return m.Skip + len(m.Blocks) }

// Find returns the longest beginning of a chain whose content is in the cache.
// With a window (0 is none), it is the longest that can be gone on from: only
// the blocks that the next position sees have to be there.
func (p *Pool) Find(keys []Key, window int) Match {
	p.found = p.found[:0]
	m := Match{}
	if window == 0 {
		for i := range keys {
			b := p.index.find(&keys[i])
			if b == none {
				break
			}
			p.found = append(p.found, b)
		}
	} else {
		// From the end, until so many in a row are there as the window reaches
		// back into, or as there are.
		need := p.BlocksFor(window - 1)
		m.Skip = len(keys)
		for m.Skip > 0 && len(p.found) < max(1, need) {
			m.Skip--
			if b := p.index.find(&keys[m.Skip]); b != none {
				p.found = append(p.found, b)
			} else {
				p.found = p.found[:0]
			}
		}
		if len(p.found) == 0 {
			m.Skip = 0
		}
		if need == 0 { // a position sees itself alone
			m.Skip += len(p.found)
			p.found = p.found[:0]
		}
		slices.Reverse(p.found)
	}
	m.Blocks = p.found
	for _, b := range p.found {
		if p.refs[b] == 0 {
			m.Idle++
		}
	}
	return m
}

// Register makes the i-th block of t, which is full and computed or is in the
// step to come, findable under its key. Where another block has the same content that one stays the one to
// be found.
func (p *Pool) Register(t *Table, i int, k *Key) {
	if b := t.blocks[i]; !p.index.keyed[b] && p.index.find(k) == none {
		p.index.add(b, k)
	}
}

// Forget makes the blocks of t unknown, whoever else holds them: what they hold
// is not to be trusted.
func (p *Pool) Forget(t *Table) {
	for _, b := range t.blocks[t.passed:] {
		p.index.remove(b)
	}
}

// Reset makes all blocks unknown.
func (p *Pool) Reset() {
	for b := range p.refs {
		p.index.remove(int32(b))
	}
}
