package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/serving/engine"
)

// wireChoice is a choice of either route, whole or of an event.
type wireChoice struct {
	Index        int
	Text         string
	Message      struct{ Content string }
	Delta        struct{ Role, Content string }
	Logprobs     json.RawMessage
	FinishReason string          `json:"finish_reason"`
	StopReason   json.RawMessage `json:"stop_reason"`
	TokenIDs     []int32         `json:"token_ids"`
	Prompt       []int32         `json:"prompt_token_ids"`
}

// wireAnswer is an answer, or an event, of either route.
type wireAnswer struct {
	Choices []wireChoice
	Usage   *usage
	Prompt  []int32 `json:"prompt_token_ids"`
}

// said returns a choice's text on either route, whole or of an event.
func (c wireChoice) said() string { return c.Text + c.Message.Content + c.Delta.Content }

// ask posts a body to a path and returns the answer, or the events of a stream.
func (f *fake) ask(t testing.TB, path, body string) []wireAnswer {
	t.Helper()
	w := f.post(t, path, body)
	require.Equalf(t, http.StatusOK, w.Code, "for %s: %s", body, w.Body)
	data := bodyValues(t, w)
	answers := make([]wireAnswer, len(data))
	for i, one := range data {
		require.NoErrorf(t, json.Unmarshal([]byte(one), &answers[i]), "event %s", one)
	}
	return answers
}

// scripts makes a fake whose n-th request says words[n], one a token.
func scripts(words ...[]string) *fake {
	f := newFake("")
	id := int32(firstText)
	for _, list := range words {
		var s []engine.Token
		for _, text := range list {
			f.tok.texts[id] = text
			s = append(s, engine.Token{ID: id})
			id++
		}
		s[len(s)-1].Finish = engine.FinishLength
		f.engine.scripts = append(f.engine.scripts, s)
	}
	return f
}

// TestChoices: n choices of each of several prompts, whole and streamed.
func TestChoices(t *testing.T) {
	words := [][]string{{"a", "b"}, {"c"}, {"d", "e", "f"}, {"g", "h"}}
	tests := []struct {
		path, body string
		prompts    []int // tokens of each choice's prompt
		want       usage
	}{
		{completionsPath, `{"prompt":["x y","z"],"n":2`, []int{2, 2, 1, 1}, usage{PromptTokens: 3, CompletionTokens: 8, TotalTokens: 11}},
		{completionsPath, `{"prompt":["x y",[7,8,9],"z","z"]`, []int{2, 3, 1, 1}, usage{PromptTokens: 7, CompletionTokens: 8, TotalTokens: 15}},
		{completionsPath, `{"prompt":[[5],[6,7]],"n":2`, []int{1, 1, 2, 2}, usage{PromptTokens: 3, CompletionTokens: 8, TotalTokens: 11}},
		{chatPath, `{` + hi + `,"n":4`, []int{3, 3, 3, 3}, usage{PromptTokens: 3, CompletionTokens: 8, TotalTokens: 11}},
	}
	for _, tt := range tests {
		tt.want.PromptDetails = &promptDetails{}
		f := scripts(words...)
		whole := f.ask(t, tt.path, tt.body+`}`)[0]
		require.Len(t, whole.Choices, 4)
		for i, c := range whole.Choices {
			assert.Equal(t, i, c.Index)
			assert.Equalf(t, strings.Join(words[i], ""), c.said(), "choice %d of %s", i, tt.body)
			assert.Equal(t, "length", c.FinishReason)
			assert.Len(t, f.engine.requests[i].Prompt, tt.prompts[i])
		}
		assert.Equal(t, &tt.want, whole.Usage)

		f = scripts(words...)
		events := f.ask(t, tt.path, tt.body+`,"stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}}`)
		var texts [4][]string
		for i, e := range events[:len(events)-1] {
			c := e.Choices[0]
			if tt.path == chatPath && i < 4 {
				assert.Equal(t, "assistant", c.Delta.Role, "the roles come first")
				assert.Equal(t, i, c.Index)
				assert.Zero(t, e.Usage.CompletionTokens)
				continue
			}
			texts[c.Index] = append(texts[c.Index], c.said())
			assert.Equal(t, len(texts[c.Index]) == len(words[c.Index]), c.FinishReason != "", "the last event of a choice has the reason")
			n, p := len(texts[c.Index]), tt.prompts[c.Index]
			assert.Equal(t, &usage{PromptTokens: p, CompletionTokens: n, TotalTokens: p + n}, e.Usage, "running usage is the choice's own")
		}
		assert.Equal(t, words, texts[:])
		last := events[len(events)-1]
		assert.Empty(t, last.Choices)
		assert.Equal(t, &tt.want, last.Usage)
	}
}

