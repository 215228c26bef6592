package benchtests

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"servebench/datasets"
	"servebench/datasets/hub"
	"servebench/results"
)

// taskPrompts are the prompts of a pass for a model.
type taskPrompts struct {
	api     datasets.API
	prefix  bool              // they begin alike, and so do the warm-up prompts
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

// warmTokens is how long an answer to a warm-up prompt of a fixed task is:
// enough to have every size of step run once.
const warmTokens = 16

// fixed draws the prompts of a pass over a fixed task. Every pass has others,
// and so have the same lengths in another mode or with more in flight: a server
// that keeps what it has seen meets nothing of it again.
func (p *promptSource) fixed(ctx context.Context, f datasets.Fixed, c results.Case, repeat int) (*taskPrompts, error) {
	src, err := p.rows(ctx, datasets.DatasetFor(datasets.Summarization))
	if err != nil {
		return nil, fmt.Errorf("texts of task %s: %w", f.Task(), err)
	}
	key := fmt.Sprintf("%s, %d in flight, pass %d", c.Mode, c.Parallel, repeat)
	n, warm := p.opt.numPrompts, max(minWarm, c.Parallel)
	if n == 0 {
		n = max(datasets.DefaultN, wavesDrawn*c.Parallel)
	}
	set, err := datasets.DrawFixed(ctx, src, p.model, p.tok, f, datasets.FixedOptions{Seed: p.opt.seed, Key: key, N: n + warm})
	if err != nil {
		return nil, err
	}
	t := &taskPrompts{api: p.model.API(f.Task()), prefix: f.Prefix > 0, prompts: set.Prompts[:n], warm: slices.Clone(set.Prompts[n:])}
	for i := range t.warm {
		t.warm[i].MaxTokens = min(t.warm[i].MaxTokens, warmTokens)
	}
	t.files = files(set, t.api, fmt.Sprintf("%s, %s", f.Task(), key))
	return t, nil
}

// wavesDrawn is how often each stream can send a fixed prompt before they
// repeat, unless -num-prompts says otherwise.
const wavesDrawn = 16

// files are what a set was made of, and what of it is sent.
func files(set *datasets.Set, api datasets.API, what string) []results.File {
	var out []results.File
	for _, src := range set.Header.Sources {
		out = append(out, results.File{Name: set.Header.Dataset + "/" + src.Name, SHA256: src.SHA256})
	}
	return append(out, results.File{
		Name: fmt.Sprintf("%s, %d prompts for %s", what, len(set.Prompts), set.Header.Model), SHA256: set.SentSHA256(api),
	})
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
	return &taskPrompts{api: api, prompts: set.Prompts, warm: warm.Prompts, files: files(set, api, set.Header.Dataset)}, nil
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
	n := p.opt.numPrompts
	if n == 0 && p.opt.prompts == promptsAuthored {
		n = datasets.All
	}
	src, err := p.rows(ctx, datasets.DatasetFor(task))
	if err != nil {
		return nil, err
	}
	set, err := datasets.Prepare(ctx, src, p.model, p.tok, datasets.Options{Seed: p.opt.seed, N: n})
	var few *datasets.TooFewError
	if errors.As(err, &few) {
		err = fmt.Errorf("%w (here that is -num-prompts)", err)
	}
	return set, err
}

// rows finds a dataset's rows.
func (p *promptSource) rows(ctx context.Context, data datasets.Dataset) (*datasets.Source, error) {
	switch p.opt.prompts {
	case promptsHub:
		c, err := hub.FromEnv()
		if err != nil {
			return nil, err
		}
		return data.Download(ctx, c, "")
	case promptsAuthored:
		return data.Open(filepath.Join(p.opt.root, "testdata", "prompts", data.Name+".jsonl"))
	}
	files, err := rowFiles(p.opt.prompts, data.Name)
	if err != nil {
		return nil, err
	}
	return data.Open(files...)
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
