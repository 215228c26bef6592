package client

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEvents(t *testing.T) {
	check := func(name, body string, want ...string) {
		t.Helper()
		var got []string
		for ev := range events([]byte(body)) {
			s := string(ev.Data)
			if ev.Name != "" {
				s = ev.Name + "=" + s
			}
			got = append(got, s)
		}
		assert.Equal(t, want, got, name)
	}
	check("empty body", "")
	check("line feeds", "data: a\n\ndata: b\n\n", "a", "b")
	check("CRLF", "data: a\r\n\r\ndata: b\r\n\r\n", "a", "b")
	check("CR", "data: a\r\rdata: b\r\r", "a", "b")
	check("mixed endings", "data: a\r\n\ndata: b\n\r\ndata: c\r\n\r", "a", "b", "c")
	check("no space after the colon", "data:a\n\n", "a")
	check("one space only is taken", "data:  a\n\n", " a")
	check("multi-line data", "data: a\ndata: b\ndata\ndata: c\n\n", "a\nb\n\nc")
	check("byte order mark", "\xEF\xBB\xBFdata: a\n\n", "a")
	check("mark in the middle is no mark", "data: a\n\n\xEF\xBB\xBFdata: b\n\n", "a")
	check("comments", ": ping\n\n:\n\ndata: a\n: ping\ndata: b\n\n", "a\nb")
	check("unknown fields", "id: 7\nretry: 3\nfoo\ndata: a\n\n", "a")
	check("event name", "event: error\ndata: a\n\ndata: b\n\n", "error=a", "b")
	check("event without data", "event: ping\n\ndata: a\n\n", "a")
	check("blank lines", "\n\n\ndata: a\n\n\n\n", "a")
	check("empty data is an event", "data:\n\n", "")
	check("cut off in data", "data: a\n\ndata: b", "a", "b")
	check("cut off behind data", "data: a\n\ndata: b\n", "a", "b")
	check("cut off in a comment", "data: a\n\n: pi", "a")
	check("colon in data", "data: a:b\n\n", "a:b")
}

func TestEventOffsets(t *testing.T) {
	check := func(body string, want ...string) {
		t.Helper()
		var got []string
		for ev := range events([]byte(body)) {
			got = append(got, body[ev.Begin:ev.End])
		}
		assert.Equal(t, want, got, "%q", body)
	}
	check("data: a\n\ndata: b\n\n", "data: a\n\n", "data: b\n\n")
	check(": c\n\nevent: x\ndata: a\ndata: b\n\n", "data: a\ndata: b\n\n")
	check("data: a\r\n\r\ndata: b\r\n\r\n", "data: a\r\n\r", "data: b\r\n\r")
	check("data: a", "data: a")
}

// TestEventsLinear would not end if many data lines cost the square of their number.
func TestEventsLinear(t *testing.T) {
	const lines = 1 << 20
	body := []byte(strings.Repeat("data:x\n", lines))
	for ev := range events(body) {
		require.Len(t, ev.Data, 2*lines-1)
	}
}

// FuzzEvents compares the parser with the plainest way to write it.
func FuzzEvents(f *testing.F) {
	for _, s := range []string{
		"data: a\n\ndata: b\r\n\r\ndata: c\r\r", "\xEF\xBB\xBFdata\ndata: x\n: c\nevent: e\n\n", "data: [DONE]", "\r\n\r\n", "data: a\n\r",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		orig := bytes.Clone(body)
		var got []event
		last := 0
		for ev := range events(body) {
			require.LessOrEqual(t, last, ev.Begin, "events overlap")
			require.Less(t, ev.Begin, ev.End, "an event takes bytes")
			require.LessOrEqual(t, ev.End, len(body), "an event ends in the body")
			require.True(t, bytes.HasPrefix(body[ev.Begin:], []byte("data")), "an event begins with data")
			last = ev.End
			got = append(got, ev)
		}
		require.Equal(t, orig, body, "the body is the caller's")

		want := plainEvents(string(body))
		require.Len(t, got, len(want))
		for i := range want {
			require.Equal(t, want[i].Name, got[i].Name)
			require.Equal(t, string(want[i].Data), string(got[i].Data))
		}
	})
}

func plainEvents(s string) []event {
	s = strings.TrimPrefix(s, "\xEF\xBB\xBF")
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	var out []event
	var data []string
	name := ""
	for _, line := range append(strings.Split(s, "\n"), "") {
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			if data != nil {
				out = append(out, event{Name: name, Data: []byte(strings.Join(data, "\n"))})
			}
			data, name = nil, ""
		case field == "data":
			data = append(data, value)
		case field == "event":
			name = value
		}
	}
	return out
}
