package target

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/datasets"
	"servebench/results"
)

// tgiQuirks are what TGI's README says.
var tgiQuirks = []quirk{
	{"the port opens when it is ready", "health ping root_health", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		status(http.StatusOK)(t, of, all)
		assert.Equal(t, tgi.Ready, of("health").route)
	}},
	{"it tells its version with its limits", "info version", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		version, err := tgi.VersionAt(t.Context(), nil, server(t, all...))
		require.NoError(t, err)
		assert.Equal(t, "3.3.6-dev0", version)
		assert.Equal(t, http.StatusNotFound, of("version").status)
	}},
	{"it tells its model, load and token ids", "models metrics tokenize chat_tokenize", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		url := server(t, all...)
		name, err := tgi.ServedName(t.Context(), nil, url, "other")
		require.NoError(t, err)
		assert.Equal(t, "MODEL_DIR", name)
		m, err := tgi.Scrape(t.Context(), nil, url)
		require.NoError(t, err)
		assert.Equal(t, []float64{0, 0}, []float64{*m.Running, *m.Waiting})
		assert.Nil(t, m.KVCache)
		ids, err := tgi.TokenizeText(t.Context(), nil, url, "", capital)
		require.NoError(t, err)
		assert.Equal(t, capitalIDs, ids)
		assert.ErrorIs(t, tgi.Reset(t.Context(), nil, url, ""), errors.ErrUnsupported)
	}},
	{"unknown fields and models are passed over", "unknown_field* error_unknown_model* chat_no_model completions_no_model", answers},
	{"top_p 1 is refused, as one JSON", "sampling_top_p_one top_p_above_one top_p_zero error_generate_top_p_one", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		status(http.StatusUnprocessableEntity)(t, of, all)
		assert.NotContains(t, sent(t, tgi, datasets.CompletionAPI, datasets.Stream, false), "top_p")
		assert.Equal(t, .9, sent(t, tgi, datasets.CompletionAPI, datasets.Stream, true)["top_p"])
	}},
	{"a stream's error is an event behind a 200, and [DONE]", "error_top_p_one_stream error_overloaded_stream error_prompt_over_context_stream error_max_total_tokens_stream error_generation_stream error_generation_chat_stream", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		for _, x := range all {
			assert.Equal(t, http.StatusOK, x.status, x.name)
			assert.Equal(t, results.ClassStreamError, x.Error, x.name)
			assert.Contains(t, string(x.body), "[DONE]", x.name)
		}
		assert.Len(t, of("error_generation_stream").Chunks, 1, "it may come after tokens")
	}},
	{"without a stream a failure has its status", "error_overloaded error_generation", func(t *testing.T, of func(string) *exchange, _ []*exchange) {
		assert.Equal(t, http.StatusTooManyRequests, of("error_overloaded").status)
		assert.Equal(t, http.StatusFailedDependency, of("error_generation").status)
		c := conf()
		c.MaxNumSeqs = 500
		args := strings.Join(tgi.Args(c), " ")
		assert.Contains(t, args, "--max-concurrent-requests 500", "or what waits is refused")
	}},
	{"the end cannot be ignored over HTTP", "chat_ignore_eos* chat_min_tokens chat_eos_natural", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		ends("stop", 3)(t, of, all)
		never(t, tgi, "ignore_eos", "min_tokens")
		assert.False(t, tgi.MinTokens)
	}},
	{"fields for the end are passed over", "completions_ignore_eos* completions_min_tokens completions_sync", alike},
	{"a model without an end goes on", "no_eos_model_*", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		ends("length", 24)(t, of, all)
		c := Config{Model: t.TempDir(), Served: "m", Dir: t.TempDir(), IgnoreEOS: true}
		require.NoError(t, tgi.Prepare(&c), "which is made")
		assert.Contains(t, tgi.IgnoreEOS, "copy of the model's folder")
	}},
	{"temperature 0 is greedy", "chat_sync chat_stream completions_sync completions_stream", both},
	{"without a temperature it samples", "completions_no_temperature_*", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		answers(t, of, all)
		assert.NotEqual(t, of("completions_no_temperature_a").Text, of("completions_no_temperature_b").Text)
		assert.Contains(t, sent(t, tgi, datasets.ChatAPI, datasets.Sync, false), "temperature")
	}},
	{"a seed gives the same text", "completions_seed_a completions_seed_b", alike},
	{"a seed gives the same chat", "chat_seed_a chat_seed_b", alike},
	{"what is out of range is refused", "temperature_negative max_tokens_zero max_tokens_negative error_temperature_type* completions_empty_prompt error_missing_* error_prompt_over_context error_completions_* completions_stop_five", status(http.StatusUnprocessableEntity)},
	{"max_tokens over 1024 are not kept to", "max_tokens_over_1024 error_max_tokens_over_context*", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		answers(t, of, all)
		assert.Equal(t, 1500., of("max_tokens_over_1024").fields["max_tokens"])
		assert.Equal(t, 2048, of("max_tokens_over_1024").OutputTokens)
		assert.Equal(t, 1024, of("error_max_tokens_over_context_chat").OutputTokens)
		assert.Equal(t, 1024., sent(t, tgi, datasets.ChatAPI, datasets.Sync, false)["max_tokens"])
	}},
	{"a prompt is text", "completions_token_ids*", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		status(http.StatusUnprocessableEntity)(t, of, all)
		assert.False(t, tgi.TokenPrompts)
	}},
	{"a list of prompts is counted together", "completions_prompt_list", ends("length", 24)},
	{"n and logprobs of completions are passed over", "chat_n2 completions_n2 completions_logprobs chat_logprobs chat_logprobs_stream chat_n2_sampled chat_n2_stream completions_n2_sampled", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		answers(t, of, all)
		assert.Equal(t, of("completions_sync").Text, of("completions_n2").Text)
		assert.Equal(t, of("chat_n2_sampled").OutputTokens, 12)
	}},
	{"it takes some fields more", "completions_frequency_presence_penalty completions_repetition_penalty chat_top_k completions_top_k chat_max_completion_tokens chat_empty_messages chat_empty_content", answers},
	{"a stop text stays, and the reason has its own name", "chat_stop chat_stop_stream completions_stop completions_stop_stream completions_no_max_tokens_stream", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		answers(t, of, all)
		for _, x := range all {
			assert.Equal(t, "stop_sequence", x.Finish, x.name)
		}
		assert.Equal(t, " 5, 6", of("completions_stop").Text)
	}},
	{"a stop text is in a list", "completions_stop_plain_string", status(http.StatusUnprocessableEntity)},
	{"a stream of completions writes the end out", "completions_eos completions_eos_stream", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		answers(t, of, all)
		assert.Equal(t, []string{"stop", "Hello!"}, []string{of("completions_eos").Finish, of("completions_eos").Text})
		assert.Equal(t, []string{"eos_token", "Hello!<|im_end|>"}, []string{of("completions_eos_stream").Finish, of("completions_eos_stream").Text})
	}},
	{"completions count whether asked or not, chats when asked", "completions_stream_no_usage chat_stream_no_usage chat_stream_continuous_usage", func(t *testing.T, of func(string) *exchange, _ []*exchange) {
		assert.Equal(t, 12, of("completions_stream_no_usage").OutputTokens)
		assert.Equal(t, 0, of("chat_stream_no_usage").OutputTokens)
		assert.Equal(t, 12, of("chat_stream_continuous_usage").OutputTokens)
	}},
	{"every token is an event", "chat_utf8_stream", func(t *testing.T, _ func(string) *exchange, all []*exchange) {
		assert.Equal(t, 24, all[0].OutputTokens)
		// The role is in every event, so the first, which has no text, could be its announcement.
		assert.Len(t, all[0].Chunks, 23)
	}},
	{"its own routes are not asked", "generate generate_* compat_root* error_generate_best_of_seed error_generate_empty error_generate_input_over_limit error_generate_invalid_json error_generate_max_new_tokens_zero error_generate_max_total_tokens error_generate_stop_five error_generate_temperature_zero error_generate_top_k_zero error_generate_stream_top_p_one error_overloaded_generate* error_generation_generate_stream", func(t *testing.T, _ func(string) *exchange, all []*exchange) {
		for _, x := range all {
			for _, api := range datasets.APIs() {
				assert.NotEqual(t, tgi.Route(api), x.route, x.name)
			}
		}
	}},
	{"bad JSON is 400 in plain text", "error_invalid_json*", status(http.StatusBadRequest)},
	{"the content type has to be said", "no_content_type", status(http.StatusUnsupportedMediaType)},
	{"wrong routes have empty answers", "error_route_not_found error_method_not_allowed", status(http.StatusNotFound, http.StatusMethodNotAllowed)},
}
