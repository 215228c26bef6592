package kvcache

import (
	"fmt"
	"math"
	"slices"
)

// Pool hands out a fixed number of blocks. It is not safe for concurrent use.
type Pool struct {
	blockSize int     // B
	refs      []int32 // [blocks] tables that hold each block
	free      freeList
	index     index
	found     []int32 // Find's
}

// Freed stands in a table for a block that it has let go of; kernels.Freed is the same.
const Freed = -1

// Table is the blocks of one sequence, in order, Freed those that it has let go
// of. The zero value is an empty one. Its memory is kept when
// it is freed, for the next use.
type Table struct {
	blockSize int
	passed    int // blocks at the beginning that are let go of
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
	return &Pool{
		blockSize: blockSize, refs: make([]int32, blocks),
		free: newFreeList(blocks), index: newIndex(blocks),
	}, nil
}

// BlockSize is B, the tokens in a block.
func (p *Pool) BlockSize() int { return p.blockSize }

// Blocks is the number of blocks there are.
func (p *Pool) Blocks() int { return len(p.refs) }

// FreeBlocks is the number of blocks that nobody holds, those whose content is
// known among them.
func (p *Pool) FreeBlocks() int { return p.free.len }

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

// Grow gives t the blocks that it lacks for so many tokens: first those whose
// content nobody can name, then those that were freed longest ago. It reports
// false, and changes nothing, when fewer are free.
func (p *Pool) Grow(t *Table, tokens int) bool {
	n := p.Missing(t, tokens)
	if n > p.free.len {
		return false
	}
	t.blockSize = p.blockSize
	for range n {
		b := p.free.first()
		p.free.remove(b)
		p.index.remove(b)
		p.refs[b] = 1
		t.blocks = append(t.blocks, b)
	}
	return true
}

// Share begins t, which must be empty, with skip blocks that it lets go of at
// once and behind them blocks that hold content: another table's, full, or
// found by Find. It panics when t is not empty or a block has no content that
// anybody knows: either would corrupt a sequence.
func (p *Pool) Share(t *Table, skip int, blocks []int32) {
	if len(t.blocks) != 0 {
		panic(fmt.Sprintf("kvcache: Share into a table that has %d blocks", len(t.blocks)))
	}
	for _, b := range blocks {
		if p.refs[b] == 0 && !p.index.keyed[b] {
			panic(fmt.Sprintf("kvcache: Share of block %d, which is free", b))
		}
	}
	for range skip {
		t.blocks = append(t.blocks, Freed)
	}
	for _, b := range blocks {
		if p.refs[b] == 0 {
			p.free.remove(b)
		}
		p.refs[b]++
	}
	t.blockSize, t.passed = p.blockSize, skip
	t.blocks = append(t.blocks, blocks...)
}

// Pass lets go of the blocks of t that hold only positions below pos.
func (p *Pool) Pass(t *Table, pos int) {
	for ; t.passed < min(pos/p.blockSize, len(t.blocks)); t.passed++ {
		p.release(t.blocks[t.passed])
		t.blocks[t.passed] = Freed
	}
}

// Free empties t. Blocks that no other table holds can be handed out again.
func (p *Pool) Free(t *Table) {
	// From the end: of a chain of keys the last are to be taken first, as those
	// before them are found without them, but not the other way round.
	for i := len(t.blocks) - 1; i >= t.passed; i-- {
		p.release(t.blocks[i])
	}
	t.blocks, t.passed = t.blocks[:0], 0
}

// release takes back one table's hold of a block.
func (p *Pool) release(b int32) {
	if p.refs[b]--; p.refs[b] > 0 {
		return
	}
	if p.index.keyed[b] {
		p.free.pushBack(b)
	} else {
		p.free.pushFront(b) // of use to nobody, and still in the CPU's caches
	}
}

// Blocks returns the table's blocks in order, valid until the table changes.
func (t *Table) Blocks() []int32 { return t.blocks }

// Passed is the number of blocks at its beginning that it has let go of.
func (t *Table) Passed() int { return t.passed }

// Slot returns the slot of a position, which the table must have a block for.
func (t *Table) Slot(pos int) int32 {
	b := t.blocks[pos/t.blockSize]
	return b*int32(t.blockSize) + int32(pos%t.blockSize)
}
