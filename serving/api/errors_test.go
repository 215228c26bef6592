package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/serving/engine"
	"servebench/serving/sample"
)

const (
	completionsPath = "/v1/completions"
	chatPath        = "/v1/chat/completions"
)

const hi = `"messages":[{"role":"user","content":"hi"}]`

// refusals are bad requests, and what the answer must name.
var refusals = []struct {
	path, body string
	status     int
	param      string
	says       []string
}{
	// JSON
	{completionsPath, ``, 400, "", []string{"byte 0"}},
	{completionsPath, `{"prompt": "x", `, 400, "", []string{"byte 16"}},
	{completionsPath, `{"prompt": "x"} {}`, 400, "", []string{"byte 17"}},
	{completionsPath, `[1]`, 400, "", []string{"object", "array"}},
	{completionsPath, `null`, 400, "", []string{"object"}},
	{completionsPath, `"x"`, 400, "", []string{"object"}},
	{completionsPath, "{\"prompt\": \"a\xffb\"}", 400, "", []string{"UTF-8", "byte 13"}},
	{completionsPath, strings.Repeat(`{"prompt":`, 20000), 400, "", []string{"byte"}},
	// not numbers
	{completionsPath, `{"prompt":"x","temperature":NaN}`, 400, "temperature", []string{"NaN", "0 or more"}},
	{completionsPath, `{"prompt":"x","top_p": Infinity}`, 400, "top_p", []string{"Infinity", "at most 1"}},
	{completionsPath, `{"prompt":"x","temperature": -Infinity}`, 400, "temperature", []string{"-Infinity", "0 or more"}},
	{completionsPath, `{"prompt":"x","logit_bias":{"5":NaN}}`, 400, "", []string{"5 is NaN"}},
	{completionsPath, `{"prompt":"x","temperature":1e999}`, 400, "temperature", []string{"1e999", "0 or more"}},
	{completionsPath, `{"prompt":"x","temperature":"NaN"}`, 400, "temperature", []string{`"NaN"`}},
	// ranges
	{completionsPath, `{"prompt":"x","temperature":-0.5}`, 400, "temperature", []string{"-0.5", "0 or more"}},
	{completionsPath, `{"prompt":"x","top_p":0}`, 400, "top_p", []string{"0", "above 0"}},
	{completionsPath, `{"prompt":"x","top_p":1.01}`, 400, "top_p", []string{"1.01", "at most 1"}},
	{completionsPath, `{"prompt":"x","top_k":-2}`, 400, "top_k", []string{"-2", "-1 or 0"}},
	{completionsPath, `{"prompt":"x","top_k":1.5}`, 400, "top_k", []string{"1.5", "integer"}},
	{completionsPath, `{"prompt":"x","max_tokens":0}`, 400, "max_tokens", []string{"0", "1 or more"}},
	{completionsPath, `{"prompt":"x","max_tokens":-7}`, 400, "max_tokens", []string{"-7", "1 or more"}},
	{completionsPath, `{"prompt":"x","max_tokens":1e30}`, 400, "max_tokens", []string{"1e30", "integer"}},
	{completionsPath, `{"prompt":"x","max_tokens":99999999999999999999}`, 400, "max_tokens", []string{"integer"}},
	{completionsPath, `{"prompt":"x","max_tokens":2049}`, 400, "max_tokens", []string{"2049", "2048"}},
	{completionsPath, `{"prompt":"x y z","max_tokens":2046}`, 400, "max_tokens", []string{"2048", "3", "2046", "2049"}},
	{chatPath, `{` + hi + `,"max_completion_tokens":2048}`, 400, "max_completion_tokens", []string{"2048", "2051"}},
	{completionsPath, `{"prompt":"x","min_tokens":-1}`, 400, "min_tokens", []string{"-1", "16"}},
	{completionsPath, `{"prompt":"x","min_tokens":5,"max_tokens":4}`, 400, "min_tokens", []string{"5", "4"}},
	{completionsPath, `{"prompt":"x","seed":18446744073709551616}`, 400, "seed", []string{"64 bits"}},
	// types
	{completionsPath, `{"prompt":"x","temperature":"0.5"}`, 400, "temperature", []string{`"0.5"`}},
	{completionsPath, `{"prompt":"x","temperature":true}`, 400, "temperature", []string{"true"}},
	{completionsPath, `{"prompt":"x","max_tokens":"16"}`, 400, "max_tokens", []string{`"16"`, "integer"}},
	{completionsPath, `{"prompt":"x","stream":1}`, 400, "stream", []string{"true or false", "1"}},
	{completionsPath, `{"prompt":"x","ignore_eos":"yes"}`, 400, "ignore_eos", []string{"true or false"}},
	{completionsPath, `{"prompt":"x","model":3}`, 400, "model", []string{"string", "3"}},
	{completionsPath, `{"prompt":"x","stream":true,"stream_options":7}`, 400, "stream_options", []string{"object"}},
	{completionsPath, `{"prompt":"x","stream":true,"stream_options":{"include_usage":2}}`, 400, "stream_options.include_usage", []string{"true or false"}},
	{completionsPath, `{"prompt":"x","stream_options":{"include_usage":true}}`, 400, "stream_options", []string{"stream: true"}},
	{completionsPath, `{"prompt":"x","stop":5}`, 400, "stop", []string{"string", "5"}},
	{completionsPath, `{"prompt":"x","stop":["a",5]}`, 400, "stop", []string{"string"}},
	{completionsPath, `{"prompt":"x","stop":""}`, 400, "stop", []string{"empty"}},
	{completionsPath, `{"prompt":"x","stop":["a",null]}`, 400, "stop", []string{"empty"}},
	{completionsPath, `{"prompt":"x","stop":["1","2","3","4","5"]}`, 400, "stop", []string{"5", "4"}},
	{completionsPath, `{"prompt":"x","temperature":"` + strings.Repeat("x", 5000) + `"}`, 400, "temperature", []string{"…"}},
	// prompts
	{completionsPath, `{}`, 400, "prompt", []string{"missing or empty"}},
	{completionsPath, `{"prompt":null}`, 400, "prompt", []string{"missing or empty"}},
	{completionsPath, `{"prompt":""}`, 400, "prompt", []string{"missing or empty"}},
	{completionsPath, `{"prompt":[]}`, 400, "prompt", []string{"missing or empty"}},
	{completionsPath, `{"prompt":[""]}`, 400, "prompt[0]", []string{"missing or empty"}},
	{completionsPath, `{"prompt":[[]]}`, 400, "prompt[0]", []string{"missing or empty"}},
	{completionsPath, `{"prompt":" "}`, 400, "prompt", []string{"no tokens"}},
	{completionsPath, `{"prompt":5}`, 400, "prompt", []string{"a string, a list", "5"}},
	{completionsPath, `{"prompt":{"a":1}}`, 400, "prompt", []string{"a string, a list"}},
	{completionsPath, `{"prompt":[null]}`, 400, "prompt[0]", []string{"a string, a list"}},
	{completionsPath, `{"prompt":[true]}`, 400, "prompt[0]", []string{"a string, a list"}},
	{completionsPath, `{"prompt":[[["x"]]]}`, 400, "prompt[0]", []string{"a string, a list"}},
	{completionsPath, `{"prompt":[1,null]}`, 400, "prompt", []string{"null"}},
	{completionsPath, `{"prompt":[1,"2"]}`, 400, "prompt", []string{"string", "no token id"}},
	{completionsPath, `{"prompt":[1.5]}`, 400, "prompt", []string{"1.5", "no token id"}},
	{completionsPath, `{"prompt":[4294967297]}`, 400, "prompt", []string{"4294967297"}},
	{completionsPath, `{"prompt":[7,50000]}`, 400, "prompt", []string{"prompt[1]", "50000", "49999"}},
	{completionsPath, `{"prompt":[-1]}`, 400, "prompt", []string{"prompt[0]", "-1", "49999"}},
	{completionsPath, `{"prompt":"` + strings.Repeat("x ", 2048) + `"}`, 400, "prompt", []string{"2048", "alone has 2048"}},
	{completionsPath, `{"prompt":"` + strings.Repeat("x ", 3000) + `","stream":true}`, 400, "prompt", []string{"2048", "3000"}},
	// messages
	{chatPath, `{}`, 400, "messages", []string{"missing or empty"}},
	{chatPath, `{"messages":[]}`, 400, "messages", []string{"missing or empty"}},
	{chatPath, `{"messages":"hi"}`, 400, "messages", []string{"list of messages"}},
	{chatPath, `{"messages":["hi"]}`, 400, "messages[0]", []string{"object"}},
	{chatPath, `{"messages":[null]}`, 400, "messages[0]", []string{"object"}},
	{chatPath, `{"messages":[{"content":"hi"}]}`, 400, "messages[0].role", []string{"system, user or assistant"}},
	{chatPath, `{"messages":[{"role":4,"content":"hi"}]}`, 400, "messages[0].role", []string{"4"}},
	{chatPath, `{"messages":[{"role":"user"}]}`, 400, "messages[0].content", []string{"string or a list"}},
	{chatPath, `{"messages":[{"role":"user","content":null}]}`, 400, "messages[0].content", []string{"null"}},
	{chatPath, `{` + hi[:len(hi)-1] + `,{"role":"user","content":7}]}`, 400, "messages[1].content", []string{"7"}},
	{chatPath, `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]}`, 400, "messages[0].content[0]", []string{"text"}},
	{chatPath, `{"messages":[{"role":"user","content":[{"type":"text"}]}]}`, 400, "messages[0].content[0]", []string{"text"}},
	{chatPath, `{"messages":[{"role":"assistant","content":null,"tool_calls":[{}]}]}`, 400, "messages[0].tool_calls", []string{"tool", "out of the scope"}},
	{chatPath, `{"messages":[{"role":"forbidden","content":"x"}]}`, 400, "messages", []string{"no such role"}},
	{chatPath, `{"messages":[{"role":"user","content":"` + strings.Repeat("x ", 3000) + `"}]}`, 400, "messages", []string{"2048", "alone has 300"}},
	{chatPath, `{"messages":[{"role":"user","content":"` + strings.Repeat("x ", 2000) + `"}],"prompt_logprobs":20,"n":128}`, 400, "prompt_logprobs", []string{"4194304"}},
	{completionsPath, `{"prompt":["` + strings.Repeat("x ", 3000) + `"]}`, 400, "prompt[0]", []string{"3000"}},
	{chatPath, `{"messages":[` + strings.Repeat(`{"role":"user","content":""},`, 2048) + `7]}`, 400, "messages", []string{"more than 2048"}},
	{chatPath, `{"messages":[{"role":"user","content":[{"Type":"text","text":"x"}]}]}`, 400, "messages[0].content[0]", []string{"text"}},
	{chatPath, `{"messages":[{"role":"user","content":[{"type":"text","text":"x"},7]}]}`, 400, "messages[0].content[1]", []string{"text"}},
	{chatPath, `{"messages":[{"role":"user","content":{"type":"text","text":"x"}}]}`, 400, "messages[0].content", []string{"string or a list"}},
	// models
	{completionsPath, `{"model":"other","prompt":"x"}`, 404, "model", []string{"other", "smol", "org/alias"}},
	{chatPath, `{"model":"other",` + hi + `,"stream":true}`, 404, "model", []string{"other", "smol"}},
	// several choices
	{completionsPath, `{"prompt":"x","n":2,"temperature":0}`, 400, "n", []string{"2", "temperature 0"}},
	{completionsPath, `{"prompt":"x","n":0}`, 400, "n", []string{"0", "1 or more"}},
	{completionsPath, `{"prompt":"x","n":257}`, 400, "n", []string{"257", "256"}},
	{chatPath, `{` + hi + `,"n":4294967297}`, 400, "n", []string{"4294967297", "256"}},
	{completionsPath, `{"prompt":["x","y"],"n":129}`, 400, "n", []string{"129", "2 prompts", "256"}},
	{completionsPath, `{"prompt":[` + strings.Repeat(`"x",`, 256) + `"x"]}`, 400, "prompt", []string{"more than 256"}},
	{completionsPath, `{"prompt":[` + strings.Repeat(`"",`, 1<<16) + `7]}`, 400, "prompt", []string{"more than 256"}},
	{completionsPath, `{"prompt":"x","best_of":3}`, 400, "best_of", []string{"3", "n is 1"}},
	{completionsPath, `{"prompt":"x","best_of":2,"n":3}`, 400, "best_of", []string{"2", "n is 3"}},
	{completionsPath, `{"prompt":["a",""]}`, 400, "prompt[1]", []string{"empty"}},
	{completionsPath, `{"prompt":["a",[1,50000]]}`, 400, "prompt[1]", []string{"prompt[1][1]", "50000"}},
	{completionsPath, `{"prompt":["a","` + strings.Repeat("x ", 3000) + `"]}`, 400, "prompt[1]", []string{"2048", "3000"}},
	// sampling
	{completionsPath, `{"prompt":"x","presence_penalty":2.1}`, 400, "presence_penalty", []string{"2.1", "-2 to 2"}},
	{completionsPath, `{"prompt":"x","frequency_penalty":-3}`, 400, "frequency_penalty", []string{"-3", "-2 to 2"}},
	{completionsPath, `{"prompt":"x","repetition_penalty":0}`, 400, "repetition_penalty", []string{"0", "above 0"}},
	{completionsPath, `{"prompt":"x","min_p":1.5}`, 400, "min_p", []string{"1.5", "0 to 1"}},
	{completionsPath, `{"prompt":"x","logit_bias":{"50000":1}}`, 400, "logit_bias", []string{"50000", "49999"}},
	{completionsPath, `{"prompt":"x","logit_bias":{"-1":1}}`, 400, "logit_bias", []string{"-1", "49999"}},
	{completionsPath, `{"prompt":"x","logit_bias":{"05":1}}`, 400, "logit_bias", []string{"05", "no token id"}},
	{completionsPath, `{"prompt":"x","logit_bias":{"a":1}}`, 400, "logit_bias", []string{"a", "no token id"}},
	{completionsPath, `{"prompt":"x","logit_bias":{"5":101}}`, 400, "logit_bias", []string{"5", "-100 to 100"}},
	{completionsPath, `{"prompt":"x","logit_bias":{"5":null}}`, 400, "logit_bias", []string{"5", "-100 to 100"}},
	{completionsPath, `{"prompt":"x","logit_bias":[5]}`, 400, "logit_bias", []string{"object"}},
	{completionsPath, `{"prompt":"x","allowed_token_ids":[]}`, 400, "allowed_token_ids", []string{"empty"}},
	{completionsPath, `{"prompt":"x","allowed_token_ids":[50000]}`, 400, "allowed_token_ids", []string{"50000", "49999"}},
	{completionsPath, `{"prompt":"x","allowed_token_ids":[5,2],"stop_token_ids":[5],"min_tokens":1,"stream":true}`, 400, "min_tokens", []string{"allowed_token_ids"}},
	{completionsPath, `{"prompt":"x","stop_token_ids":[7,-1]}`, 400, "stop_token_ids", []string{"stop_token_ids[1]", "-1", "49999"}},
	{completionsPath, `{"prompt":"x","stop_token_ids":[` + strings.Repeat("5,", 128) + `5]}`, 400, "stop_token_ids", []string{"129", "128"}},
	{completionsPath, `{"prompt":"x","stop_token_ids":7}`, 400, "stop_token_ids", []string{"list of token ids", "7"}},
	{completionsPath, `{"prompt":"x","stop_token_ids":["a"]}`, 400, "stop_token_ids", []string{"string", "no token id"}},
	{completionsPath, `{"prompt":"x","skip_special_tokens":0}`, 400, "skip_special_tokens", []string{"true or false"}},
	{completionsPath, `{"prompt":"x","add_special_tokens":0}`, 400, "add_special_tokens", []string{"true or false"}},
	{completionsPath, `{"prompt":"x","truncate_prompt_tokens":0}`, 400, "truncate_prompt_tokens", []string{"0", "1 and more"}},
	{completionsPath, `{"prompt":"x","truncate_prompt_tokens":2049}`, 400, "truncate_prompt_tokens", []string{"2049", "2048"}},
	// what is told of tokens
	{completionsPath, `{"prompt":"x","logprobs":21}`, 400, "logprobs", []string{"21", "--max-logprobs, 20"}},
	{completionsPath, `{"prompt":"x","logprobs":-1}`, 400, "logprobs", []string{"-1", "from 0"}},
	{completionsPath, `{"prompt":"x","logprobs":true}`, 400, "logprobs", []string{"true", "integer"}},
	{chatPath, `{` + hi + `,"logprobs":1}`, 400, "logprobs", []string{"true or false"}},
	{chatPath, `{` + hi + `,"logprobs":true,"top_logprobs":21}`, 400, "top_logprobs", []string{"21", "--max-logprobs, 20"}},
	{chatPath, `{` + hi + `,"top_logprobs":2}`, 400, "top_logprobs", []string{"logprobs is not true"}},
	{completionsPath, `{"prompt":"` + strings.Repeat("x ", 2000) + `","echo":true,"logprobs":20,"n":128}`, 400, "logprobs", []string{"5376000", "4194304"}},
	{completionsPath, `{"prompt":"x","echo":true,"max_tokens":-1}`, 400, "max_tokens", []string{"-1"}},
	{completionsPath, `{"prompt":"x","echo":true,"max_tokens":0,"min_tokens":1}`, 400, "min_tokens", []string{"1", "0"}},
	{chatPath, `{` + hi + `,"echo":true,"max_tokens":0}`, 400, "max_tokens", []string{"0", "1 or more"}},
	{chatPath, `{` + hi + `,"continue_final_message":true,"add_generation_prompt":true}`, 400, "continue_final_message", []string{"only one"}},
	{chatPath, `{"messages":[{"role":"user","content":" "}],"continue_final_message":true}`, 400, "continue_final_message", []string{"with text"}},
	// not served
	{completionsPath, `{"prompt":"x","suffix":"y"}`, 400, "suffix", []string{"not served", "fill it in"}},
	{completionsPath, `{"prompt":"x","guided_json":{}}`, 400, "guided_json", []string{"not served", "structured output", "give null"}},
	{completionsPath, `{"prompt":"x","use_beam_search":true}`, 400, "use_beam_search", []string{"not served", "beam"}},
	{completionsPath, `{"prompt":"x","prompt_logprobs":1,"stream":true}`, 400, "prompt_logprobs", []string{"streams", "echo"}},
	{chatPath, `{` + hi + `,"prompt_logprobs":21}`, 400, "prompt_logprobs", []string{"21", "--max-logprobs, 20"}},
	{chatPath, `{` + hi + `,"tools":[{"type":"function"}]}`, 400, "tools", []string{"tool", "out of the scope"}},
	{chatPath, `{` + hi + `,"response_format":{"type":"json_object"}}`, 400, "response_format", []string{"structured output", "out of the scope"}},
	{chatPath, `{` + hi + `,"chat_template":"{{x}}"}`, 400, "chat_template", []string{"not served"}},
}

