package tokenizer

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// object is a JSON object being written.
type object = map[string]any

// smallJSON is a tokenizer.json of a few tokens, with keys and keys of its model changed.
func smallJSON(t testing.TB, top, model object) []byte {
	t.Helper()
	m := object{"type": "BPE", "vocab": object{"a": 0, "b": 1, "ab": 2, "<e>": 3}, "merges": []string{"a b"}}
	maps.Copy(m, model)
	file := object{
		"added_tokens":  []object{{"id": 3, "content": "<e>", "special": true}},
		"pre_tokenizer": object{"type": "ByteLevel"}, "decoder": object{"type": "ByteLevel"}, "model": m,
	}
	maps.Copy(file, top)
	data, err := json.Marshal(file)
	require.NoError(t, err)
	return data
}

func TestRefusedJSON(t *testing.T) {
	vocab := func(v object) object { return object{"vocab": v} }
	added := func(tokens ...object) object { return object{"added_tokens": tokens} }
	template := func(single []object, special object) object {
		return object{"post_processor": object{"type": "TemplateProcessing", "single": single, "special_tokens": special}}
	}
	sequence := []object{{"Sequence": object{"id": "A"}}}
	for name, c := range map[string]struct {
		top, model  object
		want        string
		unsupported bool
	}{
		"id beyond":              {nil, vocab(object{"a": 0, "b": 1, "ab": 9, "<e>": 3}), `"ab" has id 9: 4 tokens must have the ids 0 to 3, with no holes`, false},
		"id of 2^31":             {nil, vocab(object{"a": 0, "b": 1, "ab": 1 << 31, "<e>": 3}), "has id 2147483648", false},
		"id of 2^63":             {nil, vocab(object{"a": 0, "b": 1, "ab": 1e19, "<e>": 3}), "model", false},
		"negative id":            {nil, vocab(object{"a": 0, "b": -1, "ab": 2, "<e>": 3}), "has id -1", false},
		"fractional id":          {nil, vocab(object{"a": 0, "b": 1.5, "ab": 2, "<e>": 3}), "model", false},
		"id twice":               {nil, vocab(object{"a": 0, "b": 0, "ab": 2, "<e>": 3}), "id 0 belongs to two tokens", false},
		"no vocabulary":          {added(), vocab(object{}), "empty", false},
		"merge of unknown":       {nil, object{"merges": []string{"a c"}}, `merge 0, of "a" and "c"`, false},
		"merge into unknown":     {nil, object{"merges": []string{"b a"}}, "not in the vocabulary", false},
		"merge of three":         {nil, object{"merges": []string{"a b c"}}, "two tokens with one space", false},
		"merge of one":           {nil, object{"merges": []string{"ab"}}, "two tokens with one space", false},
		"merge list of one":      {nil, object{"merges": [][]string{{"ab"}}}, "is not two tokens", false},
		"merge of numbers":       {nil, object{"merges": []int{1}}, "model", false},
		"added elsewhere":        {added(object{"id": 2, "content": "<e>"}), nil, "has id 2, and 3", false},
		"added twice":            {added(object{"id": 3, "content": "<e>"}, object{"id": 3, "content": "<e>"}), nil, "added twice", false},
		"added over another":     {added(object{"id": 3, "content": "<e>"}, object{"id": 0, "content": "<f>"}), nil, "id 0 belongs to two", false},
		"added with a hole":      {added(object{"id": 3, "content": "<e>"}, object{"id": 5, "content": "<f>"}), nil, "has id 5", false},
		"added of 2^31":          {added(object{"id": 3, "content": "<e>"}, object{"id": 1 << 31, "content": "<f>"}), nil, "has id 2147483648", false},
		"added too long":         {added(object{"id": 3, "content": "<e>"}, object{"id": 4, "content": strings.Repeat("x", 2000)}), nil, "2000 bytes", false},
		"unknown unknown":        {nil, object{"unk_token": "<unk>"}, `unknown token "<unk>"`, false},
		"template of a stranger": {template(append(sequence, object{"SpecialToken": object{"id": "<s>"}}), nil), nil, `"<s>" has no ids`, false},
		"template beyond": {template(append(sequence, object{"SpecialToken": object{"id": "<s>"}}),
			object{"<s>": object{"ids": []int{99}}}), nil, "id 99, beyond", false},
		"template of nothing":  {template(nil, nil), nil, "0 times", false},
		"template twice":       {template(slices.Concat(sequence, sequence), nil), nil, "2 times", false},
		"template of pairs":    {template([]object{{"Sequence": object{"id": "B"}}}, nil), nil, "neither", false},
		"WordPiece":            {nil, object{"type": "WordPiece"}, `model type "WordPiece": not supported; supported: BPE`, true},
		"Unigram":              {nil, object{"type": "Unigram", "vocab": [][]any{{"a", 0.5}}}, `"Unigram"`, true},
		"no model":             {object{"model": nil}, nil, "model type", true},
		"dropout":              {nil, object{"dropout": 0.1}, "dropout", true},
		"byte_fallback":        {nil, object{"byte_fallback": true}, "byte_fallback", true},
		"subword prefix":       {nil, object{"continuing_subword_prefix": "##"}, "continuing_subword_prefix", true},
		"word suffix":          {nil, object{"end_of_word_suffix": "</w>"}, "end_of_word_suffix", true},
		"normalizer":           {object{"normalizer": object{"type": "Lowercase"}}, nil, `normalizer "Lowercase"`, true},
		"no pre_tokenizer":     {object{"pre_tokenizer": nil}, nil, "pre_tokenizer", true},
		"Metaspace":            {object{"pre_tokenizer": object{"type": "Metaspace"}}, nil, "pre_tokenizer Metaspace", true},
		"Digits alone":         {object{"pre_tokenizer": object{"type": "Digits"}}, nil, `"Digits"`, true},
		"empty Sequence":       {object{"pre_tokenizer": object{"type": "Sequence"}}, nil, "an empty Sequence", true},
		"null in a Sequence":   {object{"pre_tokenizer": object{"type": "Sequence", "pretokenizers": []any{nil}}}, nil, "null", true},
		"ByteLevel first":      {object{"pre_tokenizer": object{"type": "Sequence", "pretokenizers": []object{{"type": "ByteLevel"}, {"type": "Digits"}}}}, nil, `"ByteLevel"`, true},
		"another pattern":      {object{"pre_tokenizer": object{"type": "Sequence", "pretokenizers": []object{{"type": "Split", "pattern": object{"Regex": "x+"}}, {"type": "ByteLevel"}}}}, nil, "x+", true},
		"decoder":              {object{"decoder": object{"type": "WordPiece"}}, nil, `decoder "WordPiece"`, true},
		"no decoder":           {object{"decoder": nil}, nil, "decoder", true},
		"post_processor":       {object{"post_processor": object{"type": "RobertaProcessing"}}, nil, `"RobertaProcessing"`, true},
		"Sequence in Sequence": {object{"post_processor": object{"type": "Sequence", "processors": []object{{"type": "Sequence"}}}}, nil, "Sequence in a Sequence", true},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := parseJSON(smallJSON(t, c.top, c.model))
			if err == nil {
				_, err = v.tokenizer()
			}
			require.ErrorContains(t, err, c.want)
			assert.Equal(t, c.unsupported, errors.Is(err, ErrUnsupported))
			if c.unsupported {
				assert.ErrorContains(t, err, "supported: ")
			}
		})
	}
	v, err := parseJSON(smallJSON(t, nil, nil))
	require.NoError(t, err, "the unchanged file is fine")
	_, err = v.tokenizer()
	require.NoError(t, err)
}

