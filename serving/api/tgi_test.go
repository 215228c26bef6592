package api

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/serving/engine"
	"servebench/serving/sample"
)

// readTGIError checks TGI's error shape.
func readTGIError(t testing.TB, body []byte) (message, kind string) {
	t.Helper()
	var e struct {
		Error *string `json:"error"`
		Type  *string `json:"error_type"`
	}
	require.NoErrorf(t, json.Unmarshal(body, &e), "body %q", body)
	require.NotNilf(t, e.Error, "body %q", body)
	require.NotNilf(t, e.Type, "body %q", body)
	return *e.Error, *e.Type
}

// TestTGIParameters holds the table of tgi.go: what is done changes the
// engine's request or the answer, what is refused names itself.
func TestTGIParameters(t *testing.T) {
	source, err := os.ReadFile("tgi.go")
	require.NoError(t, err)
	table := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^//\t([a-z_]+) +(done|refused) `).FindAllStringSubmatch(string(source), -1) {
		table[m[1]] = m[2]
	}
	var names []string
	for name := range (&tgiRequest{}).parameterFields() {
		names = append(names, name)
	}
	slices.Sort(names)
	require.Equal(t, names, slices.Sorted(maps.Keys(table)), "the table of tgi.go against what is parsed")

	for _, c := range tgiParameters {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.holds == nil || c.name == "watermark", table[c.name] == "refused")
			delete(table, c.name)
			c.check(t)
		})
	}
	assert.Empty(t, table, "parameters without a case")
}

// tgiParameter is a parameter with values of it.
type tgiParameter struct {
	name   string
	good   []string // values that are taken
	bad    []string // values that are not, and null is always
	holds  func(q engine.Request) bool
	others string // parameters that go with it
}

var tgiParameters = []tgiParameter{
	{name: "best_of", good: []string{"1", "2"}, bad: []string{"0", "3", `"2"`, "1.5"}, others: `"do_sample": true`,
		holds: func(q engine.Request) bool { return q.Sampling.Temperature == 1 }},
	{name: "decoder_input_details", good: []string{"true"}, bad: []string{"1"},
		holds: func(q engine.Request) bool { return q.PromptLogprobs }},
	{name: "details", good: []string{"true"}, bad: []string{`"yes"`}, holds: func(q engine.Request) bool { return q.Logprobs }},
	{name: "do_sample", good: []string{"true"}, bad: []string{"1"}, holds: func(q engine.Request) bool { return q.Sampling.Temperature == 1 }},
	{name: "frequency_penalty", good: []string{"-2", "1.5", "2"}, bad: []string{"-2.1", "2.1", `"1"`},
		holds: func(q engine.Request) bool { return q.Sampling.FrequencyPenalty != 0 }},
	{name: "max_new_tokens", good: []string{"7"}, bad: []string{"0", "-1", "2048", "1e12", `"7"`},
		holds: func(q engine.Request) bool { return q.MaxTokens == 7 }},
	{name: "repetition_penalty", good: []string{"0.5", "1.2"}, bad: []string{"0", "-1", `"1"`},
		holds: func(q engine.Request) bool { return q.Sampling.RepetitionPenalty != 1 }},
	{name: "return_full_text", good: []string{"true", "false"}, bad: []string{"0"}, holds: func(engine.Request) bool { return true }},
	{name: "seed", good: []string{"5", "18446744073709551615"}, bad: []string{"-1", "18446744073709551616", "1.5", `"1"`},
		holds: func(q engine.Request) bool { return q.Sampling.Seed == 5 || q.Sampling.Seed == 1<<64-1 }},
	{name: "stop", good: []string{`["a", "b"]`, "[]"}, bad: []string{`"a"`, `[""]`, `["1","2","3","4","5"]`, "[1]"},
		holds: func(engine.Request) bool { return true }},
	{name: "temperature", good: []string{"0.5", "2"}, bad: []string{"0", "-1", `"1"`},
		holds: func(q engine.Request) bool { return q.Sampling.Temperature != 0 && q.Sampling.Temperature != 1 }},
	{name: "top_k", good: []string{"1", "50"}, bad: []string{"0", "-1", "1.5"},
		holds: func(q engine.Request) bool { return q.Sampling.TopK > 0 && q.Sampling.Temperature == 1 }},
	{name: "top_n_tokens", good: []string{"1", "5"}, bad: []string{"-1", "6", "true"},
		holds: func(q engine.Request) bool { return q.TopLogprobs > 0 && q.Logprobs }},
	{name: "top_p", good: []string{"0.1", "0.99"}, bad: []string{"0", "1", "1.0", `"0.5"`},
		holds: func(q engine.Request) bool { return q.Sampling.TopP < 1 && q.Sampling.Temperature == 1 }},
	{name: "truncate", good: []string{"2"}, bad: []string{"0", "2048", "-1"},
		holds: func(q engine.Request) bool { return slices.Equal(q.Prompt, []int32{4, 5}) }},
	{name: "adapter_id", bad: []string{`"a"`}},
	{name: "grammar", bad: []string{`{"type": "json", "value": {}}`}},
	{name: "typical_p", good: []string{"0.1", "0.95"}, bad: []string{"0", "1", `"0.5"`},
		holds: func(q engine.Request) bool { return q.Sampling.TypicalP > 0 && q.Sampling.Temperature == 1 }},
	{name: "watermark", good: []string{"false"}, bad: []string{"true"}, holds: func(engine.Request) bool { return true }},
}

