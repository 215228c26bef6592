package tokenizer

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// pieces is a vocabulary of SentencePiece's kind: its symbols are characters
// instead of bytes, spaces are part of the text, and a character that it lacks is
// written in tokens of its bytes. Text and pieces are kept with plain spaces where
// the vocabulary has U+2581.
type pieces struct {
	merges *merges
	whole  map[string]int32 // text known to become one token
	all    map[string]int32 // with ignore_merges, every piece; else nil

	ascii [utf8.RuneSelf]int32 // the symbol of a character, none where there is none
	chars map[rune]int32       // of the others
	extra []rune               // characters that only pieces have: the symbols from size on
	size  int32                // of the vocabulary
	joins joins

	bytes   [256]int32 // tokens of single bytes, none where there is none
	unknown int32      // stands for a character that cannot be written in bytes, none where there is none
	drops   bool       // such a character is dropped, and what is around it merged
	fuse    bool       // a run of such characters is one unknown

	unused map[int32]pair // tokens that are taken apart again once they are made
	user   *addedSet      // user-defined pieces, which nothing is merged with; nil for none

	prefix   prefixScheme
	once     bool // no prefix before a space
	squeeze  bool // leading, trailing and repeated spaces are dropped
	atSpaces bool // nothing is merged across the front of a space
}

// prefixScheme tells which parts of a text, as added tokens divide it, begin with
// a space that is not in it: so a word has the same token there as within a text.
type prefixScheme uint8

const (
	prefixNever prefixScheme = iota
	prefixFirst              // that which begins the text
	prefixAlways
)

// meta is what SentencePiece writes for a space.
const meta = "▁"

// encode appends the tokens of a part of a text; first tells whether it is the
// text's beginning.
func (p *pieces) encode(dst []int32, s string, first bool) []int32 {
	if p.squeeze {
		s = squeezeSpaces(s)
	}
	if strings.Contains(s, meta) {
		s = strings.ReplaceAll(s, meta, " ")
	}
	if s != "" && (p.prefix == prefixAlways || p.prefix == prefixFirst && first) && !(p.once && s[0] == ' ') {
		s = " " + s
	}
	if p.user != nil {
		p.user.split(s, true, func(s string) { dst = p.encodePart(dst, s) }, func(id int32) { dst = append(dst, id) })
		return dst
	}
	for p.atSpaces && s != "" {
		n := strings.IndexByte(s[1:], ' ') + 1
		if n == 0 {
			break
		}
		dst = p.encodePart(dst, s[:n])
		s = s[n:]
	}
	return p.encodePart(dst, s)
}

