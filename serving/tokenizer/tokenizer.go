package tokenizer

import (
	"slices"
)

// Tokenizer is one model's vocabulary. It is immutable once made, and safe for
// use by many goroutines at once.
type Tokenizer struct {
	bpe         bpe
	pieces      *pieces // in place of bpe and steps, for SentencePiece's vocabularies
	normalizers []normalizer
	added       *addedSet  // looked for in the text as it is
	normalized  *addedSet  // looked for in normalised text
	steps       []splitter // each divides what the one before yields
	prefixSpace bool       // words are given a leading space where they have none
	prefix      []int32    // what a prompt begins with
	suffix      []int32    // and ends with
	decoder     decoder
	strip       bool     // see decoder
	text        []string // the bytes of each id
	isByte      []bool   // for decodePieces: ids that are one byte of a character
	spellings   []string // each id as the vocabulary writes it
	special     []bool   // ids that Decode can leave out
	eos         []int32
	names       map[string]string // bos_token and its like, by name, for chat templates
	chat        *chatTemplate
	chatErr     error // why chat is nil
	ownTemplate bool
}

// Size is the highest id plus one.
func (t *Tokenizer) Size() int { return len(t.text) }

// EOS returns the ids that end a generation, ascending; empty where the model names none.
func (t *Tokenizer) EOS() []int32 { return slices.Clone(t.eos) }

// Encode returns the ids of text, and adds none. With special, special tokens
// written out in the text become their ids; without, they are plain text.
// Ill-formed UTF-8 is read as U+FFFD.
func (t *Tokenizer) Encode(text string, special bool) []int32 {
	text = validText(text)
	ids := make([]int32, 0, len(text)/3+8)
	token := func(id int32) { ids = append(ids, id) }
	words := func(s string) { ids = t.encodeWords(ids, s, t.steps) }
	if t.pieces != nil {
		first := true
		token = func(id int32) { ids, first = append(ids, id), false }
		words = func(s string) { ids, first = t.pieces.encode(ids, s, first), false }
	}
	t.added.split(text, special, func(s string) {
		t.normalized.split(t.normalize(s), special, words, token)
	}, token)
	return ids
}

// encodeWords appends the ids of text without added tokens in it, divided by steps.
func (t *Tokenizer) encodeWords(ids []int32, s string, steps []splitter) []int32 {
	if len(steps) == 0 {
		return t.bpe.encode(ids, s)
	}
	if len(steps) == 1 && t.prefixSpace && s[0] != ' ' {
		s = " " + s
	}
	for s != "" {
		n := steps[0].next(s)
		ids = t.encodeWords(ids, s[:n], steps[1:])
		s = s[n:]
	}
	return ids
}

// EncodePrompt is Encode with specials, and with what the model's post-processor
// puts around a prompt (a beginning-of-sequence id, for those that want one):
// the original's add_special_tokens=True.
func (t *Tokenizer) EncodePrompt(text string) []int32 {
	ids := t.Encode(text, true)
	if len(t.prefix)+len(t.suffix) == 0 {
		return ids
	}
	return slices.Concat(t.prefix, ids, t.suffix)
}

// Bytes returns the bytes that id stands for, wherever in a text: half a
// character, where a token is that. "" for an id that the vocabulary lacks.
func (t *Tokenizer) Bytes(id int32) string { return t.bytesOf(id, false) }

// Spelling returns id as the vocabulary itself writes it, such as "Ġthe", "▁the"
// or "<0x0A>"; "" for an id that the vocabulary lacks.
func (t *Tokenizer) Spelling(id int32) string {
	if id < 0 || int(id) >= len(t.spellings) {
		return ""
	}
	return t.spellings[id]
}
