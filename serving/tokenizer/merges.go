package tokenizer

import (
	"math/bits"
	"math/rand/v2"
	"slices"
)

// merges are what byte-pair encoding has learnt: which two adjacent tokens
// become one, and in which order (Sennrich et al. 2016). A word begins as
// symbols, the tokens of its bytes or characters, and as long as there is one,
// the pair of the lowest rank is merged, the leftmost of equals (merge_all of
// the tokenizers package, bpe_model.cc of SentencePiece).
//
// It is a hash table of open addressing: a word takes about two looks into it a
// byte, most of them for pairs that it lacks, which the filter answers from the
// cache where the slots of 50,000 merges (2 MB) are not.
type merges struct {
	slots  []mergeSlot // a power of two, at most half of them taken
	filter []uint64    // 8 bits a slot: set where the hash of a pair in the table points
	shift  int         // the hash's bits above these number the slots
	odd    uint64      // multiplier, another one in each table: no file can aim at one slot
	size   int
}

type mergeSlot struct {
	pair pair // left none: empty
	merge
}

type pair struct{ left, right int32 }

// merge is what a pair becomes. Lower ranks go first.
type merge struct{ rank, id int32 }

// noMerge ranks behind every merge.
const noMerge int32 = 1<<31 - 1

// newMerges returns a table with room for n merges; it grows beyond them.
func newMerges(n int) *merges {
	m := &merges{odd: rand.Uint64() | 1}
	m.resize(2 * n)
	return m
}

// resize makes room for at least slots slots.
func (m *merges) resize(slots int) {
	old := m.slots
	width := max(3, bits.Len(uint(max(slots, 1)-1)))
	m.slots, m.shift, m.size = make([]mergeSlot, 1<<width), 64-width, 0
	m.filter = make([]uint64, len(m.slots)/8)
	for i := range m.slots {
		m.slots[i] = mergeSlot{pair{none, none}, merge{noMerge, none}}
	}
	for _, s := range old {
		if s.pair.left != none {
			m.set(s.pair, s.merge)
		}
	}
}

// set adds a merge, or replaces that of the same pair.
func (m *merges) set(p pair, into merge) {
	if 2*(m.size+1) > len(m.slots) {
		m.resize(2 * len(m.slots))
	}
	hash := m.hash(p)
	bit := hash >> (m.shift - 3)
	m.filter[bit/64] |= 1 << (bit % 64)
	s := m.find(p, hash)
	if s.pair.left == none {
		m.size++
	}
	*s = mergeSlot{p, into}
}

func (m *merges) hash(p pair) uint64 {
	return (uint64(uint32(p.left))<<32 | uint64(uint32(p.right))) * m.odd
}

// find returns the slot of a pair, or the empty one where it would be.
func (m *merges) find(p pair, hash uint64) *mergeSlot {
	for i := hash >> m.shift; ; i++ {
		s := &m.slots[i&uint64(len(m.slots)-1)]
		if s.pair == p || s.pair.left == none {
			return s
		}
	}
}

// lookup returns what two adjacent tokens become; rank noMerge when nothing.
func (m *merges) lookup(left, right int32) merge {
	p := pair{left, right}
	hash := m.hash(p)
	bit := hash >> (m.shift - 3)
	if m.filter[bit/64]>>(bit%64)&1 == 0 {
		return merge{noMerge, none}
	}
	return m.find(p, hash).merge
}

// A word of up to shortWord symbols is merged by scanning for the lowest pair.
// A longer one is merged in windows, each of which also takes in the last few
// tokens of what is done. 256 symbols is what a tree of two levels holds;
// measured on GPT-2's vocabulary.
const (
	shortWord = 48  // symbols
	window    = 256 // symbols
	overlap   = 8   // tokens
)

// apply appends the tokens that symbols merge into. It may change symbols.
//
// Time and memory are linear in the length, whatever the text. That a word can
// be merged in windows rests on this: tokens are the merging of a text if, and
// only if, every two neighbours are the merging of theirs. (Take the first merge
// that would cross a border between two of them; until then each side went as
// it goes alone, so it would come in the merging of these two as well.) So what
// is done goes on being right up to a token that the next window, which begins
// with it, begins with too. Where it does not, because the text after it
// changes what came before, the window reaches further back. How far back text
// can reach depends on the vocabulary alone (Berglund and van der Merwe 2023,
// "Formalizing BPE Tokenization"); windows grow with it, so that even if it were
// the whole word the time would be that of a few merges of it at once.
// The property is the one that github/rust-gems' crate bpe rests on too, which
// searches for compatible tokens instead, but needs ranks in the order of ids.
func (m *merges) apply(dst, symbols []int32) []int32 {
	if len(symbols) <= shortWord {
		return append(dst, symbols[:m.scan(symbols)]...)
	}
	var t tree
	from := len(dst)
	// dst ends with the tokens of symbols[:done]. Where they begin is marked by
	// complementing the symbols there.
	back := overlap
	for done := 0; done < len(symbols); {
		first, second, tokens := done, done, 0 // where the window's first token and the one after it begin
		for ; first > 0 && tokens < back; tokens++ {
			second = first
			for first--; symbols[first] >= 0; first-- {
			}
		}
		again := done - first
		end := min(len(symbols), done+max(again, window-again))
		t.merge(m, symbols[first:end])
		if first > 0 && first+t.after(0) != second {
			back *= 2
			continue
		}
		for i := first; i < done; i++ {
			symbols[i] = max(symbols[i], ^symbols[i])
		}
		if len(dst)+end-first > cap(dst) { // the rest is likely to have as many tokens a symbol
			dst = slices.Grow(dst, end-first+int(float64(len(dst)-from)*float64(len(symbols)-done)/float64(max(done, 1))))
		}
		dst = dst[:len(dst)-tokens]
		for at := 0; at < end-first; at = t.after(at) {
			dst = append(dst, t.ids[at])
			symbols[first+at] = ^symbols[first+at]
		}
		done, back = end, overlap
	}
	return dst
}

// scan merges a short word in place and returns how many tokens are left. It
// takes time proportional to the square of the length.
func (m *merges) scan(ids []int32) int {
	var next [shortWord]merge // next[i] is what ids[i] and ids[i+1] become
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
