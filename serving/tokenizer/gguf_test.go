package tokenizer

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/serving/weights/gguf"
	"servebench/serving/weights/gguf/gguftest"
)

// ggufTokenizer reads the tokenizer of a GGUF file of a few tokens, with
// metadata changed; a nil value takes a key out.
func ggufTokenizer(t *testing.T, changes map[string]any) (*Tokenizer, error) {
	t.Helper()
	metadata := map[string]any{
		keyModel: "gpt2", keyPre: "smollm", keyTokens: []string{"a", "b", "ab", "<s>", "</s>", "1", "2", "12"},
		keyMerges: []string{"a b", "1 2"}, keyTypes: []int32{1, 1, 1, 3, 3, 1, 1, 4},
		keyBOS: uint32(3), keyEOS: uint32(4),
	}
	maps.Copy(metadata, changes)
	b := gguftest.New()
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		if metadata[key] != nil {
			b.Set(key, metadata[key])
		}
	}
	path := filepath.Join(t.TempDir(), "m.gguf")
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
	return Open(path)
}

func TestGGUF(t *testing.T) {
	for name, c := range map[string]struct {
		changes map[string]any
		prompt  []int32 // of "ab21<s>12"
		eos     []int32
	}{
		"smollm":       {nil, []int32{2, 6, 5, 3, 7}, []int32{4}},
		"no types":     {map[string]any{keyTypes: nil}, []int32{2, 6, 5, 3, 5, 6}, []int32{4}},
		"gpt-2":        {map[string]any{keyPre: "gpt-2", keyTypes: []int32{1, 1, 1, 3, 3, 1, 1, 1}}, []int32{2, 6, 5, 3, 7}, []int32{4}},
		"no pre":       {map[string]any{keyPre: nil, "general.architecture": "gpt2"}, []int32{2, 6, 5, 3, 7}, []int32{4}},
		"bos and eos":  {map[string]any{keyAddBOS: true, keyAddEOS: true}, []int32{3, 2, 6, 5, 3, 7, 4}, []int32{4}},
		"bos off":      {map[string]any{keyAddBOS: false}, []int32{2, 6, 5, 3, 7}, []int32{4}},
		"eot and eom":  {map[string]any{keyEOT: uint32(3), keyEOM: uint32(0)}, []int32{2, 6, 5, 3, 7}, []int32{0, 3, 4}},
		"none of them": {map[string]any{keyBOS: nil, keyEOS: nil}, []int32{2, 6, 5, 3, 7}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			tok, err := ggufTokenizer(t, c.changes)
			require.NoError(t, err)
			assert.Equal(t, c.prompt, tok.EncodePrompt("ab21<s>12"))
			assert.Equal(t, c.eos, tok.EOS())
			assert.Equal(t, "ab", tok.Decode([]int32{3, 2, 4}, true))
			assert.False(t, tok.HasChatTemplate())
		})
	}
	tok, err := ggufTokenizer(t, map[string]any{keyTemplate: "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"})
	require.NoError(t, err)
	text, err := tok.Chat([]Message{{"user", "ab"}}, true)
	require.NoError(t, err)
	assert.Equal(t, "<s>ab</s>", text)
}

func TestRefusedGGUF(t *testing.T) {
	for name, c := range map[string]struct {
		changes map[string]any
		want    string
		is      error
	}{
		"T5's":             {map[string]any{keyModel: "t5"}, `tokenizer.ggml.model "t5"`, ErrUnsupported},
		"no model":         {map[string]any{keyModel: nil}, keyModel, gguf.ErrNoKey},
		"pre":              {map[string]any{keyPre: "tekken"}, "supported: gpt-2, llama-bpe, phi-2, qwen2, smollm", ErrUnsupported},
		"no pre":           {map[string]any{keyPre: nil}, "no tokenizer.ggml.pre", ErrUnsupported},
		"default pre":      {map[string]any{keyPre: "default"}, `"default"`, ErrUnsupported},
		"no tokens":        {map[string]any{keyTokens: nil}, keyTokens, gguf.ErrNoKey},
		"no merges":        {map[string]any{keyMerges: nil}, keyMerges, gguf.ErrNoKey},
		"tokens of ints":   {map[string]any{keyTokens: []int32{1}}, keyTokens, nil},
		"token twice":      {map[string]any{keyTokens: []string{"a", "b", "ab", "<s>", "</s>", "1", "2", "a"}}, `"a" has two ids, 0 and 7`, nil},
		"merge of unknown": {map[string]any{keyMerges: []string{"a c"}}, `"a" and "c"`, nil},
		"merge of one":     {map[string]any{keyMerges: []string{"ab"}}, keyMerges, nil},
		"too few types":    {map[string]any{keyTypes: []int32{1}}, "has 1 elements", nil},
		"bos beyond":       {map[string]any{keyBOS: uint32(8)}, "is 8, beyond the 8 tokens", nil},
		"eos of 2^32":      {map[string]any{keyEOS: uint64(1 << 32)}, "is 4294967296", nil},
		"bos negative":     {map[string]any{keyBOS: int32(-1)}, "is -1", nil},
		"bos a string":     {map[string]any{keyBOS: "3"}, keyBOS, nil},
		"add without":      {map[string]any{keyBOS: nil, keyAddBOS: true}, "there is no tokenizer.ggml.bos_token_id", nil},
		"template of ints": {map[string]any{keyTemplate: int32(1)}, keyTemplate, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ggufTokenizer(t, c.changes)
			require.ErrorContains(t, err, c.want)
			if c.is != nil {
				assert.True(t, errors.Is(err, c.is), "%v", err)
			}
		})
	}
}
