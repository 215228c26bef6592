package kernels

import (
	"errors"
	"fmt"
)

// ErrStep is returned, wrapped with the field and the index, when a step
// contradicts itself or the weights and caches that it is used with.
var ErrStep = errors.New("bad step")

func stepErr(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrStep, fmt.Sprintf(format, args...))
}

// Check reports the first field that contradicts the others. What it needs a
// weight or a cache for is left to CheckTokens, CheckPositions and CheckKV.
func (s *Step) Check() error {
	t, seqs := len(s.Tokens), len(s.Lens)
	switch {
	case t == 0:
		return stepErr("Tokens is empty")
	case s.From != nil && len(s.From) != t:
		return stepErr("From has %d entries for %d tokens", len(s.From), t)
	case len(s.Positions) != t:
		return stepErr("Positions has %d entries for %d tokens", len(s.Positions), t)
	case len(s.Slots) != t:
		return stepErr("Slots has %d entries for %d tokens", len(s.Slots), t)
	case len(s.Starts) != seqs+1:
		return stepErr("Starts has %d entries, Lens %d; one more is right", len(s.Starts), seqs)
	case s.Starts[0] != 0 || int(s.Starts[seqs]) != t:
		return stepErr("Starts goes from %d to %d, not from 0 to %d", s.Starts[0], s.Starts[seqs], t)
	case s.MaxBlocks < 0 || s.MaxBlocks > maxDim:
		return stepErr("MaxBlocks is %d", s.MaxBlocks)
	case len(s.Blocks) != seqs*s.MaxBlocks:
		return stepErr("Blocks has %d entries for %d sequences of %d", len(s.Blocks), seqs, s.MaxBlocks)
	case s.Window < 0:
		return stepErr("Window is %d", s.Window)
	}
	for i := range t {
		if s.Tokens[i] < 0 {
			return stepErr("Tokens[%d] is %d", i, s.Tokens[i])
		}
		if s.Slots[i] < 0 {
			return stepErr("Slots[%d] is %d", i, s.Slots[i])
		}
	}
	for q := range seqs {
		if err := s.checkSeq(q); err != nil {
			return err
		}
	}
	for i, row := range s.Out {
		if row < 0 || int(row) >= t {
			return stepErr("Out[%d] is row %d of %d", i, row, t)
		}
		if i > 0 && row <= s.Out[i-1] {
			return stepErr("Out[%d] is row %d after row %d; they must ascend", i, row, s.Out[i-1])
		}
	}
	return nil
}

// checkSeq checks the rows of sequence q: at least one, positions consecutive,
// the last of them the last of the sequence.
func (s *Step) checkSeq(q int) error {
	lo, hi := s.Starts[q], s.Starts[q+1]
	if hi <= lo || int(hi) > len(s.Tokens) {
		return stepErr("Starts[%d] is %d after %d; every sequence has at least one row", q+1, hi, lo)
	}
	first := s.Positions[lo]
	if first < 0 {
		return stepErr("Positions[%d] is %d", lo, first)
	}
	for i := lo + 1; i < hi; i++ {
		if int64(s.Positions[i]) != int64(first)+int64(i-lo) {
			return stepErr("Positions[%d] is %d after %d; a sequence's positions are consecutive",
				i, s.Positions[i], s.Positions[i-1])
		}
	}
	if int64(s.Lens[q]) != int64(s.Positions[hi-1])+1 {
		return stepErr("Lens[%d] is %d, its last position %d", q, s.Lens[q], s.Positions[hi-1])
	}
	return nil
}

// CheckTokens reports the first token that a table of vocab rows lacks.
func (s *Step) CheckTokens(vocab int) error {
	for i, id := range s.Tokens {
		if int(id) >= vocab {
			return stepErr("Tokens[%d] is %d, the vocabulary has %d", i, id, vocab)
		}
	}
	return nil
}

// CheckPositions reports the first position that a table of limit rows lacks.
func (s *Step) CheckPositions(limit int) error {
	for i, p := range s.Positions {
		if int(p) >= limit {
			return stepErr("Positions[%d] is %d, the table has %d", i, p, limit)
		}
	}
	return nil
}

// seen returns the first position that some row of sequence q sees: what its
// first row sees, as later ones see no further back.
func (s *Step) seen(q int) int {
	if s.Window == 0 {
		return 0
	}
	return max(0, int(s.Positions[s.Starts[q]])-s.Window+1)
}

// CheckWindow reports an attention that sees further back than the step says.
func (s *Step) CheckWindow(window int) error {
	if s.Window > 0 && (window == 0 || window > s.Window) {
		return stepErr("Window is %d, an attention's %d: it would read blocks that are freed", s.Window, window)
	}
	return nil
}

// CheckKV reports the first length, block or slot that does not fit a cache of
// that shape, slot that is not where Blocks puts the token's position, or Freed
// block that a row sees into.
func (s *Step) CheckKV(sh KVShape) error {
	for q, n := range s.Lens {
		used := (int(n) + sh.BlockSize - 1) / sh.BlockSize
		if used > s.MaxBlocks {
			return stepErr("Lens[%d] is %d, %d blocks of %d are fewer", q, n, s.MaxBlocks, sh.BlockSize)
		}
		row := s.Blocks[q*s.MaxBlocks:][:used]
		passed := s.seen(q) / sh.BlockSize // blocks wholly before the window
		for i, b := range row {
			if b == Freed && i < passed {
				continue
			}
			if b < 0 || int(b) >= sh.Blocks {
				return stepErr("Blocks[%d, %d] is %d, the cache has %d", q, i, b, sh.Blocks)
			}
		}
		for t := s.Starts[q]; t < s.Starts[q+1]; t++ {
			p := int(s.Positions[t])
			if want := int(row[p/sh.BlockSize])*sh.BlockSize + p%sh.BlockSize; int(s.Slots[t]) != want {
				return stepErr("Slots[%d] is %d, Blocks puts position %d in slot %d", t, s.Slots[t], p, want)
			}
		}
	}
	return nil
}

// Check reports a shape that no cache can have.
func (sh KVShape) Check() error {
	size := 1
	for _, d := range []int{sh.Layers, sh.Blocks, sh.BlockSize, sh.KVHeads, sh.HeadDim} {
		if d <= 0 || d > maxDim || size > 1<<48/d {
			return fmt.Errorf("a KV cache cannot have the shape %+v", sh)
		}
		size *= d
	}
	if sh.Blocks*sh.BlockSize > maxDim {
		return fmt.Errorf("a KV cache of %d blocks of %d has more slots than an int32 counts", sh.Blocks, sh.BlockSize)
	}
	return nil
}

// CheckBuffer reports a size that no activation buffer can have.
func CheckBuffer(rows, cols int) error {
	if rows <= 0 || cols <= 0 || rows > maxDim || cols > maxDim || rows > maxDim*16/cols {
		return fmt.Errorf("an activation buffer cannot be [%d, %d]", rows, cols)
	}
	return nil
}
