package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"servebench/serving/engine"
)

// tgiLogprob writes what JSON can: see leastLogprob.
type tgiLogprob float32

// MarshalJSON is json.Marshaler's.
func (x tgiLogprob) MarshalJSON() ([]byte, error) { return appendLogprob(nil, float32(x)), nil }

// The shapes of TGI's answers, in the order of keys that it sends.
type (
	tgiToken struct {
		ID      int32      `json:"id"`
		Text    string     `json:"text"`
		Logprob tgiLogprob `json:"logprob"`
		Special bool       `json:"special"`
	}
	tgiPrefill struct {
		ID      int32       `json:"id"`
		Text    string      `json:"text"`
		Logprob *tgiLogprob `json:"logprob"` // null for the first, which follows nothing
	}
	tgiDetails struct {
		Finish    string        `json:"finish_reason"`
		Count     int           `json:"generated_tokens"`
		Seed      *uint64       `json:"seed"` // null when greedy
		Prefill   []tgiPrefill  `json:"prefill"`
		Tokens    []tgiToken    `json:"tokens"`
		BestOf    []tgiSequence `json:"best_of_sequences,omitempty"`
		TopTokens [][]tgiToken  `json:"top_tokens,omitempty"`
	}
	tgiSequence struct {
		Text string `json:"generated_text"`
		tgiDetails
	}
	tgiWhole struct {
		Text    string      `json:"generated_text"`
		Details *tgiDetails `json:"details,omitempty"`
	}
	tgiEvent struct {
		Index     int               `json:"index"`
		Token     tgiToken          `json:"token"`
		TopTokens []tgiToken        `json:"top_tokens,omitempty"`
		Text      *string           `json:"generated_text"`
		Details   *tgiStreamDetails `json:"details"`
	}
	tgiStreamDetails struct {
		Finish      string  `json:"finish_reason"`
		Count       int     `json:"generated_tokens"`
		Seed        *uint64 `json:"seed"`
		InputLength int     `json:"input_length"`
	}
)

// tgiReader reads one sequence.
type tgiReader struct {
	s       *Server
	job     *tgiJob
	req     *engine.Request
	tokens  Tokens
	decoder Detokenizer
	stop    *stopper

	text    strings.Builder // without the prompt, with the stop string
	prefill []tgiPrefill
	said    []tgiToken
	top     [][]tgiToken
	sum     float64 // of the logprobs
	finish  string  // "" while it runs
}

func (s *Server) newTGIReader(j *tgiJob, i int, t Tokens) *tgiReader {
	q := &j.seqs[i]
	return &tgiReader{s: s, job: j, req: q, tokens: t, decoder: s.cfg.Tokenizer.Stream(q.Prompt, true), stop: newStopper(j.stop),
		prefill: []tgiPrefill{}}
}

// next waits for one token. With the last one finish is set.
func (g *tgiReader) next(ctx context.Context) (tgiToken, error) {
	if g.req.PromptLogprobs && len(g.said) == 0 {
		prompt, err := g.tokens.Prompt(ctx)
		if err != nil {
			return tgiToken{}, err
		}
		for _, t := range prompt {
			p := tgiPrefill{ID: t.ID, Text: g.s.tokenText(t.ID)}
			if t.Logprobs != nil {
				p.Logprob = new(tgiLogprob(t.Logprobs.Own.Logprob))
			}
			g.prefill = append(g.prefill, p)
		}
	}
	t, err := g.tokens.Next(ctx)
	if err != nil {
		return tgiToken{}, err
	}
	if t.Finish == engine.FinishAbort {
		return tgiToken{}, fmt.Errorf("the request was aborted: %w", engine.ErrClosed)
	}
	tok := tgiToken{ID: t.ID, Special: g.s.special(t.ID)}
	g.decode(t, &tok)
	if t.Logprobs != nil {
		tok.Logprob = tgiLogprob(t.Logprobs.Own.Logprob)
		g.sum += float64(t.Logprobs.Own.Logprob)
		top := make([]tgiToken, 0, len(t.Logprobs.Top))
		for _, o := range t.Logprobs.Top {
			top = append(top, tgiToken{o.ID, g.s.tokenText(o.ID), tgiLogprob(o.Logprob), g.s.special(o.ID)})
		}
		if len(top) > 0 {
			g.top = append(g.top, top)
		}
	}
	g.said = append(g.said, tok)
	return tok, nil
}

