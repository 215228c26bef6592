package api

import (
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
				require.Len(t, fk.engine.requests, 1)
				req := fk.engine.requests[0]
				require.NotEmpty(t, req.Prompt)
				require.Positive(t, req.MaxTokens)
				require.LessOrEqual(t, len(req.Prompt)+req.MaxTokens, 64)
				require.LessOrEqual(t, req.MinTokens, req.MaxTokens)
				require.GreaterOrEqual(t, req.Sampling.Temperature, 0.0)
				continue
			}
			require.Truef(t, w.Code >= 400 && w.Code < 500, "status %d for %q", w.Code, body)
			readError(t, w.Code, w.Body.Bytes())
			require.Empty(t, fk.engine.requests)
		}
	})
}