// ask sends one value with a prompt of three tokens.
func (c *tgiParameter) ask(t *testing.T, value string) (*fake, int, []byte) {
	t.Helper()
	f := newFake("")
	others := `"max_new_tokens": 3`
	if c.name == "max_new_tokens" {
		others = `"details": true`
	}
	if c.others != "" {
		others += ", " + c.others
	}
	w := f.post(t, "/generate", `{"inputs": "one two three", "parameters": {`+others+`, "`+c.name+`": `+value+`}}`)
	return f, w.Code, w.Body.Bytes()
}

func (c *tgiParameter) check(t *testing.T) {
	for _, value := range append(c.good, "null") {
		f, status, body := c.ask(t, value)
		require.Equalf(t, http.StatusOK, status, "for %s: %s", value, body)
		if value != "null" {
			assert.Truef(t, c.holds(f.engine.last(t)), "for %s: %+v", value, f.engine.last(t))
		}
	}
	for _, value := range c.bad {
		f, status, body := c.ask(t, value)
		require.Equalf(t, http.StatusUnprocessableEntity, status, "for %s: %s", value, body)
		message, kind := readTGIError(t, body)
		if c.name != "max_new_tokens" || !strings.Contains(message, "inputs") {
			assert.Contains(t, message, c.name)
		}
		assert.Equal(t, "validation", kind)
		assert.Empty(t, f.engine.requests)
	}
}

// TestTGISampling holds TGI's rule of when tokens are drawn at random.
func TestTGISampling(t *testing.T) {
	for parameters, want := range map[string]sample.Params{
		``:                   {Temperature: 1, TopP: 1, RepetitionPenalty: 1, Seed: 77},
		`, "parameters": {}`: {TopP: 1, RepetitionPenalty: 1, Seed: 77},
		`, "parameters": {"do_sample": true, "seed": 3}`:          {Temperature: 1, TopP: 1, RepetitionPenalty: 1, Seed: 3},
		`, "parameters": {"temperature": 0.7}`:                    {Temperature: 0.7, TopP: 1, RepetitionPenalty: 1, Seed: 77},
		`, "parameters": {"temperature": 1}`:                      {TopP: 1, RepetitionPenalty: 1, Seed: 77},
		`, "parameters": {"temperature": 1e-9}`:                   {Temperature: minTemperature, TopP: 1, RepetitionPenalty: 1, Seed: 77},
		`, "parameters": {"top_k": 4, "repetition_penalty": 1.1}`: {Temperature: 1, TopP: 1, TopK: 4, RepetitionPenalty: 1.1, Seed: 77},
		`, "parameters": {"top_p": 0.5}`:                          {Temperature: 1, TopP: 0.5, RepetitionPenalty: 1, Seed: 77},
		`, "parameters": {"frequency_penalty": -1}`:               {TopP: 1, RepetitionPenalty: 1, FrequencyPenalty: -1, Seed: 77},
	} {
		f := newFake(engine.FinishStop, "a")
		w := f.post(t, "/generate", `{"inputs": "x"`+parameters+`}`)
		require.Equalf(t, http.StatusOK, w.Code, "for %s: %s", parameters, w.Body)
		assert.Equal(t, want, f.engine.last(t).Sampling, parameters)
		assert.Equal(t, fakeContext-1, f.engine.last(t).MaxTokens, "all that the context has left")
	}
}