// folder writes files into a new folder.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

func TestFolder(t *testing.T) {
	small := string(smallJSON(t, nil, nil))
	const a, b = "A{{ messages[0].content }}{{ eos_token }}", "B"
	for name, c := range map[string]struct {
		files map[string]string
		eos   []int32
		chat  string // of the message "x"; "" where there is no template
	}{
		"alone":                 {nil, nil, ""},
		"tokenizer's eos":       {map[string]string{"tokenizer_config.json": `{"eos_token":"<e>"}`}, []int32{3}, ""},
		"as an object":          {map[string]string{"tokenizer_config.json": `{"eos_token":{"content":"<e>","special":true}}`}, []int32{3}, ""},
		"special_tokens_map":    {map[string]string{"special_tokens_map.json": `{"eos_token":{"content":"<e>"}}`}, []int32{3}, ""},
		"both":                  {map[string]string{"special_tokens_map.json": `{"eos_token":"b"}`, "tokenizer_config.json": `{"eos_token":"<e>"}`}, []int32{3}, ""},
		"unknown eos":           {map[string]string{"tokenizer_config.json": `{"eos_token":"</s>"}`}, nil, ""},
		"null eos":              {map[string]string{"tokenizer_config.json": `{"eos_token":null}`, "generation_config.json": `{"eos_token_id":null}`}, nil, ""},
		"generation_config":     {map[string]string{"generation_config.json": `{"eos_token_id":[2,0,2]}`, "config.json": `{"eos_token_id":1}`}, []int32{0, 2}, ""},
		"config":                {map[string]string{"config.json": `{"eos_token_id":1}`, "generation_config.json": `{}`}, []int32{1}, ""},
		"beyond and negative":   {map[string]string{"config.json": `{"eos_token_id":[-1,50256,9223372036854775807,1]}`}, []int32{1}, ""},
		"template":              {map[string]string{"tokenizer_config.json": `{"chat_template":"` + a + `","eos_token":"<e>"}`}, []int32{3}, "Ax<e>"},
		"named templates":       {map[string]string{"tokenizer_config.json": `{"chat_template":[{"name":"tool_use","template":"` + a + `"},{"name":"default","template":"` + b + `"}]}`}, nil, "B"},
		"no default template":   {map[string]string{"tokenizer_config.json": `{"chat_template":[{"name":"rag","template":"` + a + `"}]}`}, nil, ""},
		"file before the other": {map[string]string{"chat_template.jinja": b, "tokenizer_config.json": `{"chat_template":"` + a + `"}`}, nil, "B"},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{"tokenizer.json": small}
			maps.Copy(files, c.files)
			tok, err := FromFolder(folder(t, files))
			require.NoError(t, err)
			assert.Equal(t, c.eos, tok.EOS())
			assert.Equal(t, c.chat != "", tok.HasChatTemplate())
			if c.chat != "" {
				text, err := tok.Chat([]Message{{"user", "x"}}, true)
				require.NoError(t, err)
				assert.Equal(t, c.chat, text)
			}
		})
	}
	_, err := FromFolder(t.TempDir())
	assert.ErrorIs(t, err, fs.ErrNotExist)
	_, err = Open(filepath.Join(t.TempDir(), "missing"))
	assert.ErrorIs(t, err, fs.ErrNotExist)
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json", "config.json"} {
		files := map[string]string{"tokenizer.json": small}
		files[name] = `{"a":`
		_, err := FromFolder(folder(t, files))
		assert.ErrorContains(t, err, name)
	}
}

