package results

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Latest is the name of the link to the newest run.
const Latest = "latest"

// ErrMismatch is returned, wrapped with the differences, when a run cannot be
// gone on with because the code, flags, model or machine is another now.
var ErrMismatch = errors.New("the run was made with something else")

// ErrLocked is returned when another process is writing the run.
var ErrLocked = errors.New("the run is being written by another process")

// RunOptions say how a run is written.
type RunOptions struct {
	Name        string      // folder's name; "" makes one that sorts by time
	CSV         string      // a copy of results.csv kept here after every case; "" is none
	Kinds       []Kind      // what bench.txt's lines hold; none is all
	Environment Environment // written to environment.json
}

// Run is a folder that a run of the suite is written to. Its methods may be
// called from several goroutines.
type Run struct {
	dir string
	o   RunOptions

	mu      sync.Mutex
	env     Environment
	checked []Checked              // contract.json
	files   map[string]*appendFile // by name: bench.txt, results.csv, requests.jsonl, journal.jsonl
	order   []*Summary
	done    map[key]*Summary
	dummy   bool   // the configuration that bench.txt is in
	broken  string // likewise, brokenTerms
}

// Create makes root/<name>/ with its files and points root/latest to it.
// root is made if it is missing (the suite's is results/runs).
func Create(root string, o RunOptions) (_ *Run, err error) {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, fmt.Errorf("run folder: %w", err)
	}
	if o.Name, err = makeFolder(root, o.Name); err != nil {
		return nil, err
	}
	r := newRun(filepath.Join(root, o.Name), o)
	defer func() {
		if err != nil {
			_ = r.Close()
		}
	}()
	r.env.Format = format
	if r.env.Started.IsZero() {
		r.env.Started = time.Now().UTC().Round(time.Second)
	}
	if err := writeJSON(r.path(FileEnvironment), r.env); err != nil {
		return nil, fmt.Errorf("run folder: %w", err)
	}
	if err := r.openFiles(os.O_CREATE|os.O_EXCL, nil); err != nil {
		return nil, err
	}
	var head bytes.Buffer
	if err := WriteCSV(&head, true); err != nil {
		return nil, err
	}
	err = r.commit(entry{Format: format}, map[string][]byte{
		FileBench: []byte(benchHeader(r.env.Machine.CPU, o.Kinds)),
		FileCSV:   head.Bytes(),
	})
	if err != nil {
		return nil, err
	}
	// A copy that cannot be written is told now, not after the first case.
	if err := r.copyCSV(); err != nil {
		return nil, err
	}
	if err := pointLatest(root, o.Name); err != nil {
		return nil, fmt.Errorf("run folder: %w", err)
	}
	return r, nil
}

// makeFolder makes root/name, or a folder with a new name that sorts by time.
func makeFolder(root, name string) (string, error) {
	if name != "" {
		if name == Latest || strings.HasPrefix(name, ".") || name != filepath.Base(name) {
			return "", fmt.Errorf("run folder: %q cannot be a run's name: it must be a file name, not %q, and not begin with a dot", name, Latest)
		}
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
			return "", fmt.Errorf("run folder: %w", err)
		}
		return name, nil
	}
	for {
		name = time.Now().UTC().Format("20060102T150405Z") + "-" + randomHex(3)
		err := os.Mkdir(filepath.Join(root, name), 0o755)
		if err == nil {
			return name, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("run folder: %w", err)
		}
	}
}

// Open goes on with the run in dir. What a crash left behind of an unfinished
// case is cut off. Returns ErrMismatch when o.Environment is not that of the
// run, ErrLocked when another process has it open.
func Open(dir string, o RunOptions) (_ *Run, err error) {
	dir, err = filepath.EvalSymlinks(dir) // latest may point elsewhere tomorrow
	if err != nil {
		return nil, fmt.Errorf("run folder: %w", err)
	}
	r := newRun(dir, o)
	env, err := readEnvironment(dir)
	if err != nil {
		return nil, err
	}
	if d := env.differences(&o.Environment); len(d) > 0 {
		return nil, fmt.Errorf("%s: %w: %s", dir, ErrMismatch, strings.Join(d, "; "))
	}
	r.env = env
	if r.checked, err = readContract(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = r.Close()
		}
	}()
	j, err := r.recover()
	if err != nil {
		return nil, err
	}
	for s, err := range (&Folder{dir, j}).Summaries() {
		if err != nil {
			return nil, err
		}
		r.remember(s)
	}
	if j.complete { // it is not any more
		if err := r.commit(entry{}, nil); err != nil {
			return nil, err
		}
	}
	r.env.Resumed = append(r.env.Resumed, time.Now().UTC().Round(time.Second))
	if err := writeJSON(r.path(FileEnvironment), r.env); err != nil {
		return nil, fmt.Errorf("run folder: %w", err)
	}
	return r, r.copyCSV()
}