// TestTGITexts holds what a sequence's text and its tokens' are, whole and in events.
func TestTGITexts(t *testing.T) {
	for _, c := range []struct {
		name   string
		finish engine.Finish
		tokens []string
		stop   string
		want   string
		reason string
		pieces []string
	}{
		{"length", engine.FinishLength, []string{" a", " b"}, "[]", " a b", "length", []string{" a", " b"}},
		{"end of sequence", engine.FinishStop, []string{" a"}, "[]", " a", "eos_token", []string{" a", "</s>"}},
		{"a character of two tokens", engine.FinishLength, []string{"x\xe2\x82", "\xac."}, "[]", "x€.", "length", []string{"x", "€."}},
		{"a character cut off", engine.FinishLength, []string{"x", "\xe2\x82"}, "[]", "x\uFFFD", "length", []string{"x", "\uFFFD"}},
		{"stop over tokens", engine.FinishLength, []string{"say ST", "OP now", " never"}, `["STOP"]`, "say STOP", "stop_sequence", []string{"say ST", "OP now"}},
		{"half a stop", engine.FinishLength, []string{"say ST"}, `["STOP"]`, "say ST", "length", []string{"say ST"}},
		{"half a stop before the end", engine.FinishStop, []string{"say ST"}, `["STOP"]`, "say ST", "eos_token", []string{"say ST", "</s>"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := `{"inputs": "one two", "parameters": {"details": true, "stop": ` + c.stop + `, "max_new_tokens": 9}}`
			fake := func() *fake {
				f := newFake(c.finish, c.tokens...)
				f.tok.texts[fakeEOS] = "</s>"
				return f
			}
			w := fake().post(t, "/generate", body)
			require.Equal(t, http.StatusOK, w.Code)
			var whole tgiWhole
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &whole))
			assert.Equal(t, c.want, whole.Text)
			assert.Equal(t, c.reason, whole.Details.Finish)
			assert.Equal(t, len(c.pieces), whole.Details.Count)
			assert.Equal(t, []tgiPrefill{}, whole.Details.Prefill)

			w = fake().post(t, "/generate_stream", body)
			require.Equal(t, http.StatusOK, w.Code)
			events := readEvents(t, w.Body)
			require.Len(t, events, len(c.pieces))
			for i, data := range events {
				var e tgiEvent
				require.NoError(t, json.Unmarshal([]byte(data), &e))
				assert.Equal(t, i+1, e.Index)
				assert.Equal(t, c.pieces[i], e.Token.Text)
				assert.Equal(t, c.pieces[i] == "</s>", e.Token.Special)
				assert.Equal(t, whole.Details.Tokens[i], e.Token)
				if i < len(events)-1 {
					assert.Nil(t, e.Text)
					continue
				}
				require.NotNil(t, e.Text)
				assert.Equal(t, c.want, *e.Text)
				assert.Equal(t, &tgiStreamDetails{c.reason, len(c.pieces), nil, 2}, e.Details)
			}
		})
	}
}

