package tokenizer

import (
	"container/heap"
	"slices"
)

// bpe merges the bytes of a word into tokens: again and again the adjacent pair
// of the lowest rank, the leftmost of equals, until no pair is left that the
// merges list (Sennrich et al. 2016; the tokenizers package's Word::merge_all).
type bpe struct {
	bytes   [256]int32       // the token of each single byte, none where the vocabulary lacks it
	unknown int32            // stands for a byte without a token; none: such bytes are dropped
	fuse    bool             // a run of such bytes is one unknown
	whole   map[string]int32 // words known to become one token, by their bytes
	merges  map[pair]merge
}

// none is the id of no token.
const none int32 = -1

type pair struct{ left, right int32 }

// merge is what a pair becomes. Lower ranks were learnt earlier and go first.
type merge struct{ rank, id int32 }

// noMerge ranks behind every merge.
const noMerge int32 = 1<<31 - 1

// heapFrom is the word length in bytes from which the heap is used: scanning
// all pairs for the lowest is quadratic, but faster for shorter words.
const heapFrom = 48

// encode appends the tokens of a word.
func (m *bpe) encode(dst []int32, word string) []int32 {
	if id, ok := m.whole[word]; ok {
		return append(dst, id)
	}
	from := len(dst)
	dst = m.symbols(dst, word)
	if len(word) < heapFrom {
		return dst[:from+m.mergeShort(dst[from:])]
	}
	return dst[:from+m.mergeLong(dst[from:])]
}

// symbols appends the tokens of the word's single bytes.
func (m *bpe) symbols(dst []int32, word string) []int32 {
	fusing := false
	for i := range len(word) {
		id := m.bytes[word[i]]
		missing := id == none
		if missing && (m.unknown == none || fusing && m.fuse) {
			continue
		}
		if missing {
			id = m.unknown
		}
		fusing = missing
		dst = append(dst, id)
	}
	return dst
}

// lookup returns what two adjacent tokens become; rank noMerge when nothing.
func (m *bpe) lookup(left, right int32) merge {
	if found, ok := m.merges[pair{left, right}]; ok {
		return found
	}
	return merge{rank: noMerge}
}

// mergeShort merges fewer than heapFrom symbols in place and returns how many are left.
func (m *bpe) mergeShort(ids []int32) int {
	var next [heapFrom]merge // next[i] is what ids[i] and ids[i+1] become
	n := len(ids)
	for i := 0; i+1 < n; i++ {
		next[i] = m.lookup(ids[i], ids[i+1])
	}
	for {
		best, at := noMerge, 0
		for i := 0; i+1 < n; i++ {
			if next[i].rank < best {
				best, at = next[i].rank, i
			}
		}
		if best == noMerge {
			return n
		}
		ids[at] = next[at].id
		copy(ids[at+1:n], ids[at+2:n])
		copy(next[at:n-1], next[at+1:n])
		n--
		if at+1 < n {
			next[at] = m.lookup(ids[at], ids[at+1])
		}
		if at > 0 {
			next[at-1] = m.lookup(ids[at-1], ids[at])
		}
	}
}

// symbol is a token of a word being merged: a node of a doubly linked list in a
// slice, so that a merge moves nothing.
type symbol struct{ id, before, after int32 } // id none once merged into the one before

// candidate is a pair that could be merged. It is out of date, and skipped, if
// the symbols at its place have become others since it was queued.
type candidate struct {
	merge
	at   int32 // of the left symbol
	pair pair
}

// candidates is a heap by rank, then from left to right.
type candidates []candidate

func (c candidates) Len() int { return len(c) }
func (c candidates) Less(i, j int) bool {
	return c[i].rank < c[j].rank || c[i].rank == c[j].rank && c[i].at < c[j].at
}
func (c candidates) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c *candidates) Push(x any)   { *c = append(*c, x.(candidate)) }
func (c *candidates) Pop() any {
	last := (*c)[len(*c)-1]
	*c = (*c)[:len(*c)-1]
	return last
}

// mergeLong merges symbols in place and returns how many are left, in time
// proportional to n log n: text without a space in it is one word.
func (m *bpe) mergeLong(ids []int32) int {
	list := make([]symbol, len(ids))
	queue := make(candidates, 0, len(ids))
	for i, id := range ids {
		list[i] = symbol{id, int32(i) - 1, int32(i) + 1}
		if i > 0 {
			if found := m.lookup(ids[i-1], id); found.rank != noMerge {
				queue = append(queue, candidate{found, int32(i) - 1, pair{ids[i-1], id}})
			}
		}
	}
	heap.Init(&queue)
	end := int32(len(ids))
	consider := func(at int32) {
		if at < 0 || list[at].after == end {
			return
		}
		p := pair{list[at].id, list[list[at].after].id}
		if found := m.lookup(p.left, p.right); found.rank != noMerge {
			heap.Push(&queue, candidate{found, at, p})
		}
	}
	for len(queue) > 0 {
		c := heap.Pop(&queue).(candidate)
		left := &list[c.at]
		if left.id != c.pair.left || left.after == end || list[left.after].id != c.pair.right {
			continue
		}
		right := &list[left.after]
		left.id, right.id = c.id, none
		left.after = right.after
		if left.after != end {
			list[left.after].before = c.at
		}
		consider(left.before)
		consider(c.at)
	}
	kept := ids[:0]
	for _, s := range list {
		if s.id != none {
			kept = append(kept, s.id)
		}
	}
	return len(kept)
}

// learnWhole finds the tokens that their own bytes merge into, which are most:
// a word that is one of them needs no merging. With all, a word in the
// vocabulary is taken whole even where merges would not reach it (ignore_merges).
func (m *bpe) learnWhole(byBytes map[string]int32, all bool) {
	if all {
		m.whole = byBytes
		return
	}
	whole := make(map[string]int32, len(byBytes))
	var buf []int32
	for raw, id := range byBytes {
		buf = m.encode(buf[:0], raw)
		if slices.Equal(buf, []int32{id}) {
			whole[raw] = id
		}
	}
	m.whole = whole
}
