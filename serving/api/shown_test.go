package api

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/serving/engine"
)

// logged gives a token log-probabilities: its own, and those of others.
func logged(id int32, own float32, top ...engine.Logprob) engine.Token {
	return engine.Token{ID: id, Logprobs: &engine.Logprobs{Own: engine.Logprob{ID: id, Rank: 1, Logprob: own}, Top: top}}
}

// withLogprobs makes a fake that says "é", in two tokens, and " x".
func withLogprobs() *fake {
	f := newFake("", "\xc3", "\xa9", " x", "\xe2")
	a, b, x, other := int32(firstText), int32(firstText+1), int32(firstText+2), int32(firstText+3)
	f.engine.script = []engine.Token{
		logged(a, -0.5, engine.Logprob{ID: a, Logprob: -0.5}, engine.Logprob{ID: other, Logprob: -1.25}),
		logged(b, -2, engine.Logprob{ID: x, Logprob: -0.25}),
		logged(x, float32(-1e30), engine.Logprob{ID: x, Logprob: -1e30}),
	}
	f.engine.script[2].Finish = engine.FinishLength
	for i, text := range []string{"one", " two"} { // a prompt of two words has ids 3 and 4
		f.tok.texts[int32(3+i)] = text
	}
	f.engine.prompt = []engine.Token{{ID: 3}, logged(4, -3.5, engine.Logprob{ID: 4, Logprob: -3.5})}
	return f
}