// TestPromoted holds that a token with a role is special though tokenizer.json says nothing of it.
func TestPromoted(t *testing.T) {
	plain := string(smallJSON(t, object{"added_tokens": []object{}}, nil))
	tok, err := FromFolder(folder(t, map[string]string{"tokenizer.json": plain, "tokenizer_config.json": `{"eos_token":"<e>"}`}))
	require.NoError(t, err)
	assert.Equal(t, []int32{2, 3, 0}, tok.Encode("ab<e>a", true))
	assert.Equal(t, []int32{2, 0}, tok.Encode("ab<e>a", false), "bytes that the vocabulary lacks are dropped")
	assert.Equal(t, "aba", tok.Decode([]int32{2, 3, 0}, true))
}

func TestInvalidInput(t *testing.T) {
	tok, err := Dummy(4096)
	require.NoError(t, err)
	for text, want := range map[string]string{
		"a\xffb": "a\ufffdb", "\xe2\x82": "\ufffd", "\xe2\x82\xe2\x82\xac": "\ufffd€", "\xf0\x9f\x91": "\ufffd",
		"\xc0\x80": "\ufffd\ufffd", "\xed\xa0\x80": "\ufffd\ufffd\ufffd", "\xf4\x90\x80\x80": "\ufffd\ufffd\ufffd\ufffd",
		"\x80\x80x": "\ufffd\ufffdx", "\xe0\x80x": "\ufffd\ufffdx", "\xf0\x90\x80x": "\ufffdx", "\x00": "\x00",
	} {
		assert.Equal(t, want, tok.Decode(tok.Encode(text, true), false), "%q", text)
		var ids []int32
		for i := range len(text) {
			ids = append(ids, tok.bpe.bytes[text[i]])
		}
		assert.Equal(t, want, tok.Decode(ids, false), "bytes of %q", text)
		checkStream(t, tok, ids)
	}
	assert.Equal(t, "!", tok.Decode([]int32{-1, 1, 4096, 1 << 30}, false))
	checkStream(t, tok, []int32{-1, 1, 4096})
}

