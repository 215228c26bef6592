package api

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/serving/tokenizer"
)

// tokenizerServer is a Server with the built-in vocabulary, which begins and
// ends nothing, and the chat template that models without one get.
func tokenizerServer(t testing.TB) (*fake, *tokenizer.Tokenizer) {
	t.Helper()
	tok, err := tokenizer.Dummy(4096)
	require.NoError(t, err)
	f := newFake("")
	f.cfg.Tokenizer, f.cfg.Vocab = UseTokenizer(tok), 5000 // a model may have more ids than its tokenizer
	return f, tok
}

func TestTokenize(t *testing.T) {
	f, tok := tokenizerServer(t)
	const text = "naïve 👍 <|endoftext|>\n"
	quoted := string(marshal(text))
	chat := func(generate bool) []int32 {
		s, err := tok.Chat([]tokenizer.Message{{Role: "user", Content: "Hi"}}, generate)
		require.NoError(t, err)
		return tok.Encode(s, true)
	}
	for _, c := range []struct {
		name, body string
		want       []int32
	}{
		{"prompt", `{"prompt": ` + quoted + `}`, tok.EncodePrompt(text)},
		{"empty prompt", `{"prompt": ""}`, []int32{}},
		{"without special tokens", `{"prompt": ` + quoted + `, "add_special_tokens": false}`, tok.Encode(text, true)},
		{"messages", `{"messages": [{"role": "user", "content": "Hi"}]}`, chat(true)},
		{"messages alone", `{"model": "org/alias", "messages": [{"role": "user", "content": "Hi"}], "add_generation_prompt": false}`, chat(false)},
		{"prompt before messages", `{"prompt": "a", "messages": []}`, tok.EncodePrompt("a")},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := f.post(t, "/tokenize", c.body)
			require.Equalf(t, http.StatusOK, w.Code, "%s", w.Body)
			assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
			want := string(marshal(map[string]any{"count": len(c.want), "max_model_len": fakeContext, "tokens": c.want, "token_strs": nil}))
			assert.JSONEq(t, want, w.Body.String())
		})
	}
	w := f.post(t, "/tokenize", `{"prompt": "a b", "return_token_strs": true, "speed": 1}`)
	assert.JSONEq(t, `{"count": 2, "max_model_len": 2048, "tokens": `+string(marshal(tok.EncodePrompt("a b")))+`, "token_strs": ["a", "Ġb"]}`, w.Body.String())
	assert.Equal(t, "speed", w.Header().Get(ignoredHeader))
}

func TestDetokenize(t *testing.T) {
	f, tok := tokenizerServer(t)
	const text = "naïve 👍 <|endoftext|>\n"
	for body, want := range map[string]string{
		`{"tokens": ` + string(marshal(tok.Encode(text, true))) + `}`: text,
		`{"tokens": []}`:     "",
		`{"tokens": [4999]}`: "", // an id of the model that the tokenizer lacks
	} {
		w := f.post(t, "/detokenize", body)
		require.Equalf(t, http.StatusOK, w.Code, "%s", w.Body)
		assert.JSONEq(t, string(marshal(map[string]string{"prompt": want})), w.Body.String())
	}
}

func TestTokenizeErrors(t *testing.T) {
	f, _ := tokenizerServer(t)
	for _, c := range []struct {
		path, body string
		status     int
		param      string
	}{
		{"/tokenize", `{}`, 400, "prompt"},
		{"/tokenize", `{"messages": []}`, 400, "prompt"},
		{"/tokenize", `{"prompt": null}`, 400, "prompt"},
		{"/tokenize", `{"prompt": ["a", "b"]}`, 400, "prompt"},
		{"/tokenize", `{"prompt": "a", "add_special_tokens": 1}`, 400, "add_special_tokens"},
		{"/tokenize", `{"prompt": "a", "return_token_strs": "yes"}`, 400, "return_token_strs"},
		{"/tokenize", `{"messages": [{"content": "a"}]}`, 400, "messages[0].role"},
		{"/tokenize", `{"messages": [{"role": "user", "content": "a"}], "tools": [{}]}`, 400, "tools"},
		{"/tokenize", `{"model": "nobody", "prompt": "a"}`, 404, "model"},
		{"/tokenize", `{"prompt": "a"`, 400, ""},
		{"/detokenize", `{}`, 400, "tokens"},
		{"/detokenize", `{"tokens": "a"}`, 400, "tokens"},
		{"/detokenize", `{"tokens": [1.5]}`, 400, "tokens"},
		{"/detokenize", `{"tokens": [null]}`, 400, "tokens"},
		{"/detokenize", `{"tokens": [-1]}`, 400, "tokens"},
		{"/detokenize", `{"tokens": [5000]}`, 400, "tokens"},
		{"/detokenize", `{"model": "nobody", "tokens": [1]}`, 404, "model"},
	} {
		w := f.post(t, c.path, c.body)
		require.Equalf(t, c.status, w.Code, "for %s %s: %s", c.path, c.body, w.Body)
		_, param := readError(t, c.status, w.Body.Bytes())
		assert.Equalf(t, c.param, param, "for %s %s", c.path, c.body)
	}
}

// FuzzTokenize takes any body, and gets a text's ids back as the text.
func FuzzTokenize(f *testing.F) {
	for _, s := range []string{`{"prompt": "a é\n"}`, `{"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}`, `{"prompt": 1, "tokens": [1, 2]}`, `[`} {
		f.Add(s)
	}
	fake, _ := tokenizerServer(f)
	f.Fuzz(func(t *testing.T, body string) {
		if w := fake.post(t, "/detokenize", body); w.Code != http.StatusOK {
			readError(t, w.Code, w.Body.Bytes())
		}
		w := fake.post(t, "/tokenize", body)
		if w.Code != http.StatusOK {
			readError(t, w.Code, w.Body.Bytes())
			return
		}
		var a tokenizeAnswer
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &a))
		require.Len(t, a.Tokens, a.Count)
		var fields map[string]json.RawMessage // and no struct, whose names encoding/json matches in any case
		require.NoError(t, json.Unmarshal([]byte(body), &fields))
		var asked *string
		if json.Unmarshal(fields["prompt"], &asked) != nil || asked == nil {
			return
		}
		w = fake.post(t, "/detokenize", `{"tokens": `+string(marshal(a.Tokens))+`}`)
		require.Equal(t, http.StatusOK, w.Code)
		var back struct{ Prompt string }
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &back))
		require.Equal(t, *asked, back.Prompt)
	})
}
