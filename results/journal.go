package results

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// The files of a run folder.
const (
	FileBench       = "bench.txt"
	FileCSV         = "results.csv"
	FileRequests    = "requests.jsonl"
	FileJournal     = "journal.jsonl"
	FileEnvironment = "environment.json"
	FileContract    = "contract.json"
)

// format is the version of the run folder. Other versions are not gone on with.
const format = 1

// entry is a line of journal.jsonl. The line of a pass is written after
// everything else of the pass is on the disk, so a pass is finished exactly
// when its line is whole.
type entry struct {
	Format   int       `json:"format,omitempty"` // on the first line
	Pass     *passNote `json:"pass,omitempty"`
	Complete bool      `json:"complete,omitempty"` // the run did all it was meant to
	// Sizes are the lengths in bytes that the other files had when the line
	// was written. What is behind them was left by a pass that did not finish.
	Sizes map[string]int64 `json:"sizes"`
}

// passNote is what a pass has besides its requests.
type passNote struct {
	key
	Requests int `json:"requests"`
	Options
}

// key identifies a pass within a run.
type key struct {
	Case   Case `json:"case"`
	Repeat int  `json:"repeat"`
}

func (k key) String() string { return fmt.Sprintf("%s (repeat %d)", k.Case, k.Repeat) }

// journal is journal.jsonl, read.
type journal struct {
	notes    []passNote
	complete bool
	sizes    map[string]int64
	size     int64 // of the journal's whole lines
}

// readJournal reads a journal as far as it is whole; a last line that was cut off is left out.
func readJournal(r io.Reader) (*journal, error) {
	j := &journal{}
	for l, err := range readLines[entry](r) {
		if errors.Is(err, ErrCut) || err == nil && !l.whole {
			break // the next line would be appended to this one
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", FileJournal, err)
		}
		e := l.value
		if j.size == 0 && e.Format != format {
			return nil, fmt.Errorf("%s: the folder's format is %d, this program knows %d", FileJournal, e.Format, format)
		}
		if e.Pass != nil {
			j.notes = append(j.notes, *e.Pass)
		}
		j.complete = e.Complete
		j.sizes, j.size = e.Sizes, l.end
	}
	if j.size == 0 {
		return nil, fmt.Errorf("%s: not a whole line in it", FileJournal)
	}
	return j, nil
}

// Folder is a run's folder, open for reading. A run that is being written,
// and one that was killed, can be read: its finished passes are whole.
type Folder struct {
	dir     string
	journal *journal
}

// Load opens a run's folder for reading. Close is not needed.
func Load(dir string) (*Folder, error) {
	f, err := os.Open(filepath.Join(dir, FileJournal))
	if err != nil {
		return nil, fmt.Errorf("run folder: %w", err)
	}
	defer f.Close()
	j, err := readJournal(f)
	if err != nil {
		return nil, fmt.Errorf("run folder %s: %w", dir, err)
	}
	return &Folder{dir, j}, nil
}

// Complete reports whether the run did all it was meant to.
func (f *Folder) Complete() bool { return f.journal.complete }

// Environment reads environment.json.
func (f *Folder) Environment() (Environment, error) { return readEnvironment(f.dir) }

// Open opens one of the run's files for reading, as far as it belongs to
// finished passes.
func (f *Folder) Open(name string) (io.ReadCloser, error) {
	size, ok := f.journal.sizes[name]
	if !ok {
		return nil, fmt.Errorf("run folder %s: %s is not a file of results", f.dir, name)
	}
	file, err := os.Open(filepath.Join(f.dir, name))
	if err != nil {
		return nil, fmt.Errorf("run folder: %w", err)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(file, size), file}, nil
}

// Warnings tells, a sentence each, what of the folder was left by a pass that
// was cut short. The other methods pass over it.
func (f *Folder) Warnings() []string {
	var w []string
	for _, name := range slices.Sorted(maps.Keys(f.journal.sizes)) {
		st, err := os.Stat(filepath.Join(f.dir, name))
		if err == nil && st.Size() > f.journal.sizes[name] {
			w = append(w, fmt.Sprintf("the last %d bytes of %s are of a pass that did not finish", st.Size()-f.journal.sizes[name], name))
		}
	}
	return w
}

// Summaries yields the summary of every finished pass, computed anew from the
// raw records.
func (f *Folder) Summaries() iter.Seq2[*Summary, error] {
	return func(yield func(*Summary, error) bool) {
		fail := func(format string, args ...any) {
			yield(nil, fmt.Errorf("%s: %w", filepath.Join(f.dir, FileRequests), fmt.Errorf(format, args...)))
		}
		r, err := f.Open(FileRequests)
		if err != nil {
			yield(nil, err)
			return
		}
		defer r.Close()
		notes := f.journal.notes
		for pass, err := range Passes(ReadRequests(r)) {
			if err != nil {
				fail("%w", err)
				return
			}
			k := key{pass[0].Case, pass[0].Repeat}
			if len(notes) == 0 || notes[0].key != k || notes[0].Requests != len(pass) {
				fail("%d requests of %s do not agree with %s", len(pass), k, FileJournal)
				return
			}
			s := Summarize(pass, notes[0].Options)
			if !yield(&s, nil) {
				return
			}
			notes = notes[1:]
		}
		if len(notes) > 0 {
			fail("the requests of %s are missing", notes[0].key)
		}
	}
}

// encodeLine appends v as a line of JSON.
func encodeLine(b *bytes.Buffer, v any) error {
	enc := json.NewEncoder(b) // ends with a newline
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
