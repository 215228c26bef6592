package api

import (
	"encoding/json"
	"maps"

	"servebench/serving/tokenizer"
)

// request is a parsed body. nil, and false, stand for what was left out.
type request struct {
	mostPrompts, mostMessages int // that the body may have; set before it is read

	model               string
	id                  string // request_id, or the header that wins over it
	prompts             []prompt
	messages            []tokenizer.Message // nil when left out
	maxTokens           *int64
	maxCompletionTokens *int64
	minTokens           *int64
	n                   *int64
	bestOf              *int64

	temperature       *float64
	topP              *float64
	topK              *int64
	minP              *float64
	seed              *int64
	presencePenalty   *float64
	frequencyPenalty  *float64
	repetitionPenalty *float64
	logitBias         map[string]*float64
	allowedTokenIDs   []int32

	stop         []string
	stopTokenIDs []int32
	includeStop  bool
	ignoreEOS    bool

	logprobs     *int64 // of /v1/completions
	chatLogprobs bool
	topLogprobs  *int64
	promptTop    *int64 // prompt_logprobs
	asTokenIDs   bool
	tokenIDs     bool
	echo         bool
	showSpecial  bool // skip_special_tokens is false

	truncate             *int64
	addSpecial           *bool
	addGenerationPrompt  *bool
	continueFinalMessage bool

	stream          bool
	streamOptions   bool // given
	includeUsage    bool
	continuousUsage bool

	ignored []string // names of unknown fields
}

// setter takes one field's value, which is JSON and not null.
type setter func(r *request, name string, raw json.RawMessage) error

// shared are the fields that both routes have.
var shared = map[string]setter{
	"model":                      stringField(func(r *request) *string { return &r.model }),
	"request_id":                 stringField(func(r *request) *string { return &r.id }),
	"max_tokens":                 intField(func(r *request) **int64 { return &r.maxTokens }),
	"min_tokens":                 intField(func(r *request) **int64 { return &r.minTokens }),
	"n":                          intField(func(r *request) **int64 { return &r.n }),
	"temperature":                floatField(func(r *request) **float64 { return &r.temperature }),
	"top_p":                      floatField(func(r *request) **float64 { return &r.topP }),
	"top_k":                      intField(func(r *request) **int64 { return &r.topK }),
	"min_p":                      floatField(func(r *request) **float64 { return &r.minP }),
	"seed":                       intField(func(r *request) **int64 { return &r.seed }),
	"presence_penalty":           floatField(func(r *request) **float64 { return &r.presencePenalty }),
	"frequency_penalty":          floatField(func(r *request) **float64 { return &r.frequencyPenalty }),
	"repetition_penalty":         floatField(func(r *request) **float64 { return &r.repetitionPenalty }),
	"logit_bias":                 setLogitBias,
	"stop":                       setStop,
	"allowed_token_ids":          idsField(func(r *request) *[]int32 { return &r.allowedTokenIDs }),
	"stop_token_ids":             idsField(func(r *request) *[]int32 { return &r.stopTokenIDs }),
	"include_stop_str_in_output": boolField(func(r *request) *bool { return &r.includeStop }),
	"ignore_eos":                 boolField(func(r *request) *bool { return &r.ignoreEOS }),
	"skip_special_tokens":        setSkipSpecial,
	"prompt_logprobs":            intField(func(r *request) **int64 { return &r.promptTop }),
	"return_tokens_as_token_ids": boolField(func(r *request) *bool { return &r.asTokenIDs }),
	"return_token_ids":           boolField(func(r *request) *bool { return &r.tokenIDs }),
	"truncate_prompt_tokens":     intField(func(r *request) **int64 { return &r.truncate }),
	"echo":                       boolField(func(r *request) *bool { return &r.echo }),
	"add_special_tokens":         optionalBool(func(r *request) **bool { return &r.addSpecial }),
	"stream":                     boolField(func(r *request) *bool { return &r.stream }),
	"stream_options":             setStreamOptions,
}

// completionFields and chatFields are the fields of one route each.
var (
	completionFields = fieldTable(map[string]setter{
		"prompt":   setPrompt,
		"best_of":  intField(func(r *request) **int64 { return &r.bestOf }),
		"logprobs": intField(func(r *request) **int64 { return &r.logprobs }),
	}, completionRefusals)
	chatFields = fieldTable(map[string]setter{
		"messages":               setMessages,
		"max_completion_tokens":  intField(func(r *request) **int64 { return &r.maxCompletionTokens }),
		"logprobs":               boolField(func(r *request) *bool { return &r.chatLogprobs }),
		"top_logprobs":           intField(func(r *request) **int64 { return &r.topLogprobs }),
		"add_generation_prompt":  optionalBool(func(r *request) **bool { return &r.addGenerationPrompt }),
		"continue_final_message": boolField(func(r *request) *bool { return &r.continueFinalMessage }),
	}, chatRefusals)
)

