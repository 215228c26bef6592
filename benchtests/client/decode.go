package client

import (
	"bytes"
	"fmt"
	"strings"

	"servebench/results"
)

// Decode reads what the exchange kept into the fields of a record that the
// answer decides: times, chunks, text, usage, finish reason, error. It reads
// nothing else and never fails: what is wrong becomes the record's Error and
// Detail, beside what could be read before it.
func (x *Exchange) Decode(r *results.Request) {
	r.Sent, r.Headers, r.End = x.Sent, x.Headers, x.End
	d := decoder{x: x, r: r}
	switch {
	case x.Status == 0 || x.Status/100 != 2:
	case x.Stream:
		d.stream()
	default:
		d.whole()
	}
	r.Text = x.conceal(d.text.String())
	if d.class == "" && !d.complete {
		d.class, d.detail = x.transport()
	}
	if d.class == "" && len(r.Chunks) == 0 {
		d.fail(results.ClassNoTokens, "a complete answer without text")
	}
	r.Error, r.Detail = d.class, x.conceal(d.detail)
}

// conceal strikes out the key, which some servers repeat when they refuse it.
func (x *Exchange) conceal(text string) string {
	if x.secret == "" {
		return text
	}
	return strings.ReplaceAll(text, x.secret, "(secret)")
}

// decoder gathers one answer.
type decoder struct {
	x        *Exchange
	r        *results.Request
	text     strings.Builder
	complete bool // nothing that the transport says matters any more
	named    bool // an event has had a role
	running  bool // every chunk so far came with a running usage count
	counted  int  // output tokens in the last one
	byUsage  bool // a chunk's tokens were told by such a count

	class, detail string // of the first failure
}

func (d *decoder) fail(class, format string, args ...any) {
	if d.class == "" {
		d.class, d.detail = class, fmt.Sprintf(format, args...)
	}
}

var done = []byte("[DONE]")

// stream reads a body of events.
func (d *decoder) stream() {
	if mt := d.x.mediaType(); mt != "text/event-stream" {
		d.fail(results.ClassBadJSON, "asked for a stream, got Content-Type %q: %s", mt, excerpt(d.x.Body))
		return
	}
	d.running = true
	for ev := range events(d.x.Body) {
		data := bytes.TrimSpace(ev.Data)
		if bytes.Equal(data, done) {
			d.complete = true
			break
		}
		p, err := parsePayload(data)
		if failed(p) || ev.Name == "error" {
			d.fail(results.ClassStreamError, "%s", failure(p, data))
			break
		}
		if err != nil {
			// The last event of a body that was cut off is the transport's failure.
			if ev.End < len(d.x.Body) || d.x.Err == nil {
				d.fail(results.ClassBadJSON, "event: %v", err)
			}
			break
		}
		d.event(p, ev)
	}
	if !d.running {
		d.forgetRunning()
	}
	if d.class == "" && d.x.Err == nil && !d.complete && d.r.Finish == "" {
		d.fail(results.ClassStreamBroken, "the stream ended without finish_reason and [DONE] after %d chunks", len(d.r.Chunks))
	}
}

// event adds one event of a stream.
func (d *decoder) event(p payload, ev event) {
	d.usage(p.Usage)
	c := p.first()
	if c == nil || len(p.Progress) > 0 {
		return
	}
	if f := c.finish(); f != "" {
		d.r.Finish = f
	}
	text, tokens := c.piece(d.named)
	d.named = d.named || c.role() != ""
	if u := p.Usage; u != nil && d.running {
		// A count that runs on says it also of an event that tells nothing else,
		// such as the end of sequence.
		tokens = tokens || u.CompletionTokens > d.counted
		d.running = u.CompletionTokens >= d.counted
	}
	if !tokens {
		return
	}
	chunk := results.Chunk{At: d.x.arrival(ev.Begin + 1), Bytes: len(text)}
	if end := d.x.arrival(ev.End); end != chunk.At {
		chunk.End = end
	}
	switch {
	case c.TokenIDs != nil:
		chunk.Tokens = len(*c.TokenIDs)
		d.running = false
	case p.Usage != nil:
		chunk.Tokens = p.Usage.CompletionTokens - d.counted
		d.counted, d.byUsage = p.Usage.CompletionTokens, true
	default:
		d.running = false
	}
	d.r.Chunks = append(d.r.Chunks, chunk)
	d.text.WriteString(text)
}

// forgetRunning takes back chunk counts made from a usage that came with some
// chunks only: the totals on a last chunk that has text are not that chunk's.
func (d *decoder) forgetRunning() {
	if !d.byUsage {
		return
	}
	for i := range d.r.Chunks {
		d.r.Chunks[i].Tokens = 0
	}
}

// whole reads a body that is one JSON value: one chunk.
func (d *decoder) whole() {
	if d.x.Err != nil {
		return
	}
	if mt := d.x.mediaType(); mt == "text/event-stream" {
		d.fail(results.ClassBadJSON, "asked for one JSON, got a stream")
		return
	}
	p, err := parsePayload(d.x.Body)
	if err != nil {
		d.fail(results.ClassBadJSON, "%v", err)
		return
	}
	c := p.first()
	if failed(p) || c == nil {
		d.fail(results.ClassBadJSON, "status %d without choices: %s", d.x.Status, failure(p, d.x.Body))
		return
	}
	d.usage(p.Usage)
	d.r.Finish = c.finish()
	text, _ := c.piece(false)
	if text == "" && d.r.OutputTokens == 0 {
		return
	}
	chunk := results.Chunk{At: d.x.arrival(1), Bytes: len(text), Tokens: d.r.OutputTokens}
	if end := d.x.arrival(len(d.x.Body)); end != chunk.At {
		chunk.End = end
	}
	d.r.Chunks = append(d.r.Chunks, chunk)
	d.text.WriteString(text)
}

func (d *decoder) usage(u *usage) {
	if u != nil {
		d.r.PromptTokens, d.r.OutputTokens = u.PromptTokens, u.CompletionTokens
	}
}

// failed reports whether the payload is an error.
func failed(p payload) bool { return len(p.Error) > 0 && string(p.Error) != "null" }
