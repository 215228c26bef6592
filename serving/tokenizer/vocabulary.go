package tokenizer

import (
	"fmt"
	"slices"
	"strings"
)

// vocabulary is what tokenizer.json and GGUF metadata say, in one form.
type vocabulary struct {
	tokens  []string    // spelling of each id, in the byte alphabet
	merges  [][2]string // by rank
	added   []addedToken
	unknown string // spelling of the unknown token; "" for none
	fuse    bool   // a run of unknown bytes is one unknown token
	whole   bool   // a word in the vocabulary needs no merges to it (ignore_merges)

	// For a vocabulary of pieces, else nil: settings, of which learnPieces fills in the tables.
	pieces       *pieces
	byteFallback bool            // characters that are no piece are written in tokens of bytes
	beyond       map[string]bool // added tokens that the model lacks
	scores       []float64       // of each piece: merges follow from them; nil where there are merges
	kinds        []pieceKind     // with scores
	decoder      decoder
	strip        bool

	normalizers     []normalizer
	growth          int // see grows
	steps           []splitter
	prefixSpace     bool
	addBOS          bool // where a GGUF file does not say
	noPostProcessor bool // nothing says what is put around a prompt
	prefix          []int32
	suffix          []int32
	eos             []int64           // those beyond the vocabulary mean nothing and are dropped
	names           map[string]string // bos_token and its like
	template        string            // chat template's source; "" for none
}

// tokenizer checks the vocabulary and makes a Tokenizer of it.
func (v *vocabulary) tokenizer() (*Tokenizer, error) {
	if len(v.tokens) == 0 {
		return nil, fmt.Errorf("the vocabulary is empty")
	}
	ids := make(map[string]int32, len(v.tokens))
	for i, spelling := range v.tokens {
		if first, twice := ids[spelling]; twice && spelling != "" {
			return nil, fmt.Errorf("token %q has two ids, %d and %d", spelling, first, i)
		}
		ids[spelling] = int32(i)
	}
	t := &Tokenizer{
		normalizers: v.normalizers,
		decoder:     v.decoder,
		strip:       v.strip,
		steps:       v.steps,
		prefixSpace: v.prefixSpace,
		prefix:      v.prefix,
		suffix:      v.suffix,
		text:        make([]string, len(v.tokens)),
		spellings:   v.tokens,
		special:     make([]bool, len(v.tokens)),
		names:       v.names,
	}
	for _, id := range v.eos {
		if id >= 0 && id < int64(len(v.tokens)) && !slices.Contains(t.eos, int32(id)) {
			t.eos = append(t.eos, int32(id))
		}
	}
	slices.Sort(t.eos)
	if err := t.addTokens(v.added); err != nil {
		return nil, err
	}
	learn := t.learn
	if v.pieces != nil {
		learn = t.learnPieces
	}
	if err := learn(v, ids); err != nil {
		return nil, err
	}
	// A template that cannot be used leaves the model usable without it.
	t.ownTemplate = v.template != ""
	t.chat, t.chatErr = parseChatTemplate(v.template)
	return t, nil
}

// addTokens makes the two sets of added tokens.
func (t *Tokenizer) addTokens(added []addedToken) (err error) {
	var asIs, normalized []addedToken
	for _, a := range added {
		t.special[a.ID] = t.special[a.ID] || a.Special
		if a.Normalized {
			a.Content = t.normalize(a.Content)
			normalized = append(normalized, a)
		} else {
			asIs = append(asIs, a)
		}
	}
	if t.added, err = newAddedSet(asIs); err != nil {
		return err
	}
	t.normalized, err = newAddedSet(normalized)
	return err
}

// learn fills in what BPE and Decode look up.
func (t *Tokenizer) learn(v *vocabulary, ids map[string]int32) error {
	t.bpe = bpe{unknown: none, fuse: v.fuse, merges: newMerges(len(v.merges))}
	for i := range t.bpe.bytes {
		t.bpe.bytes[i] = none
	}
	byBytes := make(map[string]int32, len(v.tokens))
	for i, spelling := range v.tokens {
		raw, ok := tokenBytes(spelling)
		t.text[i] = raw
		if !ok || raw == "" {
			continue
		}
		byBytes[raw] = int32(i)
		if len(raw) == 1 {
			t.bpe.bytes[raw[0]] = int32(i)
		}
	}
	if v.unknown != "" {
		id, ok := ids[v.unknown]
		if !ok && slices.Contains(t.bpe.bytes[:], none) {
			return fmt.Errorf("the unknown token %q is not in the vocabulary", v.unknown)
		}
		if ok {
			t.bpe.unknown = id
		}
	}
	for rank, m := range v.merges {
		left, right, into, err := mergeIDs(rank, m, ids)
		if err != nil {
			return err
		}
		t.bpe.merges.set(pair{left, right}, merge{int32(rank), into})
	}
	t.bpe.learnWhole(byBytes, v.whole)
	return nil
}

// mergeIDs returns the ids of the two tokens of a merge and of what they become.
func mergeIDs(rank int, m [2]string, ids map[string]int32) (left, right, into int32, err error) {
	left, okLeft := ids[m[0]]
	right, okRight := ids[m[1]]
	into, okInto := ids[m[0]+m[1]]
	if !okLeft || !okRight || !okInto || m[0] == "" || m[1] == "" {
		return 0, 0, 0, fmt.Errorf("merge %d, of %q and %q: one of them or what they become is not in the vocabulary", rank, m[0], m[1])
	}
	return left, right, into, nil
}

// splitMerge parts a merge written in one string, "left right".
func splitMerge(s string) (m [2]string, err error) {
	left, right, ok := strings.Cut(s, " ")
	if !ok || left == "" || right == "" || strings.Contains(right, " ") {
		return m, fmt.Errorf("merge %q is not two tokens with one space between them", s)
	}
	return [2]string{left, right}, nil
}
