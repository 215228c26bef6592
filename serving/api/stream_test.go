package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/serving/engine"
	"servebench/serving/sample"
)

// delta is what a test looks at in an event of either route.
type delta struct {
	Choices []struct {
		Text         *string
		Delta        *struct{ Role, Content *string }
		FinishReason *string `json:"finish_reason"`
		StopReason   *string `json:"stop_reason"`
	}
	Usage *usage
}

// said is a stream's outcome.
type said struct {
	texts        []string // of token events
	finish, stop string
	usage        *usage
}

func readStream(t *testing.T, body io.Reader) said {
	t.Helper()
	events := readEvents(t, body)
	require.Equal(t, "[DONE]", events[len(events)-1])
	var out said
	for _, data := range events[:len(events)-1] {
		var d delta
		require.NoErrorf(t, json.Unmarshal([]byte(data), &d), "event %s", data)
		if d.Usage != nil {
			out.usage = d.Usage
		}
		if len(d.Choices) == 0 {
			continue
		}
		c := d.Choices[0]
		require.Emptyf(t, out.finish, "an event follows the finish: %s", data)
		switch {
		case c.Text != nil:
			out.texts = append(out.texts, *c.Text)
		case c.Delta.Role != nil:
			require.Empty(t, out.texts, "the role comes first")
			require.Equal(t, "assistant", *c.Delta.Role)
			require.Empty(t, *c.Delta.Content)
		default:
			out.texts = append(out.texts, *c.Delta.Content)
		}
		if c.FinishReason != nil {
			out.finish = *c.FinishReason
		}
		if c.StopReason != nil {
			out.stop = *c.StopReason
		}
	}
	return out
}

// readWhole reads an answer of one choice that is no stream, of either route.
func readWhole(t *testing.T, body io.Reader) (text, reason string, counted *usage) {
	t.Helper()
	var answer struct {
		Choices []struct {
			Text    *string
			Message struct{ Content *string }
			Finish  string `json:"finish_reason"`
		}
		Usage *usage
	}
	require.NoError(t, json.NewDecoder(body).Decode(&answer))
	require.Len(t, answer.Choices, 1)
	c := answer.Choices[0]
	if c.Text == nil {
		c.Text = c.Message.Content
	}
	require.NotNil(t, c.Text)
	return *c.Text, c.Finish, answer.Usage
}

