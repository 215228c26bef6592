package target

import (
	"context"
	"fmt"
	"strings"
)

// Config is what a server is to serve, in no framework's words.
type Config struct {
	Model  string   // folder, .gguf file or hub id
	Served string   // the name that requests ask for
	Dtype  string   // of weights and KV cache; one of Capabilities.Dtypes
	Dummy  bool     // random weights in the model's shapes
	Seed   uint64   // of dummy weights
	Port   int      // on the loopback interface
	Extra  []string // arguments passed on as they are, last
}

// Capabilities are the ways in which frameworks differ, as far as a measurement
// depends on them.
type Capabilities struct {
	IgnoreEOS    bool     // ignore_eos lets an answer run to max_tokens
	MinTokens    bool     // min_tokens is kept
	Seed         bool     // the same seed gives the same text
	StreamUsage  bool     // stream_options.include_usage gives counts at a stream's end
	TokenPrompts bool     // a completion's prompt may be token ids
	Chat         bool     // /v1/chat/completions, with the model's template
	DummyWeights bool     // Config.Dummy
	Dtypes       []string // the first is the default
	// NoKeepAlive is true when the server closes connections that its headers
	// say it keeps, so that each request needs one of its own.
	NoKeepAlive bool
	// PrefixCache is true when a prompt's beginning that was seen before is not
	// computed again. Cases that send the same prompts are then not cold.
	PrefixCache bool
}

// Target is a framework.
type Target struct {
	Name  string // in case names
	Ready string // route that answers 2xx once requests can be served
	Capabilities
	// Fields are put into every request: what the framework would otherwise set
	// to a default of its own.
	Fields map[string]any

	// Program returns the path of what is run. given is the user's choice, "" for none.
	Program func(ctx context.Context, given string) (string, error)
	// Version returns the program's own name of its version.
	Version func(ctx context.Context, program string) (string, error)
	// Args returns the command line behind the program's name.
	Args func(Config) []string
}

// All returns the known targets in order.
func All() []*Target { return []*Target{&custom, &llamacpp} }

// Names returns their names.
func Names() []string {
	var names []string
	for _, t := range All() {
		names = append(names, t.Name)
	}
	return names
}

// ByName returns a target; the error lists those that exist.
func ByName(name string) (*Target, error) {
	for _, t := range All() {
		if t.Name == name {
			return t, nil
		}
	}
	return nil, fmt.Errorf("unknown framework %q: choose from %s", name, strings.Join(Names(), ", "))
}
