package datasets

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// line is a prompt in a prepared file: what the request body does not say,
// and the body.
type line struct {
	ID     string          `json:"id"`
	Tokens Tokens          `json:"tokens"`
	Body   json.RawMessage `json:"body"`
}

// FileName is the set's file in an output folder, for one mode and route:
// "gpt2/trivia_qa-completion-sync.jsonl".
func (s *Set) FileName(mode Mode, api API) string {
	return filepath.Join(s.Header.Model, fmt.Sprintf("%s-%s-%s.jsonl", s.Header.Dataset, api, mode))
}

// Write writes the set with the bodies of one mode and route: the header on
// the first line, then a line a prompt. The same set gives the same bytes.
func (s *Set) Write(w io.Writer, mode Mode, api API) error {
	header := s.Header
	header.API, header.Mode = api, mode
	lines := []any{header}
	for _, p := range s.Prompts {
		body, err := p.Body(mode, s.Header.ModelHub, api)
		if err != nil {
			return err
		}
		lines = append(lines, line{ID: p.ID, Tokens: p.Tokens, Body: body})
	}
	for _, l := range lines {
		text, err := compact(l)
		if err != nil {
			return err
		}
		if _, err := w.Write(append(text, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// WriteFile writes the set to a file under dir, named by FileName, and returns
// its path. The file appears whole or not at all.
func (s *Set) WriteFile(dir string, mode Mode, api API) (path string, err error) {
	path = filepath.Join(dir, s.FileName(mode, api))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".prompts-*")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("writing %s: %w", path, errors.Join(err, os.Remove(f.Name())))
		}
	}()
	w := bufio.NewWriter(f)
	err = s.Write(w, mode, api)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	return path, os.Rename(f.Name(), path)
}

// ErrFormat is returned by Load and Read for what is not a prepared file of
// this version, or was changed after it was written.
var ErrFormat = errors.New("not a prepared prompt file; make it with: go run ./datasets/cmd/prepare")

// Load reads a file that WriteFile wrote.
func Load(path string) (*Set, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("prepared prompts: %w", err)
	}
	defer f.Close()
	s, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// Read reads what Write wrote. Every body must be the one that Body makes, and
// the prompts must have the header's hash: what is measured is what the header
// says.
func Read(r io.Reader) (*Set, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	if !lines.Scan() {
		return nil, errors.Join(fmt.Errorf("%w: no header line", ErrFormat), lines.Err())
	}
	s := &Set{}
	if err := s.readHeader(lines.Bytes()); err != nil {
		return nil, fmt.Errorf("line 1: %w", err)
	}
	for n := 2; lines.Scan(); n++ {
		p, err := s.readPrompt(lines.Bytes())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		s.Prompts = append(s.Prompts, p)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", len(s.Prompts)+2, err)
	}
	if len(s.Prompts) != s.Header.Rows.Drawn {
		return nil, fmt.Errorf("%w: %d prompts, but the header says %d", ErrFormat, len(s.Prompts), s.Header.Rows.Drawn)
	}
	if got := hashPrompts(s.Prompts); got != s.Header.PromptsSHA256 {
		return nil, fmt.Errorf("%w: the prompts' hash is %s, but the header says %q", ErrFormat, got, s.Header.PromptsSHA256)
	}
	return s, nil
}

func (s *Set) readHeader(text []byte) error {
	h := &s.Header
	// Only the format's name and version are read first: another version may
	// have fields of other types.
	var id struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if err := json.Unmarshal(text, &id); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if id.Format != FormatName || id.Version != FormatVersion {
		return fmt.Errorf("%w: format %q version %d, want %q version %d", ErrFormat, id.Format, id.Version, FormatName, FormatVersion)
	}
	if err := strict(text, h); err != nil {
		return err
	}
	for _, err := range []error{
		second(ParseTask(string(h.Task))), second(ParseAPI(string(h.API))), second(ParseMode(string(h.Mode))),
	} {
		if err != nil {
			return fmt.Errorf("%w: %w", ErrFormat, err)
		}
	}
	return nil
}

func second[T any](_ T, err error) error { return err }

func (s *Set) readPrompt(text []byte) (Prompt, error) {
	var l line
	var r Request
	if err := strict(text, &l); err != nil {
		return Prompt{}, err
	}
	if err := strict(l.Body, &r); err != nil {
		return Prompt{}, fmt.Errorf("body: %w", err)
	}
	h := s.Header
	p := Prompt{
		ID: l.ID, Dataset: h.Dataset, Task: h.Task, Text: r.Prompt,
		Tokens: l.Tokens, Sampling: r.Sampling, Seed: r.Seed,
	}
	if h.API == ChatAPI && len(r.Messages) > 0 {
		p.Text = r.Messages[0].Content
	}
	body, err := p.Body(h.Mode, h.ModelHub, h.API)
	if err != nil {
		return Prompt{}, err
	}
	if !bytes.Equal(body, l.Body) {
		return Prompt{}, fmt.Errorf("%w: the body is not the %s request in mode %s of its prompt", ErrFormat, h.API, h.Mode)
	}
	return p, nil
}

// strict decodes one JSON value, refusing fields that v lacks.
func strict(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("%w: more than one JSON value on the line", ErrFormat)
	}
	return nil
}
