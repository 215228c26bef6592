package weights

import (
	"context"
	"errors"

	"servebench/datasets/hub"
)

// LoadFormat says where weights come from: --load-format.
type LoadFormat string

// The load formats.
const (
	Auto  LoadFormat = "auto"  // from the model's files; "" means the same
	Dummy LoadFormat = "dummy" // seeded random weights in the model's shapes, no weight file read
)

// Options say how a model is found and opened.
type Options struct {
	LoadFormat LoadFormat
	Seed       uint64      // of dummy weights
	Hub        *hub.Client // for hub ids; nil: hub.FromEnv
}

// Location is where a model's files are: a folder or a GGUF file; neither for
// dummy weights of a known hub id.
type Location struct {
	ID   string // canonical hub id, "" for a local path
	Dir  string // folder with config.json, tokenizer.json, … ; "" when there is none
	GGUF string // path of a .gguf file, "" when there is none
}

// Parts are what Resolve makes sure is on this machine.
type Parts int

// What to resolve.
const (
	TokenizerOnly Parts = iota // configuration, tokenizer and chat template; no weights
	Everything                 // and the weights, unless LoadFormat is Dummy
)

// Resolve finds a model: a folder, a .gguf file, or a hub id, whose files are
// downloaded into the hub's cache where they are missing. With LoadFormat
// Dummy a known hub id needs no file and no network: Dir and GGUF are then
// empty. Errors are hub's sentinels for ids, fs.ErrNotExist for paths.
func Resolve(ctx context.Context, model string, need Parts, o Options) (Location, error) {
	return Location{}, errors.ErrUnsupported
}

// Open opens the checkpoint at a location that was resolved with Everything.
func (l Location) Open(o Options) (Checkpoint, error) { return nil, errors.ErrUnsupported }

// Open resolves a model with Everything and opens it.
func Open(ctx context.Context, model string, o Options) (Checkpoint, error) {
	loc, err := Resolve(ctx, model, Everything, o)
	if err != nil {
		return nil, err
	}
	return loc.Open(o)
}

// Known returns the canonical hub id of a model whose configuration is built
// in ("gpt2" gives "openai-community/gpt2"), and whether there is one.
func Known(model string) (id string, ok bool) { return "", false }
