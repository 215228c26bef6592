package tokenizer

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// decoder is how ids become text.
type decoder uint8

const (
	// decodeBytes joins the bytes of tokens; a maximal ill-formed piece of UTF-8
	// is one U+FFFD (the decoder ByteLevel of the tokenizers package).
	decodeBytes decoder = iota
	// decodePieces joins the text of tokens. A run of byte tokens is text where it
	// is UTF-8, and a U+FFFD a byte where it is not. With strip, a space at the
	// beginning is left out (Replace, ByteFallback, Fuse and Strip).
	decodePieces
	// decodeMetaspace joins the text of tokens. With strip, the first has no spaces.
	decodeMetaspace
)

// Decode returns the text of ids; with skipSpecial, special tokens are left out.
// Bytes that are no UTF-8 become U+FFFD. Ids that the vocabulary lacks are left
// out. The space that SentencePiece puts before a text is not part of it.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	var b []byte
	if t.decoder == decodePieces {
		b = t.decodePieces(ids, skipSpecial)
	} else {
		s := Stream{t: t, skipSpecial: skipSpecial}
		for _, id := range ids {
			b = s.push(b, id)
		}
		b = append(b, s.Flush()...)
	}
	return string(b)
}

// decodePieces is Decode for decodePieces. It differs from a Stream over the same
// ids where a run of byte tokens is not UTF-8 as a whole.
func (t *Tokenizer) decodePieces(ids []int32, skipSpecial bool) []byte {
	var b []byte
	run := 0 // where the run of byte tokens begins
	for _, id := range ids {
		if t.left(id, skipSpecial) {
			continue
		}
		if !t.isByte[id] {
			b = append(endRun(b, run), t.text[id]...)
			run = len(b)
		} else {
			b = append(b, t.text[id]...)
		}
	}
	b = endRun(b, run)
	if t.strip && len(b) > 0 && b[0] == ' ' {
		b = b[1:]
	}
	return b
}

// endRun replaces each byte of b[run:] where together they are no UTF-8.
func endRun(b []byte, run int) []byte {
	if utf8.Valid(b[run:]) {
		return b
	}
	n := len(b) - run
	b = b[:run]
	for range n {
		b = append(b, replacement...)
	}
	return b
}

// left reports whether an id is left out of text.
func (t *Tokenizer) left(id int32, skipSpecial bool) bool {
	return id < 0 || int(id) >= len(t.text) || skipSpecial && t.special[id]
}

// bytesOf returns the bytes an id stands for, "" for one to be left out.
func (t *Tokenizer) bytesOf(id int32, skipSpecial bool) string {
	if t.left(id, skipSpecial) {
		return ""
	}
	return t.text[id]
}

// Stream turns ids into text one by one. It never returns half a UTF-8
// character, and returns a character as soon as it is whole: the pieces and
// Flush, joined, are Decode of all ids. There is one exception: where byte tokens
// of a SentencePiece vocabulary are not UTF-8, Decode replaces the whole run of
// them, and a Stream leaves the characters in it that it has returned already.
type Stream struct {
	t           *Tokenizer
	skipSpecial bool
	held        []byte // the beginning of a character
	broken      bool   // the run of byte tokens is not UTF-8
	began       bool   // there is text, or a first token
}

// Stream returns a new incremental detokeniser, of ids that are a text of their own.
func (t *Tokenizer) Stream(skipSpecial bool) *Stream {
	return &Stream{t: t, skipSpecial: skipSpecial}
}

// StreamAfter returns an incremental detokeniser of ids that continue prompt, as
// a generation does. Its pieces, joined, are what Decode of prompt and ids has
// more than Decode of prompt: vLLM's and TGI's answer to a completion. With
// SentencePiece's vocabularies that differs from Stream in the first piece, which
// keeps its space where the prompt has text; and the bytes of a character that
// prompt ends with the half of are part of it. It takes time linear in the prompt.
func (t *Tokenizer) StreamAfter(prompt []int32, skipSpecial bool) *Stream {
	s := t.Stream(skipSpecial)
	var text []byte
	for _, id := range prompt {
		text = s.push(text[:0], id)
	}
	return s
}

// Push returns the text that id completes, "" where a character is still incomplete.
func (s *Stream) Push(id int32) string { return string(s.push(nil, id)) }

// push appends the text that id completes.
func (s *Stream) push(dst []byte, id int32) []byte {
	if s.t.left(id, s.skipSpecial) {
		return dst
	}
	text := s.t.text[id]
	switch {
	case s.t.decoder == decodeBytes:
		s.held = append(s.held, text...)
		var used int
		dst, used = appendValid(dst, s.held)
		s.held = append(s.held[:0], s.held[used:]...)
		return dst
	case s.t.decoder == decodeMetaspace:
		if !s.began && s.t.strip {
			text = strings.ReplaceAll(s.t.spellings[id], meta, "")
		}
		s.began = true
		return append(dst, text...)
	case s.t.isByte[id]:
		return s.pushByte(dst, text[0])
	}
	dst = s.text(dst, s.Flush())
	s.broken = false
	return s.text(dst, text)
}

// pushByte appends the text that a byte token completes.
func (s *Stream) pushByte(dst []byte, b byte) []byte {
	s.held = append(s.held, b)
	if !s.broken {
		n, whole := characterPrefix(s.held)
		if whole {
			text := string(s.held)
			s.held = s.held[:0]
			return s.text(dst, text)
		}
		if n == len(s.held) {
			return dst
		}
		s.broken = true
	}
	return s.text(dst, s.Flush())
}

// text appends text, without the space that the first text begins with.
func (s *Stream) text(dst []byte, text string) []byte {
	if !s.began && text != "" {
		s.began = true
		if s.t.strip {
			text = strings.TrimPrefix(text, " ")
		}
	}
	return append(dst, text...)
}

// Flush returns what is left at the end: U+FFFD for an incomplete character, one
// a byte where they are byte tokens, else "".
func (s *Stream) Flush() string {
	n := len(s.held)
	s.held = s.held[:0]
	if s.t.decoder == decodeBytes {
		n = min(n, 1)
	}
	return strings.Repeat(replacement, n)
}

// byteToken returns the byte that a token such as <0x0A> stands for.
func byteToken(spelling string) (b byte, ok bool) {
	if len(spelling) != len("<0x0A>") || spelling[:3] != "<0x" || spelling[5] != '>' {
		return 0, false
	}
	n, err := strconv.ParseUint(spelling[3:5], 16, 8)
	return byte(n), err == nil
}
