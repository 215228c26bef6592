package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"servebench/benchtests/target"
	"servebench/datasets"
)

// installed says where the peers' setup.sh puts a framework's program in its
// folder, and what it is told to install it.
var installed = map[string]struct{ path, setup string }{
	"vllm":         {"py/bin/vllm", "../shared/peers/setup.sh DIR vllm"},
	"transformers": {"py/bin/transformers", "../shared/peers/setup.sh DIR vllm transformers"},
	"llamacpp":     {"llama/llama-server", "../shared/peers/setup.sh DIR llamacpp"},
	"tgi":          {"text-generation-launcher", "../shared/peers/tgi/setup.sh DIR"},
}

// model is a model in the two forms that frameworks take.
type model struct {
	name   string // of the suite
	folder string // of safetensors
	gguf   string // the same weights
}

// modelFolders are the models' folders in that which setup.sh makes.
var modelFolders = map[string]string{"gpt2": "gpt2", "smollm2-135m-instruct": "smollm2"}

// path returns the form that a framework takes.
func (m model) path(t *target.Target) string {
	if t.Folders {
		return m.folder
	}
	return m.gguf
}

// findModel finds a model, name or name=FOLDER, with FOLDER-bf16.gguf beside it.
func findModel(text string, peers []string) (model, error) {
	name, folder, given := strings.Cut(text, "=")
	if _, err := datasets.ModelByName(name); err != nil {
		return model{}, err
	}
	if !given {
		dir, ok := modelFolders[name]
		if !ok {
			return model{}, fmt.Errorf("model %s: no setup makes it, give its folder as %s=FOLDER", name, name)
		}
		if folder = firstOf(peers, filepath.Join("models", dir)); folder == "" {
			return model{}, fmt.Errorf("model %s: there is no models/%s in %s; make it with: ../shared/peers/setup.sh DIR llamacpp models",
				name, dir, strings.Join(peers, ", "))
		}
	}
	folder, err := filepath.Abs(folder)
	if err != nil {
		return model{}, err
	}
	return model{name: name, folder: folder, gguf: folder + "-bf16.gguf"}, nil
}

// firstOf returns the first dir/path that exists, "" if none does.
func firstOf(dirs []string, path string) string {
	for _, dir := range dirs {
		if p := filepath.Join(dir, path); exists(p) {
			return p
		}
	}
	return ""
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// find looks for the programs and model files of all turns. The variables that
// it returns tell the suite where the programs are.
func find(ctx context.Context, frameworks []*target.Target, models []model, peers []string) (env []string, err error) {
	var errs []error
	for _, t := range frameworks {
		if where, isPeer := installed[t.Name]; isPeer {
			path := firstOf(peers, where.path)
			if path != "" && os.Getenv(t.Variable) == "" {
				if path, err = filepath.Abs(path); err != nil {
					return nil, err
				}
				env = append(env, t.Variable+"="+path)
			} else if _, err := t.Program(ctx, ""); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w; install it with\n  %s\nand name DIR in -peers (%s now), or leave it out of -frameworks",
					t.Name, err, where.setup, strings.Join(peers, ",")))
			}
		}
		for _, m := range models {
			if !exists(m.path(t)) {
				errs = append(errs, fmt.Errorf("%s takes model %s as %s, which is not there; make it with\n  ../shared/peers/setup.sh DIR llamacpp models",
					t.Name, m.name, m.path(t)))
			}
		}
	}
	return env, errors.Join(errs...)
}