// TestRefused: every bad request is told its field, its value and what is allowed.
func TestRefused(t *testing.T) {
	for _, tt := range refusals {
		name := tt.body
		t.Run(name[:min(len(name), 60)], func(t *testing.T) {
			f := newFake("")
			w := f.post(t, tt.path, tt.body)
			require.Equalf(t, tt.status, w.Code, "body %s", w.Body)
			message, param := readError(t, tt.status, w.Body.Bytes())
			assert.Equalf(t, tt.param, param, "message %q", message)
			for _, s := range tt.says {
				assert.Contains(t, message, s)
			}
			assert.Less(t, len(message), 500, "a message must not repeat a long value")
			assert.Empty(t, f.engine.requests, "nothing may reach the engine")
		})
	}
}

// TestRefusedAtOnce: requests share the field tables, so a refusal must leave
// no trace in them (the race detector looks on).
func TestRefusedAtOnce(t *testing.T) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			err := completionFields["guided_json"](&request{}, "guided_json", []byte("{}"))
			assert.ErrorContains(t, err, "give null")
		})
	}
	wg.Wait()
}

// TestNeutral: a field that is not supported passes with the value that changes nothing.
func TestNeutral(t *testing.T) {
	check := func(path, fields string) {
		t.Helper()
		f := newFake("")
		w := f.post(t, path, `{"prompt":"x","messages":[{"role":"user","content":"x"}],"max_tokens":2,`+fields+`}`)
		assert.Equalf(t, http.StatusOK, w.Code, "for %s: %s", fields, w.Body)
	}
	for _, path := range []string{completionsPath, chatPath} {
		refusals := map[string]map[string]refusal{completionsPath: completionRefusals, chatPath: chatRefusals}[path]
		for _, table := range []map[string]refusal{sharedRefusals, refusals} {
			for name, r := range table {
				if r.neutral != "" {
					check(path, fmt.Sprintf("%q:%s", name, r.neutral))
				}
			}
		}
		for _, name := range harmless {
			check(path, fmt.Sprintf(`%q:{"any":["thing"]}`, name))
		}
		for name := range map[bool]map[string]setter{false: completionFields, true: chatFields}[path == chatPath] {
			if name != "prompt" && name != "messages" {
				check(path, fmt.Sprintf("%q:null", name))
			}
		}
		check(path, `"n":1.0,"presence_penalty":0.0,"repetition_penalty":1e0`)
		check(path, `"response_format": { "type" : "text" }`)
	}
	check(chatPath, `"logprobs":false,"top_logprobs":0,"tools":[],"tool_choice":"none"`)
	check(completionsPath, `"n":2,"best_of":2,"echo":false,"suffix":"","logprobs":null`)
}