// TestLogprobs: the values of "logprobs", whole and in the order of a stream's events.
func TestLogprobs(t *testing.T) {
	half := "\uFFFD"
	tests := []struct {
		name, path, body string
		want             string
		events           []string
	}{
		{"completion", completionsPath, `{"prompt":"one two","logprobs":2`,
			`{"text_offset":[0,1,2],"token_logprobs":[-0.5,-2,-9999],"tokens":["` + half + `","` + half + `"," x"],
			"top_logprobs":[{"` + half + `":-0.5},{"` + half + `":-2," x":-0.25},{" x":-9999}]}`,
			[]string{
				`{"text_offset":[0],"token_logprobs":[-0.5],"tokens":["` + half + `"],"top_logprobs":[{"` + half + `":-0.5}]}`,
				`{"text_offset":[1],"token_logprobs":[-2],"tokens":["` + half + `"],"top_logprobs":[{"` + half + `":-2," x":-0.25}]}`,
				`{"text_offset":[2],"token_logprobs":[-9999],"tokens":[" x"],"top_logprobs":[{" x":-9999}]}`}},
		{"token ids", completionsPath, `{"prompt":"one two","logprobs":2,"return_tokens_as_token_ids":true`,
			`{"text_offset":[0,13,26],"token_logprobs":[-0.5,-2,-9999],"tokens":["token_id:1000","token_id:1001","token_id:1002"],
			"top_logprobs":[{"token_id:1000":-0.5,"token_id:1003":-1.25},{"token_id:1001":-2,"token_id:1002":-0.25},{"token_id:1002":-9999}]}`, nil},
		{"echo", completionsPath, `{"prompt":"one two","logprobs":1,"echo":true,"max_tokens":3`,
			`{"text_offset":[0,3,7,8,9],"token_logprobs":[null,-3.5,-0.5,-2,-9999],"tokens":["one"," two","` + half + `","` + half + `"," x"],
			"top_logprobs":[null,{" two":-3.5},{"` + half + `":-0.5},{"` + half + `":-2," x":-0.25},{" x":-9999}]}`,
			[]string{
				`{"text_offset":[0,3,7],"token_logprobs":[null,-3.5,-0.5],"tokens":["one"," two","` + half + `"],
				"top_logprobs":[null,{" two":-3.5},{"` + half + `":-0.5}]}`,
				`{"text_offset":[8],"token_logprobs":[-2],"tokens":["` + half + `"],"top_logprobs":[{"` + half + `":-2," x":-0.25}]}`,
				`{"text_offset":[9],"token_logprobs":[-9999],"tokens":[" x"],"top_logprobs":[{" x":-9999}]}`}},
		{"the prompt alone", completionsPath, `{"prompt":"one two","logprobs":1,"echo":true,"max_tokens":0`,
			`{"text_offset":[0,3],"token_logprobs":[null,-3.5],"tokens":["one"," two"],"top_logprobs":[null,{" two":-3.5}]}`,
			[]string{`{"text_offset":[0,3],"token_logprobs":[null,-3.5],"tokens":["one"," two"],"top_logprobs":[null,{" two":-3.5}]}`}},
		{"chat", chatPath, `{` + hi + `,"logprobs":true,"top_logprobs":2`,
			`{"content":[{"token":"` + half + `","logprob":-0.5,"bytes":[195],"top_logprobs":[
				{"token":"` + half + `","logprob":-0.5,"bytes":[195]},{"token":"` + half + `","logprob":-1.25,"bytes":[226]}]},
			{"token":"` + half + `","logprob":-2,"bytes":[169],"top_logprobs":[{"token":" x","logprob":-0.25,"bytes":[32,120]}]},
			{"token":" x","logprob":-9999,"bytes":[32,120],"top_logprobs":[{"token":" x","logprob":-9999,"bytes":[32,120]}]}]}`,
			[]string{
				`{"content":[{"token":"` + half + `","logprob":-0.5,"bytes":[195],"top_logprobs":[
				{"token":"` + half + `","logprob":-0.5,"bytes":[195]},{"token":"` + half + `","logprob":-1.25,"bytes":[226]}]}]}`,
				`{"content":[{"token":"` + half + `","logprob":-2,"bytes":[169],"top_logprobs":[{"token":" x","logprob":-0.25,"bytes":[32,120]}]}]}`,
				`{"content":[{"token":" x","logprob":-9999,"bytes":[32,120],"top_logprobs":[{"token":" x","logprob":-9999,"bytes":[32,120]}]}]}`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := withLogprobs()
			whole := f.ask(t, tt.path, tt.body+`}`)[0]
			assert.JSONEq(t, tt.want, string(whole.Choices[0].Logprobs))
			if tt.events == nil {
				return
			}
			f = withLogprobs()
			events := f.ask(t, tt.path, tt.body+`,"stream":true}`)
			if tt.path == chatPath {
				assert.JSONEq(t, "null", string(events[0].Choices[0].Logprobs), "the role has none")
				events = events[1:]
			}
			require.Len(t, events, len(tt.events))
			var text string
			for i, e := range events {
				assert.JSONEq(t, tt.events[i], string(e.Choices[0].Logprobs))
				text += e.Choices[0].said()
			}
			assert.Equal(t, whole.Choices[0].said(), text)
		})
	}
}

// TestPromptLogprobs: vLLM's prompt_logprobs, with and without those of the output.
func TestPromptLogprobs(t *testing.T) {
	check := func(fields, own string) {
		t.Helper()
		f := withLogprobs()
		f.engine.prompt = []engine.Token{{ID: 3}, {ID: 4, Logprobs: &engine.Logprobs{
			Own: engine.Logprob{ID: 4, Rank: 3, Logprob: -3.5},
			Top: []engine.Logprob{{ID: 1002, Rank: 1, Logprob: -0.5}, {ID: 4, Rank: 3, Logprob: -3.5}}}}}
		w := f.post(t, completionsPath, `{"prompt":"one two",`+fields+`}`)
		var a struct {
			Choices []struct {
				Logprobs json.RawMessage
				Prompt   json.RawMessage `json:"prompt_logprobs"`
			}
		}
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &a))
		assert.JSONEqf(t, `[null,{"4":{"logprob":-3.5,"rank":3,"decoded_token":" two"}`+own+`}]`, string(a.Choices[0].Prompt), "for %s", fields)
		assert.Equal(t, strings.Contains(fields, `"logprobs"`), a.Choices[0].Logprobs != nil && string(a.Choices[0].Logprobs) != "null")
		if strings.Contains(fields, `"logprobs"`) { // of two alternatives that the engine tells, the second is not asked for
			assert.NotContains(t, string(a.Choices[0].Logprobs), "-1.25")
		}
	}
	other := `,"1002":{"logprob":-0.5,"rank":1,"decoded_token":" x"}`
	check(`"prompt_logprobs":0`, "")
	check(`"prompt_logprobs":1`, other)
	check(`"prompt_logprobs":2,"logprobs":1`, other)
	check(`"prompt_logprobs":2,"logprobs":1,"echo":true`, other)

	f := withLogprobs()
	w := f.post(t, chatPath, `{`+hi+`,"prompt_logprobs":1}`)
	assert.Contains(t, w.Body.String(), `"prompt_logprobs":[null,{"4":`)
}

