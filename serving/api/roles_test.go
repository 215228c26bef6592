package api

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/serving/tokenizer"
	"servebench/testdata"
)

// TestRolesThatATemplateRefuses holds that what a model's chat template raises is
// the client's to read, word for word, before anything is streamed.
func TestRolesThatATemplateRefuses(t *testing.T) {
	const reason = "Conversation roles must alternate user/assistant/user/assistant/..."
	config, err := json.Marshal(map[string]string{"chat_template": `{% for m in messages %}` +
		`{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('` + reason + `') }}{% endif %}` +
		`[INST] {{ m['content'] }} [/INST]{% endfor %}`})
	require.NoError(t, err)
	vocabulary, err := os.ReadFile(testdata.Path("tokenizer", "sentencepiece", "tokenizer.json"))
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), config, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer.json"), vocabulary, 0o644))
	tok, err := tokenizer.Open(dir)
	require.NoError(t, err)

	f := newFake("length", "a", "b")
	f.cfg.Tokenizer, f.cfg.Vocab = UseTokenizer(tok), tok.Size()
	check := func(path, more, messages string, status int) {
		t.Helper()
		w := f.post(t, path, `{"max_tokens": 2, "messages": `+messages+more+`}`)
		if assert.Equalf(t, status, w.Code, "%s %s: %s", path, messages, w.Body) && status != http.StatusOK {
			message, param := readError(t, status, w.Body.Bytes())
			assert.Equal(t, "the messages are refused by the model's chat template: "+reason, message)
			assert.Equal(t, "messages", param)
		}
	}
	const (
		one    = `[{"role": "user", "content": "a"}]`
		two    = `[{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]`
		system = `[{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]`
	)
	check("/v1/chat/completions", "", one, http.StatusOK)
	check("/v1/chat/completions", "", two, http.StatusBadRequest)
	check("/v1/chat/completions", `, "stream": true`, two, http.StatusBadRequest)
	check("/v1/chat/completions", "", system, http.StatusBadRequest)
	check("/tokenize", "", system, http.StatusBadRequest)
}