// squeezeSpaces drops leading and trailing spaces, and all but one of a run.
// U+2581 in a text is no space to it, but for those at the end.
func squeezeSpaces(s string) string {
	s = strings.TrimRight(strings.TrimLeft(s, " "), " "+meta)
	if !strings.Contains(s, "  ") {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if s[i] != ' ' || s[i-1] != ' ' {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// encodePart appends the tokens of s, text that can be merged throughout.
func (p *pieces) encodePart(dst []int32, s string) []int32 {
	if id, ok := p.all[s]; ok {
		return append(dst, id)
	}
	if p.drops {
		s = strings.Map(p.keep, s)
	}
	out := output{p: p, ids: dst}
	for s != "" {
		n := p.joins.next(s)
		out.word(s[:n])
		s = s[n:]
	}
	out.flush()
	return out.ids
}

// output is the tokens of a part, and whether an unknown one is to follow.
type output struct {
	p       *pieces
	ids     []int32
	pending bool
}

// word appends the tokens of text that nothing is merged with, before or after.
func (o *output) word(s string) {
	p := o.p
	if id, ok := p.whole[s]; ok {
		o.flush()
		o.ids = append(o.ids, id)
		return
	}
	if r, size := utf8.DecodeRuneInString(s); size == len(s) {
		if id := p.symbol(r); id != none && id < p.size {
			o.flush()
			o.ids = append(o.ids, id)
		} else {
			o.missing(r)
		}
		return
	}
	// All of the characters have a symbol: they are part of merges.
	o.flush()
	from := len(o.ids)
	if len(s) <= shortWord {
		for _, r := range s {
			o.ids = append(o.ids, p.symbol(r))
		}
		o.ids = o.ids[:from+p.merges.scan(o.ids[from:])]
	} else {
		symbols := make([]int32, 0, len(s))
		for _, r := range s {
			symbols = append(symbols, p.symbol(r))
		}
		o.ids = p.merges.apply(o.ids, symbols)
	}
	if len(p.extra)+len(p.unused) > 0 {
		o.takeApart(from)
	}
}

// takeApart writes the symbols from from on that are no tokens, or unused ones, in those that are.
func (o *output) takeApart(from int) {
	symbols := slices.Clone(o.ids[from:])
	o.ids = o.ids[:from]
	for _, id := range symbols {
		o.put(id)
	}
}

// put appends the tokens of a symbol. It goes as deep as a piece has characters.
func (o *output) put(id int32) {
	if parts, ok := o.p.unused[id]; ok {
		o.put(parts.left)
		o.put(parts.right)
	} else if id >= o.p.size {
		o.missing(o.p.extra[id-o.p.size])
	} else {
		o.flush()
		o.ids = append(o.ids, id)
	}
}

// symbol returns the symbol of a character, none where no piece has it.
func (p *pieces) symbol(r rune) int32 {
	if r < utf8.RuneSelf {
		return p.ascii[r]
	}
	if id, ok := p.chars[r]; ok {
		return id
	}
	return none
}

// missing appends the tokens of a character that the vocabulary lacks: those of
// its bytes, or the unknown one. The unknown waits for what comes after it, as in
// the tokenizers package, where tokens of bytes overtake it.
func (o *output) missing(r rune) {
	var b [utf8.UTFMax]byte
	if r == ' ' {
		r = '▁'
	}
	n := utf8.EncodeRune(b[:], r)
	from := len(o.ids)
	for _, c := range b[:n] {
		if o.p.bytes[c] == none {
			o.ids = o.ids[:from]
			if o.pending && !o.p.fuse {
				o.flush()
			}
			o.pending = true
			return
		}
		o.ids = append(o.ids, o.p.bytes[c])
	}
}

// keep is a mapping that drops characters which there are no tokens for.
func (p *pieces) keep(r rune) rune {
	if p.symbol(r) != none {
		return r
	}
	out := output{p: p}
	if out.missing(r); len(out.ids) > 0 {
		return r
	}
	return -1
}

// flush appends the unknown token, where one is to come.
func (o *output) flush() {
	if o.pending && o.p.unknown != none {
		o.ids = append(o.ids, o.p.unknown)
	}
	o.pending = false
}

// joins are the pairs of characters between which a merge may join two tokens.
// Between two others no merge ever does, so that a text may be cut there and the
// words between the cuts be merged, or looked up, on their own. In published
// vocabularies that is before every space after another character, and between
// most characters of different scripts.
type joins struct {
	ascii [utf8.RuneSelf][2]uint64
	other map[[2]rune]struct{}
}

// add notes that a merge joins tokens that end and begin with these characters.
func (j *joins) add(before, after rune) {
	if before < utf8.RuneSelf && after < utf8.RuneSelf {
		j.ascii[before][after/64] |= 1 << (after % 64)
		return
	}
	if j.other == nil {
		j.other = map[[2]rune]struct{}{}
	}
	j.other[[2]rune{before, after}] = struct{}{}
}

// next returns the length of the first word of s, which is not empty.
func (j *joins) next(s string) int {
	before, i := utf8.DecodeRuneInString(s)
	for i < len(s) {
		if b := rune(s[i]); b < utf8.RuneSelf && before < utf8.RuneSelf {
			if j.ascii[before][b/64]>>(b%64)&1 == 0 {
				return i
			}
			before = b
			i++
			continue
		}
		after, size := utf8.DecodeRuneInString(s[i:])
		if _, ok := j.other[[2]rune{before, after}]; !ok {
			return i
		}
		before = after
		i += size
	}
	return i
}
