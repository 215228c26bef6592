package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/serving/engine"
	"servebench/testdata"
)

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
	{"*", "*.metrics: missing", "vLLM's own, null without its flag"},
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
}

// several are recordings that need an engine with a script for each choice, or
// with log-probabilities.
var several = []string{"chat_logprobs", "chat_logprobs_stream", "chat_n2_sampled", "chat_n2_stream", "completions_logprobs",
	"completions_n2_sampled", "completions_prompt_list", "completions_return_token_ids_stream"}

// notJSON is compared by TestMetricsNames.
const notJSON = "metrics"

// flagged recordings were made by vLLM with flags that this server does not have.
const flagged = "flag_*"

// exchange is one recording.
type exchange struct {
	name   string
	req    *http.Request
	body   string // of the request
	status int
	header textproto.MIMEHeader
	answer []byte
}

func readExchange(t *testing.T, file string) exchange {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	request, response, ok := bytes.Cut(raw, []byte("\n======== RESPONSE ========\n"))
	require.Truef(t, ok, "%s has no response mark", file)
	x := exchange{name: strings.TrimSuffix(filepath.Base(file), ".http")}
	x.req, err = http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
	require.NoError(t, err)
	body, err := io.ReadAll(x.req.Body)
	require.NoError(t, err)
	x.body = string(body)

	r := bufio.NewReader(bytes.NewReader(response))
	tp := textproto.NewReader(r)
	line, err := tp.ReadLine()
	require.NoError(t, err)
	x.status, err = strconv.Atoi(strings.Fields(line)[1])
	require.NoError(t, err)
	x.header, err = tp.ReadMIMEHeader()
	require.NoError(t, err)
	x.answer, err = io.ReadAll(r)
	require.NoError(t, err)
	return x
}

// fake makes a server whose engine says what vLLM said in the recording, token
// by token where it was streamed, in one piece otherwise.
func (x exchange) fake(t *testing.T) *fake {
	t.Helper()
	f := newFake("")
	f.cfg.Models = []string{"smol"}
	if x.status != http.StatusOK || !strings.HasSuffix(x.req.URL.Path, "/completions") {
		return f
	}
	type choice struct {
		Text    *string
		Delta   struct{ Content, Role *string }
		Message struct{ Content *string }
		Finish  engine.Finish `json:"finish_reason"`
		Stop    string        `json:"stop_reason"`
	}
	type answer struct {
		Choices []choice
		Usage   *usage
	}
	var events []answer
	for _, data := range x.events(t) {
		var a answer
		require.NoError(t, json.Unmarshal([]byte(data), &a))
		events = append(events, a)
	}
	var texts []string
	var last choice
	for _, e := range events {
		if e.Usage != nil {
			f.tok.promptTokens = e.Usage.PromptTokens
		}
		if len(e.Choices) == 0 || e.Choices[0].Delta.Role != nil {
			continue
		}
		last = e.Choices[0]
		for _, s := range []*string{last.Text, last.Delta.Content, last.Message.Content} {
			if s != nil {
				texts = append(texts, *s)
			}
		}
	}
	if f.tok.promptTokens == 0 {
		f.tok.promptTokens = 5
	}
	if len(events) == 1 {
		for len(texts) < events[0].Usage.CompletionTokens {
			texts = append(texts, "")
		}
	}
	finish := last.Finish
	if finish == engine.FinishStop && last.Stop == "" {
		texts = texts[:len(texts)-1] // the end-of-sequence token
	} else if finish == engine.FinishStop {
		texts[len(texts)-1] += last.Stop // no token ends it: the stop string does
		finish = ""
	}
	said := newFake(finish, texts...)
	said.cfg.Models = f.cfg.Models
	said.tok.promptTokens = f.tok.promptTokens
	return said
}

// events returns the JSON values of an answer: one, or those of a stream.
func (x exchange) events(t *testing.T) []string {
	t.Helper()
	if !strings.HasPrefix(x.header.Get("Content-Type"), "text/event-stream") {
		if len(bytes.TrimSpace(x.answer)) == 0 {
			return nil
		}
		return []string{string(x.answer)}
	}
	events := readEvents(t, bytes.NewReader(x.answer))
	require.Equal(t, "[DONE]", events[len(events)-1])
	return events[:len(events)-1]
}

