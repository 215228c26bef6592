package weights

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

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
	Dir  string // folder with config.json, tokenizer.json, …; "" where there is none
	GGUF string // path of a .gguf file, "" where there is none
}

// Parts are what Resolve makes sure is on this machine.
type Parts int

// What to resolve.
const (
	TokenizerOnly Parts = iota // configuration, tokenizer and chat template; no weights
	Everything                 // and the weights, unless LoadFormat is Dummy
)

// The files of a hub repository that a server reads. Weights match at the top
// level only: sub-folders hold exports to other formats, and consolidated.*
// the same weights again under other names.
var (
	configFiles    = []string{"config.json"}
	tokenizerFiles = []string{"generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"}
	weightFiles    = []string{"model*.safetensors"}
	indexFiles     = []string{indexName}
)

// Files returns the files that Resolve has a hub repository's snapshot hold.
func Files(need Parts, format LoadFormat) hub.Files {
	f := hub.Files{Need: configFiles, Want: tokenizerFiles}
	if need == Everything && format != Dummy {
		f.Need = append(f.Need[:1:1], weightFiles...)
		f.Want = append(f.Want[:len(f.Want):len(f.Want)], indexFiles...)
	}
	return f
}

// Resolve finds a model: a folder, a .gguf file, or a hub id, whose files are
// downloaded into the hub's cache where it lacks them. A path that exists goes
// before an id. With LoadFormat Dummy a known hub id (see Known) needs neither
// file nor network: Dir and GGUF are then empty. Errors are hub's sentinels for
// ids, fs.ErrNotExist for what can only be a path.
func Resolve(ctx context.Context, model string, need Parts, o Options) (Location, error) {
	switch o.LoadFormat {
	case "", Auto, Dummy:
	default:
		return Location{}, fmt.Errorf("load format %q is not supported; supported: %s, %s", o.LoadFormat, Auto, Dummy)
	}
	info, err := os.Stat(model)
	switch {
	case err == nil && info.IsDir():
		return Location{Dir: model}, nil
	case err == nil && strings.HasSuffix(model, ".gguf"):
		return Location{GGUF: model}, nil
	case err == nil:
		return Location{}, fmt.Errorf("model %s is neither a folder nor a .gguf file", model)
	case !errors.Is(err, fs.ErrNotExist) || !hub.ValidID(model) || strings.HasSuffix(model, ".gguf"):
		return Location{}, fmt.Errorf("model %q: want a folder, a .gguf file or a hub id as org/name: %w", model, err)
	}
	id, known := Known(model)
	if !known {
		id = model
	}
	if known && o.LoadFormat == Dummy {
		return Location{ID: id}, nil
	}
	client := o.Hub
	if client == nil {
		if client, err = hub.FromEnv(); err != nil {
			return Location{}, err
		}
	}
	dir, err := client.Snapshot(ctx, hub.Repo{Kind: hub.Model, ID: id}, Files(need, o.LoadFormat))
	if err != nil {
		return Location{}, fmt.Errorf("model %s: %w%s", model, err, instead(err))
	}
	return Location{ID: id, Dir: dir}, nil
}

// instead tells someone who cannot have a hub's model what else would do.
func instead(err error) string {
	var missing *hub.MissingError
	switch {
	case errors.As(err, &missing) && slices.Equal(missing.Patterns, weightFiles):
		return otherWeights(missing.Have)
	case errors.Is(err, hub.ErrGated), errors.Is(err, hub.ErrUnreachable), errors.Is(err, hub.ErrOffline):
		return "; or give a folder or a .gguf file that is on this machine, or --load-format dummy for random weights"
	}
	return ""
}

// Path returns the folder or the GGUF file; "" where there is neither.
func (l Location) Path() string {
	if l.GGUF != "" {
		return l.GGUF
	}
	return l.Dir
}

// Open opens the checkpoint at a location that Resolve found with Everything
// and the same options.
func (l Location) Open(o Options) (Checkpoint, error) {
	if o.LoadFormat == Dummy {
		config, err := l.Config()
		if err != nil {
			return nil, err
		}
		return newDummy(config, o.Seed)
	}
	switch {
	case l.GGUF != "":
		return openGGUF(l.GGUF)
	case l.Dir != "":
		return openFolder(l.Dir)
	}
	return nil, fmt.Errorf("model %s has no files on this machine: it was resolved for dummy weights", l.ID)
}

// Config reads the config.json alone, or what a GGUF file says of it, or the
// built-in one.
func (l Location) Config() (json.RawMessage, error) {
	switch {
	case l.GGUF != "":
		c, err := openGGUF(l.GGUF)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		return c.Config(), nil
	case l.Dir != "":
		return readConfig(l.Dir)
	}
	config, ok := knownConfig(l.ID)
	if !ok {
		return nil, fmt.Errorf("model %q has neither files nor a built-in configuration", l.ID)
	}
	return config, nil
}

// Open resolves a model with Everything and opens it.
func Open(ctx context.Context, model string, o Options) (Checkpoint, error) {
	loc, err := Resolve(ctx, model, Everything, o)
	if err != nil {
		return nil, err
	}
	return loc.Open(o)
}

// maxConfig bounds a config.json, which has a few kilobytes.
const maxConfig = 16 << 20

// readConfig reads a folder's config.json.
func readConfig(dir string) ([]byte, error) {
	path := filepath.Join(dir, "config.json")
	b, err := readSmall(path, maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has no config.json: want a model folder as Transformers saves it: %w", dir, err)
	}
	if err != nil {
		return nil, err
	}
	return b, checkConfig(path, b)
}
