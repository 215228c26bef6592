package results

import (
	"errors"
	"iter"
)

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
type Run struct{ dir string }

// Create makes root/<name>/ with its files and points root/latest to it.
// root is made if it is missing (the suite's is results/runs).
func Create(root string, o RunOptions) (*Run, error) { return nil, errors.ErrUnsupported }

// Open goes on with the run in dir. What a crash left behind of an unfinished
// case is cut off. Returns ErrMismatch when o.Environment is not that of the
// run, ErrLocked when another process has it open.
func Open(dir string, o RunOptions) (*Run, error) { return nil, errors.ErrUnsupported }

// Resume opens root/latest if that run was cut short (Complete was not called)
// and its environment is the same, and creates a run otherwise. The string
// says which and why, in a sentence.
func Resume(root string, o RunOptions) (*Run, string, error) {
	return nil, "", errors.ErrUnsupported
}

// Dir returns the run's folder.
func (r *Run) Dir() string { return r.dir }

// Done returns the summary of a finished pass, whether this process ran it
// or one before it.
func (r *Run) Done(c Case, repeat int) (*Summary, bool) { return nil, false }

// Finished returns all finished passes, in the order they were finished.
func (r *Run) Finished() iter.Seq[*Summary] { return func(func(*Summary) bool) {} }

// Add summarizes one pass over a case and writes it to every file of the run.
// When it returns, the pass is on the disk. A pass that was added before is refused.
func (r *Run) Add(reqs []Request, o Options) (*Summary, error) {
	return nil, errors.ErrUnsupported
}

// AddServer writes a server into environment.json, once for each framework
// and model. On a run that was opened again it returns ErrMismatch if the
// server is not the one that the earlier cases were measured on.
func (r *Run) AddServer(s Server) error { return errors.ErrUnsupported }

// Complete marks the run as having done all it was meant to: Resume will not go on with it.
func (r *Run) Complete() error { return errors.ErrUnsupported }

// Close closes the files. It does not complete the run.
func (r *Run) Close() error { return errors.ErrUnsupported }
