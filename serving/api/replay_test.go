package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/serving/engine"
	"servebench/testdata"
)

// peers are the servers whose exchanges were recorded. The same name means the
// same request for all of them, but for the model's name.
var peers = []string{"vllm", "llamacpp", "tgi", "transformers"}

// otherTests have the recordings of routes that are TGI's alone, and of what is
// no JSON.
var otherTests = []string{"/generate", "/generate_stream", "/info", "/", "/chat_tokenize", "/metrics"}

// nearest names vLLM's recording that comes closest to a request that vLLM was
// not recorded with: the same route, the same shape and fate of the answer.
var nearest = map[string]string{
	"llamacpp/chat_utf8_stream":               "flag_force_include_usage_chat_utf8_stream",
	"llamacpp/completions_cache_prompt_false": "unknown_field",
	"llamacpp/completions_no_sampling_fields": "completions_stream_no_usage",
	"llamacpp/props":                          "error_route_not_found",
	"llamacpp/slots":                          "error_route_not_found",
	"llamacpp/v1_health":                      "error_route_not_found",

	"tgi/chat_utf8_stream":                    "flag_force_include_usage_chat_utf8_stream",
	"tgi/completions_eos":                     "completions_sync",
	"tgi/completions_eos_stream":              "completions_stream_no_usage",
	"tgi/completions_no_max_tokens_stream":    "completions_stream_no_usage",
	"tgi/completions_no_temperature_a":        "completions_sync",
	"tgi/completions_no_temperature_b":        "completions_sync",
	"tgi/error_completions_empty_prompt_list": "completions_empty_prompt",
	"tgi/error_completions_five_prompts":      "completions_prompt_list",
	"tgi/error_completions_suffix":            "completions_empty_prompt",
	"tgi/error_max_total_tokens_stream":       "error_max_tokens_over_context",
	"tgi/error_top_p_one_stream":              "completions_stream_no_usage",
	"tgi/max_tokens_over_1024":                "completions_sync",
	"tgi/no_eos_model_chat":                   "chat_ignore_eos",
	"tgi/no_eos_model_chat_stream":            "chat_ignore_eos_stream",
	"tgi/no_eos_model_completions_stream":     "completions_stream_no_usage",

	"transformers/cb_chat_stream":                                    "chat_stream_no_usage",
	"transformers/cb_chat_sync":                                      "chat_sync",
	"transformers/cb_completions_stop":                               "completions_stop",
	"transformers/cb_completions_stream":                             "completions_stream_no_usage",
	"transformers/cb_completions_sync":                               "completions_sync",
	"transformers/cb_health":                                         "health",
	"transformers/cb_max_tokens_over_context":                        "error_max_tokens_over_context",
	"transformers/chat_generation_config_min_new_tokens":             "chat_min_tokens",
	"transformers/chat_generation_config_min_new_tokens_stream":      "chat_stream_no_usage",
	"transformers/chat_generation_config_no_eos":                     "chat_ignore_eos",
	"transformers/chat_generation_config_no_eos_stream":              "chat_stream_no_usage",
	"transformers/chat_generation_config_plus_max_tokens":            "unknown_field_chat",
	"transformers/chat_utf8_stream":                                  "chat_stream_no_usage",
	"transformers/completions_default_max_tokens":                    "completions_sync",
	"transformers/completions_empty_prompt_stream":                   "completions_empty_prompt",
	"transformers/completions_generation_config_sampled_a":           "completions_seed_a",
	"transformers/completions_generation_config_sampled_b":           "completions_seed_b",
	"transformers/error_generation_config_invalid":                   "unknown_field",
	"transformers/error_generation_config_object":                    "unknown_field",
	"transformers/load_model":                                        "error_route_not_found",
	"transformers/load_model_cold":                                   "error_route_not_found",
	"transformers/load_model_unknown":                                "error_route_not_found",
	"transformers/max_tokens_over_context_chat_stream_cut_by_client": "error_max_tokens_over_context_chat",
	"transformers/max_tokens_zero_stream":                            "max_tokens_zero",
	"transformers/models_no_cache_dir":                               "models",
	"transformers/pinned_no_model":                                   "chat_no_model",
	"transformers/pinned_unknown_model":                              "error_unknown_model_chat",
	"transformers/reset":                                             "error_route_not_found",
}

