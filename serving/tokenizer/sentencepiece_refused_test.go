package tokenizer

import (
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
)

// modelPiece is a piece of a model that a test writes.
type modelPiece struct {
	text  string
	score float32
	kind  pieceKind
}

// fewPieces are a small model's, without byte fallback.
var fewPieces = []modelPiece{
	{"<unk>", 0, pieceUnknown}, {"<s>", 0, pieceControl}, {"</s>", 0, pieceControl},
	{"▁a", -1, pieceNormal}, {"ab", -2, pieceNormal}, {"▁", -3, pieceNormal}, {"a", -4, pieceNormal}, {"b", -5, pieceNormal},
}

// modelBytes writes a model; trainer and normalizer are its specs.
func modelBytes(pieces []modelPiece, trainer, normalizer []byte) []byte {
	var b []byte
	for _, p := range pieces {
		var m []byte
		m = protowire.AppendTag(m, fieldPiece, protowire.BytesType)
		m = protowire.AppendString(m, p.text)
		m = protowire.AppendTag(m, fieldScore, protowire.Fixed32Type)
		m = protowire.AppendFixed32(m, math.Float32bits(p.score))
		m = protowire.AppendTag(m, fieldType, protowire.VarintType)
		m = protowire.AppendVarint(m, uint64(p.kind))
		b = protowire.AppendTag(b, fieldPieces, protowire.BytesType)
		b = protowire.AppendBytes(b, m)
	}
	b = protowire.AppendTag(b, fieldTrainer, protowire.BytesType)
	b = protowire.AppendBytes(b, trainer)
	b = protowire.AppendTag(b, fieldNormalizer, protowire.BytesType)
	return protowire.AppendBytes(b, normalizer)
}

// numbers writes pairs of a field's number and its value.
func numbers(pairs ...uint64) (b []byte) {
	for pair := range slices.Chunk(pairs, 2) {
		b = protowire.AppendTag(b, protowire.Number(pair[0]), protowire.VarintType)
		b = protowire.AppendVarint(b, pair[1])
	}
	return b
}

func text(id protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, id, protowire.BytesType), s)
}

var typeBPE = numbers(uint64(fieldModelType), 2)

func TestRefusedModel(t *testing.T) {
	with := func(more ...modelPiece) []modelPiece { return slices.Concat(fewPieces, more) }
	for name, c := range map[string]struct {
		data        []byte
		want        string
		unsupported bool
	}{
		"empty":            {nil, "it has no pieces", false},
		"text":             {[]byte(strings.Repeat("hello ", 20)), "not a SentencePiece model", false},
		"no pieces":        {modelBytes(nil, typeBPE, nil), "it has no pieces", false},
		"cut":              {modelBytes(fewPieces, typeBPE, nil)[:40], "not a SentencePiece model", false},
		"piece cut":        {append(text(fieldPieces, "\x0a\x7fx"), modelBytes(fewPieces, typeBPE, nil)...), "not a SentencePiece model", false},
		"UNIGRAM":          {modelBytes(fewPieces, nil, nil), `model_type "UNIGRAM"`, true},
		"WORD":             {modelBytes(fewPieces, numbers(uint64(fieldModelType), 3), nil), `"WORD"`, true},
		"type 9":           {modelBytes(fewPieces, numbers(uint64(fieldModelType), 9), nil), `"9"`, true},
		"charsmap":         {modelBytes(fewPieces, typeBPE, append(text(fieldName, "nmt_nfkc"), text(fieldCharsmap, "x")...)), `normalizer "nmt_nfkc"`, true},
		"suffix":           {modelBytes(fewPieces, append(typeBPE, numbers(uint64(fieldSuffix), 1)...), nil), "treat_whitespace_as_suffix", true},
		"no escape":        {modelBytes(fewPieces, typeBPE, numbers(uint64(fieldEscape), 0)), "escape_whitespaces", true},
		"bytes missing":    {modelBytes(with(modelPiece{"<0x41>", 0, pieceByte}), append(typeBPE, numbers(uint64(fieldByteFallback), 1)...), nil), "there are 1", false},
		"no byte":          {modelBytes(with(modelPiece{"<0xZZ>", 0, pieceByte}), typeBPE, nil), `"<0xZZ>"`, false},
		"no unknown":       {modelBytes(fewPieces[1:], typeBPE, nil), "no unknown piece", false},
		"two unknown":      {modelBytes(with(modelPiece{"<u>", 0, pieceUnknown}), typeBPE, nil), "two unknown", false},
		"type of a piece":  {modelBytes(with(modelPiece{"x", 0, 7}), typeBPE, nil), "unknown type 7", false},
		"piece twice":      {modelBytes(with(modelPiece{"ab", 0, pieceNormal}), typeBPE, nil), "two ids", false},
		"not UTF-8":        {modelBytes(with(modelPiece{"\xff", 0, pieceNormal}), typeBPE, nil), "not UTF-8", false},
		"not a number":     {modelBytes(with(modelPiece{"x", float32(math.NaN()), pieceNormal}), typeBPE, nil), "not a number", false},
		"long piece":       {modelBytes(with(modelPiece{strings.Repeat("a", maxPiece+1), 0, pieceNormal}), typeBPE, nil), "more than 256", false},
		"unused ambiguous": {modelBytes(with(modelPiece{"▁ab", 0, pieceUnused}), typeBPE, nil), "unused piece", true},
		"spaces of a user": {modelBytes(with(modelPiece{"x▁", 0, pieceUserDefined}), typeBPE, nil), "remove_extra_whitespaces", true},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := parseModel(c.data)
			if err == nil {
				_, err = v.tokenizer()
			}
			require.ErrorContains(t, err, c.want)
			if c.unsupported {
				assert.ErrorIs(t, err, ErrUnsupported)
			}
		})
	}
	v, err := parseModel(modelBytes(fewPieces, typeBPE, nil))
	tok := madeFrom(t, v, err)
	assert.Equal(t, []int32{3, 7, 5, 0, 3, 7}, tok.Encode(" ab xy  ab ", false), "the unchanged model is fine")
}