// TestSeeds: choice i of each prompt has the seed plus i; without one every
// sequence has a seed of its own.
func TestSeeds(t *testing.T) {
	check := func(body string, want ...uint64) {
		t.Helper()
		f := newFake("")
		drawn := uint64(100)
		f.cfg.Seed = func() uint64 { drawn++; return drawn }
		f.ask(t, completionsPath, body)
		var got []uint64
		ids := map[string]bool{}
		for _, r := range f.engine.requests {
			got = append(got, r.Sampling.Seed)
			ids[r.ID] = true
		}
		assert.Equal(t, want, got)
		assert.Len(t, ids, len(want), "ids for logs are distinct")
	}
	check(`{"prompt":"x","seed":7}`, 7)
	check(`{"prompt":"x","seed":7,"n":3}`, 7, 8, 9)
	check(`{"prompt":["x","y"],"seed":7,"n":2}`, 7, 8, 7, 8)
	check(`{"prompt":["x","y"],"n":2}`, 101, 102, 103, 104)
}

// TestOneFails: the first choice that fails ends all, and is the answer.
func TestOneFails(t *testing.T) {
	for _, stream := range []bool{false, true} {
		f := scripts([]string{"a"}, []string{"b", "c"})
		f.engine.scripts[1] = f.engine.scripts[1][:1]
		f.engine.scripts[1][0].Finish = ""
		f.engine.err = fmt.Errorf("%w: step 3", engine.ErrForward)
		f.engine.scripts = append(f.engine.scripts, nil) // the third fails at once
		f.engine.ended = make(chan struct{}, 3)
		w := f.post(t, completionsPath, fmt.Sprintf(`{"prompt":["x","y","z"],"stream":%v}`, stream))
		for range 3 {
			<-f.engine.ended
		}
		body := w.Body.Bytes()
		if stream {
			require.Equal(t, http.StatusOK, w.Code)
			events := readEvents(t, w.Body)
			require.Equal(t, "[DONE]", events[len(events)-1])
			body = []byte(events[len(events)-2])
		} else {
			require.Equal(t, http.StatusInternalServerError, w.Code)
		}
		message, _ := readError(t, 500, body)
		assert.Contains(t, message, "step 3")
	}
}

// TestNotAllFit: when the engine refuses a choice, those before it are ended.
func TestNotAllFit(t *testing.T) {
	f := newFake("")
	f.engine.ended = make(chan struct{}, 2)
	f.engine.refuseFrom = 2
	w := f.post(t, completionsPath, `{"prompt":"x","n":3}`)
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Equal(t, "1", w.Header().Get("Retry-After"))
	for range 2 {
		<-f.engine.ended
	}
}

// TestAllGone: a client that hangs up ends every choice, streamed or whole.
func TestAllGone(t *testing.T) {
	for _, stream := range []bool{true, false} {
		f := newFake("", "a")
		f.engine.blocked = true
		f.engine.ended = make(chan struct{}, 6)
		ctx, cancel := context.WithCancel(context.Background())
		req, err := http.NewRequestWithContext(ctx, "POST", f.listen(t).URL+completionsPath,
			strings.NewReader(fmt.Sprintf(`{"prompt":["x","y"],"n":3,"stream":%v}`, stream)))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		gone := make(chan error, 1)
		go func() {
			resp, err := http.DefaultClient.Do(req)
			if err == nil {
				resp.Body.Close()
			}
			gone <- err
		}()
		f.engine.await(6)
		cancel()
		for range 6 {
			<-f.engine.ended
		}
		if err := <-gone; err != nil {
			assert.True(t, errors.Is(err, context.Canceled))
		}
	}
}

// TestCached: what the prefix cache had is told, of each prompt once.
func TestCached(t *testing.T) {
	f := newFake(engine.FinishLength, "a")
	f.engine.cached = 2
	body := `{"prompt":["x y z","x y z"],"n":2`
	assert.Equal(t, 4, f.ask(t, completionsPath, body+`}`)[0].Usage.PromptDetails.CachedTokens)
	events := f.ask(t, completionsPath, body+`,"stream":true,"stream_options":{"include_usage":true}}`)
	assert.Equal(t, 4, events[len(events)-1].Usage.PromptDetails.CachedTokens)
}