// TestStream: texts, reasons and counts of streams, and the same request whole.
func TestStream(t *testing.T) {
	tests := []struct {
		name         string
		finish       engine.Finish
		tokens       []string
		fields       string
		texts        []string
		reason, stop string
		count        int
	}{
		{"length", engine.FinishLength, []string{"a", "b"}, ``, []string{"a", "b"}, "length", "", 2},
		{"end token", engine.FinishStop, []string{"a", "b"}, ``, []string{"a", "b", ""}, "stop", "", 3},
		{"end token alone", engine.FinishStop, nil, ``, []string{""}, "stop", "", 1},
		{"character of three tokens", engine.FinishLength, []string{"x", "\xe2", "\x82", "\xac", "y"}, ``,
			[]string{"x", "", "", "€", "y"}, "length", "", 5},
		{"incomplete character at the end", engine.FinishLength, []string{"x", "\xe2\x82"}, ``, []string{"x", "\uFFFD"}, "length", "", 2},
		{"escapes", engine.FinishLength, []string{"\"\\\n\t<&>\u2028", "\x00\x1f\x7f"}, ``,
			[]string{"\"\\\n\t<&>\u2028", "\x00\x1f\x7f"}, "length", "", 2},
		{"stop over tokens", "", []string{"a", "b\n", "Us", "er", ": c", "d"}, `,"stop":["\nUser:"]`,
			[]string{"a", "b", "", "", ""}, "stop", "\nUser:", 5},
		{"no stop after all", engine.FinishLength, []string{"a\n", "Us", "ers", "!"}, `,"stop":"\nUser:"`,
			[]string{"a", "", "\nUsers", "!"}, "length", "", 4},
		{"held back at the end", engine.FinishLength, []string{"a\n", "Us"}, `,"stop":"\nUser:"`,
			[]string{"a", "\nUs"}, "length", "", 2},
		{"held back before the end token", engine.FinishStop, []string{"a\n", "Us"}, `,"stop":"\nUser:"`,
			[]string{"a", "", "\nUs"}, "stop", "", 3},
		{"stop in the last token", engine.FinishLength, []string{"a", "b."}, `,"stop":["."]`,
			[]string{"a", "b"}, "stop", ".", 2},
		{"stop within min_tokens is not seen", engine.FinishLength, []string{"a.", "b", ".", "c.d"}, `,"stop":["."],"min_tokens":3`,
			[]string{"a.", "b", ".", "c"}, "stop", ".", 4},
		{"stop that begins within min_tokens", engine.FinishLength, []string{"a.", "b", "c.d", "e"}, `,"stop":["bc."],"min_tokens":2`,
			[]string{"a.", "", ""}, "stop", "bc.", 3},
	}
	for _, tt := range tests {
		for _, path := range []string{completionsPath, chatPath} {
			t.Run(tt.name+path, func(t *testing.T) {
				f := newFake(tt.finish, tt.tokens...)
				f.engine.ended = make(chan struct{}, 2)
				url := f.listen(t).URL + path
				body := `{"prompt":"x y","messages":[{"role":"user","content":"x"}],"max_tokens":50` + tt.fields
				resp, err := http.Post(url, "application/json", strings.NewReader(
					body+`,"stream":true,"stream_options":{"include_usage":true}}`))
				require.NoError(t, err)
				defer resp.Body.Close()
				assert.Equal(t, "text/event-stream; charset=utf-8", resp.Header.Get("Content-Type"))
				assert.Equal(t, "no-cache", resp.Header.Get("Cache-Control"))
				got := readStream(t, resp.Body)
				assert.Equal(t, tt.texts, got.texts)
				assert.Equal(t, tt.reason, got.finish)
				assert.Equal(t, tt.stop, got.stop)
				n := len(f.engine.last(t).Prompt)
				assert.Equal(t, &usage{PromptTokens: n, TotalTokens: n + tt.count, CompletionTokens: tt.count,
					PromptDetails: &promptDetails{}}, got.usage)

				whole, err := http.Post(url, "application/json", strings.NewReader(body+"}"))
				require.NoError(t, err)
				defer whole.Body.Close()
				text, reason, counted := readWhole(t, whole.Body)
				assert.Equal(t, strings.Join(tt.texts, ""), text)
				assert.Equal(t, tt.reason, reason)
				assert.Equal(t, got.usage, counted)
				for range 2 {
					<-f.engine.ended // both requests were ended in the engine
				}
			})
		}
	}
}

// TestClientGone: a client that hangs up ends its request, streamed or whole.
func TestClientGone(t *testing.T) {
	for _, stream := range []bool{true, false} {
		f := newFake("", "a", "b")
		f.engine.blocked = true
		f.engine.ended = make(chan struct{}, 1)
		ctx, cancel := context.WithCancel(context.Background())
		req, err := http.NewRequestWithContext(ctx, "POST", f.listen(t).URL+completionsPath,
			strings.NewReader(fmt.Sprintf(`{"prompt":"x","stream":%v}`, stream)))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		if stream {
			resp, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			_, err = resp.Body.Read(make([]byte, 6))
			require.NoError(t, err)
		} else {
			go func() {
				if resp, err := http.DefaultClient.Do(req); err == nil {
					resp.Body.Close()
				}
			}()
			require.Eventually(t, func() bool {
				f.engine.mu.Lock()
				defer f.engine.mu.Unlock()
				return len(f.engine.requests) > 0
			}, time.Minute, time.Millisecond)
		}
		cancel()
		<-f.engine.ended
	}
}

// dial sends a raw request and returns its connection.
func dial(t *testing.T, url, request string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	_, err = io.WriteString(c, request)
	require.NoError(t, err)
	return c
}

