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
	echo   bool // the prompt's tokens are told too
	most   int  // alternatives told of each token
	offset int  // Unicode characters of the tokens so far

	offsets, values, tokens, tops []byte // completions; a chat has all in tokens
	seen                          []string
}

func (s *Server) newTokenLog(j *job) *tokenLog {
	if !j.out.logprobs {
		return nil
	}
	return &tokenLog{tok: s.cfg.Tokenizer, chat: j.chat, asIDs: j.out.asIDs, echo: j.out.echo, most: j.out.top}
}

// add takes a piece's tokens: the echoed prompt's, and its own.
func (l *tokenLog) add(p *piece) {
	if l.echo {
		for _, t := range p.prompt {
			l.token(t)
		}
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
	text := spelling(l.tok, t.ID, l.asIDs)
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
	for _, o := range first(t.Logprobs.Top, l.most) {
		l.top(o, spelling(l.tok, o.ID, l.asIDs))
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
	for i, o := range first(t.Logprobs.Top, l.most) {
		if i > 0 {
			l.tokens = append(l.tokens, ',')
		}
		l.entry(o.ID, o.Logprob, spelling(l.tok, o.ID, l.asIDs))
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

// first returns at most n of the likeliest, of which the engine may tell more
// than are asked for at one place.
func first(top []engine.Logprob, n int) []engine.Logprob { return top[:min(n, len(top))] }

// spelling is how a token is written in an answer: half a character is U+FFFD.
func spelling(tok Tokenizer, id int32, asID bool) string {
	if asID {
		return "token_id:" + strconv.Itoa(int(id))
	}
	if b := tok.Bytes(id); utf8.ValidString(b) {
		return b
	}
	return tok.Decode([]int32{id}, false)
}

// promptLogprobs is vLLM's own prompt_logprobs: for each token of the prompt an
// object of its id, and the likeliest ones, to {logprob, rank, decoded_token};
// null for the first.
func (s *Server) promptLogprobs(j *job, prompt []engine.Token) []byte {
	if !j.out.prompt {
		return nil
	}
	b := []byte{'['}
	for i, t := range prompt {
		if i > 0 {
			b = append(b, ',')
		}
		if t.Logprobs == nil {
			b = append(b, "null"...)
			continue
		}
		b = s.appendRanked(append(b, '{'), t.Logprobs.Own, j.out.asIDs)
		for _, o := range first(t.Logprobs.Top, j.out.promptTop) {
			if o.ID != t.ID {
				b = s.appendRanked(append(b, ','), o, j.out.asIDs)
			}
		}
		b = append(b, '}')
	}
	return append(b, ']')
}

// appendRanked appends an entry of a prompt's token.
func (s *Server) appendRanked(b []byte, p engine.Logprob, asID bool) []byte {
	b = strconv.AppendInt(append(b, '"'), int64(p.ID), 10)
	b = appendLogprob(append(b, `":{"logprob":`...), p.Logprob)
	b = strconv.AppendInt(append(b, `,"rank":`...), int64(p.Rank), 10)
	b = append(b, `,"decoded_token":`...)
	return append(appendString(b, spelling(s.cfg.Tokenizer, p.ID, asID)), '}')
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
