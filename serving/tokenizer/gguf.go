package tokenizer

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"servebench/serving/weights/gguf"
)

// Keys of GGUF metadata (docs/gguf.md in ggml-org/ggml).
const (
	keyModel    = "tokenizer.ggml.model"
	keyPre      = "tokenizer.ggml.pre"
	keyTokens   = "tokenizer.ggml.tokens"
	keyTypes    = "tokenizer.ggml.token_type"
	keyMerges   = "tokenizer.ggml.merges"
	keyBOS      = "tokenizer.ggml.bos_token_id"
	keyEOS      = "tokenizer.ggml.eos_token_id"
	keyEOT      = "tokenizer.ggml.eot_token_id"
	keyEOM      = "tokenizer.ggml.eom_token_id"
	keyUnknown  = "tokenizer.ggml.unknown_token_id"
	keyPadding  = "tokenizer.ggml.padding_token_id"
	keyAddBOS   = "tokenizer.ggml.add_bos_token"
	keyAddEOS   = "tokenizer.ggml.add_eos_token"
	keyTemplate = "tokenizer.chat_template"

	keyScores      = "tokenizer.ggml.scores" // these are for SentencePiece's kind
	keySpacePrefix = "tokenizer.ggml.add_space_prefix"
	keyExtraSpaces = "tokenizer.ggml.remove_extra_whitespaces"
	keyCharsmap    = "tokenizer.ggml.precompiled_charsmap"
)

// Token types of tokenizer.ggml.token_type that the text is searched for.
const (
	typeControl     = 3
	typeUserDefined = 4
)

// preTokenizer is what a name in tokenizer.ggml.pre says of a vocabulary, beyond
// what the rest of the metadata does.
type preTokenizer struct {
	steps       []splitter
	normalizers []normalizer
	whole       bool // a word in the vocabulary needs no merges to it
	addBOS      bool // a prompt begins with the beginning-of-sequence token, where the file does not say
}

// preTokenizers are the values of tokenizer.ggml.pre that are supported. Each
// names the original whose tokenizer.json says what stands here (llama.cpp itself
// normalises no text).
var preTokenizers = map[string]preTokenizer{
	"gpt-2":     {steps: []splitter{gpt2Split{}}},
	"phi-2":     {steps: []splitter{gpt2Split{}}},
	"smollm":    {steps: []splitter{digitSplit{}, gpt2Split{}}},
	"llama-bpe": {steps: []splitter{llama3Split{digits: 3}}, whole: true, addBOS: true},
	"qwen2":     {steps: []splitter{llama3Split{digits: 1}}, normalizers: []normalizer{nfc}},
}

