package results

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
)

// The files of a run folder.
const (
	FileBench       = "bench.txt"
	FileCSV         = "results.csv"
	FileRequests    = "requests.jsonl"
	FileJournal     = "journal.jsonl"
	FileEnvironment = "environment.json"
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

// Load reads a run folder and yields the summary of every finished pass,
// computed anew from the raw records. Records of a pass that has no line in
// the journal are passed over: it was cut short.
func Load(dir string) iter.Seq2[*Summary, error] {
	return func(yield func(*Summary, error) bool) {
		f, err := os.Open(filepath.Join(dir, FileJournal))
		if err != nil {
			yield(nil, fmt.Errorf("run folder: %w", err))
			return
		}
		j, err := readJournal(f)
		_ = f.Close()
		if err != nil {
			yield(nil, fmt.Errorf("run folder %s: %w", dir, err))
			return
		}
		for s, err := range j.summaries(dir) {
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}

// summaries reads the finished part of requests.jsonl, pass by pass.
func (j *journal) summaries(dir string) iter.Seq2[*Summary, error] {
	return func(yield func(*Summary, error) bool) {
		f, err := os.Open(filepath.Join(dir, FileRequests))
		if err != nil {
			yield(nil, fmt.Errorf("run folder: %w", err))
			return
		}
		defer f.Close()
		notes := j.notes
		finished := io.LimitReader(f, j.sizes[FileRequests])
		for pass, err := range Passes(ReadRequests(finished)) {
			if err != nil {
				yield(nil, fmt.Errorf("%s: %w", f.Name(), err))
				return
			}
			k := key{pass[0].Case, pass[0].Repeat}
			if len(notes) == 0 || notes[0].key != k || notes[0].Requests != len(pass) {
				yield(nil, fmt.Errorf("%s: %d requests of %s do not agree with %s", f.Name(), len(pass), k, FileJournal))
				return
			}
			s := Summarize(pass, notes[0].Options)
			if !yield(&s, nil) {
				return
			}
			notes = notes[1:]
		}
		if len(notes) > 0 {
			yield(nil, fmt.Errorf("%s: the requests of %s are missing", f.Name(), notes[0].key))
		}
	}
}

// encodeLine appends v as a line of JSON.
func encodeLine(b *bytes.Buffer, v any) error {
	enc := json.NewEncoder(b) // ends with a newline
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
