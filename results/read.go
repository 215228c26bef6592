package results

import (
	"errors"
	"io"
	"iter"
)

// ErrCut is yielded, wrapped with the line, when a file's last line is half
// written: the process was killed. What came before it is good.
var ErrCut = errors.New("the last line is cut off")

// ReadRequests reads requests.jsonl. It yields records until the end or the
// first error. A last line that a crash cut off is yielded as ErrCut.
func ReadRequests(r io.Reader) iter.Seq2[Request, error] {
	return func(func(Request, error) bool) {}
}
