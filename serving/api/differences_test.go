package api

// difference is one way in which answers differ from vLLM's on purpose.
type difference struct {
	files string // path.Match pattern of recordings
	line  string // path.Match pattern of what diff reports
	why   string
}

// differences are all that is allowed between vLLM's recorded answers and ours,
// value by value. Each must be seen at least once, and each reason stands in the
// table of doc.go.
var differences = []difference{
	{"*", "*.id: *", anew},
	{"*", "*.created: *", anew},
	{"*", "*.system_fingerprint: *", ownName},
	{"models", "*.owned_by: *", ownName},
	{"version", "*.version: *", ownName},
	{"*", "*.service_tier: missing", unasked},
	{"*", "*.kv_transfer_params: missing", unasked},
	{"*", "*.ec_transfer_params: missing", unasked},
	{"*", "*.metrics: missing", unasked},
	{"*", "*.prompt_logprobs: missing", unasked},
	{"*", "*.prompt_token_ids: missing", unasked},
	{"*", "*.prompt_text: missing", unasked},
	{"*", "*.token_ids: missing", unasked},
	{"*", "*.routed_experts: missing", unasked},
	{"*", "*.completion_tokens_details: missing", unasked},
	{"*chat*", "*.message.annotations: missing", lacking},
	{"*chat*", "*.message.audio: missing", lacking},
	{"*chat*", "*.message.function_call: missing", lacking},
	{"*chat*", "*.message.reasoning: missing", lacking},
	{"models", "*.permission: missing", "dropped by OpenAI from its API"},
	{"*", "*.prompt_tokens_details: want null, got {\"cached_tokens\":0}", details},
	{"*stream*", "*.prompt_tokens_details: extra", details},
	{"flag_force_include_usage_*", "body.usage: missing", "asked for with continuous_usage_stats; vLLM also has a flag"},

	{"*", "body.error.message: *", "says what is allowed and what to do, in words of its own"},
	{"error_*", "body.error.type: want \"Bad Request\", got \"BadRequestError\"", oneType},
	{"completions_stop_five", "body.error.type: want \"Bad Request\", got \"BadRequestError\"", oneType},
	{"no_content_type", "body.error.type: want \"Bad Request\", got \"BadRequestError\"", oneType},
	{"error_missing_messages", "body.error.param: want \"body.messages\", got \"messages\"", asWritten},
	{"error_temperature_type*", "body.error.param: want \"body.temperature\", got \"temperature\"", asWritten},
	{"completions_stop_five", "body.error.param: want \"body.stop\", got \"stop\"", asWritten},
	{"error_invalid_json*", "body.error.param: want \"body.*\", got null", asWritten},
	{"error_prompt_over_context*", "body.error.param: want \"input_tokens\", got *", asWritten},
	{"chat_empty_messages", "body.error.param: want null, got \"messages\"", asWritten},
	{"*_n2", "body.error.param: want null, got \"n\"", asWritten},
	{"error_method_not_allowed", "body.detail: missing", ownShape},
	{"error_method_not_allowed", "body.error: extra", ownShape},
	{"error_route_not_found", "body.detail: missing", ownShape},
	{"error_route_not_found", "body.error: extra", ownShape},
}

// The reasons of several differences.
const (
	anew      = "made anew for every answer"
	ownName   = "names this server"
	unasked   = "null in vLLM unless a flag or a field asks for it; left out here"
	lacking   = "null in vLLM, of what this server does not have"
	details   = "always told; vLLM needs --enable-prompt-tokens-details"
	oneType   = "one type a status; vLLM has two for 400"
	asWritten = "the field as the caller wrote it, wherever one is at fault"
	ownShape  = "every error has OpenAI's shape; vLLM's framework has another there"
)

// circumstances are what differs because of how the test is made: its
// tokenizer, and requests that are compared with the answer to another one.
var circumstances = []difference{
	{"tokenize", "body.tokens[]: *", "the test's tokenizer has ids of its own"},
	{"tgi/error_completions_suffix", "body.error.param: want \"prompt\", got \"suffix\"", "another field than the nearest recording's"},
	{"tgi/error_completions_five_prompts", "body.choices: *", "five prompts, where the nearest recording has two"},
	{"tgi/error_completions_five_prompts", "body.usage.*_tokens: *", "five prompts, where the nearest recording has two"},
	{"transformers/chat_generation_config_plus_max_tokens", "body.usage.*_tokens: *", "6 tokens asked for, where the nearest recording has 12"},
}
