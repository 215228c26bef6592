package tokenizer

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/serving/weights/gguf"
	"servebench/serving/weights/gguf/gguftest"
	"servebench/testdata"
)

// codeGen is Phi-2's vocabulary, as CodeGen's: GPT-2's real one, and runs of 31
// down to 2 spaces, then of 9 down to 2 tabs, as added tokens that are not special.
func codeGen(t testing.TB) (tokens, merges []string, types []int32) {
	t.Helper()
	f, err := gguf.Open(testdata.Shared(t, "tokenizers", "gpt-2.gguf"))
	require.NoError(t, err)
	defer f.Close()
	tokens, err = f.Strings(keyTokens)
	require.NoError(t, err)
	merges, err = f.Strings(keyMerges)
	require.NoError(t, err)
	types = make([]int32, len(tokens))
	for i := range types {
		types[i] = 1 // normal
	}
	types[50256] = typeControl
	for _, run := range []struct {
		text    string
		longest int
	}{{" ", 31}, {"\t", 9}} {
		for n := run.longest; n > 1; n-- {
			tokens = append(tokens, strings.Repeat(run.text, n))
			types = append(types, typeUserDefined)
		}
	}
	require.Len(t, tokens, 50295)
	return tokens, merges, types
}

// codeGenGGUF opens it as llama.cpp's converter writes it, with the ids that only
// the model has rows for as unused tokens at the end.
func codeGenGGUF(t testing.TB) *Tokenizer {
	if tok, ok := openedOnce.Load("codegen.gguf"); ok {
		return tok.(*Tokenizer)
	}
	tokens, merges, types := codeGen(t)
	for i := len(tokens); i < 51200; i++ {
		tokens = append(tokens, "[PAD"+strings.Repeat("x", i-50295)+"]")
		types = append(types, 5) // unused
	}
	end := uint32(50256)
	path := gguftest.New().Set(keyModel, "gpt2").Set(keyPre, "phi-2").Set(keyTokens, tokens).Set(keyMerges, merges).
		Set(keyTypes, types).Set(keyBOS, end).Set(keyEOS, end).Set(keyUnknown, end).Write(t)
	tok, err := Open(path)
	require.NoError(t, err)
	openedOnce.Store("codegen.gguf", tok)
	return tok
}

// codeGenJSON opens it as its tokenizer.json has it.
func codeGenJSON(t testing.TB) *Tokenizer {
	if tok, ok := openedOnce.Load("codegen.json"); ok {
		return tok.(*Tokenizer)
	}
	tokens, merges, types := codeGen(t)
	vocab := map[string]int{}
	var added []object
	for id, text := range tokens {
		if id < 50257 {
			vocab[text] = id
		}
		if types[id] != 1 {
			special := types[id] == typeControl
			added = append(added, object{"id": id, "content": text, "special": special, "normalized": !special})
		}
	}
	level := object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true}
	data, err := json.Marshal(object{
		"added_tokens": added, "normalizer": nil, "pre_tokenizer": level, "post_processor": level, "decoder": level,
		"model": object{"dropout": nil, "unk_token": "", "continuing_subword_prefix": "", "end_of_word_suffix": "",
			"fuse_unk": false, "vocab": vocab, "merges": merges},
	})
	require.NoError(t, err)
	end := `"<|endoftext|>"`
	tok, err := Open(folder(t, map[string]string{
		"tokenizer.json":        string(data),
		"tokenizer_config.json": `{"bos_token":` + end + `,"eos_token":` + end + `,"unk_token":` + end + `}`,
	}))
	require.NoError(t, err)
	openedOnce.Store("codegen.json", tok)
	return tok
}

func TestCodeGen(t *testing.T) {
	for name, tok := range map[string]*Tokenizer{"GGUF": codeGenGGUF(t), "JSON": codeGenJSON(t)} {
		assert.Equal(t, []int32{50256}, tok.EOS(), name)
		const code = "def f(x):\n    if x:\n\t\treturn 1"
		ids := tok.Encode(code, true)
		assert.Contains(t, ids, int32(50284), name) // four spaces
		assert.Contains(t, ids, int32(50294), name) // two tabs
		assert.Equal(t, code, tok.Decode(ids, true), "%s: runs of spaces are no specials", name)
	}
}
