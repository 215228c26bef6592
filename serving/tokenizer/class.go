package tokenizer

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// classConfig is the part of a tokenizer_config.json that is for the class which
// Transformers makes the tokenizer with.
type classConfig struct {
	Class          string                `json:"tokenizer_class"`
	Legacy         bool                  `json:"legacy"`
	AddPrefixSpace *bool                 `json:"add_prefix_space"`
	AddBOS         bool                  `json:"add_bos_token"`
	AddEOS         bool                  `json:"add_eos_token"`
	Added          map[string]addedToken `json:"added_tokens_decoder"`
}

// readClass applies what Transformers' class for a vocabulary of pieces does.
//
// LlamaTokenizer takes nothing but the vocabulary, the merges and the
// post-processor from a tokenizer.json: the rest it makes anew, with a space
// before the first part of a text, or with legacy before each part, or with
// add_prefix_space off before none (models/llama/tokenization_llama.py in
// Transformers 5; version 4 took it from the file where it could). Transformers
// leaves the class aside, and takes the file as it is, where config.json is of
// another kind of model than Llama: Mistral's files name the class as well.
func (v *vocabulary) readClass(dir string, c classConfig, modelType string) error {
	llama := strings.TrimSuffix(c.Class, "Fast") == "LlamaTokenizer" && (modelType == "" || modelType == "llama")
	switch {
	case v.pieces == nil:
		return nil
	case v.scores != nil:
		if err := v.extend(dir, c.Added); err != nil {
			return err
		}
	case llama:
		v.pieces = &pieces{once: true, prefix: prefixFirst}
		v.normalizers, v.unknown, v.byteFallback, v.fuse = nil, "", true, true
		v.decoder = decodePieces
	default:
		return nil
	}
	v.strip = v.pieces.prefix != prefixNever
	if c.AddPrefixSpace != nil {
		v.strip = *c.AddPrefixSpace
	}
	switch {
	case !v.strip:
		v.pieces.prefix = prefixNever
	case c.Legacy:
		v.pieces.prefix = prefixAlways
	default:
		v.pieces.prefix = prefixFirst
	}
	return nil
}

// extend adds the tokens that a tokenizer.model lacks: those of
// tokenizer_config.json's added_tokens_decoder or, in older folders, of
// added_tokens.json. Their ids must go on where the model's end.
func (v *vocabulary) extend(dir string, decoder map[string]addedToken) error {
	if len(decoder) == 0 {
		var ids map[string]int64
		if err := readOptional(dir, "added_tokens.json", &ids); err != nil {
			return err
		}
		decoder = make(map[string]addedToken, len(ids))
		for content, id := range ids {
			decoder[strconv.FormatInt(id, 10)] = addedToken{Content: content}
		}
	}
	var more []addedToken
	for key, a := range decoder {
		id, err := strconv.ParseInt(key, 10, 64)
		if err != nil || id < 0 {
			return fmt.Errorf("%s: added token %q has the id %q, which is no number", dir, a.Content, key)
		}
		a.ID = id
		more = append(more, a)
	}
	slices.SortFunc(more, func(a, b addedToken) int { return cmp.Compare(a.ID, b.ID) })
	if v.beyond == nil {
		v.beyond = map[string]bool{}
	}
	for _, a := range more {
		switch n := int64(len(v.tokens)); {
		case a.ID > n:
			return fmt.Errorf("%s: added token %q has id %d, but there is none for %d", dir, a.Content, a.ID, n)
		case a.ID == n:
			v.tokens, v.scores, v.kinds = append(v.tokens, a.Content), append(v.scores, 0), append(v.kinds, pieceControl)
			v.beyond[a.Content] = true
		case v.tokens[a.ID] != a.Content:
			return fmt.Errorf("%s: added token %q has id %d, which is %q", dir, a.Content, a.ID, v.tokens[a.ID])
		}
		if i := slices.IndexFunc(v.added, func(b addedToken) bool { return b.ID == a.ID }); i >= 0 {
			v.added[i] = a
		} else {
			v.added = append(v.added, a)
		}
	}
	return nil
}

// putAround decides what is put around a prompt where no post-processor does:
// what add_bos_token and add_eos_token say, which are off unless they are set.
func (v *vocabulary) putAround(c classConfig) error {
	if v.scores == nil && !v.noPostProcessor {
		return nil
	}
	for _, end := range []struct {
		add  bool
		name string
		ids  *[]int32
	}{{c.AddBOS, "bos_token", &v.prefix}, {c.AddEOS, "eos_token", &v.suffix}} {
		if !end.add || v.names[end.name] == "" {
			continue
		}
		id := slices.Index(v.tokens, v.names[end.name])
		if id < 0 {
			return fmt.Errorf("tokenizer_config.json: add_%s is set, but %q is not in the vocabulary", end.name, v.names[end.name])
		}
		*end.ids = []int32{int32(id)}
	}
	return nil
}
