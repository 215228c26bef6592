package results

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
)

// ErrCut is yielded, wrapped with the line, when a file's last line is half
// written: the process was killed. What came before it is good.
var ErrCut = errors.New("the last line is cut off")

// maxLine is the longest line that is read, in bytes. A record of a request
// has about 60 bytes a token and its text.
const maxLine = 64 << 20

// ReadRequests reads requests.jsonl. It yields checked records until the end
// or the first error, which names the line. A last line that a crash cut off
// is yielded as ErrCut.
func ReadRequests(r io.Reader) iter.Seq2[Request, error] {
	return func(yield func(Request, error) bool) {
		for line, err := range readLines[Request](r) {
			if err == nil {
				err = line.value.Check()
				if err != nil {
					err = fmt.Errorf("line %d: %w", line.number, err)
				}
			}
			if !yield(line.value, err) || err != nil {
				return
			}
		}
	}
}

// Passes parts requests into passes over a case, as they stand one after the
// other in requests.jsonl. An error is yielded in its place, after the pass
// that came before it.
func Passes(reqs iter.Seq2[Request, error]) iter.Seq2[[]Request, error] {
	return func(yield func([]Request, error) bool) {
		var pass []Request
		for r, err := range reqs {
			if len(pass) > 0 && (err != nil || r.Case != pass[0].Case || r.Repeat != pass[0].Repeat) {
				if !yield(pass, nil) {
					return
				}
				pass = nil
			}
			if err != nil {
				if !yield(nil, err) {
					return
				}
				continue
			}
			pass = append(pass, r)
		}
		if len(pass) > 0 {
			yield(pass, nil)
		}
	}
}

// line is a decoded line of a JSONL file.
type line[T any] struct {
	value  T
	number int   // from 1
	end    int64 // offset behind it
	whole  bool  // it ends with a newline
}

// readLines decodes a JSONL file line by line and stops at the first error.
// Empty lines are passed over.
func readLines[T any](r io.Reader) iter.Seq2[line[T], error] {
	return func(yield func(line[T], error) bool) {
		br := bufio.NewReaderSize(r, 64<<10)
		var l line[T]
		for {
			l.number++
			text, err := readLine(br)
			l.end += int64(len(text))
			l.whole = err == nil
			if err != nil && err != io.EOF {
				yield(line[T]{number: l.number}, fmt.Errorf("line %d: %w", l.number, err))
				return
			}
			if len(bytes.TrimSpace(text)) == 0 {
				if !l.whole {
					return
				}
				continue
			}
			var zero T
			l.value = zero
			if jerr := json.Unmarshal(text, &l.value); jerr != nil {
				if !l.whole {
					jerr = ErrCut
				}
				yield(line[T]{number: l.number}, fmt.Errorf("line %d: %w", l.number, jerr))
				return
			}
			if !yield(l, nil) || !l.whole {
				return
			}
		}
	}
}

// readLine returns the next line with its newline, io.EOF beside one that has none.
func readLine(br *bufio.Reader) ([]byte, error) {
	var text []byte
	for {
		part, err := br.ReadSlice('\n')
		if len(text)+len(part) > maxLine {
			return nil, fmt.Errorf("longer than %d MiB: not a file of this kind", maxLine>>20)
		}
		text = append(text, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return text, err
		}
	}
}
