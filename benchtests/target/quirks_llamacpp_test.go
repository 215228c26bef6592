package target

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/datasets"
)

// llamaQuirks are what llama.cpp's README says.
var llamaQuirks = []quirk{
	{"it answers 503 while it loads", "health health_loading v1_health models_loading completions_loading", func(t *testing.T, of func(string) *exchange, _ []*exchange) {
		assert.Equal(t, llamacpp.Ready, of("health").route)
		status(http.StatusServiceUnavailable)(t, of, []*exchange{of("health_loading"), of("models_loading"), of("completions_loading")})
		status(http.StatusOK)(t, of, []*exchange{of("health"), of("v1_health")})
	}},
	{"the model is its file's path unless it is given a name", "models", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		name, err := llamacpp.ServedName(t.Context(), nil, server(t, all...), "other")
		require.NoError(t, err)
		assert.Equal(t, "MODEL_DIR/smol-bf16.gguf", name)
		assert.Subset(t, llamacpp.Args(conf()), []string{"--alias", "gpt2"})
	}},
	{"the version is a property", "props version", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		version, err := llamacpp.VersionAt(t.Context(), nil, server(t, all...))
		require.NoError(t, err)
		assert.Equal(t, "b0-unknown", version)
		assert.Equal(t, http.StatusNotFound, of("version").status)
	}},
	{"token ids are asked for by content", "tokenize", func(t *testing.T, _ func(string) *exchange, all []*exchange) {
		ids, err := llamacpp.TokenizeText(t.Context(), nil, server(t, all...), "", capital)
		require.NoError(t, err)
		assert.Equal(t, capitalIDs, ids)
		assert.Contains(t, all[0].fields, "content")
	}},
	{"metrics need a flag", "metrics metrics_without_flag", func(t *testing.T, of func(string) *exchange, _ []*exchange) {
		m, err := llamacpp.Scrape(t.Context(), nil, server(t, of("metrics")))
		require.NoError(t, err)
		assert.Equal(t, []float64{0, 0}, []float64{*m.Running, *m.Waiting})
		assert.Nil(t, m.KVCache, "this build does not tell it")
		_, err = llamacpp.Scrape(t.Context(), nil, server(t, of("metrics_without_flag")))
		assert.ErrorIs(t, err, errors.ErrUnsupported)
		assert.ErrorContains(t, err, "--metrics", "what to do")
		assert.Contains(t, llamacpp.Args(conf()), "--metrics")
	}},
	{"a prompt's beginning is kept in slots, which can be erased", "slots", func(t *testing.T, of func(string) *exchange, _ []*exchange) {
		ids, err := parseIDs(of("slots").body)
		require.NoError(t, err)
		assert.Equal(t, []int{0, 1, 2, 3}, ids)
		assert.NotContains(t, llamacpp.Args(conf()), "--slot-save-path", "copies in host memory would stay")
	}},
	{"its own defaults are for every field that is left out, so none is", "completions_no_sampling_fields completions_sync completions_top_k", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		answers(t, of, all)
		assert.NotEqual(t, of("completions_sync").Text, of("completions_no_sampling_fields").Text, "it samples unless told")
		var props struct {
			Default struct{ Params map[string]any } `json:"default_generation_settings"`
		}
		require.NoError(t, json.Unmarshal(of("props").body, &props))
		// What changes text, of those that are not off by default.
		off := map[string]any{"temperature": 0., "top_p": 1., "top_k": 0., "min_p": 0., "repeat_penalty": 1.}
		fields := sent(t, llamacpp, datasets.CompletionAPI, datasets.Sync, false)
		for name, want := range off {
			assert.Equal(t, want, fields[name], name)
		}
		for name, none := range map[string]float64{"top_n_sigma": -1, "xtc_probability": 0, "typical_p": 1, "presence_penalty": 0,
			"frequency_penalty": 0, "dry_multiplier": 0, "mirostat": 0, "dynatemp_range": 0, "n_probs": 0} {
			assert.Equal(t, none, props.Default.Params[name], "%s is off when it is left out", name)
		}
	}},
	{"a prompt's beginning is kept unless a field or flag says not to", "completions_cache_prompt_false", func(t *testing.T, of func(string) *exchange, _ []*exchange) {
		var answer struct{ Timings map[string]float64 }
		require.NoError(t, json.Unmarshal(of("completions_cache_prompt_false").body, &answer))
		assert.Zero(t, answer.Timings["cache_n"])
		require.NoError(t, json.Unmarshal(of("completions_ignore_eos").body, &answer))
		assert.Positive(t, answer.Timings["cache_n"], "left out, it is kept")
		assert.Equal(t, false, sent(t, llamacpp, datasets.ChatAPI, datasets.Sync, false)["cache_prompt"])
		assert.Contains(t, llamacpp.Args(conf()), "--no-cache-prompt")
	}},
	{"unknown fields, models and content types are passed over", "unknown_field* error_unknown_model* chat_no_model completions_no_model no_content_type", answers},
	{"ignore_eos bans the end", "chat_ignore_eos*", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		ends("length", 24)(t, of, all)
		assert.NotContains(t, of("chat_ignore_eos").Text, "system", "another token is taken in its place")
		assert.Contains(t, llamacpp.IgnoreEOS, "banned")
	}},
	{"ignore_eos of completions", "completions_ignore_eos*", ends("length", 12)},
	{"min_tokens is passed over", "chat_min_tokens", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		ends("stop", 3)(t, of, all)
		assert.False(t, llamacpp.MinTokens)
	}},
	{"fields that it has by other names are passed over", "completions_min_tokens completions_repetition_penalty completions_sync", alike},
	{"the end of sequence ends", "chat_eos_natural", ends("stop", 3)},
	{"temperature 0 is greedy", "chat_sync chat_stream completions_sync completions_stream", both},
	{"ranges are not checked, types are", "temperature_negative top_p_above_one top_p_zero completions_sync", alike},
	{"a wrong type is refused", "error_temperature_type*", status(http.StatusBadRequest)},
	{"top_p 1 is taken", "sampling_top_p_one", answers},
	{"max_tokens 0 is one", "max_tokens_zero", ends("length", 1)},
	{"max_tokens −1 goes to the end", "max_tokens_negative", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		answers(t, of, all)
		assert.Equal(t, "stop", all[0].Finish)
	}},
	{"a seed gives the same text", "completions_seed_a completions_seed_b", alike},
	{"a seed gives the same chat", "chat_seed_a chat_seed_b", alike},
	{"n is counted as one", "chat_n2 chat_n2_sampled chat_n2_stream completions_n2 completions_n2_sampled completions_prompt_list", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		ends("length", 12)(t, of, all)
		never(t, llamacpp, "n")
	}},
	{"a stop text is cut off", "chat_stop chat_stop_stream completions_stop completions_stop_plain_string completions_stop_stream", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		answers(t, of, all)
		for _, x := range all {
			assert.Equal(t, "stop", x.Finish, x.name)
			assert.Regexp(t, `, $`, x.Text, x.name)
		}
	}},
	{"any number of stop texts is taken", "completions_stop_five", answers},
	{"it takes more fields than OpenAI's API has", "chat_top_k completions_frequency_presence_penalty chat_max_completion_tokens", answers},
	{"logprobs come in the chat's shape", "chat_logprobs chat_logprobs_stream completions_logprobs", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		ends("length", 4)(t, of, all)
		assert.Contains(t, string(of("completions_logprobs").body), `"logprobs":{"content"`)
	}},
	{"a prompt may be token ids", "completions_token_ids completions_token_ids_stream completions_sync", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		alike(t, of, all)
		assert.True(t, llamacpp.TokenPrompts)
	}},
	{"an answer ends at the slot's context", "error_max_tokens_over_context*", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		answers(t, of, all)
		long := of("error_max_tokens_over_context_chat")
		assert.Equal(t, 2048, long.PromptTokens+long.OutputTokens)
	}},
	{"a prompt over the slot's context is refused", "error_prompt_over_context*", status(http.StatusBadRequest)},
	{"an empty prompt is answered without a token", "completions_empty_prompt", func(t *testing.T, _ func(string) *exchange, all []*exchange) {
		assert.Equal(t, http.StatusOK, all[0].status)
		assert.NotEmpty(t, all[0].Error, "which is a failure here")
	}},
	{"nothing to say is something", "chat_empty_messages chat_empty_content", ends("length", 12)},
	{"a completion counts at its end, a chat when asked", "completions_stream_no_usage chat_stream_no_usage chat_stream_continuous_usage", func(t *testing.T, of func(string) *exchange, _ []*exchange) {
		assert.Equal(t, 12, of("completions_stream_no_usage").OutputTokens)
		assert.Equal(t, 0, of("chat_stream_no_usage").OutputTokens)
		assert.Equal(t, 12, of("chat_stream_continuous_usage").OutputTokens)
		for _, c := range of("completions_stream_no_usage").Chunks {
			assert.Zero(t, c.Tokens, "the totals are not the last chunk's")
		}
	}},
	{"a token that completes no character is no event", "chat_utf8_stream", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		ends("length", 24)(t, of, all)
		assert.Len(t, all[0].Chunks, 12, "so usage counts")
	}},
	{"errors have their status", "error_invalid_json* error_missing_*", status(http.StatusBadRequest)},
	{"a wrong method is no route", "error_route_not_found error_method_not_allowed", status(http.StatusNotFound)},
	{"a connection is closed after a stream that said it is kept", "completions_stream chat_stream", func(t *testing.T, _ func(string) *exchange, all []*exchange) {
		for _, x := range all {
			assert.NotEqual(t, "close", x.header.Get("Connection"), x.name)
		}
		assert.True(t, llamacpp.NoKeepAlive)
	}},
}
