package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
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

// tgiPaths are the routes that are TGI's alone.
var tgiPaths = []string{"/generate", "/generate_stream", "/", "/info", "/chat_tokenize"}

// tgiDifferences are all that is allowed between TGI's recorded answers and
// ours, value by value. Each must be seen at least once.
var tgiDifferences = []difference{
	{"error_*", "body.error: *", "own words; TestTGIParameters checks what they say"},
	{"generate_best_of", "*.seed: *", "drawn anew"},
	{"generate_details", "body.details.prefill: want [], got *", "TGI computes prompts in chunks and forgets what it was asked for"},
	{"generate_truncate", "body.details.prefill: want [], got *", "as above"},
	{"info", "body.version: *", "this server's own"},
	{"info", "body.sha: *", "the version names the commit"},
	{"info", "body.router: *", "names this server"},
	{"info", "body.max_client_batch_size: *", "prompts of one request on /v1, which are more here"},
	{"info", "body.max_concurrent_requests: missing", "the engine's queue counts sequences"},
	{"info", "body.validation_workers: missing", "requests are checked in goroutines of their own"},
}

// tgiStatuses are the recordings that are answered with another status: TGI
// refuses streams with 200 and an event, which who looks at the status takes for
// a success. All its clients look at the status first.
var tgiStatuses = map[string]int{
	"error_generate_stream_top_p_one":  http.StatusUnprocessableEntity,
	"error_overloaded_generate_stream": http.StatusTooManyRequests,
	"chat_tokenize":                    http.StatusNotFound, // TGI's own; /tokenize takes messages
}

// tgiHeaders are those of TGI's answers that ours do not have.
var tgiHeaders = []string{"X-Compute-Type"} // what TGI was told of its hardware

// tgiFake makes a server whose engine says what TGI said in the recording.
func tgiFake(t *testing.T, x exchange) *fake {
	t.Helper()
	f := newFake("")
	f.tok.texts[fakeEOS] = "<|im_end|>"
	f.engine.prompt = []engine.Token{{ID: 3}}
	f.tok.promptTokens, _ = strconv.Atoi(x.header.Get("X-Prompt-Tokens"))
	if strings.Contains(x.body, "truncate") {
		f.tok.promptTokens = 0 // a token a word, before it is cut
	}
	switch {
	case strings.HasPrefix(x.name, "error_overloaded"):
		f.engine.submit = engine.ErrOverloaded
	case strings.HasPrefix(x.name, "error_generation"):
		f.engine.err = errors.New("the device is gone")
	}
	if x.status != http.StatusOK || x.req.Method != http.MethodPost || tgiStatuses[x.name] != 0 {
		return f
	}
	var q struct{ Inputs string }
	require.NoError(t, json.Unmarshal([]byte(x.body), &q))
	type said struct {
		Text    string `json:"generated_text"`
		Token   *tgiToken
		Finish  string `json:"finish_reason"`
		Tokens  []tgiToken
		Top     [][]tgiToken `json:"top_tokens"`
		Details *said
		BestOf  []said `json:"best_of_sequences"`
		Input   int    `json:"input_length"`
	}
	var list said
	for _, data := range tgiEvents(t, x.header.Get("Content-Type"), x.answer) {
		var s said
		require.NoError(t, json.Unmarshal([]byte(data), &s))
		if s.Token != nil {
			list.Tokens = append(list.Tokens, *s.Token)
		}
		if s.Details != nil {
			f.tok.promptTokens = max(f.tok.promptTokens, s.Details.Input)
			list.Finish, list.Top, list.BestOf = s.Details.Finish, s.Details.Top, s.Details.BestOf
			list.Tokens = append(list.Tokens, s.Details.Tokens...)
		}
		list.Text += s.Text
	}
	if len(list.Tokens) == 0 { // one for the text, and what the headers count
		n, err := strconv.Atoi(x.header.Get("X-Generated-Tokens"))
		require.NoError(t, err)
		list.Tokens = append(list.Tokens, tgiToken{ID: firstText, Text: strings.TrimPrefix(list.Text, q.Inputs)})
		for range n - 1 {
			list.Tokens = append(list.Tokens, tgiToken{ID: firstText + 1})
		}
	}
	for _, one := range append([]said{list}, list.BestOf...) {
		var script []engine.Token
		for i, tok := range one.Tokens {
			f.tok.texts[tok.ID] = tok.Text
			l := &engine.Logprobs{Own: engine.Logprob{ID: tok.ID, Logprob: float32(tok.Logprob)}}
			if one.Top != nil {
				for _, o := range one.Top[i] {
					f.tok.texts[o.ID] = o.Text
					l.Top = append(l.Top, engine.Logprob{ID: o.ID, Logprob: float32(o.Logprob)})
				}
			}
			script = append(script, engine.Token{ID: tok.ID, Logprobs: l})
		}
		last := &script[len(script)-1]
		if last.ID == fakeEOS {
			last.Finish = engine.FinishStop
		}
		f.engine.scripts = append(f.engine.scripts, script)
	}
	return f
}