// recover locks the journal, reads it, and cuts every file to what it says.
func (r *Run) recover() (*journal, error) {
	f, err := os.OpenFile(r.path(FileJournal), os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("run folder: %w", err)
	}
	r.files[FileJournal] = &appendFile{f: f}
	if err := lock(f); err != nil {
		return nil, fmt.Errorf("%s: %w", r.dir, err)
	}
	j, err := readJournal(f)
	if err != nil {
		return nil, fmt.Errorf("run folder %s: %w", r.dir, err)
	}
	r.files[FileJournal].size = j.size
	if err := r.files[FileJournal].rollback(); err != nil {
		return nil, fmt.Errorf("run folder: %w", err)
	}
	return j, r.openFiles(0, j.sizes)
}

// Resume opens root/latest if that run was cut short (Complete was not called)
// and its environment is the same, and creates a run otherwise. The string
// says which and why, in a sentence.
func Resume(root string, o RunOptions) (*Run, string, error) {
	latest := filepath.Join(root, Latest)
	create := func(why string) (*Run, string, error) {
		r, err := Create(root, o)
		if err != nil {
			return nil, "", err
		}
		return r, "a new run, " + r.dir + ": " + why, nil
	}
	last, err := Load(latest)
	if errors.Is(err, fs.ErrNotExist) {
		return create("there is none to go on with")
	}
	if err == nil && last.Complete() {
		return create("the last one is complete")
	}
	r, err := Open(latest, o)
	if err != nil {
		return create("cannot go on with the last one: " + err.Error())
	}
	return r, fmt.Sprintf("going on with %s, which has %d finished cases", r.dir, len(r.order)), nil
}

func newRun(dir string, o RunOptions) *Run {
	o.Kinds = slices.Clone(o.Kinds)
	return &Run{dir: dir, o: o, env: o.Environment, files: make(map[string]*appendFile), done: make(map[key]*Summary)}
}

func (r *Run) path(name string) string { return filepath.Join(r.dir, name) }

// openFiles opens the files that are not open yet, at the sizes given.
func (r *Run) openFiles(flag int, sizes map[string]int64) error {
	for _, name := range []string{FileJournal, FileRequests, FileCSV, FileBench} {
		if r.files[name] != nil {
			continue
		}
		a, err := openAppend(r.path(name), flag, sizes[name])
		if err != nil {
			return fmt.Errorf("run folder: %w", err)
		}
		r.files[name] = a
		if name == FileJournal {
			if err := lock(a.f); err != nil {
				return fmt.Errorf("%s: %w", r.dir, err)
			}
		}
	}
	return syncDir(r.dir)
}

// Dir returns the run's folder.
func (r *Run) Dir() string { return r.dir }

// Done returns the summary of a finished pass, whether this process ran it
// or one before it.
func (r *Run) Done(c Case, repeat int) (*Summary, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.done[key{c, repeat}]
	return s, ok
}

// Finished returns all finished passes, in the order they were finished.
func (r *Run) Finished() iter.Seq[*Summary] {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Values(slices.Clone(r.order))
}