// diff reports how got differs from want, one line a place.
func diff(at string, want, got any) []string {
	w, isObject := want.(map[string]any)
	g, gotObject := got.(map[string]any)
	if isObject && gotObject {
		var lines []string
		for _, k := range slices.Sorted(maps.Keys(w)) {
			if v, ok := g[k]; ok {
				lines = append(lines, diff(at+"."+k, w[k], v)...)
			} else {
				lines = append(lines, at+"."+k+": missing")
			}
		}
		for _, k := range slices.Sorted(maps.Keys(g)) {
			if _, ok := w[k]; !ok {
				lines = append(lines, at+"."+k+": extra")
			}
		}
		return lines
	}
	wl, isList := want.([]any)
	gl, gotList := got.([]any)
	if isList && gotList && len(wl) == len(gl) {
		var lines []string
		for i := range wl {
			lines = append(lines, diff(at+"[]", wl[i], gl[i])...)
		}
		return lines
	}
	if a, b := marshal(want), marshal(got); string(a) != string(b) {
		return []string{fmt.Sprintf("%s: want %s, got %s", at, a, b)}
	}
	return nil
}

// TestReplay sends every request recorded with vLLM and compares the answers
// value by value.
func TestReplay(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(testdata.Shared(t, "peers", "vllm"), "*.http"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	used := make([]int, len(differences))
	replayed := 0
	for _, file := range files {
		x := readExchange(t, file)
		if ok, _ := path.Match(flagged, x.name); ok || x.name == notJSON || slices.Contains(several, x.name) {
			continue
		}
		t.Run(x.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			req := httptest.NewRequest(x.req.Method, x.req.URL.Path, strings.NewReader(x.body))
			req.Header = x.req.Header
			x.fake(t).server(t).ServeHTTP(w, req)
			replayed++
			explain(t, differences, used, x.name, compareAnswers(t, x, w))
		})
	}
	t.Logf("%d recordings answered alike", replayed)
	for i, d := range differences {
		assert.NotZerof(t, used[i], "the difference %v is not there any more", d)
	}
}

// explain requires a reason for each line in which a recording differs, and
// counts in used which were needed.
func explain(t *testing.T, reasons []difference, used []int, name string, lines []string) {
	t.Helper()
	for _, line := range lines {
		ok := false
		for i, d := range reasons {
			inFile, _ := path.Match(d.files, name)
			if inFile && globMatch(d.line, line) {
				used[i]++
				ok = true
			}
		}
		assert.Truef(t, ok, "the recording differs: %s", line)
	}
}

// compareAnswers checks status and content type and returns the differences of the bodies.
func compareAnswers(t *testing.T, x exchange, w *httptest.ResponseRecorder) []string {
	t.Helper()
	require.Equalf(t, x.status, w.Code, "body %s", w.Body)
	assert.Equal(t, x.header.Get("Content-Type"), w.Header().Get("Content-Type"))
	assert.Equal(t, x.header.Get("Allow"), w.Header().Get("Allow"))
	got := exchange{header: textproto.MIMEHeader(w.Header()), answer: w.Body.Bytes()}
	want, have := x.events(t), got.events(t)
	require.Lenf(t, have, len(want), "events %v", have)
	var lines []string
	for i := range want {
		var a, b any
		require.NoError(t, json.Unmarshal([]byte(want[i]), &a))
		require.NoErrorf(t, json.Unmarshal([]byte(have[i]), &b), "event %s", have[i])
		lines = append(lines, diff("body", a, b)...)
	}
	return lines
}

// globMatch is path.Match with * that crosses slashes and brackets.
func globMatch(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	for i, p := range parts {
		at := strings.Index(s, p)
		if at < 0 || i == 0 && at != 0 || i == len(parts)-1 && !strings.HasSuffix(s, p) {
			return false
		}
		s = s[at+len(p):]
	}
	return true
}
