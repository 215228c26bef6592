package kvcache

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// ErrInconsistent is returned by Check, wrapped with the first contradiction found.
var ErrInconsistent = errors.New("KV block accounts are inconsistent")

// Pool hands out a fixed number of blocks. It is not safe for concurrent use.
type Pool struct {
	blockSize int     // B
	refs      []int32 // [blocks] tables that hold each block
	free      []int32 // blocks with no reference; the one freed last is given out first
}

// Table is the blocks of one sequence, in order. The zero value is an empty
// one. Its memory is kept when it is freed, for the next use.
type Table struct {
	blockSize int
	blocks    []int32
}

// New returns a pool of so many blocks of blockSize tokens. It fails when
// either is not positive or a slot's number would not fit an int32.
func New(blocks, blockSize int) (*Pool, error) {
	if blocks < 1 || blockSize < 1 {
		return nil, fmt.Errorf("a KV cache of %d blocks of %d tokens: both must be at least 1", blocks, blockSize)
	}
	if blocks > math.MaxInt32/blockSize {
		return nil, fmt.Errorf("a KV cache of %d blocks of %d tokens has more slots than %d: make it smaller",
			blocks, blockSize, math.MaxInt32)
	}
	p := &Pool{blockSize: blockSize, refs: make([]int32, blocks), free: make([]int32, blocks)}
	for i := range p.free {
		p.free[i] = int32(blocks - 1 - i) // block 0 goes first
	}
	return p, nil
}

// BlockSize is B, the tokens in a block.
func (p *Pool) BlockSize() int { return p.blockSize }

// Blocks is the number of blocks there are.
func (p *Pool) Blocks() int { return len(p.refs) }

// FreeBlocks is the number of blocks that nobody holds.
func (p *Pool) FreeBlocks() int { return len(p.free) }

// BlocksFor is the number of blocks that so many tokens take.
func (p *Pool) BlocksFor(tokens int) int { return (tokens + p.blockSize - 1) / p.blockSize }

// Missing is the number of blocks that t lacks for so many tokens.
func (p *Pool) Missing(t *Table, tokens int) int {
	return max(0, p.BlocksFor(tokens)-len(t.blocks))
}

// Reserve makes room in t for the block ids of so many tokens, so that Grow up
// to there allocates nothing. It takes no block.
func (p *Pool) Reserve(t *Table, tokens int) {
	t.blocks = slices.Grow(t.blocks, p.Missing(t, tokens))
}

// Grow gives t the blocks that it lacks for so many tokens. It reports false,
// and changes nothing, when fewer are free.
func (p *Pool) Grow(t *Table, tokens int) bool {
	n := p.Missing(t, tokens)
	if n > len(p.free) {
		return false
	}
	t.blockSize = p.blockSize
	first := len(p.free) - n
	for i := len(p.free) - 1; i >= first; i-- {
		b := p.free[i]
		p.refs[b] = 1
		t.blocks = append(t.blocks, b)
	}
	p.free = p.free[:first]
	return true
}

// Share makes blocks, held by another table and full, the beginning of t, which
// must be empty. It panics when t is not or when nobody holds one of the
// blocks: either would corrupt another sequence.
func (p *Pool) Share(t *Table, blocks []int32) {
	if len(t.blocks) != 0 {
		panic(fmt.Sprintf("kvcache: Share into a table that has %d blocks", len(t.blocks)))
	}
	for _, b := range blocks {
		if p.refs[b] == 0 {
			panic(fmt.Sprintf("kvcache: Share of block %d, which is free", b))
		}
	}
	for _, b := range blocks {
		p.refs[b]++
	}
	t.blockSize = p.blockSize
	t.blocks = append(t.blocks, blocks...)
}

// Free empties t. Blocks that no other table holds can be handed out again.
func (p *Pool) Free(t *Table) {
	for i := len(t.blocks) - 1; i >= 0; i-- {
		b := t.blocks[i]
		if p.refs[b]--; p.refs[b] == 0 {
			p.free = append(p.free, b)
		}
	}
	t.blocks = t.blocks[:0]
}

// Blocks returns the table's blocks in order, valid until the table changes.
func (t *Table) Blocks() []int32 { return t.blocks }

// Slot returns the slot of a position, which the table must have a block for.
func (t *Table) Slot(pos int) int32 {
	b := t.blocks[pos/t.blockSize]
	return b*int32(t.blockSize) + int32(pos%t.blockSize)
}

// Check compares the accounts with tables, which must be all that are in use.
// It returns ErrInconsistent when a block is lost, free twice, free and held,
// twice in one table, or counted differently from the tables that hold it.
func (p *Pool) Check(tables ...*Table) error {
	held := make([]int32, len(p.refs))
	seen := make([]int, len(p.refs)) // 1 + index of the last table that had the block
	for i, t := range tables {
		for _, b := range t.blocks {
			switch {
			case b < 0 || int(b) >= len(p.refs):
				return fmt.Errorf("%w: table %d has block %d of %d", ErrInconsistent, i, b, len(p.refs))
			case seen[b] == i+1:
				return fmt.Errorf("%w: table %d has block %d twice", ErrInconsistent, i, b)
			}
			seen[b] = i + 1
			held[b]++
		}
	}
	isFree := make([]bool, len(p.refs))
	for _, b := range p.free {
		if isFree[b] {
			return fmt.Errorf("%w: block %d is in the free list twice", ErrInconsistent, b)
		}
		isFree[b] = true
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
	return nil
}