// TestAsked: what the engine is asked for so that it can be shown.
func TestAsked(t *testing.T) {
	check := func(path, fields string, logprobs bool, top int, prompt bool) {
		t.Helper()
		f := withLogprobs()
		f.ask(t, path, `{"prompt":"one two",`+hi+`,`+fields+`}`)
		r := f.engine.last(t)
		assert.Equal(t, []any{logprobs, top, prompt}, []any{r.Logprobs, r.TopLogprobs, r.PromptLogprobs}, "for %s", fields)
	}
	check(completionsPath, `"logprobs":null`, false, 0, false)
	check(completionsPath, `"logprobs":0`, true, 0, false)
	check(completionsPath, `"logprobs":20`, true, 20, false)
	check(completionsPath, `"logprobs":1,"echo":true`, true, 1, true)
	check(completionsPath, `"echo":true`, false, 0, false)
	check(completionsPath, `"logprobs":3,"prompt_logprobs":2`, true, 3, true)
	check(completionsPath, `"prompt_logprobs":2`, true, 2, true)
	check(chatPath, `"logprobs":false,"top_logprobs":0`, false, 0, false)
	check(chatPath, `"logprobs":true`, true, 0, false)
	check(chatPath, `"logprobs":true,"top_logprobs":5,"echo":true`, true, 5, false)
}

// TestEcho: the prompt comes before the text, as it was given.
func TestEcho(t *testing.T) {
	check := func(path, body, want, reason string, tokens int) {
		t.Helper()
		f := newFake(engine.FinishLength, " a", "b")
		for id, text := range map[int32]string{7: "seven", 8: " eight", 3: "<3>", 4: "<4>", 5: "<5>"} {
			f.tok.texts[id] = text
		}
		whole := f.ask(t, path, body+`}`)[0]
		assert.Equalf(t, want, whole.Choices[0].said(), "for %s", body)
		assert.Equal(t, reason, whole.Choices[0].FinishReason)
		assert.Equal(t, tokens, whole.Usage.CompletionTokens)
		var streamed string
		events := f.ask(t, path, body+`,"stream":true}`)
		for _, e := range events {
			streamed += e.Choices[0].said()
		}
		assert.Equalf(t, want, streamed, "for %s, streamed", body)
		assert.Equal(t, reason, events[len(events)-1].Choices[0].FinishReason)
	}
	check(completionsPath, `{"prompt":"p  q","echo":true`, "p  q ab", "length", 2)
	check(completionsPath, `{"prompt":"p  q","echo":true,"max_tokens":1`, "p  q a", "length", 1)
	check(completionsPath, `{"prompt":"p  q","echo":true,"max_tokens":0`, "p  q", "length", 0)
	check(completionsPath, `{"prompt":[7,8],"echo":true`, "seven eight ab", "length", 2)
	check(completionsPath, `{"prompt":"p q r","echo":true,"truncate_prompt_tokens":2`, "<4><5> ab", "length", 2)
	check(completionsPath, `{"prompt":"stop p","echo":true,"stop":"stop"`, "stop p ab", "length", 2)
	check(chatPath, `{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":"Well,"}],"echo":true`, "Well, ab", "length", 2)
	check(chatPath, `{`+hi+`,"echo":true`, " ab", "length", 2)
}