// UnmarshalJSON reads what MarshalJSON writes.
func (x *tgiLogprob) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, (*float32)(x)) }

// tgiEvents returns the JSON values of an answer: one, or those of a stream.
func tgiEvents(t *testing.T, contentType string, answer []byte) []string {
	t.Helper()
	switch {
	case strings.HasPrefix(contentType, "text/event-stream"):
		return readEvents(t, bytes.NewReader(answer))
	case len(bytes.TrimSpace(answer)) == 0 || strings.HasPrefix(contentType, "text/plain"):
		return nil
	}
	return []string{strings.TrimSuffix(strings.TrimPrefix(string(answer), "["), "]")} // / answers with a list of one
}

// TestReplayTGI sends every request recorded with TGI on its own routes, and
// compares the answers value by value.
func TestReplayTGI(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(testdata.Shared(t, "peers", "tgi"), "*.http"))
	require.NoError(t, err)
	used := make([]int, len(tgiDifferences))
	replayed, others := 0, 0
	for _, file := range files {
		x := readExchange(t, file)
		if !slices.Contains(tgiPaths, x.req.URL.Path) {
			continue
		}
		t.Run(x.name, func(t *testing.T) {
			replayed++
			w := httptest.NewRecorder()
			req := httptest.NewRequest(x.req.Method, x.req.URL.Path, strings.NewReader(x.body))
			req.Header = x.req.Header
			tgiFake(t, x).server(t).ServeHTTP(w, req)
			status, other := tgiStatuses[x.name]
			if !other {
				status = x.status
				assert.Equal(t, strings.HasPrefix(x.header.Get("Content-Type"), "text/event-stream"),
					strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream"))
			} else {
				others++
			}
			require.Equalf(t, status, w.Code, "body %s", w.Body)
			if status == http.StatusNotFound {
				return
			}
			for name := range x.header {
				if strings.HasPrefix(name, "X-") && !slices.Contains(tgiHeaders, name) && !other {
					assert.NotEmpty(t, w.Header().Get(name), name)
				}
			}
			assert.Equal(t, bytes.HasPrefix(x.answer, []byte("[")), bytes.HasPrefix(w.Body.Bytes(), []byte("[")))
			want, got := tgiEvents(t, x.header.Get("Content-Type"), x.answer), tgiEvents(t, w.Header().Get("Content-Type"), w.Body.Bytes())
			if strings.HasPrefix(x.header.Get("Content-Type"), "text/plain") {
				assert.Contains(t, got[0], `"error_type":"validation"`) // TGI writes no JSON there, which its clients cannot read
				return
			}
			require.Lenf(t, got, len(want), "%s", w.Body)
			var lines []string
			for i := range want {
				var a, b any
				require.NoError(t, json.Unmarshal([]byte(want[i]), &a))
				require.NoErrorf(t, json.Unmarshal([]byte(got[i]), &b), "%s", got[i])
				lines = append(lines, diff("body", a, b)...)
			}
			explain(t, tgiDifferences, used, x.name, lines)
		})
	}
	t.Logf("%d recordings compared", replayed)
	require.NotZero(t, replayed)
	assert.Len(t, tgiStatuses, others, "recordings of tgiStatuses that are not there")
	for i, d := range tgiDifferences {
		assert.NotZerof(t, used[i], "the difference %v is not there any more", d)
	}
}