// openGGUF reads the tokenizer of a GGUF file.
func openGGUF(path string) (*Tokenizer, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t, err := FromGGUF(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// FromGGUF reads the tokenizer in a GGUF file's metadata, which must be a
// byte-level BPE (tokenizer.ggml.model "gpt2") or SentencePiece's ("llama"). It
// keeps nothing of the file. ErrUnsupported for another kind.
func FromGGUF(f *gguf.File) (*Tokenizer, error) {
	model, err := f.String(keyModel)
	if err != nil {
		return nil, err
	}
	v := &vocabulary{}
	if v.tokens, err = f.Strings(keyTokens); err != nil {
		return nil, err
	}
	switch model {
	case "gpt2":
		err = v.readGGUFMerges(f)
	case "llama":
		err = v.readGGUFPieces(f)
	default:
		err = unsupported(keyModel, model, "gpt2", "llama")
	}
	if err != nil {
		return nil, err
	}
	if err := v.readRoles(f); err != nil {
		return nil, err
	}
	v.promote()
	if v.template, err = f.String(keyTemplate); err != nil && !errors.Is(err, gguf.ErrNoKey) {
		return nil, err
	}
	return v.tokenizer()
}

// readGGUFMerges reads a byte-level BPE.
func (v *vocabulary) readGGUFMerges(f *gguf.File) error {
	pre, err := ggufPre(f)
	if err != nil {
		return err
	}
	v.steps, v.normalizers, v.whole, v.addBOS = pre.steps, pre.normalizers, pre.whole, pre.addBOS
	merges, err := f.Strings(keyMerges)
	if err != nil {
		return err
	}
	v.merges = make([][2]string, len(merges))
	for i, m := range merges {
		if v.merges[i], err = splitMerge(m); err != nil {
			return fmt.Errorf("%s: %w", keyMerges, err)
		}
	}
	return v.readTypes(f)
}

// readGGUFPieces reads a SentencePiece BPE. As in llama.cpp a prompt begins with
// the beginning-of-sequence token, and every part of a text with a space, where
// the file does not say otherwise.
func (v *vocabulary) readGGUFPieces(f *gguf.File) (err error) {
	if charsmap, err := f.Ints(keyCharsmap); err == nil && len(charsmap) > 0 {
		return unsupported(keyCharsmap, "a map of characters", "none")
	}
	if v.scores, err = f.Floats(keyScores); err != nil {
		return err
	}
	if v.kinds, err = f.Ints(keyTypes); err != nil {
		return err
	}
	if len(v.scores) != len(v.tokens) || len(v.kinds) != len(v.tokens) {
		return fmt.Errorf("%s has %d elements, %s %d, %s %d: they must be as many",
			keyTokens, len(v.tokens), keyScores, len(v.scores), keyTypes, len(v.kinds))
	}
	v.decoder, v.fuse, v.addBOS = decodePieces, true, true
	v.byteFallback = slices.Contains(v.kinds, pieceByte)
	user, err := v.readKinds()
	if err != nil {
		return err
	}
	v.added = append(v.added, user...) // llama.cpp looks for them in the text as it is
	v.pieces = &pieces{prefix: prefixAlways}
	prefix, err := ggufBool(f, keySpacePrefix, true)
	if err != nil {
		return err
	}
	if v.strip = prefix; !prefix {
		v.pieces.prefix = prefixNever
	}
	v.pieces.squeeze, err = ggufBool(f, keyExtraSpaces, false)
	return err
}

// ggufBool returns a boolean of the metadata, or what it is where the file has none.
func ggufBool(f *gguf.File, key string, otherwise bool) (bool, error) {
	b, err := f.Bool(key)
	if errors.Is(err, gguf.ErrNoKey) {
		return otherwise, nil
	}
	return b, err
}

// ggufPre returns the pre-tokeniser that tokenizer.ggml.pre names. Files from
// before that key are GPT-2's where the architecture is; of others it cannot be told.
func ggufPre(f *gguf.File) (preTokenizer, error) {
	name, err := f.String(keyPre)
	if errors.Is(err, gguf.ErrNoKey) {
		name = "no " + keyPre
		if architecture, _ := f.String("general.architecture"); architecture == "gpt2" {
			name = "gpt-2"
		}
	} else if err != nil {
		return preTokenizer{}, err
	}
	pre, ok := preTokenizers[name]
	if !ok {
		return pre, unsupported(keyPre, name, slices.Sorted(maps.Keys(preTokenizers))...)
	}
	return pre, nil
}

// readTypes makes added tokens of those whose type says so.
func (v *vocabulary) readTypes(f *gguf.File) error {
	types, err := f.Ints(keyTypes)
	if errors.Is(err, gguf.ErrNoKey) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(types) != len(v.tokens) {
		return fmt.Errorf("%s has %d elements, %s %d: they must be as many", keyTypes, len(types), keyTokens, len(v.tokens))
	}
	for i, kind := range types {
		if kind == typeControl || kind == typeUserDefined {
			v.added = append(v.added, addedToken{ID: int64(i), Content: v.tokens[i], Special: kind == typeControl})
		}
	}
	return nil
}

// readRoles reads which tokens begin and end text.
func (v *vocabulary) readRoles(f *gguf.File) error {
	v.names = map[string]string{}
	id := func(key, name string) (int64, error) {
		n, err := f.Int(key)
		if errors.Is(err, gguf.ErrNoKey) {
			return int64(none), nil
		}
		if err != nil {
			return 0, err
		}
		if n < 0 || n >= int64(len(v.tokens)) {
			return 0, fmt.Errorf("%s is %d, beyond the %d tokens", key, n, len(v.tokens))
		}
		if name != "" {
			v.names[name] = v.tokens[n]
		}
		return n, nil
	}
	roles := map[string]int64{}
	for _, r := range []struct{ key, name string }{
		{keyBOS, "bos_token"}, {keyEOS, "eos_token"}, {keyUnknown, "unk_token"},
		{keyPadding, "pad_token"}, {keyEOT, ""}, {keyEOM, ""},
	} {
		n, err := id(r.key, r.name)
		if err != nil {
			return err
		}
		roles[r.key] = n
	}
	v.eos = []int64{roles[keyEOS], roles[keyEOT], roles[keyEOM]}
	around := func(flag, role string, otherwise bool, ids *[]int32) error {
		add, err := ggufBool(f, flag, otherwise)
		if err != nil || !add {
			return err
		}
		if _, err := f.Bool(flag); roles[role] < 0 && err != nil {
			return nil // neither the flag nor the token is there
		}
		if roles[role] < 0 {
			return fmt.Errorf("%s is set, but there is no %s", flag, role)
		}
		*ids = []int32{int32(roles[role])}
		return nil
	}
	if err := around(keyAddBOS, keyBOS, v.addBOS, &v.prefix); err != nil {
		return err
	}
	return around(keyAddEOS, keyEOS, false, &v.suffix)
}