// TestStopReasons: finish_reason and stop_reason of every kind of end.
func TestStopReasons(t *testing.T) {
	id := func(i int) string { return string(marshal(firstText + i)) }
	tests := []struct {
		name, fields string
		eos          bool // the script ends with the model's stop token, else with its own last
		text         string
		finish, stop string
	}{
		{"end of sequence", ``, true, "one two.", "stop", `null`},
		{"end of sequence, listed too", `,"stop_token_ids":[2]`, true, "one two.", "stop", `null`},
		{"end of sequence, ignored but listed", `,"stop_token_ids":[2],"ignore_eos":true`, true, "one two.", "stop", `2`},
		{"a listed token", `,"stop_token_ids":[5,` + id(2) + `]`, false, "one two", "stop", id(2)},
		{"a listed token, kept", `,"stop_token_ids":[` + id(2) + `],"include_stop_str_in_output":true`, false, "one two.", "stop", id(2)},
		{"special tokens shown", `,"skip_special_tokens":false,"include_stop_str_in_output":true`, true, "one two.</s>", "stop", `null`},
		{"a special token as what it is", `,"skip_special_tokens":false`, true, "one two.", "stop", `null`},
		{"a stop string", `,"stop":" tw"`, true, "one", "stop", `" tw"`},
		{"a stop string, kept", `,"stop":" tw","include_stop_str_in_output":true`, true, "one tw", "stop", `" tw"`},
		{"max_tokens", `,"max_tokens":2`, true, "one two", "length", `null`},
	}
	for _, tt := range tests {
		for _, path := range []string{completionsPath, chatPath} {
			f := newFake("", "one", " two", ".")
			f.tok.texts[fakeEOS] = "</s>"
			if tt.eos {
				f.engine.script = append(f.engine.script, engine.Token{ID: fakeEOS, Finish: engine.FinishStop})
			} else {
				f.engine.script[2].Finish = engine.FinishStop
			}
			body := `{"prompt":"x",` + hi + tt.fields
			for _, a := range []wireAnswer{f.ask(t, path, body+`}`)[0], joined(f.ask(t, path, body+`,"stream":true}`))} {
				c := a.Choices[0]
				assert.Equalf(t, tt.text, c.said(), "%s on %s", tt.name, path)
				assert.Equalf(t, tt.finish, c.FinishReason, "%s on %s", tt.name, path)
				assert.JSONEqf(t, tt.stop, string(c.StopReason), "%s on %s", tt.name, path)
			}
		}
	}
}

// joined makes one answer of a stream's events of one choice.
func joined(events []wireAnswer) wireAnswer {
	a := events[len(events)-1]
	var text strings.Builder
	for _, e := range events {
		text.WriteString(e.Choices[0].said())
	}
	a.Choices[0].Text, a.Choices[0].Delta.Content = text.String(), ""
	return a
}

// TestTokenIDs: return_token_ids tells the prompt's ids once, and each token's.
func TestTokenIDs(t *testing.T) {
	ids := []int32{firstText, firstText + 1, fakeEOS}
	f := newFake(engine.FinishStop, "a", "b")
	whole := f.ask(t, completionsPath, `{"prompt":[[7,8],[9]],"return_token_ids":true}`)[0]
	assert.Equal(t, [][]int32{{7, 8}, {9}}, [][]int32{whole.Choices[0].Prompt, whole.Choices[1].Prompt})
	assert.Equal(t, [][]int32{ids, ids}, [][]int32{whole.Choices[0].TokenIDs, whole.Choices[1].TokenIDs})

	events := f.ask(t, completionsPath, `{"prompt":[7,8],"return_token_ids":true,"stream":true}`)
	require.Len(t, events, 3)
	for i, e := range events {
		assert.Equal(t, ids[i:i+1], e.Choices[0].TokenIDs)
		assert.Equal(t, i == 0, e.Choices[0].Prompt != nil)
	}
	assert.Equal(t, []int32{7, 8}, events[0].Choices[0].Prompt)

	whole = f.ask(t, chatPath, `{`+hi+`,"return_token_ids":true}`)[0]
	assert.Equal(t, []int32{3, 4, 5}, whole.Prompt)
	assert.Equal(t, ids, whole.Choices[0].TokenIDs)
	events = f.ask(t, chatPath, `{`+hi+`,"return_token_ids":true,"stream":true}`)
	assert.Equal(t, []int32{3, 4, 5}, events[0].Prompt)
	assert.Equal(t, ids[:1], events[1].Choices[0].TokenIDs)

	events = f.ask(t, completionsPath, `{"prompt":"x","echo":true,"max_tokens":0,"return_token_ids":true,"stream":true}`)
	require.Len(t, events, 1)
	assert.Equal(t, []int32{}, events[0].Choices[0].TokenIDs)
	assert.Equal(t, []int32{3}, events[0].Choices[0].Prompt)
}

