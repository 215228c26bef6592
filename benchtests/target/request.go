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
	// NoSeed leaves the prompt's seed out. Body sets it for SeedStops.
	NoSeed bool
	// SharedPrefix says that other prompts begin alike and a cache of what they
	// begin with may help. A framework whose cache can be turned off by request
	// has it off otherwise.
	SharedPrefix bool
}

// Route returns the path that requests of an API are posted to.
func (t *Target) Route(api datasets.API) string {
	if api == datasets.ChatAPI {
		return "/v1/chat/completions"
	}
	return "/v1/completions"
}

// body is a request of OpenAI's API with the field that servers have added for
// benchmarks. min_tokens is left out: it says nothing more, and costs vLLM a
// pass over the logits in every step.
type body struct {
	datasets.Request
	IgnoreEOS bool `json:"ignore_eos,omitempty"`
}

// request is the part of a request that all targets have in common.
func (r Request) request() datasets.Request { return r.Prompt.Request(r.Mode, r.Served, r.API) }

// seedless is a body whose seed is left out.
type seedless struct {
	body
	Seed *int64 `json:"seed,omitempty"` // nil; it hides the body's
}

// openAI is the Payload of a server that takes ignore_eos.
func openAI(r Request) any {
	b := body{Request: r.request(), IgnoreEOS: r.IgnoreEOS}
	if r.NoSeed {
		return seedless{body: b}
	}
	return b
}

// Body returns the request's JSON.
func (t *Target) Body(r Request) ([]byte, error) {
	if r.API == datasets.ChatAPI && !t.Chat {
		return nil, fmt.Errorf("%s has no chat route", t.Name)
	}
	if r.Mode == datasets.Sync && !t.Sync {
		return nil, fmt.Errorf("%s answers in streams alone; measure it with -mode stream", t.Name)
	}
	r.NoSeed = r.NoSeed || t.SeedStops
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(t.Payload(r)); err != nil {
		return nil, fmt.Errorf("body of prompt %s: %w", r.Prompt.ID, err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}
