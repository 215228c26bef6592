package tokenizer

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// pieceKind is what a piece is for: the values of SentencePiece's
// ModelProto.SentencePiece.Type and of GGUF's tokenizer.ggml.token_type.
type pieceKind = int64

const (
	pieceNormal      pieceKind = 1
	pieceUnknown     pieceKind = 2
	pieceControl     pieceKind = 3
	pieceUserDefined pieceKind = 4
	pieceUnused      pieceKind = 5
	pieceByte        pieceKind = 6
)

// maxPiece bounds the length of a piece in bytes, and with it the time to find
// what two pieces it can be made of. SentencePiece learns pieces of up to 16
// characters; those of many spaces or dashes that vocabularies add have about 100.
const maxPiece = 1 << 8

// learnPieces fills in what encoding and decoding look up, for a vocabulary of pieces.
func (t *Tokenizer) learnPieces(v *vocabulary, ids map[string]int32) error {
	p := v.pieces
	p.size, p.fuse, p.unknown = int32(len(v.tokens)), v.fuse, none
	p.chars = map[rune]int32{}
	for i := range p.ascii {
		p.ascii[i] = none
	}
	for i := range p.bytes {
		p.bytes[i] = none
	}
	t.pieces, t.isByte = p, make([]bool, len(v.tokens))
	texts := make([]string, len(v.tokens)) // of the tokens that text can become, else ""
	for i, spelling := range v.tokens {
		id := int32(i)
		if !utf8.ValidString(spelling) {
			return fmt.Errorf("token %d, %q, is not UTF-8", i, spelling)
		}
		text := strings.ReplaceAll(spelling, meta, " ")
		t.text[i] = text
		b, isByte := byteToken(spelling)
		isByte = isByte && (v.scores == nil || v.kinds[i] == pieceByte)
		if isByte && v.byteFallback && !v.beyond[spelling] && fmt.Sprintf("<0x%02X>", b) == spelling {
			p.bytes[b] = id
		}
		if isByte && v.decoder == decodePieces {
			t.text[i], t.isByte[i] = string([]byte{b}), true
		}
		// Text has no spaces left in it when it comes to the model, only U+2581.
		if v.beyond[spelling] || strings.Contains(spelling, " ") || v.scores != nil && v.kinds[i] != pieceNormal && v.kinds[i] != pieceUnused {
			continue
		}
		texts[i] = text
		if r, size := utf8.DecodeRuneInString(text); size == len(text) && size > 0 {
			p.setSymbol(r, id)
		}
	}
	for _, a := range v.added {
		if a.Normalized { // the tokenizers package writes them as it looks for them
			t.text[a.ID] = strings.ReplaceAll(t.normalize(a.Content), meta, " ")
		}
	}
	if v.unknown != "" {
		id, ok := ids[v.unknown]
		if !ok {
			return fmt.Errorf("the unknown token %q is not in the vocabulary", v.unknown)
		}
		p.unknown = id
	}
	p.drops = p.unknown == none && slices.Contains(p.bytes[:], none)
	var err error
	if v.scores != nil {
		err = p.learnScores(v, texts)
	} else {
		err = p.learnMerges(v, ids, texts)
	}
	if err != nil {
		return err
	}
	p.learnWhole(texts, v.whole)
	return nil
}

func (p *pieces) setSymbol(r rune, id int32) {
	if r < utf8.RuneSelf {
		p.ascii[r] = id
	} else {
		p.chars[r] = id
	}
}

// learnMerges takes the merges of a tokenizer.json, which are by rank.
func (p *pieces) learnMerges(v *vocabulary, ids map[string]int32, texts []string) error {
	p.merges = newMerges(len(v.merges))
	for rank, m := range v.merges {
		left, right, into, err := mergeIDs(rank, m, ids)
		if err != nil {
			return err
		}
		for _, id := range [...]int32{left, right} {
			if b, ok := byteToken(v.tokens[id]); id == p.unknown || ok && p.bytes[b] == id {
				return unsupported("merge", m[0]+" "+m[1], "tokens other than the unknown one and those of bytes")
			}
		}
		p.merges.set(pair{left, right}, merge{int32(rank), into})
		p.join(texts[left], texts[right])
	}
	return nil
}