// TestRender: which template and special tokens a prompt is made with.
func TestRender(t *testing.T) {
	check := func(path, body, want string) {
		t.Helper()
		f := newFake(engine.FinishLength, "a")
		f.ask(t, path, body)
		require.NotEmpty(t, f.tok.encoded)
		assert.Equalf(t, want, f.tok.encoded[len(f.tok.encoded)-1], "for %s", body)
	}
	check(completionsPath, `{"prompt":"x"}`, "prompt:x")
	check(completionsPath, `{"prompt":"x","add_special_tokens":false}`, "text:x")
	check(chatPath, `{`+hi+`}`, "text:<user> hi\n<assistant> ")
	check(chatPath, `{`+hi+`,"add_special_tokens":true}`, "prompt:<user> hi\n<assistant> ")
	check(chatPath, `{`+hi+`,"add_generation_prompt":false}`, "text:<user> hi\n")
	well := `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"%"}],"continue_final_message":true`
	check(chatPath, strings.ReplaceAll(well, "%", "Well, hi")+`}`, "text:<user> hi\n<assistant> Well, hi")
	check(chatPath, strings.ReplaceAll(well, "%", "Well, ")+`,"add_generation_prompt":false}`, "text:<user> hi\n<assistant> Well, ")
	check(chatPath, strings.ReplaceAll(well, "%", " hi")+`}`, "text:<user> hi\n<assistant>  hi")
}

// TestTruncate: the last tokens of a prompt are kept.
func TestTruncate(t *testing.T) {
	check := func(path, fields string, want ...int32) {
		t.Helper()
		f := newFake(engine.FinishLength, "a")
		f.cfg.MaxModelLen = 8
		f.ask(t, path, `{`+fields+`}`)
		assert.Equalf(t, want, f.engine.last(t).Prompt, "for %s", fields)
	}
	check(completionsPath, `"prompt":[1,2,3,4,5],"truncate_prompt_tokens":2`, 4, 5)
	check(completionsPath, `"prompt":[1,2,3],"truncate_prompt_tokens":8,"max_tokens":1`, 1, 2, 3)
	check(completionsPath, `"prompt":[1,2,3,4,5,6,7,8,9,10],"truncate_prompt_tokens":-1,"max_tokens":3`, 6, 7, 8, 9, 10)
	check(completionsPath, `"prompt":[1,2,3,4,5,6,7,8,9,10],"truncate_prompt_tokens":-1`, 10) // default max_tokens is over the context
	check(chatPath, hi+`,"truncate_prompt_tokens":1`, 5)
	check(chatPath, `"messages":[{"role":"user","content":"a b c d e f g h i j"}],"truncate_prompt_tokens":-1`, 8, 9, 10, 11, 12, 13, 14)
}

// TestAllParts: an answer with every kind of part is JSON that a client can read.
func TestAllParts(t *testing.T) {
	f := withLogprobs()
	w := f.post(t, completionsPath, `{"prompt":["one two","one two"],"logprobs":2,"echo":true,"return_token_ids":true,"n":2}`)
	var a wireAnswer
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &a))
	assert.Len(t, a.Choices, 4)
}
