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
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}