// faults are recordings of a server in trouble, which vLLM has none of: what
// makes the trouble here, and the status of the answer.
var faults = map[string]struct {
	spoil  func(*fake)
	status int
}{
	"llamacpp/completions_loading":     {nil, 503}, // the gate is closed
	"llamacpp/health_loading":          {nil, 503},
	"llamacpp/models_loading":          {nil, 503},
	"tgi/error_overloaded":             {func(f *fake) { f.engine.submit = engine.ErrOverloaded }, 503},
	"tgi/error_overloaded_stream":      {func(f *fake) { f.engine.submit = engine.ErrOverloaded }, 503},
	"tgi/error_generation":             {func(f *fake) { f.engine.err = errors.New("the device is gone") }, 500},
	"tgi/error_generation_stream":      {func(f *fake) { f.engine.err = errors.New("the device is gone") }, 200},
	"tgi/error_generation_chat_stream": {func(f *fake) { f.engine.err = errors.New("the device is gone") }, 200},
}

// flags are vLLM's recordings made with a flag that this server has only as a
// field of requests.
var flags = map[string]string{
	"flag_force_include_usage_chat_utf8_stream":   `, "stream_options": {"include_usage": true, "continuous_usage_stats": true}`,
	"flag_per_request_metrics_chat_stream":        `, "stream_options": {"include_usage": true, "continuous_usage_stats": true}`,
	"flag_per_request_metrics_completions_stream": `, "stream_options": {"include_usage": true, "continuous_usage_stats": true}`,
	"completions_return_token_ids_stream":         `, "stream_options": {"include_usage": true, "continuous_usage_stats": true}`,
}

// TestReplay sends every request that was recorded with any peer and compares
// the answers, value by value, with vLLM's.
func TestReplay(t *testing.T) {
	reasons := slices.Concat(differences, circumstances)
	used := make([]int, len(reasons))
	left := map[string]bool{}
	for name := range nearest {
		left[name] = true
	}
	for name := range faults {
		left[name] = true
	}
	same, near := 0, 0
	vllm := testdata.Shared(t, "peers", "vllm")
	for _, peer := range peers {
		files, err := filepath.Glob(filepath.Join(testdata.Shared(t, "peers", peer), "*.http"))
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range files {
			x := readExchange(t, file)
			if slices.Contains(otherTests, x.req.URL.Path) {
				continue
			}
			name := peer + "/" + x.name
			delete(left, name)
			t.Run(name, func(t *testing.T) {
				if _, ok := faults[name]; ok {
					replayFault(t, name, x)
					return
				}
				ref, ok := nearest[name]
				if ok {
					near++
				} else {
					same++
					ref = x.name
				}
				// One that nearest forgot fails here; it is not skipped like a folder that is missing.
				want := readExchange(t, filepath.Join(vllm, ref+".http"))
				w := httptest.NewRecorder()
				want.fake(t).server(t).ServeHTTP(w, x.request(ref == x.name))
				explain(t, reasons, used, ref+"|"+name, compareAnswers(t, want, w))
			})
		}
	}
	t.Logf("%d requests compared with vLLM's answer to the same, %d with its answer to the nearest, %d in trouble", same, near, len(faults))
	assert.Empty(t, left, "recordings that are not there")
	for i, d := range reasons {
		assert.NotZerof(t, used[i], "the difference %v is not there any more", d)
	}
}

