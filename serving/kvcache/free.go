package kvcache

// freeList is the blocks that nobody holds, in the order in which they are
// handed out. One in the middle leaves without a search and nothing is allocated.
type freeList struct {
	next, prev []int32 // [blocks+1]: the last is before the first and behind the last block
	len        int
}

// newFreeList returns a list of all blocks; block 0 goes first.
func newFreeList(blocks int) freeList {
	l := freeList{next: make([]int32, blocks+1), prev: make([]int32, blocks+1)}
	l.next[blocks], l.prev[blocks] = int32(blocks), int32(blocks)
	for b := range blocks {
		l.pushBack(int32(b))
	}
	return l
}

func (l *freeList) end() int32   { return int32(len(l.next) - 1) }
func (l *freeList) first() int32 { return l.next[l.end()] }

func (l *freeList) pushFront(b int32) { l.insert(b, l.end(), l.first()) }
func (l *freeList) pushBack(b int32)  { l.insert(b, l.prev[l.end()], l.end()) }

func (l *freeList) insert(b, before, behind int32) {
	l.prev[b], l.next[b] = before, behind
	l.next[before], l.prev[behind] = b, b
	l.len++
}

func (l *freeList) remove(b int32) {
	l.next[l.prev[b]], l.prev[l.next[b]] = l.next[b], l.prev[b]
	l.len--
}
