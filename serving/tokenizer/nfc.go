package tokenizer

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// nfc returns Unicode's normalisation form C of s, as the tokenizers package
// has it. That differs from golang.org/x/text's in two ways: it knows no
// combining marks later than Unicode 9's (laterMarks), and it lets any number of
// them follow a character, where x/text puts U+034F in after 30.
func nfc(s string) string {
	var b strings.Builder
	done := 0  // s[:done] is in b
	marks := 0 // how many combining marks in a row there are before i
	crowd := 0 // and the most of them since done
	flush := func(to int) {
		if crowd > usualMarks {
			b.WriteString(nfcCrowded(s[done:to]))
		} else {
			b.WriteString(norm.NFC.String(s[done:to]))
		}
		done, crowd = to, 0
	}
	for i := 0; i < len(s); {
		if s[i] < utf8.RuneSelf {
			marks = 0
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r < firstMark {
			marks = 0
		} else if unicode.Is(laterMarks, r) { // nothing composes with it, or across it
			flush(i)
			b.WriteString(s[i : i+size])
			done, marks = i+size, 0
		} else if norm.NFC.PropertiesString(s[i:]).LeadCCC() != 0 {
			marks++
			crowd = max(crowd, marks)
		} else {
			marks = 0
		}
		i += size
	}
	if done == 0 && crowd <= usualMarks {
		return norm.NFC.String(s)
	}
	flush(len(s))
	return b.String()
}

const (
	firstMark  = 0x300 // the first combining mark of all
	usualMarks = 13    // no more than x/text's 30 once decomposed: each into two at most, what they follow with three
)

// nfcCrowded is norm.NFC.String for long runs of combining marks: section 3.11
// of the Unicode standard, over the library's tables.
func nfcCrowded(s string) string {
	type char struct {
		r     rune
		class uint8 // canonical combining class; 0 for what is no mark
	}
	chars := make([]char, 0, len(s)/2+8) // marks have two bytes, most of them
	marks := 0                           // at the end of chars
	inOrder := func() {
		slices.SortStableFunc(chars[len(chars)-marks:], func(a, b char) int { return int(a.class) - int(b.class) })
		marks = 0
	}
	add := func(r rune, class uint8) {
		if class == 0 {
			inOrder()
		} else {
			marks++
		}
		chars = append(chars, char{r, class})
	}
	for len(s) > 0 {
		p := norm.NFC.PropertiesString(s)
		if parts := p.Decomposition(); parts != nil {
			for len(parts) > 0 {
				r, size := utf8.DecodeRune(parts)
				add(r, norm.NFC.Properties(parts).CCC())
				parts = parts[size:]
			}
		} else {
			r, _ := utf8.DecodeRuneInString(s)
			add(r, p.CCC())
		}
		s = s[p.Size():]
	}
	inOrder()
	out := chars[:0]
	base := -1 // the last of out that is no mark
	for _, c := range chars {
		if base >= 0 && (base == len(out)-1 || out[len(out)-1].class < c.class) {
			if r, ok := composite(out[base].r, c.r); ok {
				out[base].r = r
				continue
			}
		}
		if c.class == 0 {
			base = len(out)
		}
		out = append(out, c)
	}
	var b strings.Builder
	b.Grow(2 * len(out))
	for _, c := range out {
		b.WriteRune(c.r)
	}
	return b.String()
}

// composite returns the character that two compose to.
func composite(a, b rune) (rune, bool) {
	s := norm.NFC.String(string([]rune{a, b}))
	r, size := utf8.DecodeRuneInString(s)
	return r, size == len(s)
}
