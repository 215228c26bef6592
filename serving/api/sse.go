package api

import (
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"
)

// events writes one request's answer as server-sent events. What is the same in
// all of them is encoded once; an event is then appended to a buffer that is
// used again, and flushed by itself. No event says more than one token did.
type events struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	limit time.Duration // of one write
	j     *job
	tail  []byte // ,"system_fingerprint":"…"
	head  []byte // data: {"id":…,"choices":[
	buf   []byte // the event being built
	begun bool   // the chat's role was sent
}

func newEvents(w http.ResponseWriter, j *job, fingerprint string, limit time.Duration) *events {
	e := &events{w: w, rc: http.NewResponseController(w), limit: limit, j: j}
	object := "text_completion"
	if j.chat {
		object = "chat.completion.chunk"
	}
	e.head = append(e.head, `data: {"id":`...)
	e.head = appendString(e.head, j.req.ID)
	e.head = append(e.head, `,"object":"`+object+`","created":`...)
	e.head = strconv.AppendInt(e.head, j.created, 10)
	e.head = append(e.head, `,"model":`...)
	e.head = appendString(e.head, j.model)
	e.head = append(e.head, `,"choices":[`...)
	e.tail = appendString([]byte(`,"system_fingerprint":`), fingerprint)
	return e
}

// open sends the status and the headers.
func (e *events) open() error {
	h := e.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no") // reverse proxies pass each event on at once
	e.deadline()
	e.w.WriteHeader(http.StatusOK)
	return e.rc.Flush()
}

// piece sends the event of one token, and before the first one, in a chat, the
// event with the role. tokens counts this one in.
func (e *events) piece(p piece, tokens int) error {
	if e.j.chat && !e.begun {
		e.begun = true
		e.buf = append(append(e.buf[:0], e.head...),
			`{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]`...)
		if err := e.end(e.j.continuousUsage, 0, false); err != nil {
			return err
		}
	}
	e.buf = append(e.buf[:0], e.head...)
	if e.j.chat {
		e.buf = append(e.buf, `{"index":0,"delta":{"content":`...)
		e.buf = appendString(e.buf, p.text)
		e.buf = append(e.buf, '}')
	} else {
		e.buf = append(e.buf, `{"index":0,"text":`...)
		e.buf = appendString(e.buf, p.text)
	}
	e.buf = append(e.buf, `,"logprobs":null,"finish_reason":`...)
	e.buf = appendNullable(e.buf, string(p.finish))
	if !e.j.chat || p.finish != "" { // a chat's events have it only at the end
		e.buf = append(e.buf, `,"stop_reason":`...)
		e.buf = appendNullable(e.buf, p.matched)
	}
	e.buf = append(e.buf, `}]`...)
	return e.end(e.j.continuousUsage, tokens, p.finish != "" && !e.j.includeUsage)
}

// done sends the event with the usage, if it was asked for, and the end mark.
func (e *events) done(tokens int) error {
	if e.j.includeUsage {
		e.buf = append(append(e.buf[:0], e.head...), ']')
		if err := e.end(true, tokens, true); err != nil {
			return err
		}
	}
	return e.mark()
}

// fail sends an error and the end mark, as vLLM does.
func (e *events) fail(err *apiError) error {
	e.buf = append(append(append(e.buf[:0], "data: "...), err.body()...), "\n\n"...)
	if err := e.send(); err != nil {
		return err
	}
	return e.mark()
}

func (e *events) mark() error {
	e.buf = append(e.buf[:0], "data: [DONE]\n\n"...)
	return e.send()
}

// end closes the event after its choices and sends it.
func (e *events) end(withUsage bool, tokens int, withFingerprint bool) error {
	if withUsage {
		u := e.j.usage(tokens)
		e.buf = append(e.buf, `,"usage":{"prompt_tokens":`...)
		e.buf = strconv.AppendInt(e.buf, int64(u.PromptTokens), 10)
		e.buf = append(e.buf, `,"total_tokens":`...)
		e.buf = strconv.AppendInt(e.buf, int64(u.TotalTokens), 10)
		e.buf = append(e.buf, `,"completion_tokens":`...)
		e.buf = strconv.AppendInt(e.buf, int64(u.CompletionTokens), 10)
		e.buf = append(e.buf, '}')
	}
	if withFingerprint {
		e.buf = append(e.buf, e.tail...)
	}
	e.buf = append(e.buf, "}\n\n"...)
	return e.send()
}

// send writes the buffer and flushes it. A client that takes nothing for as
// long as the limit gets an error here, which ends its request.
func (e *events) send() error {
	e.deadline()
	if _, err := e.w.Write(e.buf); err != nil {
		return err
	}
	return e.rc.Flush()
}

// deadline gives the next write its time. Not every writer has one (tests).
func (e *events) deadline() { _ = e.rc.SetWriteDeadline(time.Now().Add(e.limit)) }

// appendNullable appends a string, or null for "".
func appendNullable(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return appendString(b, s)
}

// appendString appends a JSON string. Text that needs no escaping, which most
// tokens are, is copied; the rest is encoding/json's work.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' {
			return append(b, marshal(s)...)
		}
	}
	if !utf8.ValidString(s) {
		return append(b, marshal(s)...)
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
