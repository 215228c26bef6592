package datasets

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxLine bounds a line of a JSONL file, in bytes. The largest row of the
// datasets has about 20 kB.
const maxLine = 16 << 20

// input is a file of rows, on disk or in memory.
type input struct {
	name string // for messages
	open func() (readerAt, error)
}

// readerAt is an open input: Parquet reads it at random, JSONL from its start.
type readerAt interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

type diskFile struct {
	*os.File
	size int64
}

func (f diskFile) Size() int64 { return f.size }

func fileInput(path string) input {
	return input{name: filepath.Base(path), open: func() (readerAt, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		info, err := f.Stat()
		if err == nil && !info.Mode().IsRegular() {
			err = fmt.Errorf("%s is not a regular file", path)
		}
		if err != nil {
			f.Close()
			return nil, err
		}
		return diskFile{f, info.Size()}, nil
	}}
}

type memoryFile struct{ *bytes.Reader }

func (memoryFile) Close() error { return nil }

func bytesInput(name string, data []byte) input {
	return input{name: name, open: func() (readerAt, error) { return memoryFile{bytes.NewReader(data)}, nil }}
}

// reader returns a Dataset's read function: it decodes rows of type R, whose
// tags name the fields as the hub does, and reduces them with row. Fields in
// required ("answer.value" for nested ones) must be there; others may be missing.
func reader[R any](required []string, row func(*R) (Row, error)) func(input) iter.Seq2[Row, error] {
	return func(in input) iter.Seq2[Row, error] {
		return func(yield func(Row, error) bool) {
			f, err := in.open()
			if err != nil {
				yield(Row{Where: in.name}, err)
				return
			}
			defer f.Close()
			for raw, err := range rawRows[R](in.name, f, required) {
				out := Row{Where: raw.where}
				if err == nil {
					out, err = row(&raw.value)
					out.Where = raw.where
				}
				if err == nil && out.ID == "" {
					err = errors.New("its id is empty")
				}
				if !yield(out, err) || err != nil {
					return
				}
			}
		}
	}
}

// located is a decoded row and its place.
type located[R any] struct {
	where string
	value R
}

func rawRows[R any](name string, f readerAt, required []string) iter.Seq2[located[R], error] {
	magic := make([]byte, 4)
	n, err := f.ReadAt(magic, 0)
	if err != nil && err != io.EOF {
		return func(yield func(located[R], error) bool) { yield(located[R]{where: name}, err) }
	}
	switch magic = magic[:n]; {
	case string(magic) == "PAR1":
		return parquetRows[R](name, f, required)
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return func(yield func(located[R], error) bool) {
			z, err := gzip.NewReader(io.NewSectionReader(f, 0, f.Size()))
			if err != nil {
				yield(located[R]{where: name}, err)
				return
			}
			jsonRows[R](name, z, required)(yield)
		}
	default:
		return jsonRows[R](name, io.NewSectionReader(f, 0, f.Size()), required)
	}
}

func jsonRows[R any](name string, r io.Reader, required []string) iter.Seq2[located[R], error] {
	return func(yield func(located[R], error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(make([]byte, 0, 64<<10), maxLine)
		n := 0
		for lines.Scan() && lines.Err() == nil { // a reader that fails leaves half a line
			n++
			line := bytes.TrimSpace(lines.Bytes())
			if len(line) == 0 {
				continue
			}
			row := located[R]{where: fmt.Sprintf("%s:%d", name, n)}
			err := decodeJSON(line, required, &row.value)
			if !yield(row, err) || err != nil {
				return
			}
		}
		if err := lines.Err(); err != nil {
			if errors.Is(err, bufio.ErrTooLong) {
				err = fmt.Errorf("the line is longer than %d MiB: is the file JSON with one object a line?", maxLine>>20)
			}
			yield(located[R]{where: fmt.Sprintf("%s:%d", name, n+1)}, err)
		}
	}
}

// decodeJSON decodes one line, after checking that it has the required fields.
func decodeJSON(line []byte, required []string, row any) error {
	if !utf8.Valid(line) {
		return errors.New("the line is not UTF-8")
	}
	for _, field := range required {
		if err := hasField(line, field); err != nil {
			return err
		}
	}
	if err := json.Unmarshal(line, row); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return fmt.Errorf("field %q is a JSON %s, want %s", wrong.Field, wrong.Value, wrong.Type)
		}
		return err
	}
	return nil
}

// hasField looks for a field by its dotted path.
func hasField(object []byte, path string) error {
	var fields map[string]json.RawMessage
	for name := range strings.SplitSeq(path, ".") {
		fields = nil
		if err := json.Unmarshal(object, &fields); err != nil {
			var wrong *json.UnmarshalTypeError
			if errors.As(err, &wrong) {
				return fmt.Errorf("want a JSON object with field %q, got a JSON %s", path, wrong.Value)
			}
			return err
		}
		value, ok := fields[name]
		if !ok {
			return missingField(path, fields)
		}
		object = value
	}
	return nil
}

// maxNames is how many fields a message lists; the datasets have at most 18.
const maxNames = 20

// missingField names the field that is not there and those that are, which
// often tells which other dataset the file is of.
func missingField(path string, have map[string]json.RawMessage) error {
	names := make([]string, 0, len(have))
	for name := range have {
		names = append(names, name)
	}
	slices.Sort(names)
	if len(names) > maxNames {
		names = append(names[:maxNames], "…")
	}
	return fmt.Errorf("no field %q; it has: %s", path, strings.Join(names, ", "))
}
