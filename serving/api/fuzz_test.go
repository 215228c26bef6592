package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/serving/engine"
)

// FuzzBody: any body gets a 200 or a 4xx in OpenAI's shape, on both routes.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `null`, `[]`, `{"prompt":"x"}`, `{"prompt":[1,2]}`, `{"prompt":[[1]],"stream":true}`,
		`{"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}],"stream":true,"stream_options":{"include_usage":true}}`,
		`{"prompt":"x","stop":["a","b"],"temperature":0,"top_k":-1,"seed":-5,"max_tokens":1e1}`,
		`{"prompt":"x","temperature":NaN}`, `{"prompt":"\ud800","stop":"\ud800"}`, "{\"prompt\":\"\xff\"}",
		`{"prompt":["x",[5,6]],"n":2,"best_of":2,"echo":true,"logprobs":3,"max_tokens":0,"seed":1,"return_token_ids":true}`,
		`{"prompt":"x","stop_token_ids":[5],"allowed_token_ids":[5,6],"logit_bias":{"5":-1e2},"min_p":0.1,"truncate_prompt_tokens":-1}`,
		`{"messages":[{"role":"assistant","content":"a "}],"continue_final_message":true,"echo":true,"logprobs":true,"top_logprobs":1,"n":3}`,
		`{"prompt":[null]}`, `{"prompt":[1,{}]}`, `{"messages":[{}],"n":1.0}`, `{"logit_bias":{"a":[]}}`, `{"a":1,"a":2}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, path := range []string{completionsPath, chatPath} {
			fk := newFake(engine.FinishLength, "a", "b\xe2", "\x82\xac")
			fk.cfg.MaxModelLen = 64
			r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(string(body)))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			fk.server(t).ServeHTTP(w, r)
			if w.Code == http.StatusOK {
				require.NotEmpty(t, fk.engine.requests)
				require.LessOrEqual(t, len(fk.engine.requests), DefaultMaxChoices)
				for _, req := range fk.engine.requests {
					require.NotEmpty(t, req.Prompt)
					require.Positive(t, req.MaxTokens)
					require.LessOrEqual(t, len(req.Prompt)+req.MaxTokens, 64)
					require.LessOrEqual(t, req.MinTokens, req.MaxTokens)
					require.NoError(t, req.Sampling.Validate())
				}
				for _, event := range bodyValues(t, w) {
					require.Truef(t, json.Valid([]byte(event)), "for %q: %s", body, event)
				}
				continue
			}
			require.Truef(t, w.Code >= 400 && w.Code < 500, "status %d for %q", w.Code, body)
			readError(t, w.Code, w.Body.Bytes())
			require.Empty(t, fk.engine.requests)
		}
	})
}

// bodyValues returns the JSON values of an answer: one, or those of a stream.
func bodyValues(t testing.TB, w *httptest.ResponseRecorder) []string {
	t.Helper()
	if !strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream") {
		return []string{w.Body.String()}
	}
	events := readEvents(t, w.Body)
	require.Equal(t, "[DONE]", events[len(events)-1])
	return events[:len(events)-1]
}