// TestSlowReader: a client that takes nothing is cut off, and its request ended.
func TestSlowReader(t *testing.T) {
	f := newFake("", strings.Repeat("x", 1<<20))
	for range 1000 { // more than any socket buffer takes
		f.engine.script = append(f.engine.script, f.engine.script[0])
	}
	f.engine.ended = make(chan struct{}, 1)
	f.cfg.WriteLimit = 50 * time.Millisecond
	body := `{"prompt":"x","max_tokens":2000,"stream":true}`
	dial(t, f.listen(t).URL, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		completionsPath, len(body), body))
	<-f.engine.ended
}

// TestSlowBody: a body that does not arrive is answered, and not waited for.
func TestSlowBody(t *testing.T) {
	f := newFake("")
	f.cfg.ReadLimit = 50 * time.Millisecond
	c := dial(t, f.listen(t).URL, "POST "+completionsPath+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	answer, err := io.ReadAll(c)
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(string(answer), "HTTP/1.1 400 "), "got %s", answer)
	assert.Contains(t, string(answer), "did not arrive")
}

// TestKeepAlive: the connection stays after answers, errors and streams, also
// once the time limits of the requests before have passed.
func TestKeepAlive(t *testing.T) {
	f := newFake(engine.FinishLength, "a")
	f.cfg.ReadLimit, f.cfg.WriteLimit = 100*time.Millisecond, 100*time.Millisecond
	url := f.listen(t).URL
	client := &http.Client{Transport: &http.Transport{}}
	var reused []bool
	trace := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { reused = append(reused, i.Reused) }})
	for _, body := range []string{`{"prompt":"x"}`, `{"prompt":"x","stream":true}`, `{`, `{"prompt":"x","model":"no"}`, `{"prompt":"x","stream":true}`} {
		req, err := http.NewRequestWithContext(trace, "POST", url+completionsPath, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		require.NoErrorf(t, err, "for %s", body)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoErrorf(t, err, "for %s", body)
		resp.Body.Close()
		time.Sleep(120 * time.Millisecond)
	}
	assert.Equal(t, []bool{false, true, true, true, true}, reused)
}