// join notes that a merge joins two tokens of these texts.
func (p *pieces) join(left, right string) {
	before, _ := utf8.DecodeLastRuneInString(left)
	after, _ := utf8.DecodeRuneInString(right)
	// A character without a symbol of its own is in no token that text becomes.
	if left != "" && right != "" && p.symbol(before) != none && p.symbol(after) != none {
		p.joins.add(before, after)
	}
}

// learnScores derives the merges of a SentencePiece model: any two neighbours
// become one where a piece is spelt as both together, the one of the highest
// score first (SampleEncode of SentencePiece's bpe_model.cc). So pieces of the
// same score have the same rank.
func (p *pieces) learnScores(v *vocabulary, texts []string) error {
	byText := make(map[string]int32, len(texts))
	order := make([]int32, 0, len(texts))
	for i, text := range texts {
		switch {
		case text == "":
			continue
		case len(text) > maxPiece:
			return fmt.Errorf("piece %d is %d bytes long, more than %d", i, len(text), maxPiece)
		case math.IsNaN(v.scores[i]):
			return fmt.Errorf("the score of piece %d, %q, is not a number", i, text)
		}
		byText[text] = int32(i)
		if utf8.RuneCountInString(text) > 1 {
			order = append(order, int32(i))
			p.addExtra(text)
		}
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(v.scores[b], v.scores[a]), cmp.Compare(a, b))
	})
	symbol := func(text string) int32 {
		if r, size := utf8.DecodeRuneInString(text); size == len(text) {
			return p.symbol(r)
		}
		if id, ok := byText[text]; ok {
			return id
		}
		return none
	}
	p.merges = newMerges(2 * len(order))
	p.unused = map[int32]pair{}
	rank := int32(0)
	for i, id := range order {
		if i > 0 && v.scores[id] != v.scores[order[i-1]] {
			rank++
		}
		text, ways := texts[id], 0
		for at := range text {
			if at == 0 {
				continue
			}
			left, right := symbol(text[:at]), symbol(text[at:])
			if left == none || right == none {
				continue
			}
			ways++
			p.merges.set(pair{left, right}, merge{rank, id})
			p.join(text[:at], text[at:])
			if v.kinds[id] == pieceUnused {
				p.unused[id] = pair{left, right}
			}
		}
		if ways > 1 && v.kinds[id] == pieceUnused {
			return unsupported("an unused piece that can be made in several ways", text, "in one")
		}
	}
	return nil
}

// addExtra gives the characters of a piece symbols, where they are no pieces
// themselves: other pieces can still be made of them.
func (p *pieces) addExtra(text string) {
	for _, r := range text {
		if p.symbol(r) == none {
			p.setSymbol(r, p.size+int32(len(p.extra)))
			p.extra = append(p.extra, r)
		}
	}
}

// learnWhole finds the pieces that their own characters merge into: text that is
// one of them needs no merging. With all, a part of a text that is a piece is
// taken whole even where merges would not reach it (ignore_merges).
func (p *pieces) learnWhole(texts []string, all bool) {
	whole := make(map[string]int32, len(texts))
	var buf []int32
	for i, text := range texts {
		if text == "" || p.joins.next(text) != len(text) {
			continue
		}
		out := output{p: p, ids: buf[:0]}
		out.word(text)
		out.flush()
		if buf = out.ids; len(buf) == 1 && buf[0] == int32(i) {
			whole[text] = int32(i)
		}
	}
	p.whole = whole
	if !all {
		return
	}
	p.all = make(map[string]int32, len(texts))
	for i, text := range texts {
		if text != "" {
			p.all[text] = int32(i)
		}
	}
}
