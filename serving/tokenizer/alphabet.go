package tokenizer

import "unicode/utf8"

// The byte alphabet of GPT-2's byte-level BPE: vocabularies write each byte of
// a token as one printable character. The bytes of printable Latin-1 stand for
// themselves, the 68 others for U+0100 onwards in ascending order
// (bytes_to_unicode in openai/gpt-2's encoder.py).
var (
	byteRune [256]rune
	runeByte [0x100 + 68]int16 // -1 where the character stands for no byte
)

func init() {
	for i := range runeByte {
		runeByte[i] = -1
	}
	next := rune(0x100)
	for b := range 256 {
		printable := b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae
		if printable {
			byteRune[b] = rune(b)
		} else {
			byteRune[b] = next
			next++
		}
		runeByte[byteRune[b]] = int16(b)
	}
}

// tokenBytes returns the bytes that a vocabulary's spelling of a token stands
// for; ok is false, and the bytes are those of the spelling itself, where it
// has a character outside the alphabet (an added token with a space in it).
func tokenBytes(spelling string) (raw string, ok bool) {
	b := make([]byte, 0, len(spelling))
	for _, r := range spelling {
		if int(r) >= len(runeByte) || runeByte[r] < 0 {
			return spelling, false
		}
		b = append(b, byte(runeByte[r]))
	}
	return string(b), true
}

// replacement is what invalid bytes are read as: U+FFFD.
const replacement = string(utf8.RuneError)

// appendValid appends src to dst with each maximal piece of an ill-formed
// sequence replaced by one U+FFFD, as Unicode's chapter 3.9, Rust's
// from_utf8_lossy and Python's errors="replace" do (Go's own conversions count
// such pieces differently). It stops before a character whose bytes are well-formed
// as far as src goes, and returns how many bytes of src it used: all but at most 3.
func appendValid(dst, src []byte) (_ []byte, used int) {
	i := 0
	for i < len(src) {
		if src[i] < utf8.RuneSelf {
			dst = append(dst, src[i])
			i++
			continue
		}
		n, whole := characterPrefix(src[i:])
		switch {
		case whole:
			dst = append(dst, src[i:i+n]...)
		case n == len(src)-i:
			return dst, i
		default:
			dst = append(dst, replacement...)
			n = max(n, 1)
		}
		i += n
	}
	return dst, i
}

// characterPrefix returns the length of the longest prefix of s that begins a
// well-formed UTF-8 character (Unicode's table 3-7), and whether it is a whole one.
func characterPrefix(s []byte) (n int, whole bool) {
	var size int
	low, high := byte(0x80), byte(0xbf) // what the second byte may be
	switch b := s[0]; {
	case b < utf8.RuneSelf:
		return 1, true
	case b >= 0xc2 && b <= 0xdf:
		size = 2
	case b >= 0xe0 && b <= 0xef:
		size = 3
		if b == 0xe0 {
			low = 0xa0
		} else if b == 0xed {
			high = 0x9f
		}
	case b >= 0xf0 && b <= 0xf4:
		size = 4
		if b == 0xf0 {
			low = 0x90
		} else if b == 0xf4 {
			high = 0x8f
		}
	default:
		return 0, false
	}
	for n = 1; n < size; n++ {
		if n == len(s) || s[n] < low || s[n] > high {
			return n, false
		}
		low, high = 0x80, 0xbf
	}
	return size, true
}

// validText returns text with ill-formed UTF-8 replaced, text itself where there is none.
func validText(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	b, used := appendValid(make([]byte, 0, len(text)+len(replacement)), []byte(text))
	if used < len(text) {
		b = append(b, replacement...)
	}
	return string(b)
}