// TestRequest: what a body's fields become in the engine.
func TestRequest(t *testing.T) {
	base := engine.Request{MaxTokens: 16, StopTokens: []int32{fakeEOS},
		Sampling: sample.Params{Temperature: 1, TopP: 1, Seed: 77}}
	check := func(path, fields string, change func(*engine.Request)) {
		t.Helper()
		f := newFake("")
		w := f.post(t, path, `{"messages":[{"role":"user","content":"hi"}],`+fields+`}`)
		require.Equalf(t, http.StatusOK, w.Code, "for %s: %s", fields, w.Body)
		got := f.engine.last(t)
		want := base
		want.Prompt = got.Prompt
		change(&want)
		assert.NotEmpty(t, got.ID)
		got.ID = ""
		assert.Equalf(t, want, got, "for %s", fields)
	}
	check(completionsPath, `"prompt":"a b"`, func(r *engine.Request) { r.Prompt = []int32{3, 4} })
	check(completionsPath, `"prompt":["a b"]`, func(r *engine.Request) { r.Prompt = []int32{3, 4} })
	check(completionsPath, `"prompt":[9,8,7]`, func(r *engine.Request) { r.Prompt = []int32{9, 8, 7} })
	check(completionsPath, `"prompt":[ [9, 8,7] ]`, func(r *engine.Request) { r.Prompt = []int32{9, 8, 7} })
	check(completionsPath, `"prompt":"x","max_completion_tokens":3`, func(*engine.Request) {})
	check(completionsPath, `"prompt":"`+strings.Repeat("x ", fakeContext-3)+`"`, func(r *engine.Request) { r.MaxTokens = 3 })
	check(completionsPath, `"prompt":"x","max_tokens":5.0,"min_tokens":5,"ignore_eos":true,"top_k":-1,"top_p":0.5`,
		func(r *engine.Request) {
			r.MaxTokens, r.MinTokens, r.StopTokens, r.Sampling.TopP = 5, 5, nil, 0.5
		})
	check(completionsPath, `"prompt":"x","temperature":0,"seed":-1,"top_k":40`, func(r *engine.Request) {
		r.Sampling = sample.Params{TopP: 1, TopK: 40, Seed: 1<<64 - 1}
	})
	check(completionsPath, `"prompt":"x","temperature":1e-9,"top_k":900000000000`, func(r *engine.Request) {
		r.Sampling.Temperature, r.Sampling.TopK = minTemperature, fakeVocab
	})
	check(completionsPath, `"prompt":"x","model":null,"seed":null,"stop":null,"stream":null,"stream_options":null`, func(*engine.Request) {})
	check(completionsPath, `"prompt":"x","presence_penalty":-2,"frequency_penalty":0.5,"repetition_penalty":1.2,"min_p":0.05`, func(r *engine.Request) {
		r.Sampling.PresencePenalty, r.Sampling.FrequencyPenalty = -2, 0.5
		r.Sampling.RepetitionPenalty, r.Sampling.MinP = 1.2, 0.05
	})
	check(completionsPath, `"prompt":"x","logit_bias":{"70":1.5,"9":-100,"49999":100},"allowed_token_ids":[70,9,70]`, func(r *engine.Request) {
		r.Sampling.Bias = []sample.Bias{{ID: 9, Value: -100}, {ID: 70, Value: 1.5}, {ID: 49999, Value: 100}}
		r.Sampling.Allowed = []int32{9, 70}
	})
	check(completionsPath, `"prompt":"x","stop_token_ids":[9,2,9,70]`, func(r *engine.Request) { r.StopTokens = []int32{fakeEOS, 9, 70} })
	check(completionsPath, `"prompt":"x","stop_token_ids":[9],"ignore_eos":true`, func(r *engine.Request) { r.StopTokens = []int32{9} })
	check(completionsPath, `"prompt":"x","echo":true,"max_tokens":0`, func(r *engine.Request) { r.MaxTokens = 1 })
	check(chatPath, `"model":""`, func(r *engine.Request) { r.MaxTokens = fakeContext - 3 })
	check(chatPath, `"max_tokens":7,"max_completion_tokens":8`, func(r *engine.Request) { r.MaxTokens = 8 })
	check(chatPath, `"max_tokens":7`, func(r *engine.Request) { r.MaxTokens = 7 })

	f := newFake("")
	f.cfg.Defaults, f.cfg.Seed = Defaults{Temperature: 0.6, TopP: 0.9, TopK: 20, MinP: 0.1, RepetitionPenalty: 1.1}, nil
	seeds := map[uint64]bool{}
	for range 10 {
		f.post(t, completionsPath, `{"prompt":"x"}`)
		p := f.engine.last(t).Sampling
		seeds[p.Seed] = true
		assert.Equal(t, sample.Params{Temperature: 0.6, TopP: 0.9, TopK: 20, MinP: 0.1, RepetitionPenalty: 1.1, Seed: p.Seed}, p)
	}
	assert.Len(t, seeds, 10, "requests without a seed get different ones")
}

// TestMessages: the forms of content, as the template sees them.
func TestMessages(t *testing.T) {
	r := &request{mostMessages: 6}
	err := parseObject(r, []byte(`{"messages":[
		{"role":"system","content":"s","name":"x","alias":"y","refusal":null},
		{"role":"assistant"},{"role":"assistant","content":null,"tool_calls":null},
		{"role":"user","content":[{"type":"text","text":"a","cache_control":{},"x":null},{"type":"text","text":"b"}]},
		{"role":"user","content":[]},{"role":"user","content":""}],
		"temprature":1,"Model":"y","odd":null,"stream":true,"stream_options":{"x":1}}`), chatFields)
	require.NoError(t, err)
	var texts []string
	for _, m := range r.messages {
		texts = append(texts, m.Role+":"+m.Content)
	}
	assert.Equal(t, []string{"system:s", "assistant:", "assistant:", "user:a\nb", "user:", "user:"}, texts)
	assert.Equal(t, []string{"Model", "messages[0].alias", "messages[0].name", "messages[3].content[0].cache_control", "stream_options.x", "temprature"}, r.ignored)
}

// TestIgnored: unknown fields work, and are named in the answer.
func TestIgnored(t *testing.T) {
	f := newFake("")
	w := f.post(t, completionsPath, `{"prompt":"x","temprature":0,"best\r\nX: y":1}`)
	require.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, "best??X: y, temprature", w.Header().Get(ignoredHeader))
}

