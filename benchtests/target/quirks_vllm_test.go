package target

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/datasets"
)

// capital is the text that the recordings of /tokenize ask about, and its ids.
const capital = "The capital of France is"

var capitalIDs = []int{504, 3575, 282, 4649, 314}

// vllmQuirks are what vLLM's README says.
var vllmQuirks = []quirk{
	{"the port opens when it is ready", "health ping load", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		status(http.StatusOK)(t, of, all)
		assert.Equal(t, vllm.Ready, of("health").route)
		assert.Empty(t, of("health").body)
	}},
	{"it tells its model, version and token ids", "models version tokenize", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		url := server(t, all...)
		name, err := vllm.ServedName(t.Context(), nil, url, "other")
		require.NoError(t, err)
		assert.Equal(t, "smol", name)
		version, err := vllm.VersionAt(t.Context(), nil, url)
		require.NoError(t, err)
		assert.Equal(t, "0.32.0", version)
		ids, err := vllm.TokenizeText(t.Context(), nil, url, "smol", capital)
		require.NoError(t, err)
		assert.Equal(t, capitalIDs, ids)
	}},
	{"metrics are on by default", "metrics", func(t *testing.T, of func(string) *exchange, _ []*exchange) {
		// The recording is cut off before the gauges.
		m, err := Gauges{Running: []string{"process_open_fds"}}.Parse(of("metrics").body)
		require.NoError(t, err)
		assert.Equal(t, 34., *m.Running)
		assert.Equal(t, of("metrics").route, vllm.Gauges.Route)
	}},
	{"unknown fields are passed over, so that a misspelt one goes unseen", "unknown_field*", answers},
	{"the model may be left out, a wrong one is refused", "chat_no_model completions_no_model error_unknown_model*", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		answers(t, of, []*exchange{of("chat_no_model"), of("completions_no_model")})
		for _, name := range []string{"error_unknown_model", "error_unknown_model_chat", "error_unknown_model_stream"} {
			assert.Equal(t, http.StatusNotFound, of(name).status, "a stream's error is an answer like any other")
		}
		assert.Equal(t, "m", sent(t, vllm, datasets.ChatAPI, datasets.Sync, false)["model"])
	}},
	{"the content type has to be said", "no_content_type", status(http.StatusBadRequest)},
	{"ignore_eos goes on to max_tokens", "chat_ignore_eos*", ends("length", 24)},
	{"ignore_eos of completions", "completions_ignore_eos*", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		ends("length", 12)(t, of, all)
		assert.Equal(t, true, sent(t, vllm, datasets.CompletionAPI, datasets.Sync, false)["ignore_eos"])
	}},
	{"min_tokens bans the end, which is other text", "chat_min_tokens completions_min_tokens", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		answers(t, of, all)
		assert.NotEqual(t, of("chat_ignore_eos").Text, of("chat_min_tokens").Text)
		assert.True(t, vllm.MinTokens)
		never(t, vllm, "min_tokens")
	}},
	{"the end of sequence ends", "chat_eos_natural", ends("stop", 3)},
	{"temperature 0 is greedy", "chat_sync chat_stream completions_sync completions_stream", both},
	{"what is out of range is refused", "temperature_negative top_p_above_one top_p_zero max_tokens_zero max_tokens_negative error_temperature_type*", status(http.StatusBadRequest)},
	{"top_p 1 is taken", "sampling_top_p_one", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		answers(t, of, all)
		assert.Equal(t, 1., sent(t, vllm, datasets.CompletionAPI, datasets.Sync, false)["top_p"])
	}},
	{"a seed gives the same text", "completions_seed_a completions_seed_b", alike},
	{"a seed gives the same chat", "chat_seed_a chat_seed_b", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		alike(t, of, all)
		assert.True(t, vllm.Seed)
	}},
	{"n is not greedy", "chat_n2 completions_n2", status(http.StatusBadRequest)},
	{"usage sums over n", "chat_n2_sampled chat_n2_stream completions_n2_sampled", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		ends("length", 24)(t, of, all)
		never(t, vllm, "n")
	}},
	{"a stop text is cut off", "chat_stop chat_stop_stream completions_stop completions_stop_plain_string completions_stop_stream", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		answers(t, of, all)
		for _, x := range all {
			assert.Equal(t, "stop", x.Finish, x.name)
			assert.Regexp(t, `, $`, x.Text, x.name)
		}
		never(t, vllm, "stop")
	}},
	{"five stop texts are too many", "completions_stop_five", status(http.StatusBadRequest)},
	{"it takes more fields than OpenAI's API has", "chat_top_k completions_top_k completions_repetition_penalty completions_frequency_presence_penalty chat_logprobs chat_logprobs_stream completions_logprobs chat_max_completion_tokens", answers},
	{"a prompt may be token ids", "completions_sync completions_token_ids completions_token_ids_stream", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		alike(t, of, all)
		assert.True(t, vllm.TokenPrompts)
	}},
	{"a list of prompts is counted together", "completions_prompt_list", ends("length", 24)},
	{"an event may tell its token ids", "completions_return_token_ids_stream", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		for i, c := range all[0].Chunks {
			assert.Equal(t, 1, c.Tokens, "chunk %d", i)
		}
	}},
	{"nothing to go on from is refused", "completions_empty_prompt chat_empty_messages error_missing_*", status(http.StatusBadRequest)},
	{"an empty message is something", "chat_empty_content", ends("length", 12)},
	{"what exceeds the context is refused, also in streams", "error_max_tokens_over_context* error_prompt_over_context*", status(http.StatusBadRequest)},
	{"a stream counts when asked", "chat_stream_no_usage completions_stream_no_usage", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		ends("length", 0)(t, of, all)
		ends("length", 12)(t, of, []*exchange{of("chat_stream"), of("completions_stream")})
		assert.Equal(t, map[string]any{"include_usage": true}, sent(t, vllm, datasets.ChatAPI, datasets.Stream, false)["stream_options"])
	}},
	{"usage may run", "chat_stream_continuous_usage flag_force_include_usage_chat_utf8_stream", func(t *testing.T, of func(string) *exchange, all []*exchange) {
		for _, x := range all {
			answers(t, of, all)
			assert.Len(t, x.Chunks, x.OutputTokens, "a token that completes no character is an event")
			for i, c := range x.Chunks {
				assert.Equal(t, 1, c.Tokens, "%s: chunk %d", x.name, i)
			}
		}
	}},
	{"metrics of a request do not disturb", "flag_per_request_metrics_*", ends("length", 12)},
	{"bad JSON is refused", "error_invalid_json*", status(http.StatusBadRequest)},
	{"routes have FastAPI's errors", "error_route_not_found error_method_not_allowed", func(t *testing.T, of func(string) *exchange, _ []*exchange) {
		assert.Equal(t, http.StatusNotFound, of("error_route_not_found").status)
		assert.Equal(t, http.StatusMethodNotAllowed, of("error_method_not_allowed").status)
		assert.Contains(t, of("error_route_not_found").Detail, "Not Found")
	}},
}
