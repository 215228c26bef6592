package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"

	"servebench/serving/tokenizer"
)

// request is a parsed body. nil, and false, stand for what was left out.
type request struct {
	model               string
	prompt              *prompt
	messages            []tokenizer.Message // nil when left out
	maxTokens           *int64
	maxCompletionTokens *int64
	minTokens           *int64
	topK                *int64
	seed                *int64
	temperature         *float64
	topP                *float64
	stop                []string
	ignoreEOS           bool
	stream              bool
	streamOptions       bool // given
	includeUsage        bool
	continuousUsage     bool
	ignored             []string // names of unknown fields
}

// prompt is a completion's prompt: ids when they are not nil, else text.
type prompt struct {
	text string
	ids  []int32
}

// setter takes one field's value, which is JSON and not null.
type setter func(r *request, name string, raw json.RawMessage) error

// shared are the fields that both routes have.
var shared = map[string]setter{
	"model":          stringField(func(r *request) *string { return &r.model }),
	"max_tokens":     intField(func(r *request) **int64 { return &r.maxTokens }),
	"min_tokens":     intField(func(r *request) **int64 { return &r.minTokens }),
	"top_k":          intField(func(r *request) **int64 { return &r.topK }),
	"seed":           intField(func(r *request) **int64 { return &r.seed }),
	"temperature":    floatField(func(r *request) **float64 { return &r.temperature }),
	"top_p":          floatField(func(r *request) **float64 { return &r.topP }),
	"ignore_eos":     boolField(func(r *request) *bool { return &r.ignoreEOS }),
	"stream":         boolField(func(r *request) *bool { return &r.stream }),
	"stop":           setStop,
	"stream_options": setStreamOptions,
}

// completionFields and chatFields are the fields of one route each.
var (
	completionFields = fieldTable(map[string]setter{"prompt": setPrompt},
		map[string]string{"best_of": "1", "echo": "false", "logprobs": "", "suffix": `""`, "prompt_embeds": "",
			"add_special_tokens": "true"})
	chatFields = fieldTable(map[string]setter{
		"messages":              setMessages,
		"max_completion_tokens": intField(func(r *request) **int64 { return &r.maxCompletionTokens }),
	}, map[string]string{"add_generation_prompt": "true", "add_special_tokens": "false", "audio": "", "chat_template": "",
		"chat_template_kwargs": "{}", "continue_final_message": "false", "documents": "[]", "echo": "false",
		"function_call": `"none"`, "functions": "[]", "logprobs": "false", "mm_processor_kwargs": "{}",
		"modalities": `["text"]`, "prediction": "", "reasoning_effort": "", "tool_choice": `"none"`, "tools": "[]",
		"top_logprobs": "0", "verbosity": "", "web_search_options": ""})
)

// neutral maps the fields of OpenAI's and vLLM's APIs that this server does not
// have to the value, besides null, with which they change nothing.
var neutral = map[string]string{
	"allowed_token_ids": "", "bad_words": "[]", "cache_salt": "", "frequency_penalty": "0",
	"guided_choice": "", "guided_grammar": "", "guided_json": "", "guided_regex": "",
	"include_stop_str_in_output": "false", "kv_transfer_params": "", "length_penalty": "1",
	"logit_bias": "{}", "logits_processors": "[]", "min_p": "0", "n": "1", "presence_penalty": "0",
	"prompt_logprobs": "", "repetition_penalty": "1", "response_format": `{"type":"text"}`,
	"return_token_ids": "false", "return_tokens_as_token_ids": "false", "skip_special_tokens": "true",
	"stop_token_ids": "[]", "structured_outputs": "", "truncate_prompt_tokens": "", "use_beam_search": "false",
}

// harmless are fields that say nothing about the text: any value is taken.
var harmless = []string{"metadata", "parallel_tool_calls", "priority", "prompt_cache_key", "request_id",
	"safety_identifier", "service_tier", "spaces_between_special_tokens", "store", "user"}

// fieldTable joins a route's own fields with the shared ones.
func fieldTable(own map[string]setter, ownNeutral map[string]string) map[string]setter {
	all := maps.Clone(shared)
	for _, name := range harmless {
		all[name] = func(*request, string, json.RawMessage) error { return nil }
	}
	for _, table := range []map[string]string{neutral, ownNeutral} {
		for name, value := range table {
			all[name] = unsupported(value)
		}
	}
	maps.Copy(all, own)
	return all
}

