package results

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Case identifies a row of the matrix. Its benchmark name is
// BenchmarkServe/framework=F/model=M/task=T/mode=O/parallel=N.
type Case struct {
	Framework string `json:"framework"`
	Model     string `json:"model"`
	Task      string `json:"task"`
	Mode      string `json:"mode"` // "sync" or "stream"
	Parallel  int    `json:"parallel"`
}

// The values of Case.Mode.
const (
	ModeSync   = "sync"   // one JSON body
	ModeStream = "stream" // server-sent events
)

// String returns the part of the benchmark's name that identifies the case:
// framework=F/model=M/task=T/mode=O/parallel=N. What would end a part of the
// name early, or break the line it is printed on, is replaced by "_".
func (c Case) String() string {
	return fmt.Sprintf("framework=%s/model=%s/task=%s/mode=%s/parallel=%d",
		namePart(c.Framework), namePart(c.Model), namePart(c.Task), namePart(c.Mode), c.Parallel)
}

func namePart(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == '/' || r == '=' || r > '~' {
			return '_'
		}
		return r
	}, s)
}

// Chunk is one piece of a response body that carried generated text, or a
// token without any. Role-only, usage and comment events are not chunks. In
// sync mode the whole body is one chunk.
type Chunk struct {
	At     time.Duration `json:"at"`            // arrival of its first byte, since the run's epoch
	End    time.Duration `json:"end,omitempty"` // arrival of its last byte; 0: it came with the first
	Bytes  int           `json:"bytes"`         // of generated text
	Tokens int           `json:"tokens"`        // tokens it carries where the server says so, else 0
}

// Last returns when the chunk's last byte arrived.
func (c Chunk) Last() time.Duration { return max(c.At, c.End) }

// Request is the raw record of one request: a line of requests.jsonl. Times
// are durations since the run's epoch on Go's monotonic clock; 0 is "never".
// Times of one pass over a case share an epoch; those of two passes need not.
type Request struct {
	Case      Case          `json:"case"`
	Repeat    int           `json:"repeat"`    // which -count/-repeat pass, from 0
	Index     int           `json:"index"`     // order of dispatch in the case, from 0
	Prompt    string        `json:"prompt_id"` // datasets.Prompt's ID
	Scheduled time.Duration `json:"scheduled"` // when the load model wanted it sent; closed loop: when a slot was free
	Sent      time.Duration `json:"sent"`      // request bytes handed to the connection, never after the first chunk
	Headers   time.Duration `json:"headers"`   // response headers arrived
	Chunks    []Chunk       `json:"chunks,omitempty"`
	End       time.Duration `json:"end"` // body closed

	PromptTokens    int `json:"prompt_tokens"`             // server's usage; 0 if it gave none
	OutputTokens    int `json:"output_tokens"`             // server's usage; 0 if it gave none
	RecountedTokens int `json:"recounted_tokens"`          // the output text, encoded with the model's own tokenizer; -1 not done
	PreparedTokens  int `json:"prepared_tokens,omitempty"` // the prompt, as its prepared file counts it; 0 not known
	MaxTokens       int `json:"max_tokens"`

	Finish string `json:"finish,omitempty"` // finish_reason
	Text   string `json:"text"`             // generated text
	// Error is "" for a request that completed; else its class, from the
	// closed list in ErrorClasses, with the detail beside it.
	Error  string `json:"error,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// The classes of a failed request.
const (
	ClassConnect      = "connect"       // no connection, or it was lost before the response's headers
	ClassTimeout      = "timeout"       // the client's limit passed before the answer was complete
	ClassHTTP4xx      = "http-4xx"      // the server turned the request away
	ClassHTTP5xx      = "http-5xx"      // the server failed
	ClassHTTPOther    = "http-other"    // a status that is neither 2xx, 4xx nor 5xx
	ClassStreamBroken = "stream-broken" // the body ended, or was cut, before the answer was complete
	ClassStreamError  = "stream-error"  // an error event inside a stream that began with 200
	ClassBadJSON      = "bad-json"      // a body or an event that is not the JSON it has to be
	ClassNoTokens     = "no-tokens"     // a complete answer without any text or token
	ClassServerDied   = "server-died"   // the server's process was gone when the request failed
	ClassCanceled     = "canceled"      // the suite stopped it
)

// ErrorClasses is the closed list of what Request.Error may hold besides "".
var ErrorClasses = []string{
	ClassConnect, ClassTimeout, ClassHTTP4xx, ClassHTTP5xx, ClassHTTPOther, ClassStreamBroken,
	ClassStreamError, ClassBadJSON, ClassNoTokens, ClassServerDied, ClassCanceled,
}

// maxCount is above any count of tokens or requests; sums of such counts do not overflow.
const maxCount = 1<<31 - 1

// Check returns what is wrong with a record, if anything: times that run
// backwards, negative or absurd counts, a completed request without times or chunks, an
// error that is not in ErrorClasses. Only checked records give figures.
func (r *Request) Check() error {
	if r.Case.Mode != ModeSync && r.Case.Mode != ModeStream {
		return fmt.Errorf("mode is %q, want %s or %s", r.Case.Mode, ModeSync, ModeStream)
	}
	if r.Error != "" && !slices.Contains(ErrorClasses, r.Error) {
		return fmt.Errorf("error class %q is not one of %s", r.Error, strings.Join(ErrorClasses, ", "))
	}
	for _, n := range []int{r.Case.Parallel, r.Repeat, r.Index, r.PromptTokens, r.OutputTokens, r.PreparedTokens, r.RecountedTokens + 1} {
		if n < 0 || n > maxCount {
			return fmt.Errorf("a count is %d", n)
		}
	}
	if r.Scheduled < 0 || r.Sent < 0 || (r.Sent > 0 && r.Sent < r.Scheduled) {
		return fmt.Errorf("sent at %v, scheduled at %v", r.Sent, r.Scheduled)
	}
	if r.Error == "" && (r.Scheduled == 0 || r.Sent == 0 || len(r.Chunks) == 0) {
		return fmt.Errorf("completed, but scheduled at %v, sent at %v, %d chunks", r.Scheduled, r.Sent, len(r.Chunks))
	}
	return r.checkChunks()
}

func (r *Request) checkChunks() error {
	before := r.Sent
	for i, c := range r.Chunks {
		if c.At < before || c.At == 0 || c.End < 0 {
			return fmt.Errorf("chunk %d arrived at %v to %v, after an event at %v", i, c.At, c.End, before)
		}
		if c.Bytes < 0 || c.Tokens < 0 || c.Tokens > maxCount {
			return fmt.Errorf("chunk %d has %d bytes and %d tokens", i, c.Bytes, c.Tokens)
		}
		before = c.At
	}
	return nil
}
