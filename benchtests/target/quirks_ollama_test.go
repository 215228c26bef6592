package target

import (
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/datasets"
)

// ollamaQuirks are what Ollama was seen to do.
var ollamaQuirks = []quirk{
	{"it tells its version and models", "version models", func(t *testing.T, _ func(string) *exchange, all []*exchange) {
		url := server(t, all...)
		version, err := ollama.VersionAt(t.Context(), nil, url)
		require.NoError(t, err)
		assert.Equal(t, "0.0.0", version, "a build of one's own")
		name, err := ollama.ServedName(t.Context(), nil, url, "servebench/m:chat")
		require.NoError(t, err)
		assert.Equal(t, "servebench/m:chat", name)
	}},
	{"it tells neither load nor token ids", "metrics tokenize", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		status(http.StatusNotFound)(t, of, all)
		_, err := ollama.Scrape(t.Context(), nil, server(t, all...))
		assert.ErrorIs(t, err, errors.ErrUnsupported)
		assert.Nil(t, ollama.Tokens)
	}},
	{"a model is made of a file that it was given", "create create_chat create_unknown_file", func(t *testing.T, of func(string) *exchange, _ []*exchange) {
		parameters := map[string]any{"num_ctx": 512., "top_k": 0., "min_p": 0., "repeat_penalty": 1., "num_gpu": 0.}
		for _, name := range []string{"create", "create_chat"} {
			x := of(name)
			assert.Equal(t, parameters, x.fields["parameters"])
			require.NoError(t, ollamaCreate(t.Context(), nil, server(t, x), object(x.fields)))
		}
		err := ollamaCreate(t.Context(), nil, server(t, of("create_unknown_file")), object{})
		assert.ErrorContains(t, err, "no such file")
	}},
	{"temperature 0 is greedy", "chat_sync chat_stream completions_sync completions_stream", both},
	{"a completion's prompt goes into the model's template, so there is one that is the prompt", "completions_template completions_sync", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		answers(t, of, all)
		assert.Equal(t, len(capitalIDs), of("completions_sync").PromptTokens)
		assert.Greater(t, of("completions_template").PromptTokens, len(capitalIDs))
		assert.Equal(t, "{{ .Prompt }}", of("create").fields["template"])
		assert.Equal(t, "servebench/m:text", ollamaTag("servebench/m", datasets.CompletionAPI))
	}},
	{"a chat has a template of Ollama's", "chat_sync", func(t *testing.T, _ func(string) *exchange, all []*exchange) {
		assert.Equal(t, 16, all[0].PromptTokens, "36 with the file's, which has a system message")
	}},
	{"a stream of completions has a usage of zeros until the last", "completions_stream", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		ends("length", 12)(t, of, all)
		assert.Contains(t, string(all[0].body), `"usage":{"prompt_tokens":0,`)
	}},
	{"a token that completes no character is no event", "chat_utf8_stream", func(t *testing.T, _ func(string) *exchange, all []*exchange) {
		assert.Empty(t, all[0].Error, all[0].Detail)
		assert.Less(t, len(all[0].Chunks), all[0].OutputTokens)
	}},
	{"a seed gives the same text", "completions_seed_a completions_seed_b", alike},
	{"ignore_eos is passed over", "completions_ignore_eos completions_seed_a", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		alike(t, of, all)
		assert.Equal(t, "stop", of("completions_ignore_eos").Finish)
		assert.Empty(t, ollama.IgnoreEOS)
		never(t, ollama, "ignore_eos")
	}},
	{"a prompt is text", "completions_token_ids", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		status(http.StatusBadRequest)(t, of, all)
		assert.False(t, ollama.TokenPrompts)
	}},
	{"an unknown model is refused, also in streams", "error_unknown_model*", status(http.StatusNotFound)},
}
