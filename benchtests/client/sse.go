package client

import (
	"bytes"
	"iter"
)

// event is one server-sent event.
type event struct {
	Name  string // the event field; "" when there is none
	Data  []byte // data lines joined by line feeds; may alias the body
	Begin int    // offset in the body of the first data line
	End   int    // offset behind the byte that completed the event
}

var bom = []byte("\xEF\xBB\xBF")

// events splits the body of a text/event-stream after the WHATWG standard
// (html.spec.whatwg.org, "Server-sent events"): lines end in LF, CRLF or CR, a
// blank line completes an event, lines that start with a colon are comments,
// unknown fields are ignored, an event without data is none. One thing differs:
// data that the end of the body cuts off from its blank line is handed out, not
// dropped, since some servers leave out the last blank line, and what was
// really cut off in the middle fails to parse as JSON.
func events(body []byte) iter.Seq[event] {
	return func(yield func(event) bool) {
		var (
			ev   event
			some bool // a data line was seen
			pos  = 0
		)
		if bytes.HasPrefix(body, bom) {
			pos = len(bom)
		}
		for pos < len(body) {
			line, next, end := cutLine(body, pos)
			if len(line) > 0 {
				ev, some = addField(ev, some, line, pos)
				pos = next
				continue
			}
			pos = next
			if some {
				ev.End = end
				if !yield(ev) {
					return
				}
			}
			ev, some = event{}, false
		}
		if some {
			ev.End = len(body)
			yield(ev)
		}
	}
}

// cutLine returns the line that starts at pos without its ending, where the
// next one starts, and the offset behind the byte that ended this one: behind
// the CR of a CRLF, which may be split over two reads.
func cutLine(body []byte, pos int) (line []byte, next, end int) {
	i := bytes.IndexAny(body[pos:], "\r\n")
	if i < 0 {
		return body[pos:], len(body), len(body)
	}
	i += pos
	next = i + 1
	if body[i] == '\r' && next < len(body) && body[next] == '\n' {
		next++
	}
	return body[pos:i], next, i + 1
}

// addField adds the non-empty line at pos to an event. some says whether the
// event has data.
func addField(ev event, some bool, line []byte, pos int) (event, bool) {
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "data":
		if !some {
			ev.Data = value[:len(value):len(value)] // appending copies
			ev.Begin, some = pos, true
		} else {
			ev.Data = append(append(ev.Data, '\n'), value...)
		}
	case "event":
		ev.Name = string(value)
	}
	return ev, some
}
