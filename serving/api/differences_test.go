package api

// difference is one way in which answers differ from vLLM's on purpose.
type difference struct {
	files string // path.Match pattern of recordings
	line  string // path.Match pattern of what diff reports
	why   string
}

// differences are all that is allowed between vLLM's recorded answers and ours,
// value by value. Each must be seen at least once.
var differences = []difference{
	{"*", "*.id: *", "made anew for every answer"},
	{"*", "*.created: *", "the time of the answer"},
	{"*", "*.system_fingerprint: *", "names this server"},
	{"*", "*.service_tier: missing", "OpenAI's own; vLLM always sends null"},
	{"*", "*.kv_transfer_params: missing", "vLLM's own, null"},
	{"*", "*.ec_transfer_params: missing", "vLLM's own, null"},
	{"*", "*.metrics: missing", "vLLM's own, null without --enable-per-request-metrics"},
	{"flag_force_include_usage_*", "body.usage: missing", "vLLM's --enable-force-include-usage; here a request asks with continuous_usage_stats"},
	{"*", "*.prompt_logprobs: missing", "vLLM's own, null"},
	{"*", "*.prompt_token_ids: missing", "vLLM's own, null"},
	{"*", "*.prompt_text: missing", "vLLM's own, null"},
	{"*", "*.token_ids: missing", "vLLM's own, null"},
	{"*", "*.routed_experts: missing", "vLLM's own, null"},
	{"*", "*.prompt_tokens_details: want null, got {\"cached_tokens\":0}", "always told; vLLM tells it with --enable-prompt-tokens-details"},
	{"*stream*", "*.prompt_tokens_details: extra", "always told; vLLM tells it with --enable-prompt-tokens-details"},
	{"*", "*.completion_tokens_details: missing", "null there"},
	{"*chat*", "*.message.annotations: missing", "for tools that this server does not have; null"},
	{"*chat*", "*.message.audio: missing", "text only; null"},
	{"*chat*", "*.message.function_call: missing", "for tools that this server does not have; null"},
	{"*chat*", "*.message.reasoning: missing", "vLLM's own, null without a reasoning parser"},
	{"models", "*.permission: missing", "dropped by OpenAI from its API"},
	{"models", "*.owned_by: *", "names this server"},
	{"version", "*.version: *", "this server's own"},
	{"tokenize", "body.tokens[]: *", "the test's tokenizer has ids of its own"},

	{"*", "body.error.message: *", "own words; the test of errors checks what they say"},
	{"error_*", "body.error.type: want \"Bad Request\", got \"BadRequestError\"", "vLLM has two types for one status"},
	{"completions_stop_five", "body.error.type: want \"Bad Request\", got \"BadRequestError\"", "as above"},
	{"no_content_type", "body.error.type: want \"Bad Request\", got \"BadRequestError\"", "as above"},
	{"error_missing_messages", "body.error.param: want \"body.messages\", got \"messages\"", "the field as the caller wrote it"},
	{"error_temperature_type*", "body.error.param: want \"body.temperature\", got \"temperature\"", "the field as the caller wrote it"},
	{"completions_stop_five", "body.error.param: want \"body.stop\", got \"stop\"", "the field as the caller wrote it"},
	{"error_invalid_json*", "body.error.param: want \"body.*\", got null", "the offset is in the message; no field is at fault"},
	{"error_prompt_over_context*", "body.error.param: want \"input_tokens\", got *", "the field as the caller wrote it"},
	{"chat_empty_messages", "body.error.param: want null, got \"messages\"", "names the field"},
	{"*_n2", "body.error.param: want null, got \"n\"", "names the field"},
	{"error_method_not_allowed", "body.detail: missing", "vLLM's framework answers {\"detail\"}; here every error has OpenAI's shape"},
	{"error_method_not_allowed", "body.error: extra", "as above"},
	{"error_route_not_found", "body.detail: missing", "as above"},
	{"error_route_not_found", "body.error: extra", "as above"},

	{"tgi/error_completions_suffix", "body.error.param: want \"prompt\", got \"suffix\"", "another field than the nearest recording's"},
	{"tgi/error_completions_five_prompts", "body.choices: *", "five prompts, where the nearest recording has two"},
	{"tgi/error_completions_five_prompts", "body.usage.*_tokens: *", "five prompts, where the nearest recording has two"},
	{"transformers/chat_generation_config_plus_max_tokens", "body.usage.*_tokens: *", "6 tokens asked for, where the nearest recording has 12"},
}
