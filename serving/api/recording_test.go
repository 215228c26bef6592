package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/serving/engine"
)

// exchange is one recording.
type exchange struct {
	name   string
	req    *http.Request
	body   string // of the request
	status int
	header textproto.MIMEHeader
	answer []byte
}

func readExchange(t *testing.T, file string) exchange {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	request, response, ok := bytes.Cut(raw, []byte("\n======== RESPONSE ========\n"))
	require.Truef(t, ok, "%s has no response mark", file)
	x := exchange{name: strings.TrimSuffix(filepath.Base(file), ".http")}
	x.req, err = http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
	require.NoError(t, err)
	body, err := io.ReadAll(x.req.Body)
	require.NoError(t, err)
	x.body = string(body)

	r := bufio.NewReader(bytes.NewReader(response))
	tp := textproto.NewReader(r)
	line, err := tp.ReadLine()
	require.NoError(t, err)
	x.status, err = strconv.Atoi(strings.Fields(line)[1])
	require.NoError(t, err)
	x.header, err = tp.ReadMIMEHeader()
	require.NoError(t, err)
	x.answer, err = io.ReadAll(r)
	require.NoError(t, err)
	return x
}

// events returns the JSON values of an answer: one, or those of a stream.
func (x exchange) events(t *testing.T) []string {
	t.Helper()
	if !strings.HasPrefix(x.header.Get("Content-Type"), "text/event-stream") {
		if len(bytes.TrimSpace(x.answer)) == 0 {
			return nil
		}
		return []string{string(x.answer)}
	}
	events := readEvents(t, bytes.NewReader(x.answer))
	require.Equal(t, "[DONE]", events[len(events)-1])
	return events[:len(events)-1]
}

// saidChoice is a choice, whole or of an event, of either route.
type saidChoice struct {
	Index   int
	Text    *string
	Delta   struct{ Content, Role *string }
	Message struct{ Content *string }
	Finish  engine.Finish `json:"finish_reason"`
	Stop    string        `json:"stop_reason"`

	Logprobs *saidLogprobs
	TokenIDs []int32 `json:"token_ids"`
	Prompt   []int32 `json:"prompt_token_ids"`
}

type saidLogprobs struct {
	Tokens []string             // completions
	Values []float32            `json:"token_logprobs"`
	Tops   []map[string]float32 `json:"top_logprobs"`

	Content []struct { // chat
		saidToken
		Top []saidToken `json:"top_logprobs"`
	}
}

type saidToken struct {
	Token   string
	Logprob float32
}

// script is what the engine is to give for a choice of a recording.
type script struct {
	tok    *fakeTokenizer
	tokens []engine.Token
	last   saidChoice
}

// id gives a text the id of its own: one for all of a recording.
func (s *script) id(text string) int32 {
	for id, known := range s.tok.texts {
		if known == text && id >= firstText {
			return id
		}
	}
	id := int32(firstText + len(s.tok.texts))
	for s.tok.texts[id] != "" {
		id++
	}
	s.tok.texts[id] = text
	return id
}

// add takes what a choice says: an event's token, or the tokens of a whole answer.
func (s *script) add(c saidChoice) {
	s.last = c
	if l := c.Logprobs; l != nil {
		for i, text := range l.Tokens {
			s.token(s.id(text), l.Values[i], func(top func(string, float32)) {
				for other, p := range l.Tops[i] {
					top(other, p)
				}
			})
		}
		for _, one := range l.Content {
			s.token(s.id(one.Token), one.Logprob, func(top func(string, float32)) {
				for _, other := range one.Top {
					top(other.Token, other.Logprob)
				}
			})
		}
		return
	}
	for _, text := range []*string{c.Text, c.Delta.Content, c.Message.Content} {
		switch {
		case text == nil:
		case len(c.TokenIDs) == 1:
			s.tok.texts[c.TokenIDs[0]] = *text
			s.tokens = append(s.tokens, engine.Token{ID: c.TokenIDs[0]})
		default:
			s.tokens = append(s.tokens, engine.Token{ID: s.id(*text)})
		}
	}
}

func (s *script) token(id int32, logprob float32, tops func(top func(string, float32))) {
	l := &engine.Logprobs{Own: engine.Logprob{ID: id, Logprob: logprob}}
	tops(func(text string, p float32) { l.Top = append(l.Top, engine.Logprob{ID: s.id(text), Logprob: p}) })
	slices.SortFunc(l.Top, func(a, b engine.Logprob) int { return int(1e6 * (b.Logprob - a.Logprob)) })
	s.tokens = append(s.tokens, engine.Token{ID: id, Logprobs: l})
}

// end makes the script n tokens long and end as the choice did.
func (s *script) end(n int) {
	for len(s.tokens) < n {
		s.tokens = append(s.tokens, engine.Token{ID: s.id("")})
	}
	last := &s.tokens[len(s.tokens)-1]
	switch {
	case s.last.Finish != engine.FinishStop:
		last.Finish = s.last.Finish
	case s.last.Stop == "":
		*last = engine.Token{ID: fakeEOS, Finish: engine.FinishStop}
	default: // no token ends it: the stop string does
		last.ID = s.id(s.tok.texts[last.ID] + s.last.Stop)
	}
}

// fake makes a server whose engine says what was said in the recording, token
// by token where it was streamed, in one piece otherwise.
func (x exchange) fake(t *testing.T) *fake {
	t.Helper()
	f := newFake("")
	f.cfg.Models = []string{"smol"}
	if x.status != http.StatusOK || !strings.HasSuffix(x.req.URL.Path, "/completions") {
		return f
	}
	var said struct {
		Choices []saidChoice
		Usage   *usage
	}
	var scripts []*script
	var total usage
	events := x.events(t)
	for _, data := range events {
		said.Choices, said.Usage = nil, nil
		require.NoError(t, json.Unmarshal([]byte(data), &said))
		if said.Usage != nil {
			total = *said.Usage
		}
		for _, c := range said.Choices {
			if c.Index == len(scripts) {
				scripts = append(scripts, &script{tok: f.tok})
			}
			if c.Prompt != nil {
				f.tok.prompt = c.Prompt
			}
			if c.Delta.Role == nil {
				scripts[c.Index].add(c)
			}
		}
	}
	f.tok.promptTokens = total.PromptTokens
	if total.PromptTokens == 0 {
		f.tok.promptTokens = 5
	}
	var asked struct{ Prompt []string }
	if json.Unmarshal([]byte(x.body), &asked) == nil && len(asked.Prompt) > 1 {
		left := total.PromptTokens
		f.tok.lengths = map[string]int{}
		for _, p := range asked.Prompt {
			f.tok.lengths[p] = len(strings.Fields(p))
			left -= f.tok.lengths[p]
		}
		f.tok.lengths[asked.Prompt[len(asked.Prompt)-1]] += left
	}
	for _, s := range scripts {
		if len(events) == 1 {
			s.end(total.CompletionTokens / len(scripts))
		} else {
			s.end(0)
		}
		f.engine.scripts = append(f.engine.scripts, s.tokens)
	}
	return f
}