// TestModelUnknownFields holds that other fields and wire types do not disturb.
func TestModelUnknownFields(t *testing.T) {
	more := slices.Concat(text(99, "x"), numbers(98, 7),
		protowire.AppendFixed64(protowire.AppendTag(nil, 97, protowire.Fixed64Type), 1),
		protowire.AppendGroup(protowire.AppendTag(nil, 96, protowire.StartGroupType), 96, text(1, "y")),
		numbers(uint64(fieldPieces), 3)) // pieces as a number
	v, err := parseModel(slices.Concat(more, modelBytes(fewPieces, slices.Concat(more, typeBPE), more)))
	tok := madeFrom(t, v, err)
	assert.Equal(t, len(fewPieces), tok.Size())
}

// pieceJSON is smallJSON of SentencePiece's kind.
func pieceJSON(t testing.TB, top, model object) []byte {
	t.Helper()
	changed := object{
		"pre_tokenizer": object{"type": "Metaspace", "replacement": meta, "prepend_scheme": "first", "split": false},
		"decoder": object{"type": "Sequence", "decoders": []object{
			{"type": "Replace", "pattern": object{"String": meta}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
		}},
	}
	maps.Copy(changed, top)
	return smallJSON(t, changed, model)
}

func TestRefusedPieceJSON(t *testing.T) {
	sequence := func(parts ...object) object { return object{"type": "Sequence", "decoders": parts} }
	replace := object{"type": "Replace", "pattern": object{"String": meta}, "content": " "}
	growing := object{"type": "Replace", "pattern": object{"String": "x"}, "content": "xxxxxxxxx"}
	for name, c := range map[string]struct {
		top, model map[string]any
		want       string
	}{
		"replacement":        {object{"pre_tokenizer": object{"type": "Metaspace", "replacement": "_"}}, nil, `"_"`},
		"prepend_scheme":     {object{"pre_tokenizer": object{"type": "Metaspace", "replacement": meta, "prepend_scheme": "last"}}, nil, `"last"`},
		"no escape":          {object{"pre_tokenizer": nil}, nil, "pre_tokenizer"},
		"byte_fallback":      {object{"pre_tokenizer": object{"type": "ByteLevel"}}, object{"byte_fallback": true}, "byte_fallback"},
		"Prepend last":       {object{"pre_tokenizer": nil, "normalizer": object{"type": "Sequence", "normalizers": []object{{"type": "Replace", "pattern": object{"String": " "}, "content": meta}, {"type": "Prepend", "prepend": " "}}}}, nil, "pre_tokenizer"},
		"Regex":              {object{"normalizer": object{"type": "Replace", "pattern": object{"Regex": " {2,}"}, "content": meta}}, nil, `" {2,}"`},
		"Precompiled":        {object{"normalizer": object{"type": "Precompiled", "precompiled_charsmap": "x"}}, nil, `"Precompiled"`},
		"nested Sequence":    {object{"normalizer": object{"type": "Sequence", "normalizers": []object{{"type": "Sequence"}}}}, nil, "Sequence in a Sequence"},
		"large replacement":  {object{"normalizer": object{"type": "Replace", "pattern": object{"String": " "}, "content": strings.Repeat("x", maxGrowth+1)}}, nil, "at most 64 times"},
		"growing twice":      {object{"normalizer": object{"type": "Sequence", "normalizers": []object{growing, growing}}}, nil, "at most 64 times"},
		"long Prepend":       {object{"normalizer": object{"type": "Prepend", "prepend": strings.Repeat("x", maxGrowth+1)}}, nil, "at most 64 times"},
		"ByteLevel decoder":  {object{"decoder": object{"type": "ByteLevel"}}, nil, `decoder "ByteLevel"`},
		"no decoder":         {object{"decoder": nil}, nil, "decoder"},
		"decoder without":    {object{"decoder": sequence(replace, object{"type": "Fuse"})}, nil, "another Sequence"},
		"Strip of two":       {object{"decoder": sequence(replace, object{"type": "ByteFallback"}, object{"type": "Fuse"}, object{"type": "Strip", "content": " ", "start": 2})}, nil, "another Sequence"},
		"null in a decoder":  {object{"decoder": object{"type": "Sequence", "decoders": []any{nil, nil, nil}}}, nil, "another Sequence"},
		"merge of bytes":     {nil, object{"vocab": object{"<0x41>": 0, "<0x42>": 1, "<0x41><0x42>": 2, "<e>": 3}, "byte_fallback": true, "merges": [][]string{{"<0x41>", "<0x42>"}}}, "<0x41> <0x42>"},
		"merge of nothing":   {nil, object{"vocab": object{"": 0, "a": 1, "b": 2, "<e>": 3}, "merges": [][]string{{"a", ""}}}, "merge 0"},
		"unknown is missing": {nil, object{"unk_token": "<what>"}, `"<what>"`},
		"merge is missing":   {nil, object{"vocab": object{"x": 0, "a": 1, "b": 2, "<e>": 3}, "merges": [][]string{{"a", "a"}}}, "merge 0"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := parseJSON(pieceJSON(t, c.top, c.model))
			if err == nil {
				_, err = v.tokenizer()
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}

// ggufPieces is the GGUF metadata of fewPieces.
func ggufPieces() map[string]any {
	var tokens []string
	var scores []float32
	var kinds []int32
	for _, p := range fewPieces {
		tokens, scores, kinds = append(tokens, p.text), append(scores, p.score), append(kinds, int32(p.kind))
	}
	return map[string]any{
		keyModel: "llama", keyPre: "default", keyMerges: nil, keyTokens: tokens, keyScores: scores, keyTypes: kinds,
		keyBOS: uint32(1), keyEOS: uint32(2),
	}
}

func TestGGUFPieces(t *testing.T) {
	tokens, _ := ggufPieces()[keyTokens].([]string)
	kinds, _ := ggufPieces()[keyTypes].([]int32)
	user := func(kind int32) map[string]any {
		return map[string]any{keyTokens: append(slices.Clone(tokens), "<| x|>"), keyScores: make([]float32, 9), keyTypes: append(slices.Clone(kinds), kind)}
	}
	for name, c := range map[string]struct {
		changes map[string]any
		text    string
		prompt  []int32
		decoded string
	}{
		"as it is":         {nil, "ab<s>ab  a", []int32{1, 3, 7, 1, 3, 7, 5, 3}, "ab ab  a"},
		"no prefix":        {map[string]any{keySpacePrefix: false}, "ab<s>ab", []int32{1, 4, 1, 4}, "abab"},
		"squeezed":         {map[string]any{keyExtraSpaces: true}, "  ab  a ", []int32{1, 3, 7, 3}, "ab a"},
		"no bos":           {map[string]any{keyAddBOS: false}, "a", []int32{3}, "a"},
		"eos":              {map[string]any{keyAddEOS: true}, "a", []int32{1, 3, 2}, "a"},
		"no bos token":     {map[string]any{keyBOS: nil}, "a", []int32{3}, "a"},
		"user-defined":     {user(4), "a<| x|>a", []int32{1, 3, 8, 3}, "a<| x|> a"},
		"control":          {user(3), "a<| x|>a", []int32{1, 3, 8, 3}, "a a"},
		"an empty charmap": {map[string]any{keyCharsmap: []uint8{}}, "a", []int32{1, 3}, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			metadata := ggufPieces()
			maps.Copy(metadata, c.changes)
			tok, err := ggufTokenizer(t, metadata)
			require.NoError(t, err)
			assert.Equal(t, c.prompt, tok.EncodePrompt(c.text))
			assert.Equal(t, c.decoded, tok.Decode(c.prompt, true))
			assert.Equal(t, []int32{2}, tok.EOS())
		})
	}
	for name, c := range map[string]struct {
		changes map[string]any
		want    string
	}{
		"no scores":      {map[string]any{keyScores: nil}, keyScores},
		"too few scores": {map[string]any{keyScores: []float32{1}}, "must be as many"},
		"no types":       {map[string]any{keyTypes: nil}, keyTypes},
		"charsmap":       {map[string]any{keyCharsmap: []uint8{1}}, keyCharsmap},
		"bos without":    {map[string]any{keyBOS: nil, keyAddBOS: true}, "there is no"},
		"prefix of text": {map[string]any{keySpacePrefix: "yes"}, keySpacePrefix},
	} {
		t.Run(name, func(t *testing.T) {
			metadata := ggufPieces()
			maps.Copy(metadata, c.changes)
			_, err := ggufTokenizer(t, metadata)
			assert.ErrorContains(t, err, c.want)
		})
	}
}

// TestGGUFChat has the published template of Llama 2 in a GGUF file.
func TestGGUFChat(t *testing.T) {
	g := readPieceGolden(t)
	metadata := ggufPieces()
	config, _ := g.Chats[0].Around["tokenizer_config.json"].(map[string]any)
	metadata[keyTemplate] = config["chat_template"]
	tok, err := ggufTokenizer(t, metadata)
	require.NoError(t, err)
	require.True(t, tok.HasChatTemplate())
	for _, c := range g.Chats[0].Cases {
		got, err := tok.Chat(g.Talks[c.Talk], c.Generate)
		if c.Text == nil {
			assert.ErrorIs(t, err, ErrChat)
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, *c.Text, got)
	}
}

// TestModelFolder has what old folders have beside a tokenizer.model.
func TestModelFolder(t *testing.T) {
	model := string(modelBytes(fewPieces, typeBPE, nil))
	for name, c := range map[string]struct {
		files map[string]string
		want  string // an error
		ids   []int32
	}{
		"alone":             {nil, "", []int32{3, 7, 0}},
		"added_tokens.json": {map[string]string{"added_tokens.json": `{"<x>": 8, "<y>": 9}`}, "", []int32{3, 7, 8}},
		"decoder first": {map[string]string{"added_tokens.json": `{"<y>": 8}`,
			"tokenizer_config.json": `{"added_tokens_decoder": {"8": {"content": "<x>", "special": true}}}`}, "", []int32{3, 7, 8}},
		"a hole":        {map[string]string{"added_tokens.json": `{"<x>": 9}`}, "none for 8", nil},
		"another's id":  {map[string]string{"added_tokens.json": `{"<x>": 4}`}, `which is "ab"`, nil},
		"no number":     {map[string]string{"tokenizer_config.json": `{"added_tokens_decoder": {"x": {"content": "<x>"}}}`}, `"x"`, nil},
		"unknown bos":   {map[string]string{"tokenizer_config.json": `{"add_bos_token": true, "bos_token": "<bos>"}`}, "add_bos_token", nil},
		"json is first": {map[string]string{"tokenizer.json": string(smallJSON(t, nil, nil))}, "", []int32{2}},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{"tokenizer.model": model}
			maps.Copy(files, c.files)
			tok, err := Open(folder(t, files))
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.ids, tok.EncodePrompt("ab<x>"))
		})
	}
	_, err := Open(folder(t, map[string]string{"tokenizer.model": "x"}))
	assert.ErrorContains(t, err, "tokenizer.model")
}