// Add summarizes one pass over a case and writes it to every file of the run.
// When it returns, the pass is on the disk. No request, records that Check
// finds fault with, and a pass that was added before are refused, and then
// nothing is written.
func (r *Run) Add(reqs []Request, o Options) (*Summary, error) {
	if len(reqs) == 0 {
		return nil, errors.New("run: a pass without requests")
	}
	k := key{reqs[0].Case, reqs[0].Repeat}
	var lines bytes.Buffer
	for i := range reqs {
		if err := reqs[i].Check(); err != nil {
			return nil, fmt.Errorf("run: request %d of %s: %w", reqs[i].Index, k, err)
		}
		if (key{reqs[i].Case, reqs[i].Repeat}) != k {
			return nil, fmt.Errorf("run: requests of two passes in one: %s and %s", k, key{reqs[i].Case, reqs[i].Repeat})
		}
		if err := encodeLine(&lines, &reqs[i]); err != nil {
			return nil, fmt.Errorf("run: request %d of %s: %w", reqs[i].Index, k, err)
		}
	}
	s := Summarize(reqs, o)
	var row bytes.Buffer
	if err := WriteCSV(&row, false, &s); err != nil {
		return nil, err
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done[k] != nil {
		return nil, fmt.Errorf("run: %s was added before", k)
	}
	bench := benchLine(&s, r.o.Kinds)
	if bench != "" && s.Dummy != r.dummy {
		bench = weightsLine(s.Dummy) + bench
	}
	if bench != "" && brokenTerms(&s) != r.broken {
		bench = contractLine(&s) + bench
	}
	note := &passNote{key: k, Requests: len(reqs), Options: s.Options}
	err := r.commit(entry{Pass: note}, map[string][]byte{
		FileRequests: lines.Bytes(),
		FileCSV:      row.Bytes(),
		FileBench:    []byte(bench),
	})
	if err != nil {
		return nil, err
	}
	r.remember(&s)
	return &s, r.copyCSV()
}

func (r *Run) remember(s *Summary) {
	r.done[key{s.Case, s.Repeat}] = s
	r.order = append(r.order, s)
	if s.Failed < s.Requests { // it has a line in bench.txt
		r.dummy, r.broken = s.Dummy, brokenTerms(s)
	}
}

// errClosed is what writing to a closed run returns.
var errClosed = errors.New("the run is closed")

// commit appends to the files, each to the disk before the next, and last of
// all the journal's line. If any of that fails, all are cut back.
func (r *Run) commit(e entry, data map[string][]byte) (err error) {
	if r.files[FileJournal] == nil {
		return fmt.Errorf("%s: %w", r.dir, errClosed)
	}
	defer func() {
		if err == nil {
			return
		}
		err = fmt.Errorf("run folder: %w", err)
		for _, a := range r.files {
			err = errors.Join(err, a.rollback())
		}
	}()
	e.Sizes = make(map[string]int64)
	for _, name := range []string{FileRequests, FileCSV, FileBench} {
		if err := r.files[name].write(data[name]); err != nil {
			return err
		}
		e.Sizes[name] = r.files[name].size + int64(len(data[name]))
	}
	var line bytes.Buffer
	if err := encodeLine(&line, e); err != nil {
		return err
	}
	if err := r.files[FileJournal].write(line.Bytes()); err != nil {
		return err
	}
	for name, size := range e.Sizes {
		r.files[name].size = size
	}
	r.files[FileJournal].size += int64(line.Len())
	return nil
}

// copyCSV brings the copy that was asked for up to date.
func (r *Run) copyCSV() error {
	if r.o.CSV == "" {
		return nil
	}
	data, err := r.files[FileCSV].readAll()
	if err == nil {
		err = writeFile(r.o.CSV, data)
	}
	if err != nil {
		return fmt.Errorf("the copy of results.csv: %w", err)
	}
	return nil
}

// AddServer writes a server into environment.json, once for each framework
// and model. On a run that was opened again it returns ErrMismatch if the
// server is not the one that the earlier cases were measured on: a new run has
// to be created then.
func (r *Run) AddServer(s Server) error {
	s.Command, s.Env, s.URL = redactArgs(s.Command), redactArgs(s.Env), redactText(s.URL)
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.env.Servers {
		old := &r.env.Servers[i]
		if old.Framework != s.Framework || old.Model != s.Model {
			continue
		}
		if d := old.differences(&s); len(d) > 0 {
			return fmt.Errorf("%s serving %s: %w: %s", s.Framework, s.Model, ErrMismatch, strings.Join(d, "; "))
		}
		return nil
	}
	r.env.Servers = append(r.env.Servers, s)
	return writeJSON(r.path(FileEnvironment), r.env)
}

// Servers returns the servers that cases were measured on.
func (r *Run) Servers() []Server {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.env.Servers)
}

// AddDataset writes a file of prompts into environment.json, once for each
// name. Another content under a name that is there returns ErrMismatch.
func (r *Run) AddDataset(f File) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, old := range r.env.Datasets {
		if old.Name == f.Name && old != f {
			return fmt.Errorf("prompts %s: %w: its content", f.Name, ErrMismatch)
		}
		if old.Name == f.Name {
			return nil
		}
	}
	r.env.Datasets = append(r.env.Datasets, f)
	return writeJSON(r.path(FileEnvironment), r.env)
}

// Complete marks the run as having done all it was meant to: Resume will not go on with it.
func (r *Run) Complete() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.commit(entry{Complete: true}, nil)
}

// Close closes the files. It does not complete the run.
func (r *Run) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	for _, a := range r.files {
		err = errors.Join(err, a.f.Close())
	}
	clear(r.files)
	return err
}