// TestTGIErrors sends what is refused, and has the engine fail.
func TestTGIErrors(t *testing.T) {
	const good = `{"inputs": "x", "parameters": {"max_new_tokens": 4}}`
	for _, c := range []struct {
		name, body string
		spoil      func(f *fake)
		status     int
		kind       string
		says       string
	}{
		{"no JSON", `{"inputs"`, nil, 400, "validation", "byte"},
		{"a list", `[]`, nil, 400, "validation", "object"},
		{"no inputs", `{}`, nil, 422, "validation", "inputs"},
		{"inputs of another type", `{"inputs": 3}`, nil, 422, "validation", "inputs"},
		{"parameters of another type", `{"inputs": "x", "parameters": []}`, nil, 422, "validation", "parameters"},
		{"a stream of another type", `{"inputs": "x", "stream": 1}`, nil, 422, "validation", "stream"},
		{"too long", `{"inputs": "x", "parameters": {"max_new_tokens": 2048}}`, nil, 422, "validation", "2048"},
		{"too large", `{"inputs": "` + strings.Repeat("x", 2000) + `"}`, func(f *fake) { f.cfg.MaxBody = 1000 }, 413, "validation", "1000"},
		{"best_of without sampling", `{"inputs": "x", "parameters": {"best_of": 2}}`, nil, 422, "validation", "sampling"},
		{"best_of with a seed", `{"inputs": "x", "parameters": {"best_of": 2, "do_sample": true, "seed": 1}}`, nil, 422, "validation", "seed"},
		{"overloaded", good, func(f *fake) { f.engine.submit = engine.ErrOverloaded }, 429, "overloaded", "overloaded"},
		{"shutting down", good, func(f *fake) { f.engine.submit = engine.ErrClosed }, 503, "healthcheck", "shutting down"},
		{"a failure", good, func(f *fake) { f.engine.err = errors.New("the device is gone") }, 424, "generation", "the device is gone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, path := range []string{"/generate", "/", "/generate_stream"} {
				f := newFake("")
				if c.spoil != nil {
					c.spoil(f)
				}
				w := f.post(t, path, c.body)
				data := w.Body.Bytes()
				if path == "/generate_stream" && c.kind == "generation" {
					require.Equal(t, http.StatusOK, w.Code)
					events := readEvents(t, w.Body)
					require.Len(t, events, 1)
					data = []byte(events[0])
				} else {
					require.Equalf(t, c.status, w.Code, "%s: %s", path, data)
					assert.Equal(t, c.status == 429 || c.status == 503, w.Header().Get("Retry-After") != "")
				}
				message, kind := readTGIError(t, data)
				assert.Equal(t, c.kind, kind)
				assert.Contains(t, message, c.says)
			}
		})
	}
	for _, body := range []string{`{"inputs": "x", "parameters": {"decoder_input_details": true}}`, `{"inputs": "x", "parameters": {"best_of": 2, "do_sample": true}}`} {
		w := newFake("").post(t, "/generate_stream", body)
		require.Equal(t, http.StatusUnprocessableEntity, w.Code)
		message, _ := readTGIError(t, w.Body.Bytes())
		assert.Contains(t, message, "streaming")
	}
}

// TestTGIIgnored names what is not known.
func TestTGIIgnored(t *testing.T) {
	w := newFake("").post(t, "/", `{"inputs": "x", "parameters": {"max_new_tokens": 1, "beams": 2}, "options": {}}`)
	require.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, "options, parameters.beams", w.Header().Get(ignoredHeader))
}

// TestTGIBest gives the sequence with the highest mean log-probability.
func TestTGIBest(t *testing.T) {
	f := newFake("", "bad", "good")
	one := func(id int32, p float32) []engine.Token {
		return []engine.Token{{ID: id, Finish: engine.FinishLength, Logprobs: &engine.Logprobs{Own: engine.Logprob{ID: id, Logprob: p}}}}
	}
	f.engine.scripts = [][]engine.Token{one(firstText, -3), one(firstText+1, -1)}
	var n uint64
	f.cfg.Seed = func() uint64 { n++; return n }
	w := f.post(t, "/generate", `{"inputs": "x", "parameters": {"best_of": 2, "do_sample": true, "details": true}}`)
	require.Equal(t, http.StatusOK, w.Code)
	var a struct {
		Text    string `json:"generated_text"`
		Details struct {
			Seed   uint64
			BestOf []struct {
				Text string `json:"generated_text"`
				Seed uint64
			} `json:"best_of_sequences"`
		}
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &a))
	assert.Equal(t, "good", a.Text)
	assert.EqualValues(t, 2, a.Details.Seed)
	require.Len(t, a.Details.BestOf, 1)
	assert.Equal(t, "bad", a.Details.BestOf[0].Text)
	assert.EqualValues(t, 1, a.Details.BestOf[0].Seed)
}

// FuzzTGI takes any body without a panic, and answers in TGI's shape.
func FuzzTGI(f *testing.F) {
	for _, s := range []string{`{"inputs": "a b", "parameters": {"max_new_tokens": 2, "top_n_tokens": 2, "stop": ["x"]}}`,
		`{"inputs": "a", "stream": true, "parameters": {"seed": 1e3, "truncate": 1, "watermark": null}}`, `{"parameters": {"parameters": {}}}`, `{"inputs": "\ud800"}`} {
		f.Add(s)
	}
	fake := newFake(engine.FinishLength, " a", "\xff", "x")
	f.Fuzz(func(t *testing.T, body string) {
		w := fake.post(t, "/", body)
		switch {
		case w.Code != http.StatusOK:
			readTGIError(t, w.Body.Bytes())
		case strings.HasPrefix(w.Header().Get("Content-Type"), "application/json"):
			var list []tgiWhole
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &list))
			require.Len(t, list, 1)
		default:
			readEvents(t, w.Body)
		}
	})
}