// TestConcurrent has goroutines use one tokenizer at once, for the race detector.
func TestConcurrent(t *testing.T) {
	tok, err := Dummy(4096)
	require.NoError(t, err)
	const text = "Some words, 123 numbers & 👍 — and more.\n"
	want := tok.Encode(text, true)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 20 {
				assert.Equal(t, want, tok.Encode(text, true))
				assert.Equal(t, text, tok.Decode(want, true))
				got, err := tok.Chat([]Message{{"user", text}}, true)
				assert.NoError(t, err)
				assert.Equal(t, "User: "+text+"\nAssistant:", got)
			}
		})
	}
	group.Wait()
}

func FuzzEncode(f *testing.F) {
	tok, err := Dummy(4096)
	require.NoError(f, err)
	for _, s := range []string{"", "hello world", "a\xffb <|endoftext|>", "\u00a0\u3000 \n\n x", "👨‍👩‍👧"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, special := range []bool{true, false} {
			ids := tok.Encode(text, special)
			assert.Equal(t, validText(text), tok.Decode(ids, false))
			checkStream(t, tok, ids)
		}
	})
}

func FuzzDecode(f *testing.F) {
	tok, err := Dummy(300)
	require.NoError(f, err)
	f.Add([]byte{1, 200, 201, 255, 0, 128})
	f.Fuzz(func(t *testing.T, data []byte) {
		ids := make([]int32, len(data))
		for i, b := range data {
			ids[i] = int32(b) + int32(i%3)*20 - 1
		}
		checkStream(t, tok, ids)
	})
}

func FuzzParseJSON(f *testing.F) {
	g := readGolden(f)
	f.Add(smallJSON(f, nil, nil))
	for _, v := range g.Variants {
		f.Add(smallJSON(f, v.Top, nil))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := parseJSON(data)
		if err != nil {
			return
		}
		tok, err := v.tokenizer()
		if err != nil {
			return
		}
		ids := tok.EncodePrompt("ab <e> c\n12\xff")
		for _, id := range ids {
			if int(id) >= tok.Size() || id < 0 {
				t.Fatalf("id %d in a vocabulary of %d", id, tok.Size())
			}
		}
		checkStream(t, tok, ids)
	})
}

func FuzzChatTemplate(f *testing.F) {
	g := readChatGolden(f)
	for _, s := range g.Snippets {
		f.Add(s.Template)
	}
	for _, s := range g.Families {
		f.Add(s.Template)
	}
	talk := []Message{{"system", "be {{ brief }}"}, {"user", "hi"}}
	f.Fuzz(func(t *testing.T, source string) {
		if len(source) > 2000 {
			return
		}
		_, _ = withTemplate(source, g.Tokens).Chat(talk, true)
	})
}