// ranges says what each number may be, for error messages.
var ranges = map[string]string{
	"temperature": "a finite number, 0 or more",
	"top_p":       "a number above 0, at most 1",
	"top_k":       "an integer: -1 or 0 for all tokens, or 1 and more",
	"seed":        "an integer of 64 bits",
	"min_tokens":  "an integer from 0 to max_tokens",
	"max_tokens":  "an integer, 1 or more",

	"max_completion_tokens": "an integer, 1 or more",
}

func allowed(name string) string {
	if r, ok := ranges[name]; ok {
		return r
	}
	return "a value that JSON can write"
}

// wrongType is the error of a value that is not what a field holds.
func wrongType(name, want string, raw json.RawMessage) error {
	return badRequest(name, "%s must be %s, got %s", name, want, quote(raw))
}

func stringField(at func(*request) *string) setter {
	return func(r *request, name string, raw json.RawMessage) error {
		if json.Unmarshal(raw, at(r)) != nil {
			return wrongType(name, "a string", raw)
		}
		return nil
	}
}

func boolField(at func(*request) *bool) setter {
	return func(r *request, name string, raw json.RawMessage) error {
		if json.Unmarshal(raw, at(r)) != nil {
			return wrongType(name, "true or false", raw)
		}
		return nil
	}
}

func floatField(at func(*request) **float64) setter {
	return func(r *request, name string, raw json.RawMessage) error {
		v, err := strconv.ParseFloat(string(raw), 64)
		if err != nil || !isNumber(raw) {
			return wrongType(name, allowed(name), raw)
		}
		*at(r) = &v
		return nil
	}
}

// intField takes an integer, also one written as 16.0 or 1e2.
func intField(at func(*request) **int64) setter {
	return func(r *request, name string, raw json.RawMessage) error {
		v, err := strconv.ParseInt(string(raw), 10, 64)
		if err != nil {
			f, ferr := strconv.ParseFloat(string(raw), 64)
			if ferr != nil || !isNumber(raw) || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
				return wrongType(name, allowed(name), raw)
			}
			v = int64(f)
		}
		*at(r) = &v
		return nil
	}
}

// isNumber tells a JSON number from what else strconv would take.
func isNumber(raw json.RawMessage) bool { return raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9' }

// unsupported takes only the value that changes nothing ("" for null alone).
func unsupported(value string) setter {
	return func(_ *request, name string, raw json.RawMessage) error {
		if value != "" && sameJSON(raw, value) {
			return nil
		}
		// value stays as it is: requests share this setter.
		return badRequest(name, "%s is not supported yet: leave it out or give %s; got %s", name, cmp.Or(value, "null"), quote(raw))
	}
}

// sameJSON compares numbers by value, and anything else up to white space.
func sameJSON(raw json.RawMessage, value string) bool {
	if isNumber(raw) {
		a, errA := strconv.ParseFloat(string(raw), 64)
		b, errB := strconv.ParseFloat(value, 64)
		return errA == nil && errB == nil && a == b
	}
	var compact bytes.Buffer
	return json.Compact(&compact, raw) == nil && compact.String() == value
}

// setStop takes a string, or a list of at most maxStop.
func setStop(r *request, name string, raw json.RawMessage) error {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		r.stop = []string{one}
	} else if json.Unmarshal(raw, &r.stop) != nil {
		return wrongType(name, "a string or a list of strings", raw)
	}
	if len(r.stop) > maxStop {
		return badRequest(name, "stop has %d strings; at most %d are allowed", len(r.stop), maxStop)
	}
	if slices.Contains(r.stop, "") {
		return badRequest(name, "stop has an empty string, which would stop everything")
	}
	return nil
}

// maxStop is how many stop strings OpenAI's API allows.
const maxStop = 4

func setStreamOptions(r *request, name string, raw json.RawMessage) error {
	var options map[string]json.RawMessage
	if json.Unmarshal(raw, &options) != nil {
		return wrongType(name, "an object", raw)
	}
	r.streamOptions = true
	known := map[string]*bool{"include_usage": &r.includeUsage, "continuous_usage_stats": &r.continuousUsage}
	for key, value := range options {
		to, ok := known[key]
		switch full := name + "." + key; {
		case isNull(value):
		case !ok:
			r.ignored = append(r.ignored, quote([]byte(full)))
		case json.Unmarshal(value, to) != nil:
			return wrongType(full, "true or false", value)
		}
	}
	return nil
}
