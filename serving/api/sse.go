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
	c     *choices
	tail  []byte      // ,"system_fingerprint":"…"
	head  []byte      // data: {"id":…,"choices":[
	buf   []byte      // the event being built
	begun bool        // the chat's roles were sent
	logs  []*tokenLog // by choice
	told  []bool      // by choice: its prompt's ids were sent; nil when nobody asked
}

func (s *Server) newEvents(w http.ResponseWriter, c *choices) *events {
	j := c.job
	e := &events{w: w, rc: http.NewResponseController(w), limit: s.cfg.WriteLimit, c: c, logs: make([]*tokenLog, len(c.gens))}
	for i := range e.logs {
		e.logs[i] = s.newTokenLog(j)
	}
	if j.out.tokenIDs {
		e.told = make([]bool, len(c.gens))
	}
	object := "text_completion"
	if j.chat {
		object = "chat.completion.chunk"
	}
	e.head = append(e.head, `data: {"id":`...)
	e.head = appendString(e.head, j.id)
	e.head = append(e.head, `,"object":"`+object+`","created":`...)
	e.head = strconv.AppendInt(e.head, j.created, 10)
	e.head = append(e.head, `,"model":`...)
	e.head = appendString(e.head, j.model)
	e.head = append(e.head, `,"choices":[`...)
	e.tail = appendString([]byte(`,"system_fingerprint":`), s.cfg.Fingerprint)
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

// roles sends the events that begin a chat: a role for each choice.
func (e *events) roles() error {
	e.begun = true
	for i := range e.c.gens {
		e.buf = append(append(e.buf[:0], e.head...), `{"index":`...)
		e.buf = strconv.AppendInt(e.buf, int64(i), 10)
		e.buf = append(e.buf, `,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]`...)
		if e.told != nil {
			e.buf = appendIDs(append(e.buf, `,"prompt_token_ids":`...), e.c.job.inputs[0].ids)
		}
		e.running(i, 0)
		if err := e.end(false); err != nil {
			return err
		}
	}
	return nil
}

// piece sends the event of one token, and before the first one, in a chat, the
// events with the roles.
func (e *events) piece(p piece) error {
	j := e.c.job
	if j.chat && !e.begun {
		if err := e.roles(); err != nil {
			return err
		}
	}
	e.buf = append(append(e.buf[:0], e.head...), `{"index":`...)
	e.buf = strconv.AppendInt(e.buf, int64(p.choice), 10)
	if j.chat {
		e.buf = append(e.buf, `,"delta":{"content":`...)
		e.buf = appendString(e.buf, p.text)
		e.buf = append(e.buf, '}')
	} else {
		e.buf = append(e.buf, `,"text":`...)
		e.buf = appendString(e.buf, p.text)
	}
	e.buf = append(e.buf, `,"logprobs":`...)
	log := e.logs[p.choice]
	if log != nil {
		log.add(&p)
	}
	e.buf = append(log.appendTo(e.buf), `,"finish_reason":`...)
	e.buf = appendNullable(e.buf, string(p.finish))
	if !j.chat || p.finish != "" { // a chat's events have it only at the end
		e.buf = appendStopReason(append(e.buf, `,"stop_reason":`...), &p)
	}
	if e.told != nil {
		e.ids(&p)
	}
	e.buf = append(e.buf, `}]`...)
	e.running(p.choice, p.count)
	return e.end(e.c.over() && !j.includeUsage)
}

// ids appends the ids of a piece, and of the prompt to a completion's first.
func (e *events) ids(p *piece) {
	if !e.c.job.chat {
		e.buf = append(e.buf, `,"prompt_token_ids":`...)
		if e.told[p.choice] {
			e.buf = append(e.buf, "null"...)
		} else {
			e.told[p.choice] = true
			e.buf = appendIDs(e.buf, e.c.job.seqs[p.choice].Prompt)
		}
	}
	e.buf = append(e.buf, `,"token_ids":[`...)
	if p.token.ID != noToken {
		e.buf = strconv.AppendInt(e.buf, int64(p.token.ID), 10)
	}
	e.buf = append(e.buf, ']')
}

// running appends the usage of one choice so far, if it was asked for.
func (e *events) running(choice, tokens int) {
	if e.c.job.continuousUsage {
		n := len(e.c.job.seqs[choice].Prompt)
		e.usage(usage{PromptTokens: n, TotalTokens: n + tokens, CompletionTokens: tokens})
	}
}

func (e *events) usage(u usage) {
	e.buf = append(e.buf, `,"usage":{"prompt_tokens":`...)
	e.buf = strconv.AppendInt(e.buf, int64(u.PromptTokens), 10)
	e.buf = append(e.buf, `,"total_tokens":`...)
	e.buf = strconv.AppendInt(e.buf, int64(u.TotalTokens), 10)
	e.buf = append(e.buf, `,"completion_tokens":`...)
	e.buf = strconv.AppendInt(e.buf, int64(u.CompletionTokens), 10)
	if u.PromptDetails != nil {
		e.buf = append(e.buf, `,"prompt_tokens_details":{"cached_tokens":`...)
		e.buf = append(strconv.AppendInt(e.buf, int64(u.PromptDetails.CachedTokens), 10), '}')
	}
	e.buf = append(e.buf, '}')
}

// done sends the event with the usage, if it was asked for, and the end mark.
func (e *events) done() error {
	if e.c.job.includeUsage {
		e.buf = append(append(e.buf[:0], e.head...), ']')
		e.usage(e.c.usage())
		if err := e.end(true); err != nil {
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

// end closes the event after its choices and usage, and sends it.
func (e *events) end(withFingerprint bool) error {
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

// appendStopReason appends what ended a choice: a stop string, a stop token of
// the request's own, or null.
func appendStopReason(b []byte, p *piece) []byte {
	if p.stopID {
		return strconv.AppendInt(b, int64(p.token.ID), 10)
	}
	return appendNullable(b, p.matched)
}

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
