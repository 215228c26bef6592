package client

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/results"
)

// exchange is an answer whose bytes all arrived at once.
func exchange(stream bool, mime, body string) *Exchange {
	return &Exchange{
		Stream: stream, Status: http.StatusOK, Sent: 1, Headers: 2, End: 4,
		Header: http.Header{"Content-Type": {mime}},
		Body:   []byte(body), Arrivals: []Arrival{{End: len(body), At: 3}},
	}
}

const (
	sse   = "text/event-stream; charset=utf-8"
	plain = "application/json"
)

// delta is a chat event; c is its choice without the braces.
func delta(c string) string { return `data: {"choices":[{"index":0,` + c + `}]}` + "\n\n" }

func TestDecodeStream(t *testing.T) {
	const (
		role = `"delta":{"role":"assistant","content":""},"finish_reason":null`
		end  = `"delta":{},"finish_reason":"stop"`
		fin  = "data: [DONE]\n\n"
	)
	word := func(s string) string { return delta(`"delta":{"content":"` + s + `"},"finish_reason":null`) }

	check := func(name, body, class, text string, sizes ...int) results.Request {
		t.Helper()
		var r results.Request
		exchange(true, sse, body).Decode(&r)
		assert.Equal(t, class, r.Error, "%s: %s", name, r.Detail)
		assert.Equal(t, text, r.Text, name)
		var got []int
		for _, c := range r.Chunks {
			got = append(got, c.Bytes)
		}
		assert.Equal(t, sizes, got, "%s: bytes of the chunks", name)
		return r
	}
	check("role and end are no chunks", delta(role)+word("a")+word("bc")+delta(end)+fin, "", "abc", 1, 2)
	check("role with text is one", delta(`"delta":{"role":"assistant","content":"a"}`)+delta(end), "", "a", 1)
	check("a token that completes no character", word("")+word("é")+delta(end)+fin, "", "é", 0, 2)
	check("several tokens in a chunk", word("a b c d")+delta(end)+fin, "", "a b c d", 7)
	check("null content", delta(`"delta":{"role":"assistant","content":null}`)+word("a")+delta(end), "", "a", 1)
	check("no [DONE]", word("a")+delta(end), "", "a", 1)
	check("no finish_reason", word("a")+fin, "", "a", 1)
	check("neither", word("a"), results.ClassStreamBroken, "a", 1)
	check("nothing at all", "", results.ClassStreamBroken, "")
	check("nothing but the end", fin, results.ClassNoTokens, "")
	check("role and end alone", delta(role)+delta(end)+fin, results.ClassNoTokens, "")
	check("comments between", ": ping\n\n"+word("a")+": ping\n\n"+delta(end)+fin, "", "a", 1)
	check("last blank line missing", word("a")+strings.TrimSuffix(delta(end), "\n\n"), "", "a", 1)
	check("text behind [DONE] does not count", word("a")+fin+word("b"), "", "a", 1)
	check("error event", word("a")+`data: {"error":{"message":"out of memory"}}`+"\n\n"+fin, results.ClassStreamError, "a", 1)
	check("error as a string", `data: {"error":"out of memory"}`+"\n\n", results.ClassStreamError, "")
	check("error by the event's name", "event: error\ndata: out of memory\n\n", results.ClassStreamError, "")
	check("null error is none", `data: {"error":null,"choices":[{"index":0,"text":"a","finish_reason":"stop"}]}`+"\n\n", "", "a", 1)
	check("broken JSON", word("a")+"data: {\"choices\":[\n\n"+word("b")+fin, results.ClassBadJSON, "a", 1)
	check("not JSON", "data: hello\n\n"+fin, results.ClassBadJSON, "")
	check("wrong types", `data: {"choices":[{"index":0,"text":5}]}`+"\n\n"+fin, results.ClassBadJSON, "")
	check("negative usage", word("a")+`data: {"choices":[],"usage":{"completion_tokens":-1}}`+"\n\n"+fin, results.ClassBadJSON, "a", 1)
	check("absurd usage", word("a")+`data: {"choices":[],"usage":{"completion_tokens":3000000000}}`+"\n\n"+fin, results.ClassBadJSON, "a", 1)
	check("other choices are not ours", `data: {"choices":[{"index":1,"text":"b"}]}`+"\n\n"+word("a")+delta(end), "", "a", 1)

	r := check("usage event", word("a")+delta(end)+`data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5}}`+"\n\n"+fin, "", "a", 1)
	assert.Equal(t, []int{7, 5, 0}, []int{r.PromptTokens, r.OutputTokens, r.Chunks[0].Tokens})
	assert.Equal(t, "stop", r.Finish)
}

