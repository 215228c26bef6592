package contract

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"servebench/benchtests/client"
	"servebench/benchtests/target"
	"servebench/datasets"
	"servebench/datasets/tokenizertest"
)

// fake is a server of OpenAI's API that answers as it is told.
type fake struct {
	*httptest.Server
	tokenize func(text string) any                             // nil: there is no such route
	answer   func(n int, prompt string, w http.ResponseWriter) // of the n-th completion, from 0
	requests atomic.Int64
	resets   atomic.Int64
	canReset bool
}

func newFake(t *testing.T) *fake {
	f := &fake{answer: func(_ int, prompt string, w http.ResponseWriter) { say(w, "so it goes on: "+prompt) }}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /tokenize", func(w http.ResponseWriter, r *http.Request) {
		var q struct{ Prompt string }
		if f.tokenize == nil || json.NewDecoder(r.Body).Decode(&q) != nil {
			http.NotFound(w, r)
			return
		}
		answer := f.tokenize(q.Prompt)
		if answer == nil {
			<-r.Context().Done() // it stalls
			return
		}
		_ = json.NewEncoder(w).Encode(answer)
	})
	mux.HandleFunc("POST /reset_prefix_cache", func(w http.ResponseWriter, r *http.Request) {
		f.resets.Add(1)
		if !f.canReset {
			http.NotFound(w, r)
		}
	})
	mux.HandleFunc("POST /v1/completions", func(w http.ResponseWriter, r *http.Request) {
		var q struct {
			Prompt      string
			Temperature *float64
			MaxTokens   int `json:"max_tokens"`
		}
		if json.NewDecoder(r.Body).Decode(&q) != nil || q.Temperature == nil || *q.Temperature != 0 || q.MaxTokens != ProbeTokens {
			http.Error(w, "not a probe", http.StatusBadRequest)
			return
		}
		n := int(f.requests.Add(1)) - 1
		f.answer(n, q.Prompt, w)
	})
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

// say answers with a text.
func say(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"choices":[{"index":0,"text":%q,"finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":5}}`, text)
}

func (f *fake) server() Server { return Server{Client: f.Client(), URL: f.URL, Served: "gpt2"} }

// probe returns the options of a probe of the server.
func (f *fake) probe(t *testing.T, timeout time.Duration) ProbeOptions {
	c, err := client.New(client.Options{BaseURL: f.URL, Connections: 1, Epoch: time.Now(), Timeout: timeout})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	custom, err := target.ByName("custom")
	require.NoError(t, err)
	return ProbeOptions{Client: c, API: datasets.CompletionAPI, Tokenizer: tokenizertest.Local{},
		Call: func(p datasets.Prompt) (client.Call, error) {
			body, err := custom.Body(target.Request{Prompt: p, API: datasets.CompletionAPI, Mode: datasets.Sync, Served: "gpt2"})
			return client.Call{Route: custom.Route(datasets.CompletionAPI), Body: body}, err
		}}
}

// prompts makes n prompts.
func prompts(n int) []datasets.Prompt {
	out := make([]datasets.Prompt, n)
	for i := range out {
		text := fmt.Sprintf("prompt number %d asks for %s", i, strings.Repeat("word ", i%5))
		out[i] = datasets.Prompt{ID: fmt.Sprintf("p%03d", i), Text: text, Task: datasets.QA,
			Tokens: datasets.Tokens{
				Text: len(tokenizertest.Encode(text, false)), Completion: len(tokenizertest.Encode(text, true)),
				Chat: len(tokenizertest.Encode(tokenizertest.Render([]datasets.Message{{Role: "user", Content: text}}), false)),
			}}
	}
	return out
}
