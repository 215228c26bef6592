package benchtests

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"servebench/datasets"
	"servebench/datasets/hub"
	"servebench/results"
)

// taskPrompts are a task's prompts for a model.
type taskPrompts struct {
	api     datasets.API
	prompts []datasets.Prompt // measured, in the order of the draw
	warm    []datasets.Prompt // in no measured set
	files   []results.File    // what they were made of, for environment.json
}

// promptSource makes prompts for one model.
type promptSource struct {
	opt   *options
	model datasets.Model
	tok   datasets.Tokenizer
}

// load makes a task's prompts.
func (p *promptSource) load(ctx context.Context, task datasets.Task) (*taskPrompts, error) {
	api := p.model.API(task)
	set, err := p.prepared(task, api)
	if errors.Is(err, fs.ErrNotExist) {
		set, err = p.prepare(ctx, task)
	}
	if err != nil {
		return nil, fmt.Errorf("prompts of task %s for %s: %w", task, p.model.Name, err)
	}
	warm, err := datasets.WarmUp(ctx, task, p.model, p.tok)
	if err != nil {
		return nil, fmt.Errorf("task %s for %s: %w", task, p.model.Name, err)
	}
	t := &taskPrompts{api: api, prompts: set.Prompts, warm: warm.Prompts}
	for _, src := range set.Header.Sources {
		t.files = append(t.files, results.File{Name: set.Header.Dataset + "/" + src.Name, SHA256: src.SHA256})
	}
	t.files = append(t.files, results.File{
		Name: fmt.Sprintf("%s, %d prompts for %s", set.Header.Dataset, len(set.Prompts), p.model.Name), SHA256: set.Header.PromptsSHA256,
	})
	return t, nil
}

// prepared loads a file that datasets/cmd/prepare wrote; fs.ErrNotExist if the
// folder has none. The files of both modes hold the same prompts.
func (p *promptSource) prepared(task datasets.Task, api datasets.API) (*datasets.Set, error) {
	if p.opt.prompts == promptsAuthored || p.opt.prompts == promptsHub {
		return nil, fs.ErrNotExist
	}
	header := datasets.Header{Model: p.model.Name, Dataset: datasets.DatasetFor(task).Name}
	for _, mode := range datasets.Modes() {
		path := filepath.Join(p.opt.prompts, (&datasets.Set{Header: header}).FileName(mode, api))
		set, err := datasets.Load(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && (set.Header.Model != p.model.Name || set.Header.Task != task) {
			err = fmt.Errorf("%s holds prompts of task %s for %s", path, set.Header.Task, set.Header.Model)
		}
		return set, err
	}
	return nil, fs.ErrNotExist
}

// prepare draws prompts from a dataset's rows.
func (p *promptSource) prepare(ctx context.Context, task datasets.Task) (*datasets.Set, error) {
	data := datasets.DatasetFor(task)
	n := p.opt.numPrompts
	var src *datasets.Source
	var err error
	switch p.opt.prompts {
	case promptsHub:
		var c *hub.Client
		if c, err = hub.FromEnv(); err == nil {
			src, err = data.Download(ctx, c, "")
		}
	case promptsAuthored:
		if n == 0 {
			n = datasets.All
		}
		src, err = data.Open(filepath.Join(p.opt.root, "testdata", "prompts", data.Name+".jsonl"))
	default:
		var files []string
		if files, err = rowFiles(p.opt.prompts, data.Name); err == nil {
			src, err = data.Open(files...)
		}
	}
	if err != nil {
		return nil, err
	}
	set, err := datasets.Prepare(ctx, src, p.model, p.tok, datasets.Options{Seed: datasets.DefaultSeed, N: n})
	var few *datasets.TooFewError
	if errors.As(err, &few) {
		err = fmt.Errorf("%w (here that is -num-prompts)", err)
	}
	return set, err
}

// rowFiles finds a dataset's files in a folder: NAME.jsonl, NAME.jsonl.gz,
// NAME.parquet, or the shards NAME-*.parquet.
func rowFiles(dir, name string) ([]string, error) {
	for _, ext := range []string{".jsonl", ".jsonl.gz", ".parquet"} {
		path := filepath.Join(dir, name+ext)
		if _, err := os.Stat(path); err == nil {
			return []string{path}, nil
		}
	}
	shards, err := filepath.Glob(filepath.Join(dir, name+"-*.parquet"))
	if err != nil || len(shards) > 0 {
		return shards, err
	}
	return nil, fmt.Errorf("the folder %s has neither prepared prompts (go run ./datasets/cmd/prepare) nor the dataset's rows in %s.jsonl, %s.jsonl.gz or %s.parquet",
		dir, name, name, name)
}
