package api

import (
	"slices"
	"strconv"
	"unicode/utf8"

	"servebench/serving/engine"
)

// leastLogprob stands for impossible: JSON has no infinity. vLLM's figure.
const leastLogprob = -9999

// tokenLog builds the JSON of one choice's logprobs: of one token for an event,
// of all for a whole answer.
//
// Completions have four lists, {"text_offset", "token_logprobs", "tokens",
// "top_logprobs"}, with an object of token to logprob in the last; a chat has
// {"content": [{"token", "logprob", "bytes", "top_logprobs": […]}]}.
type tokenLog struct {
	tok    Tokenizer
	chat   bool
	asIDs  bool
	offset int // Unicode characters of the tokens so far

	offsets, values, tokens, tops []byte // completions; a chat has all in tokens
	seen                          []string
}

func (s *Server) newTokenLog(j *job) *tokenLog {
	if !j.out.logprobs {
		return nil
	}
	return &tokenLog{tok: s.cfg.Tokenizer, chat: j.chat, asIDs: j.out.asIDs}
}

// add takes a piece's tokens: the echoed prompt's, and its own.
func (l *tokenLog) add(p piece) {
	for _, t := range p.prompt {
		l.token(t)
	}
	if p.token.ID != noToken {
		l.token(p.token)
	}
}

func (l *tokenLog) token(t engine.Token) {
	if len(l.tokens) > 0 {
		l.tokens = append(l.tokens, ',')
		if !l.chat {
			l.offsets, l.values, l.tops = append(l.offsets, ','), append(l.values, ','), append(l.tops, ',')
		}
	}
	text := l.text(t.ID)
	if l.chat {
		l.chatToken(t, text)
		return
	}
	l.offsets = strconv.AppendInt(l.offsets, int64(l.offset), 10)
	l.offset += utf8.RuneCountInString(text)
	l.tokens = appendString(l.tokens, text)
	if t.Logprobs == nil { // the first token of a prompt follows nothing
		l.values, l.tops = append(l.values, "null"...), append(l.tops, "null"...)
		return
	}
	l.values = appendLogprob(l.values, t.Logprobs.Own.Logprob)
	l.tops = append(l.tops, '{')
	l.seen = l.seen[:0]
	l.top(t.Logprobs.Own, text)
	for _, o := range t.Logprobs.Top {
		l.top(o, l.text(o.ID))
	}
	l.tops = append(l.tops, '}')
}

// top adds an alternative, unless its text is there: an object has a key once,
// and the token itself comes first.
func (l *tokenLog) top(p engine.Logprob, text string) {
	if slices.Contains(l.seen, text) {
		return
	}
	if len(l.seen) > 0 {
		l.tops = append(l.tops, ',')
	}
	l.seen = append(l.seen, text)
	l.tops = append(appendString(l.tops, text), ':')
	l.tops = appendLogprob(l.tops, p.Logprob)
}

func (l *tokenLog) chatToken(t engine.Token, text string) {
	if t.Logprobs == nil { // the engine was not asked; only a broken one does this
		t.Logprobs = &engine.Logprobs{Own: engine.Logprob{ID: t.ID, Logprob: leastLogprob}}
	}
	l.entry(t.ID, t.Logprobs.Own.Logprob, text)
	l.tokens = append(l.tokens, `,"top_logprobs":[`...)
	for i, o := range t.Logprobs.Top {
		if i > 0 {
			l.tokens = append(l.tokens, ',')
		}
		l.entry(o.ID, o.Logprob, l.text(o.ID))
		l.tokens = append(l.tokens, '}')
	}
	l.tokens = append(l.tokens, "]}"...)
}

// entry appends a chat's entry without its closing brace.
func (l *tokenLog) entry(id int32, logprob float32, text string) {
	l.tokens = append(appendString(append(l.tokens, `{"token":`...), text), `,"logprob":`...)
	l.tokens = append(appendLogprob(l.tokens, logprob), `,"bytes":[`...)
	bytes := l.tok.Bytes(id)
	for i := range len(bytes) {
		if i > 0 {
			l.tokens = append(l.tokens, ',')
		}
		l.tokens = strconv.AppendInt(l.tokens, int64(bytes[i]), 10)
	}
	l.tokens = append(l.tokens, ']')
}

// text is how a token is spelled in an answer: half a character is U+FFFD.
func (l *tokenLog) text(id int32) string {
	if l.asIDs {
		return "token_id:" + strconv.Itoa(int(id))
	}
	if b := l.tok.Bytes(id); utf8.ValidString(b) {
		return b
	}
	return l.tok.Decode([]int32{id}, false)
}

// appendTo appends the value of "logprobs" and starts anew behind its tokens.
func (l *tokenLog) appendTo(b []byte) []byte {
	switch {
	case l == nil:
		return append(b, "null"...)
	case l.chat:
		b = append(append(append(b, `{"content":[`...), l.tokens...), "]}"...)
	default:
		b = append(append(b, `{"text_offset":[`...), l.offsets...)
		b = append(append(b, `],"token_logprobs":[`...), l.values...)
		b = append(append(b, `],"tokens":[`...), l.tokens...)
		b = append(append(b, `],"top_logprobs":[`...), l.tops...)
		b = append(b, "]}"...)
	}
	l.offsets, l.values, l.tokens, l.tops = l.offsets[:0], l.values[:0], l.tokens[:0], l.tops[:0]
	return b
}

// appendLogprob appends the shortest number that reads back as x.
func appendLogprob(b []byte, x float32) []byte {
	if !(x >= leastLogprob) { // NaN too
		x = leastLogprob
	}
	return strconv.AppendFloat(b, float64(x), 'g', -1, 32)
}

// appendIDs appends a list of token ids.
func appendIDs(b []byte, ids []int32) []byte {
	b = append(b, '[')
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(id), 10)
	}
	return append(b, ']')
}