// TestEngineErrors: an error of Submit has a status of its own.
func TestEngineErrors(t *testing.T) {
	tests := []struct {
		err    error
		status int
		says   string
	}{
		{fmt.Errorf("%w: 1024 of 1024", engine.ErrOverloaded), 503, "1024"},
		{engine.ErrClosed, 503, "shutting down"},
		{fmt.Errorf("%w: out of memory", engine.ErrDead), 500, "out of memory"},
		{errors.New("surprise"), 500, "surprise"},
		{&engine.TooLongError{Prompt: 9, MaxTokens: 5, Limit: 13}, 400, "13 tokens"},
		{fmt.Errorf("%w: 7", engine.ErrBadToken), 400, "7"},
		{engine.ErrEmptyPrompt, 400, "empty"},
		{engine.ErrBadParams, 400, "range"},
	}
	for _, tt := range tests {
		for _, stream := range []string{"false", "true"} {
			f := newFake("")
			f.engine.submit = tt.err
			w := f.post(t, completionsPath, `{"prompt":"x","stream":`+stream+`}`)
			require.Equalf(t, tt.status, w.Code, "for %v", tt.err)
			message, _ := readError(t, tt.status, w.Body.Bytes())
			assert.Contains(t, message, tt.says)
			assert.Equal(t, tt.status == 503, w.Header().Get("Retry-After") == "1", "Retry-After for %v", tt.err)
		}
	}
}