// TestIDs: every answer has an id of its own, on all of its events.
func TestIDs(t *testing.T) {
	f := newFake(engine.FinishLength, "a", "b")
	seen := map[string]bool{}
	for range 100 {
		w := f.post(t, chatPath, `{"messages":[{"role":"user","content":"x"}],"stream":true}`)
		ids := map[string]bool{}
		for _, data := range readEvents(t, w.Body) {
			var e struct{ ID string }
			if json.Unmarshal([]byte(data), &e) == nil {
				ids[e.ID] = true
			}
		}
		require.Len(t, ids, 1)
		for id := range ids {
			require.True(t, strings.HasPrefix(id, "chatcmpl-"))
			seen[id] = true
		}
	}
	assert.Len(t, seen, 100)
}

// TestOwnIDs: an id that a request brings is its answer's, as vLLM has it.
func TestOwnIDs(t *testing.T) {
	f := newFake(engine.FinishLength, "a")
	check := func(header, fields, want string) {
		t.Helper()
		r := httptest.NewRequest(http.MethodPost, completionsPath, strings.NewReader(`{"prompt":"x"`+fields+`}`))
		r.Header.Set("Content-Type", "application/json")
		if header != "" {
			r.Header.Set("X-Request-Id", header)
		}
		w := httptest.NewRecorder()
		f.server(t).ServeHTTP(w, r)
		assert.Containsf(t, w.Body.String(), want, "for the header %q and %s", header, fields)
	}
	check("", `,"request_id":"mine"`, `"id":"cmpl-mine"`)
	check("h-1", `,"request_id":"mine"`, `"id":"cmpl-h-1"`)
	check(`a"b`, ``, `"id":"cmpl-a\"b"`)
	check("", `,"request_id":""`, `"id":"cmpl-`)
	check("", `,"request_id":"`+strings.Repeat("x", 257)+`"`, `"param":"request_id"`)
	check(strings.Repeat("x", 257), ``, `"param":"X-Request-Id"`)
	check("", `,"request_id":7`, `"param":"request_id"`)
}

// TestAppendString: every string, encoded, decodes to itself.
func TestAppendString(t *testing.T) {
	for _, s := range []string{"", "plain", "ünï€😀", `"`, `\`, "\n", "a\x00", "\u2028", "</script>", "a\xffb"} {
		var got string
		require.NoError(t, json.Unmarshal(appendString(nil, s), &got))
		assert.Equal(t, strings.ToValidUTF8(s, "\uFFFD"), got)
		assert.NotContains(t, string(appendString(nil, s)), "\n", "an event's data is one line")
	}
}

// BenchmarkEvent is the cost of one token's event, without the network.
func BenchmarkEvent(b *testing.B) {
	j := &job{id: "chatcmpl-0123456789abcdef", chat: true, model: "smol", created: 1}
	e := newFake("").server(b).newEvents(discard{}, &choices{job: j, gens: make([]*generation, 1), left: 1})
	b.ReportAllocs()
	for b.Loop() {
		if err := e.piece(piece{text: " token", count: 1}); err != nil {
			b.Fatal(err)
		}
	}
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}
func (discard) Flush()                      {}

// BenchmarkStream is the cost of one token's event over loopback, client included,
// of a request for one choice and for several.
func BenchmarkStream(b *testing.B) {
	for _, n := range []int{1, 8} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			f := newFake("", " token")
			f.cfg.MaxModelLen = 1 << 30
			for range 1 << 20 { // the script repeats its one text
				f.engine.script = append(f.engine.script, f.engine.script[0])
			}
			url := f.listen(b).URL + completionsPath
			b.ReportAllocs()
			b.ResetTimer()
			resp, err := http.Post(url, "application/json", strings.NewReader(
				fmt.Sprintf(`{"prompt":"x","max_tokens":%d,"stream":true,"n":%d}`, (b.N+n-1)/n, n)))
			require.NoError(b, err)
			defer resp.Body.Close()
			_, err = io.Copy(io.Discard, resp.Body)
			require.NoError(b, err)
		})
	}
}
