package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// patterns are the regular expressions of a Split that are known, as the
// published files spell them.
var patterns = map[string]splitter{
	`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`:                                          gpt2Split{},
	`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`: llama3Split{digits: 3},
	`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`:      llama3Split{digits: 1},
}

// splitter is one step of a pre-tokeniser. It divides a piece of text, and what
// it yields is divided further by the steps after it; the last step's pieces
// are the words that BPE merges within.
type splitter interface {
	// next returns the length in bytes of the first part of s, which is
	// non-empty valid UTF-8. The parts after it follow from the rest of s alone,
	// which holds for the published patterns: none looks behind.
	next(s string) int
}

// gpt2Split divides as GPT-2's pattern does:
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
type gpt2Split struct{}

func (gpt2Split) next(s string) int {
	if s[0] == '\'' {
		if n := contraction(s); n > 0 {
			return n
		}
	}
	start := 0 // after the optional space
	if s[0] == ' ' && len(s) > 1 {
		start = 1
	}
	kind, size := classAt(s, start)
	if kind != space {
		return run(s, start+size, kind)
	}
	return spaceRun(s).length(s) // a space before a non-space was dealt with above
}

// llama3Split divides as Llama 3's pattern does, which is that of OpenAI's
// cl100k_base, and Qwen 2's, where every number character is on its own:
//
//	(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
type llama3Split struct{ digits int } // number characters in a word, at most

func (p llama3Split) next(s string) int {
	if s[0] == '\'' {
		if n := foldedContraction(s); n > 0 {
			return n
		}
	}
	kind, size := classAt(s, 0)
	switch kind {
	case letter:
		return run(s, size, letter)
	case number:
		for n := 1; n < p.digits && size < len(s); n++ {
			k, more := classAt(s, size)
			if k != number {
				break
			}
			size += more
		}
		return size
	}
	if size < len(s) && s[0] != '\r' && s[0] != '\n' {
		after, more := classAt(s, size)
		if after == letter {
			return run(s, size+more, letter)
		}
		if after == other && s[0] == ' ' {
			return lineEnds(s, run(s, size+more, other))
		}
	}
	if kind == other {
		return lineEnds(s, run(s, size, other))
	}
	r := spaceRun(s)
	if r.lines > 0 {
		return r.lines // \s* gives back what follows the last line end
	}
	return r.length(s)
}

// lineEnds returns where the line ends from i on end ([\r\n]*).
func lineEnds(s string, i int) int {
	for i < len(s) && (s[i] == '\r' || s[i] == '\n') {
		i++
	}
	return i
}

// whiteSpace is a run of white space that a text begins with.
type whiteSpace struct {
	end   int // of the run
	last  int // where its last character begins
	lines int // where its last line end ends; 0 for none
}

func spaceRun(s string) (w whiteSpace) {
	for w.end < len(s) {
		kind, size := classAt(s, w.end)
		if kind != space {
			break
		}
		w.last = w.end
		w.end += size
		if c := s[w.last]; c == '\r' || c == '\n' {
			w.lines = w.end
		}
	}
	return w
}

// length is how much of the run, at the beginning of s, is a word: all of it at
// the end of s, else all but its last character, which goes with what follows
// (\s+(?!\S)); a run of one is taken as it is (\s+).
func (w whiteSpace) length(s string) int {
	if w.end < len(s) && w.last > 0 {
		return w.last
	}
	return w.end
}

// contraction returns the length of the English contraction that s, which
// begins with an apostrophe, begins with; 0 for none.
func contraction(s string) int {
	if len(s) < 2 {
		return 0
	}
	switch s[1] {
	case 's', 't', 'm', 'd':
		return 2
	}
	if len(s) > 2 {
		switch s[1:3] {
		case "re", "ve", "ll":
			return 3
		}
	}
	return 0
}

// foldedContraction is contraction in upper and lower case, of which the
// folding of Unicode makes the long s (U+017F) one too.
func foldedContraction(s string) int {
	if n := contraction(s); n > 0 {
		return n
	}
	if strings.HasPrefix(s[1:], "ſ") {
		return 1 + len("ſ")
	}
	var lower [3]byte
	n := copy(lower[:], s)
	for i, b := range lower[:n] {
		if b >= 'A' && b <= 'Z' {
			lower[i] = b + 'a' - 'A'
		}
	}
	return contraction(string(lower[:n]))
}

// digitSplit is the Digits pre-tokeniser: it parts numbers from what is between
// them, each number character on its own (llama.cpp's pattern \p{N} of
// "smollm"), or with runs whole runs of them.
type digitSplit struct{ runs bool }

func (d digitSplit) next(s string) int {
	numeric, end := digitAt(s, 0)
	if numeric && !d.runs {
		return end
	}
	for end < len(s) {
		n, size := digitAt(s, end)
		if n != numeric {
			break
		}
		end += size
	}
	return end
}

// digitAt reports whether the character at s[i:] is a number, and its size.
func digitAt(s string, i int) (numeric bool, size int) {
	if b := s[i]; b < utf8.RuneSelf {
		return asciiClass[b] == number, 1
	}
	r, size := utf8.DecodeRuneInString(s[i:])
	return classOf(r) == number || unicode.Is(digitsOnly, r), size
}

// class is what the patterns distinguish characters by.
type class uint8

const (
	other  class = iota // none of the following
	letter              // \p{L}
	number              // \p{N}
	space               // \s: the White_Space property
)

var asciiClass = func() (table [utf8.RuneSelf]class) {
	for r := range table {
		table[r] = classOf(rune(r))
	}
	return table
}()

// classAt returns the class and the size of the character at s[i:].
func classAt(s string, i int) (class, int) {
	if b := s[i]; b < utf8.RuneSelf {
		return asciiClass[b], 1
	}
	r, size := utf8.DecodeRuneInString(s[i:])
	return classOf(r), size
}

// run returns where the run of characters of one class that reaches to i ends.
func run(s string, i int, kind class) int {
	for i < len(s) {
		k, size := classAt(s, i)
		if k != kind {
			break
		}
		i += size
	}
	return i
}

// classOf returns the class of a character in Unicode 16, the version of the
// regular expressions in the tokenizers package; Go's tables are of an older one.
func classOf(r rune) class {
	switch {
	case unicode.IsLetter(r) || unicode.Is(laterLetters, r):
		return letter
	case unicode.IsNumber(r) || unicode.Is(laterNumbers, r):
		return number
	case unicode.IsSpace(r):
		return space
	}
	return other
}

// noSplit leaves a piece as it is: ByteLevel with use_regex false.
type noSplit struct{}

func (noSplit) next(s string) int { return len(s) }