func TestDecodeChunkTokens(t *testing.T) {
	check := func(name string, body string, want ...int) {
		t.Helper()
		var r results.Request
		exchange(true, sse, body+"data: [DONE]\n\n").Decode(&r)
		require.Empty(t, r.Error, "%s: %s", name, r.Detail)
		var got []int
		for _, c := range r.Chunks {
			got = append(got, c.Tokens)
		}
		assert.Equal(t, want, got, name)
	}
	text := func(s, more string) string {
		return `data: {"choices":[{"index":0,"text":"` + s + `"` + more + "}\n\n"
	}
	check("not said", text("a", "}]")+text("b", "}]"), 0, 0)
	check("token ids", text("a", `,"token_ids":[4]}]`)+text("b", `,"token_ids":[5,6]}]`), 1, 2)
	check("running usage", text("a", `}],"usage":{"completion_tokens":1}`)+text("bcd", `}],"usage":{"completion_tokens":4}`), 1, 3)
	check("running usage tells of a token that the event hides",
		text("a", `}],"usage":{"completion_tokens":1}`)+text("", `,"finish_reason":"stop"}],"usage":{"completion_tokens":2}`), 1, 1)
	check("a total on the last chunk is not its own", text("a", "}]")+text("b", `}],"usage":{"completion_tokens":9}`), 0, 0)
	check("a usage that starts late", text("a", `}],"usage":{"completion_tokens":1}`)+text("b", "}]"), 0, 0)
	check("a usage that falls", text("a", `}],"usage":{"completion_tokens":5}`)+text("b", `}],"usage":{"completion_tokens":2}`), 0, 0)
	check("a usage that falls to nothing", text("a", `}],"usage":{"completion_tokens":5}`)+text("b", `}],"usage":{"completion_tokens":0}`), 0, 0)
}

func TestDecodeWhole(t *testing.T) {
	check := func(name string, x *Exchange, class, text string) results.Request {
		t.Helper()
		var r results.Request
		x.Decode(&r)
		assert.Equal(t, class, r.Error, "%s: %s", name, r.Detail)
		assert.Equal(t, text, r.Text, name)
		return r
	}
	ok := `{"choices":[{"index":0,"text":"ab","finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}`
	r := check("completions", exchange(false, plain, ok), "", "ab")
	assert.Equal(t, []results.Chunk{{At: 3, Bytes: 2, Tokens: 2}}, r.Chunks)
	assert.Equal(t, "length", r.Finish)
	check("chat", exchange(false, plain, `{"choices":[{"index":0,"message":{"role":"assistant","content":"ab"}}]}`), "", "ab")
	check("no usage", exchange(false, plain, `{"choices":[{"index":0,"text":"ab"}]}`), "", "ab")
	check("tokens without text", exchange(false, plain, `{"choices":[{"index":0,"text":""}],"usage":{"completion_tokens":1}}`), "", "")
	check("nothing", exchange(false, plain, `{"choices":[{"index":0,"text":""}]}`), results.ClassNoTokens, "")
	check("no choices", exchange(false, plain, `{"choices":[]}`), results.ClassBadJSON, "")
	check("error with 200", exchange(false, plain, `{"error":"busy"}`), results.ClassBadJSON, "")
	check("not JSON", exchange(false, "text/html", `<html>`), results.ClassBadJSON, "")
	check("empty", exchange(false, plain, ``), results.ClassBadJSON, "")
	check("a stream", exchange(false, sse, delta(`"text":"a"`)), results.ClassBadJSON, "")
	check("JSON for a stream", exchange(true, plain, ok), results.ClassBadJSON, "")

	status := func(code int, body string) *Exchange {
		x := exchange(false, plain, body)
		x.Status = code
		return x
	}
	detail := func(code int, body, class, want string) {
		t.Helper()
		assert.Equal(t, want, check(body, status(code, body), class, "").Detail)
	}
	detail(400, `{"error":{"message":"too long"}}`, results.ClassHTTP4xx, "status 400: too long")
	detail(404, `{"detail":"Not Found"}`, results.ClassHTTP4xx, "status 404: Not Found")
	detail(422, `{"error":"bad","error_type":"validation"}`, results.ClassHTTP4xx, "status 422: bad")
	detail(500, `oops`, results.ClassHTTP5xx, `status 500: "oops"`)
	detail(302, ``, results.ClassHTTPOther, `status 302: ""`)
}

// FuzzDecode holds what every record must keep, whatever a server sends.
func FuzzDecode(f *testing.F) {
	f.Add(true, "text/event-stream", 200, []byte(delta(`"delta":{"content":"a"},"finish_reason":"stop"`)), 5)
	f.Add(true, "text/event-stream", 200, []byte(`data: {"choices":[{"text":"a"}],"usage":{"completion_tokens":3}}`), 9)
	f.Add(false, "application/json", 200, []byte(`{"choices":[{"text":"a"}],"usage":{"completion_tokens":3}}`), 1)
	f.Add(false, "application/json", 500, []byte(`{"error":{"message":["x"]}}`), 0)
	f.Fuzz(func(t *testing.T, stream bool, mime string, status int, body []byte, cut int) {
		x := exchange(stream, mime, string(body))
		x.Status = status
		if cut > 0 && cut < len(body) {
			x.Arrivals = []Arrival{{End: cut, At: 2}, {End: len(body), At: 3}}
		}
		var r results.Request
		x.Decode(&r)
		if r.Error != "" {
			require.Contains(t, results.ErrorClasses, r.Error)
		} else {
			require.NotEmpty(t, r.Chunks)
		}
		last, size := time.Duration(0), 0
		for _, c := range r.Chunks {
			require.LessOrEqual(t, last, c.At)
			require.LessOrEqual(t, c.At, c.Last())
			require.GreaterOrEqual(t, c.Tokens, 0)
			last, size = c.Last(), size+c.Bytes
		}
		require.Equal(t, len(r.Text), size)
	})
}
