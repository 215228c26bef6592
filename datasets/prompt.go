package datasets

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Tokens are a prompt's lengths in the target model's tokens.
type Tokens struct {
	Text       int `json:"text"`       // the text alone; the window is held on this
	Completion int `json:"completion"` // as /v1/completions feeds it: with the special tokens the tokenizer adds
	Chat       int `json:"chat"`       // as /v1/chat/completions feeds it: inside the model's chat template
}

// Prompt is one request's content, whatever server, route and mode it goes to.
type Prompt struct {
	ID      string `json:"id"`      // the row's id in its dataset
	Dataset string `json:"dataset"` // Dataset.Name
	Task    Task   `json:"task"`
	Text    string `json:"text"`
	Tokens  Tokens `json:"tokens"`
	Sampling
	// Seed is drawn from the set's seed, the dataset and the id, below 2³¹, so
	// that every server's integer type holds it.
	Seed int64 `json:"seed"`
}

// PromptTokens returns how many tokens the model is fed on a route: what a
// server should report as usage.prompt_tokens.
func (p Prompt) PromptTokens(api API) int {
	if api == ChatAPI {
		return p.Tokens.Chat
	}
	return p.Tokens.Completion
}

// Message is one turn of a conversation.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Messages returns the prompt as a conversation of one user message.
func (p Prompt) Messages() []Message { return []Message{{Role: "user", Content: p.Text}} }

// StreamOptions asks for a usage count at the end of a stream.
type StreamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

// Request is a body of the OpenAI API. Either Prompt or Messages is set. A
// caller that needs more fields embeds it.
type Request struct {
	Model    string    `json:"model"`
	Prompt   string    `json:"prompt,omitempty"`
	Messages []Message `json:"messages,omitempty"`
	Sampling
	Seed          int64          `json:"seed"`
	Stream        bool           `json:"stream"`
	StreamOptions *StreamOptions `json:"stream_options,omitempty"`
}

// Request returns the request for this prompt. served is the name the server
// knows the model by.
func (p Prompt) Request(mode Mode, served string, api API) Request {
	r := Request{Model: served, Sampling: p.Sampling, Seed: p.Seed, Stream: mode == Stream}
	if api == ChatAPI {
		r.Messages = p.Messages()
	} else {
		r.Prompt = p.Text
	}
	if r.Stream {
		r.StreamOptions = &StreamOptions{IncludeUsage: true}
	}
	return r
}

// Body returns the JSON of Request: one line, no line end, text unescaped
// beyond what JSON asks for. The same prompt gives the same bytes.
func (p Prompt) Body(mode Mode, served string, api API) ([]byte, error) {
	body, err := compact(p.Request(mode, served, api))
	if err != nil {
		return nil, fmt.Errorf("body of prompt %s: %w", p.ID, err)
	}
	return body, nil
}

// compact marshals v without HTML escaping and without a line end.
func compact(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