// refusal is a field of OpenAI's or vLLM's API that this server does not have.
type refusal struct {
	neutral string // the value, besides null, with which it changes nothing; "" for none
	why     string // completes "… is not served: "
}

// Why fields are refused.
const (
	noSchema = "structured output (JSON schemas, grammars, choices) is out of the scope of this server"
	noTools  = "tool and function calls are out of the scope of this server"
	noBeams  = "this server samples and has no beam search"
	noMedia  = "this server takes and gives text alone"
	noKV     = "prompts and caches come from no other server"
	noReason = "this server has no model whose reasoning it could tell apart"
	noCode   = "the server runs nothing that a request brings along"
	noSearch = "this server looks up nothing on the web or in documents"
	noPerID  = "ids can be banned or favoured with logit_bias instead"
	noInfill = "the models served here complete text, they do not fill it in"
)

// sharedRefusals, completionRefusals and chatRefusals are refused on both
// routes, and on one.
var (
	sharedRefusals = map[string]refusal{
		"bad_words":  {"[]", noPerID},
		"cache_salt": {"", noKV}, "kv_transfer_params": {"", noKV},
		"guided_choice": {"", noSchema}, "guided_grammar": {"", noSchema}, "guided_json": {"", noSchema},
		"guided_regex": {"", noSchema}, "structured_outputs": {"", noSchema}, "response_format": {`{"type":"text"}`, noSchema},
		"length_penalty": {"1", noBeams}, "use_beam_search": {"false", noBeams},
		"logits_processors": {"[]", noCode},
	}
	completionRefusals = map[string]refusal{"prompt_embeds": {"", noMedia}, "suffix": {`""`, noInfill}}
	chatRefusals       = map[string]refusal{
		"audio": {"", noMedia}, "mm_processor_kwargs": {"{}", noMedia}, "modalities": {`["text"]`, noMedia},
		"chat_template": {"", noCode}, "chat_template_kwargs": {"{}", noCode},
		"documents": {"[]", noSearch}, "web_search_options": {"", noSearch},
		"function_call": {`"none"`, noTools}, "functions": {"[]", noTools},
		"tool_choice": {`"none"`, noTools}, "tools": {"[]", noTools},
		"prediction":       {"", "tokens are drawn one by one and guessed by nothing"},
		"reasoning_effort": {"", noReason}, "verbosity": {"", noReason},
	}
)

// harmless are fields that say nothing about the text: any value is taken.
var harmless = []string{"metadata", "parallel_tool_calls", "priority", "prompt_cache_key",
	"safety_identifier", "service_tier", "spaces_between_special_tokens", "store", "user"}

// fieldTable joins a route's own fields with those of both.
func fieldTable(own map[string]setter, refusals map[string]refusal) map[string]setter {
	all := maps.Clone(shared)
	for _, name := range harmless {
		all[name] = func(*request, string, json.RawMessage) error { return nil }
	}
	for _, table := range []map[string]refusal{sharedRefusals, refusals} {
		for name, r := range table {
			all[name] = r.set
		}
	}
	maps.Copy(all, own)
	return all
}

// ranges says what each number may be, for error messages.
var ranges = map[string]string{
	"temperature":            "a finite number, 0 or more",
	"top_p":                  "a number above 0, at most 1",
	"top_k":                  "an integer: -1 or 0 for all tokens, or 1 and more",
	"min_p":                  "a number from 0 to 1",
	"seed":                   "an integer of 64 bits",
	"n":                      "an integer, 1 or more",
	"best_of":                "an integer that equals n",
	"presence_penalty":       "a number from -2 to 2",
	"frequency_penalty":      "a number from -2 to 2",
	"repetition_penalty":     "a finite number above 0",
	"min_tokens":             "an integer from 0 to max_tokens",
	"max_tokens":             "an integer, 1 or more",
	"max_completion_tokens":  "an integer, 1 or more",
	"logprobs":               "an integer, 0 or more",
	"top_logprobs":           "an integer, 0 or more",
	"prompt_logprobs":        "an integer, 0 or more",
	"truncate_prompt_tokens": "an integer: -1 for as much as fits the context, or 1 and more",
}

func allowed(name string) string {
	if r, ok := ranges[name]; ok {
		return r
	}
	return "a value that JSON can write"
}
