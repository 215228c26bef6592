package target

import (
	"bytes"
	"encoding/json"
	"fmt"

	"servebench/datasets"
)

// Request says how a prompt is asked.
type Request struct {
	Prompt datasets.Prompt
	API    datasets.API
	Mode   datasets.Mode
	Served string // the server's name of the model
	// IgnoreEOS lets every answer run to max_tokens, where the target can.
	IgnoreEOS bool
}

// Route returns the path that requests of an API are posted to.
func (t *Target) Route(api datasets.API) string {
	if api == datasets.ChatAPI {
		return "/v1/chat/completions"
	}
	return "/v1/completions"
}

// body is a request with the fields that only some targets take.
type body struct {
	datasets.Request
	IgnoreEOS bool `json:"ignore_eos,omitempty"`
}

// Body returns the request's JSON.
func (t *Target) Body(r Request) ([]byte, error) {
	if r.API == datasets.ChatAPI && !t.Chat {
		return nil, fmt.Errorf("%s has no chat route", t.Name)
	}
	b := body{Request: r.Prompt.Request(r.Mode, r.Served, r.API), IgnoreEOS: r.IgnoreEOS && t.IgnoreEOS}
	if !t.StreamUsage {
		b.StreamOptions = nil
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(b); err != nil {
		return nil, fmt.Errorf("body of prompt %s: %w", r.Prompt.ID, err)
	}
	text := bytes.TrimSuffix(out.Bytes(), []byte("\n"))
	if len(t.Fields) == 0 {
		return text, nil
	}
	more, err := json.Marshal(t.Fields)
	if err != nil {
		return nil, fmt.Errorf("fields of %s: %w", t.Name, err)
	}
	// Two objects become one: {"a":1} and {"b":2} are {"a":1,"b":2}.
	text[len(text)-1] = ','
	return append(text, more[1:]...), nil
}