// TestFaults: what goes wrong while a request runs is a 500 of a whole answer,
// and an event followed by [DONE] of a stream.
func TestFaults(t *testing.T) {
	f := newFake("", "Hel", "lo")
	f.engine.err = fmt.Errorf("%w: step 3", engine.ErrForward)
	w := f.post(t, completionsPath, `{"prompt":"x"}`)
	require.Equal(t, http.StatusInternalServerError, w.Code)
	message, _ := readError(t, 500, w.Body.Bytes())
	assert.Contains(t, message, "step 3")

	w = f.post(t, completionsPath, `{"prompt":"x","stream":true}`)
	require.Equal(t, http.StatusOK, w.Code)
	events := readEvents(t, w.Body)
	require.Len(t, events, 4)
	message, _ = readError(t, 500, []byte(events[2]))
	assert.Contains(t, message, "step 3")
	assert.Equal(t, "[DONE]", events[3])

	f = newFake("")
	f.engine.err = fmt.Errorf("%w: %w", engine.ErrSample, sample.ErrNoToken)
	w = f.post(t, completionsPath, `{"prompt":"x","allowed_token_ids":[5]}`)
	require.Equal(t, http.StatusBadRequest, w.Code)
	message, param := readError(t, 400, w.Body.Bytes())
	assert.Equal(t, "allowed_token_ids", param)
	assert.Contains(t, message, "tokenizer")

	f = newFake(engine.FinishAbort, "Hel")
	w = f.post(t, chatPath, `{"messages":[{"role":"user","content":"x"}]}`)
	require.Equal(t, http.StatusServiceUnavailable, w.Code, "an aborted request has no answer")
	readError(t, 503, w.Body.Bytes())
}