// decode gives a token its text, adds it to the sequence's, and looks for the end.
func (g *tgiReader) decode(t engine.Token, tok *tgiToken) {
	if t.Finish != engine.FinishStop {
		tok.Text = g.decoder.Push(t.ID)
	}
	if t.Finish != "" {
		tok.Text += g.decoder.Flush()
	}
	out, matched := g.stop.push(tok.Text, true)
	g.text.WriteString(out)
	switch {
	case matched != "":
		g.text.WriteString(matched)
		g.finish = "stop_sequence"
		g.tokens.Stop()
	case t.Finish == engine.FinishStop:
		g.finish = "eos_token"
	case t.Finish == engine.FinishLength:
		g.finish = "length"
	}
	if g.finish != "" && matched == "" {
		g.text.WriteString(g.stop.flush())
	}
	if tok.Special { // it is no part of the sequence's text, but an event tells it
		tok.Text = g.s.tokenText(t.ID)
	}
}

// meanLogprob is what best_of goes by.
func (g *tgiReader) meanLogprob() float64 { return g.sum / float64(max(1, len(g.said))) }

// seed returns what made the sequence, nil when greedy.
func (g *tgiReader) seed() *uint64 {
	if !g.job.sampling {
		return nil
	}
	return &g.req.Sampling.Seed
}

// fullText is generated_text.
func (g *tgiReader) fullText() string {
	if g.job.fullText {
		return g.job.inputs + g.text.String()
	}
	return g.text.String()
}

func (g *tgiReader) details() tgiDetails {
	return tgiDetails{Finish: g.finish, Count: len(g.said), Seed: g.seed(), Prefill: g.prefill, Tokens: g.said, TopTokens: g.top}
}

// answer is the whole answer with g's text; the other readers' are told with it.
func (g *tgiReader) answer(all []*tgiReader) tgiWhole {
	a := tgiWhole{Text: g.fullText()}
	if !g.job.details {
		return a
	}
	d := g.details()
	for _, o := range all {
		if o != g {
			d.BestOf = append(d.BestOf, tgiSequence{o.fullText(), o.details()})
		}
	}
	a.Details = &d
	return a
}

// event is the event of a token that was just read.
func (g *tgiReader) event(tok tgiToken) tgiEvent {
	e := tgiEvent{Index: len(g.said), Token: tok}
	if len(g.top) == len(g.said) {
		e.TopTokens = g.top[len(g.top)-1]
	}
	if g.finish == "" {
		return e
	}
	e.Text = new(g.fullText())
	if g.job.details {
		e.Details = &tgiStreamDetails{g.finish, len(g.said), g.seed(), len(g.req.Prompt)}
	}
	return e
}

// tokenText is a token's text by itself.
func (s *Server) tokenText(id int32) string { return spelling(s.cfg.Tokenizer, id, false) }

// special tells the tokens that are left out of texts.
func (s *Server) special(id int32) bool {
	if slices.Contains(s.eos, id) {
		return true
	}
	one := []int32{id}
	return s.cfg.Tokenizer.Decode(one, true) == "" && s.cfg.Tokenizer.Decode(one, false) != ""
}

// tgiError gives any error its status and body.
func tgiError(err error) (status int, body []byte) {
	e := asAPIError(err)
	message, kind := e.message, "validation"
	switch {
	case errors.Is(err, engine.ErrOverloaded):
		status, kind, message = http.StatusTooManyRequests, "overloaded", "Model is overloaded: "+message
	case e.status == http.StatusServiceUnavailable:
		status, kind = e.status, "healthcheck"
	case e.status == http.StatusInternalServerError:
		status, kind, message = http.StatusFailedDependency, "generation", "Request failed during generation: "+message
	case e.status == http.StatusBadRequest && e.param != "":
		status, message = http.StatusUnprocessableEntity, "Input validation error: "+message
	default:
		status = e.status
	}
	return status, marshal(struct {
		Error string `json:"error"`
		Type  string `json:"error_type"`
	}{message, kind})
}

// writeTGIError answers with an error. Only for answers that have not begun.
func (s *Server) writeTGIError(w http.ResponseWriter, err error) {
	status, body := tgiError(err)
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	if status == http.StatusFailedDependency {
		s.cfg.Log.Error("request failed", "status", status, "error", err)
	}
	s.writeJSON(w, status, body)
}