// request makes the recorded request anew, to the model's name that vLLM had.
// same says that it is compared with vLLM's answer to itself.
func (x exchange) request(same bool) *http.Request {
	body := strings.NewReplacer(`"model": "tgi"`, `"model": "smol"`, `"model": "MODEL_DIR"`, `"model": "smol"`).Replace(x.body)
	if options := flags[x.name]; same && options != "" {
		body = strings.Replace(body, `, "stream_options": {"include_usage": true}`, "", 1)
		body = strings.TrimSuffix(strings.TrimSpace(body), "}") + options + "}"
	}
	r := httptest.NewRequest(x.req.Method, x.req.URL.Path, strings.NewReader(body))
	r.Header = x.req.Header
	return r
}

// replayFault holds that a server in trouble says so in OpenAI's shape.
func replayFault(t *testing.T, name string, x exchange) {
	t.Helper()
	f, fault := newFake(""), faults[name]
	f.cfg.Models = []string{"smol"}
	var h http.Handler = &Gate{}
	if fault.spoil != nil {
		fault.spoil(f)
		h = f.server(t)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, x.request(true))
	require.Equal(t, fault.status, w.Code)
	if fault.status != http.StatusOK {
		readError(t, fault.status, w.Body.Bytes())
		assert.Equal(t, fault.status == 503, w.Header().Get("Retry-After") != "")
		return
	}
	events := readEvents(t, w.Body)
	require.Len(t, events, 2)
	readError(t, 500, []byte(events[0]))
	assert.Equal(t, "[DONE]", events[1])
}

// explain requires a reason for each line in which a recording differs, and
// counts in used which were needed. A reason's files match any of names, which
// are divided by |.
func explain(t *testing.T, reasons []difference, used []int, names string, lines []string) {
	t.Helper()
	for _, line := range lines {
		ok := false
		for i, d := range reasons {
			inFile := slices.ContainsFunc(strings.Split(names, "|"), func(name string) bool {
				in, _ := path.Match(d.files, name)
				return in
			})
			if inFile && globMatch(d.line, line) {
				used[i]++
				ok = true
			}
		}
		assert.Truef(t, ok, "the recording differs: %s", line)
	}
}

// compareAnswers checks status and content type and returns the differences of
// the bodies. Events of several choices may come in any order.
func compareAnswers(t *testing.T, x exchange, w *httptest.ResponseRecorder) []string {
	t.Helper()
	require.Equalf(t, x.status, w.Code, "body %s", w.Body)
	assert.Equal(t, x.header.Get("Content-Type"), w.Header().Get("Content-Type"))
	assert.Equal(t, x.header.Get("Allow"), w.Header().Get("Allow"))
	got := exchange{header: textproto.MIMEHeader(w.Header()), answer: w.Body.Bytes()}
	want, have := byChoice(t, x.events(t)), byChoice(t, got.events(t))
	require.Lenf(t, have, len(want), "events %v", have)
	var lines []string
	for i := range want {
		lines = append(lines, diff("body", want[i], have[i])...)
	}
	return lines
}

// byChoice parses events and puts those of a choice together, in their order.
// An event without a choice stays where it is among them.
func byChoice(t *testing.T, events []string) []any {
	t.Helper()
	type event struct {
		Choices []struct{ Index int }
	}
	type parsed struct {
		value  any
		choice int
	}
	list := make([]parsed, len(events))
	choice := 0
	for i, data := range events {
		require.NoErrorf(t, json.Unmarshal([]byte(data), &list[i].value), "event %s", data)
		var e event
		_ = json.Unmarshal([]byte(data), &e) // an error has no choices
		if len(e.Choices) > 0 {
			choice = e.Choices[0].Index
		} else {
			choice = len(events)
		}
		list[i].choice = choice
	}
	slices.SortStableFunc(list, func(a, b parsed) int { return cmp.Compare(a.choice, b.choice) })
	values := make([]any, len(list))
	for i := range list {
		values[i] = list[i].value
	}
	return values
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
	if a, ok := want.(float64); ok { // log-probabilities are float32 here
		if b, ok := got.(float64); ok && float32(a) == float32(b) {
			return nil
		}
	}
	if a, b := marshal(want), marshal(got); string(a) != string(b) {
		return []string{fmt.Sprintf("%s: want %s, got %s", at, a, b)}
	}
	return nil
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