// TestRoutes: fixed answers, and what has no route.
func TestRoutes(t *testing.T) {
	f := newFake("")
	f.cfg.MaxBody = 100
	get := func(method, path, body string) *httptest.ResponseRecorder {
		t.Helper()
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		f.server(t).ServeHTTP(w, r)
		return w
	}
	for _, tt := range []struct {
		method, path string
		status       int
		says         string
	}{
		{"GET", "/health", 200, ""},
		{"GET", "/ping", 200, ""},
		{"GET", "/version", 200, `{"version":"1.2.3"}`},
		{"GET", "/v1/models", 200, `"max_model_len":2048`},
		{"GET", "/v1/models/smol", 200, `"id":"smol"`},
		{"GET", "/v1/models/org/alias", 200, `"id":"org/alias"`},
		{"GET", "/v1/models/other", 404, "other"},
		{"GET", "/v1/models/", 404, "served"},
		{"GET", "/v1/nope", 404, "/v1/nope"},
		{"GET", "/", 200, ""},
		{"GET", completionsPath, 405, "use POST"},
		{"PUT", chatPath, 405, "use POST"},
		{"POST", "/health", 405, "use GET"},
		{"DELETE", "/v1/models/smol", 405, "use GET"},
		{"POST", completionsPath, 400, "prompt"},
	} {
		w := get(tt.method, tt.path, "{}")
		assert.Equalf(t, tt.status, w.Code, "for %s %s", tt.method, tt.path)
		assert.Contains(t, w.Body.String(), tt.says)
		if tt.status >= 400 {
			readError(t, tt.status, w.Body.Bytes())
		}
		if tt.status == 405 {
			assert.NotEmpty(t, w.Header().Get("Allow"))
		}
	}
	w := get("POST", completionsPath, `{"prompt":"`+strings.Repeat("x", 100)+`"}`)
	assert.Equal(t, http.StatusRequestEntityTooLarge, w.Code)
	message, _ := readError(t, 413, w.Body.Bytes())
	assert.Contains(t, message, "100 bytes")

	f.engine.dead = errors.New("the device is gone")
	w = get("GET", "/health", "")
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	message, _ = readError(t, 503, w.Body.Bytes())
	assert.Contains(t, message, "the device is gone")
}

// TestGate: 503 in OpenAI's shape until the model is there.
func TestGate(t *testing.T) {
	var g Gate
	get := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		g.ServeHTTP(w, httptest.NewRequest("GET", "/health", nil))
		return w
	}
	w := get()
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	message, _ := readError(t, 503, w.Body.Bytes())
	assert.Contains(t, message, "loading")
	assert.Equal(t, "1", w.Header().Get("Retry-After"))
	g.Open(newFake("").server(t))
	assert.Equal(t, http.StatusOK, get().Code)
}

// TestConfig: a Config that lacks a part is refused.
func TestConfig(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"engine":    func(c *Config) { c.Engine = nil },
		"tokenizer": func(c *Config) { c.Tokenizer = nil },
		"models":    func(c *Config) { c.Models = nil },
		"name":      func(c *Config) { c.Models = []string{""} },
		"context":   func(c *Config) { c.MaxModelLen = 0 },
		"vocab":     func(c *Config) { c.Vocab = 0 },
		"defaults":  func(c *Config) { c.Defaults = Defaults{} },
	} {
		cfg := newFake("").cfg
		spoil(&cfg)
		_, err := New(cfg)
		assert.Errorf(t, err, "for a Config without %s", name)
	}
}
