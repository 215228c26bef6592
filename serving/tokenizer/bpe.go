package tokenizer

import "slices"

// bpe turns a word into tokens: its bytes, as merges join them.
type bpe struct {
	bytes   [256]int32       // the token of each single byte, none where the vocabulary lacks it
	unknown int32            // stands for a byte without a token; none: such bytes are dropped
	fuse    bool             // a run of such bytes is one unknown
	whole   map[string]int32 // words known to become one token, by their bytes
	merges  *merges
}

// none is the id of no token.
const none int32 = -1

// encode appends the tokens of a word.
func (m *bpe) encode(dst []int32, word string) []int32 {
	if id, ok := m.whole[word]; ok {
		return append(dst, id)
	}
	if len(word) > shortWord {
		return m.merges.apply(dst, m.symbols(make([]int32, 0, len(word)), word))
	}
	from := len(dst)
	dst = m.symbols(dst, word)
	return dst[:from+m.merges.scan(dst[from:])]
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
