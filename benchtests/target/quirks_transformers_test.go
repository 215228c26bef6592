package target

import (
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/benchtests/client"
	"servebench/datasets"
	"servebench/results"
)

// transformersQuirks are what the README of `transformers serve` says.
var transformersQuirks = []quirk{
	{"the port opens with or without a model", "health cb_health", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		status(http.StatusOK)(t, of, all)
		assert.Equal(t, transformers.Ready, of("health").route)
	}},
	{"the first request loads a model, unless one is given at the start", "load_model load_model_cold load_model_unknown reset", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		status(http.StatusOK)(t, of, all)
		assert.Contains(t, string(of("load_model_cold").body), `"stage"`)
		assert.Contains(t, string(of("load_model_unknown").body), `"status": "error"`, "with a status of 200")
		assert.Equal(t, []string{"serve", "/models/gpt2"}, transformers.Args(conf())[:2])
	}},
	{"the models told are those of the hub's cache", "models models_no_cache_dir", func(t *testing.T, of func(string) *exchange, _ []*exchange) {
		url := server(t, of("models"))
		_, err := transformers.ServedName(t.Context(), nil, url, "MODEL_DIR")
		assert.ErrorContains(t, err, "-served-model-name", "the only one in the list need not be the one that is served")
		name, err := transformers.ServedName(t.Context(), nil, url, "HuggingFaceTB/SmolLM2-135M-Instruct")
		require.NoError(t, err)
		assert.Equal(t, "HuggingFaceTB/SmolLM2-135M-Instruct", name)
		_, err = transformers.ServedName(t.Context(), nil, server(t, of("models_no_cache_dir")), "x")
		assert.ErrorContains(t, err, "status 500")
	}},
	{"it tells neither version, nor load, nor token ids", "version metrics tokenize", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		status(http.StatusNotFound)(t, of, all)
		url := server(t, all...)
		_, err := transformers.VersionAt(t.Context(), nil, url)
		assert.ErrorIs(t, err, errors.ErrUnsupported)
		_, err = transformers.Scrape(t.Context(), nil, url)
		assert.ErrorIs(t, err, errors.ErrUnsupported)
		_, err = transformers.TokenizeText(t.Context(), nil, url, "m", "x")
		assert.ErrorIs(t, err, errors.ErrUnsupported)
		assert.ErrorIs(t, transformers.Reset(t.Context(), nil, url, "m"), errors.ErrUnsupported)
	}},
	{"unknown fields are refused", "unknown_field* chat_ignore_eos* completions_ignore_eos* chat_min_tokens completions_min_tokens chat_top_k completions_top_k completions_repetition_penalty", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		status(http.StatusUnprocessableEntity)(t, of, all)
		never(t, transformers, "ignore_eos", "min_tokens", "top_k", "repetition_penalty", "min_p")
	}},
	{"known fields are passed over", "chat_n2 chat_n2_sampled chat_logprobs completions_n2 completions_n2_sampled completions_logprobs chat_logprobs_stream chat_n2_stream completions_frequency_presence_penalty", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		answers(t, of, all)
		assert.Equal(t, of("chat_sync").Text, of("chat_n2_sampled").Text)
		assert.NotContains(t, string(of("completions_logprobs").body), "logprobs")
	}},
	{"max_completion_tokens is passed over, and 1024 come", "chat_max_completion_tokens completions_default_max_tokens", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		ends("length", 1024)(t, of, all)
		assert.Equal(t, 2000., sent(t, transformers, datasets.ChatAPI, datasets.Sync, false)["max_tokens"])
		never(t, transformers, "max_completion_tokens")
	}},
	{"a temperature alone does not sample", "completions_seed_a completions_seed_b completions_sync", alike},
	{"a temperature alone does not sample chats", "chat_seed_a chat_seed_b chat_sync", alike},
	{"do_sample in a generation config does", "completions_generation_config_sampled_*", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		alike(t, of, all)
		assert.NotEqual(t, of("completions_sync").Text, all[0].Text)
		assert.Equal(t, all[0].fields["generation_config"], `{"do_sample": true}`)
		assert.Contains(t, sent(t, transformers, datasets.CompletionAPI, datasets.Sync, true)["generation_config"], `"do_sample":true`)
		assert.Contains(t, sent(t, transformers, datasets.CompletionAPI, datasets.Sync, false)["generation_config"], `"do_sample":false`)
		assert.False(t, transformers.Seed, "it is the generator of all that is in flight")
	}},
	{"a generation config ignores or bans the end", "chat_generation_config_no_eos* chat_generation_config_min_new_tokens*", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		ends("length", 24)(t, of, all)
		assert.NotEqual(t, of("chat_generation_config_no_eos").Text, of("chat_generation_config_min_new_tokens").Text)
		assert.Len(t, of("chat_generation_config_no_eos_stream").Chunks, 19, "special tokens are no events")
		assert.Contains(t, sent(t, transformers, datasets.ChatAPI, datasets.Sync, false)["generation_config"], `"eos_token_id":-1`)
	}},
	{"max_tokens is laid over the generation config", "chat_generation_config_plus_max_tokens", ends("length", 6)},
	{"a generation config is JSON in a string", "error_generation_config_*", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		status(http.StatusInternalServerError)(t, of, all)
		assert.IsType(t, "", sent(t, transformers, datasets.ChatAPI, datasets.Sync, false)["generation_config"])
	}},
	{"the end of sequence ends", "chat_eos_natural", ends("stop", 3)},
	{"temperature 0 is greedy", "chat_sync chat_stream completions_sync completions_stream", both},
	{"ranges are not checked", "temperature_negative top_p_above_one top_p_zero sampling_top_p_one completions_sync", alike},
	{"a wrong value is a 500 that says nothing", "error_temperature_type* max_tokens_zero max_tokens_negative completions_empty_prompt chat_empty_messages error_missing_* chat_no_model completions_no_model error_unknown_model*", status(http.StatusInternalServerError)},
	{"pinned to a model, it refuses others", "pinned_unknown_model pinned_no_model", func(t *testing.T, of func(string) *exchange, _ []*exchange) {
		assert.Equal(t, http.StatusBadRequest, of("pinned_unknown_model").status)
		answers(t, of, []*exchange{of("pinned_no_model")})
		assert.Equal(t, "/models/gpt2", transformers.Served(conf()))
	}},
	{"a stop text stays", "chat_stop chat_stop_stream completions_stop completions_stop_plain_string completions_stop_stream", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		answers(t, of, all)
		for _, x := range all {
			assert.Equal(t, "stop", x.Finish, x.name)
			assert.Regexp(t, `[36]$`, x.Text, x.name)
		}
		never(t, transformers, "stop")
	}},
	{"any number of stop texts is taken", "completions_stop_five", answers},
	{"a prompt is text", "completions_prompt_list completions_token_ids*", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		status(http.StatusBadRequest)(t, of, all)
		assert.False(t, transformers.TokenPrompts)
	}},
	{"an empty message is something", "chat_empty_content", ends("length", 12)},
	{"the context is not checked", "error_max_tokens_over_context error_prompt_over_context error_prompt_over_context_stream", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		answers(t, of, all)
		assert.Greater(t, of("error_prompt_over_context").PromptTokens, 8192)
		assert.NotContains(t, transformers.Args(conf()), "1024", "there is no limit to set")
	}},
	{"a stream counts whether asked or not, and has no [DONE]", "chat_stream_no_usage completions_stream_no_usage chat_stream_continuous_usage", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		ends("length", 12)(t, of, all)
		for _, x := range all {
			assert.NotContains(t, string(x.body), "[DONE]")
		}
	}},
	{"a chat's first event comes before prefill and is no token", "chat_stream", func(t *testing.T, of func(string) *exchange, all []*exchange) {

		body := all[0].body
		x := client.Exchange{Stream: true, Sent: 1, Headers: 2, End: 9, Status: all[0].status, Header: all[0].header, Body: body,
			Arrivals: []client.Arrival{{End: eventEnd(body), At: 3}, {End: len(body), At: 8}}}
		var r results.Request
		x.Decode(&r)
		assert.Contains(t, string(body[:eventEnd(body)]), `"role"`)
		assert.EqualValues(t, 8, r.Chunks[0].At)
	}},
	{"a token that completes no character is no event", "chat_utf8_stream", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		ends("length", 24)(t, of, all)
		assert.Len(t, all[0].Chunks, 12)
	}},
	{"a failed stream is a 200 with an error in it, or half of one", "max_tokens_zero_stream completions_empty_prompt_stream", func(t *testing.T, _ func(string) *exchange, all []*exchange) {
		for _, x := range all {
			assert.Equal(t, http.StatusOK, x.status, x.name)
			assert.Equal(t, results.ClassStreamError, x.Error, x.name)
		}
	}},
	{"a stream that is cut off is seen to be", "max_tokens_over_context_chat_stream_cut_by_client", func(t *testing.T, _ func(string) *exchange, all []*exchange) {
		assert.Equal(t, results.ClassStreamBroken, all[0].Error)
		assert.Len(t, all[0].Chunks, 24)
	}},
	{"with continuous batching requests are computed together", "cb_chat_sync cb_chat_stream cb_completions_sync cb_completions_stream", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		ends("length", 12)(t, of, all)
		assert.Equal(t, of("cb_chat_sync").Text, of("cb_chat_stream").Text)
		c := conf()
		assert.True(t, transformers.CapabilitiesFor(c).Serial)
		c.Extra = []string{continuousBatching}
		assert.False(t, transformers.CapabilitiesFor(c).Serial)
		assert.True(t, transformers.CapabilitiesFor(c).FirstSampling)
	}},
	{"continuous batching does not stop at texts, nor at the context", "cb_completions_stop cb_max_tokens_over_context", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		answers(t, of, all)
		assert.Contains(t, of("cb_completions_stop").Text, "6, 7")
		never(t, transformers, "stop")
	}},
	{"bad JSON, and a missing content type, are 422", "error_invalid_json* no_content_type", status(http.StatusUnprocessableEntity)},
	{"routes have FastAPI's errors", "error_route_not_found error_method_not_allowed", status(http.StatusNotFound, http.StatusMethodNotAllowed)},
}
