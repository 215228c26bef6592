package api

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"math"
	"slices"
	"strconv"
	"time"

	"servebench/serving/engine"
	"servebench/serving/sample"
)

// route is what differs between the two generating routes.
type route struct {
	chat   bool
	prefix string // of ids
	fields map[string]setter
}

var (
	completions = &route{prefix: "cmpl-", fields: completionFields}
	chat        = &route{chat: true, prefix: "chatcmpl-", fields: chatFields}
)

const (
	// defaultMaxTokens is what /v1/completions generates when max_tokens is left
	// out, unless the context ends before.
	defaultMaxTokens = 16
	// minTemperature is the least temperature above 0: lower ones are raised to
	// it, as in vLLM, because logits divided by less overflow.
	minTemperature = 0.01
	// maxStopIDs bounds stop_token_ids: the engine compares each token with all
	// of them, in its step. Models have a handful.
	maxStopIDs = 128
	// maxPromptLogprobs bounds the log-probabilities of prompts in one answer:
	// 16 bytes each in the engine, some 40 as JSON.
	maxPromptLogprobs = 4 << 20
)

// job is a request that was found good: what the engine and the answer need.
type job struct {
	id      string
	chat    bool
	created int64
	model   string // as the answer names it
	inputs  []input
	n       int              // choices of each input
	seqs    []engine.Request // of every choice, by its index in the answer: input by input, n of each
	out     output
	stop    []automaton
	stopIDs []int32 // stop tokens besides the model's own; stop_reason tells them

	stream          bool
	includeUsage    bool
	continuousUsage bool
}

// input is one encoded prompt.
type input struct {
	ids  []int32
	name string // the field that it came from
	echo string // what comes before the generated text
}

// output is how tokens are shown.
type output struct {
	special     bool // special tokens are part of the text
	includeStop bool // so is what stopped it
	promptOnly  bool // nothing is generated: echo with max_tokens 0
	echo        bool // completions: the prompt's tokens come first in what is told of tokens
	logprobs    bool
	top         int  // alternatives told of each token
	prompt      bool // prompt_logprobs
	promptTop   int  // alternatives told of each of the prompt's tokens there
	asIDs       bool // tokens are spelled token_id:5
	tokenIDs    bool // ids are told
}

// prepare checks a request against the model's limits and encodes its prompts.
func (s *Server) prepare(rt *route, r *request) (*job, error) {
	if err := s.checkModel(r.model); err != nil {
		return nil, err
	}
	if r.streamOptions && !r.stream {
		return nil, badRequest("stream_options", "stream_options is only allowed with stream: true")
	}
	params, err := s.sampling(r)
	if err != nil {
		return nil, err
	}
	limit, err := s.maxTokensAsked(rt, r)
	if err != nil {
		return nil, err
	}
	j := &job{id: rt.prefix + cmp.Or(r.id, newID()), chat: rt.chat, created: time.Now().Unix(), model: cmp.Or(r.model, s.cfg.Models[0]),
		stop: newAutomata(r.stop), stream: r.stream, includeUsage: r.includeUsage, continuousUsage: r.includeUsage && r.continuousUsage}
	if j.n, err = s.choicesAsked(rt, r, params); err != nil {
		return nil, err
	}
	if len(r.stopTokenIDs) > maxStopIDs {
		return nil, badRequest("stop_token_ids", "stop_token_ids has %d ids; at most %d are allowed: allowed_token_ids and logit_bias keep many from being drawn",
			len(r.stopTokenIDs), maxStopIDs)
	}
	if err = s.inVocabulary("stop_token_ids", r.stopTokenIDs); err != nil {
		return nil, err
	}
	if j.out, err = s.shown(rt, r); err != nil {
		return nil, err
	}
	j.out.promptOnly = limit.tokens == 0
	if j.inputs, err = s.encode(rt, r, limit); err != nil {
		return nil, err
	}
	return j, s.sequences(rt, r, j, params, limit)
}

// sequences makes the engine's requests of a job.
func (s *Server) sequences(rt *route, r *request, j *job, params sample.Params, limit tokenLimit) error {
	o := j.out
	base := engine.Request{Sampling: params, Logprobs: o.logprobs || o.prompt, TopLogprobs: max(o.top, o.promptTop),
		PromptLogprobs: o.prompt || o.logprobs && o.echo}
	if !r.ignoreEOS {
		base.StopTokens = s.eos
	}
	for _, id := range r.stopTokenIDs {
		if !slices.Contains(base.StopTokens, id) {
			base.StopTokens = append(slices.Clip(base.StopTokens), id)
			j.stopIDs = append(j.stopIDs, id)
		}
	}
	if base.PromptLogprobs {
		if err := checkPromptLogprobs(j, base.TopLogprobs); err != nil {
			return err
		}
	}
	j.seqs = make([]engine.Request, 0, len(j.inputs)*j.n)
	for _, in := range j.inputs {
		var err error
		if base.MaxTokens, err = s.fit(in, limit); err != nil {
			return err
		}
		if limit.tokens < 0 && !rt.chat {
			base.MaxTokens = min(base.MaxTokens, defaultMaxTokens)
		}
		if base.MinTokens, err = minTokens(r, base.MaxTokens, limit); err != nil {
			return err
		}
		if base.MinTokens > 0 && onlyStops(&base) {
			return badRequest("min_tokens", "min_tokens is %d, before which no stop token is drawn, but allowed_token_ids has nothing else: allow another id, or leave min_tokens out", base.MinTokens)
		}
		base.Prompt = in.ids
		for k := range j.n {
			q := base
			q.ID = j.id
			if j.n*len(j.inputs) > 1 {
				q.ID += "-" + strconv.Itoa(len(j.seqs))
			}
			if r.seed != nil {
				q.Sampling.Seed = uint64(*r.seed) + uint64(k) // as vLLM
			} else {
				q.Sampling.Seed = s.cfg.Seed()
			}
			j.seqs = append(j.seqs, q)
		}
	}
	return nil
}

// onlyStops tells that no id may be drawn but stop tokens.
func onlyStops(q *engine.Request) bool {
	return q.Sampling.Allowed != nil &&
		!slices.ContainsFunc(q.Sampling.Allowed, func(id int32) bool { return !slices.Contains(q.StopTokens, id) })
}

// checkPromptLogprobs bounds what the prompts' log-probabilities take.
func checkPromptLogprobs(j *job, top int) error {
	name := "prompt_logprobs"
	if !j.out.prompt {
		name = "logprobs" // with echo
	}
	total := 0
	for _, in := range j.inputs {
		total += len(in.ids) * j.n * (1 + top)
	}
	if total > maxPromptLogprobs {
		return badRequest(name, "the prompts have %d log-probabilities to tell, over all choices and alternatives; one request may ask for %d: send several requests",
			total, maxPromptLogprobs)
	}
	return nil
}

// minTokens checks min_tokens against the tokens that a sequence may have.
func minTokens(r *request, maxTokens int, limit tokenLimit) (int, error) {
	if limit.tokens == 0 {
		maxTokens = 0
	}
	if r.minTokens == nil {
		return 0, nil
	}
	if *r.minTokens < 0 || *r.minTokens > int64(maxTokens) {
		return 0, badRequest("min_tokens", "min_tokens is %d; it must be an integer from 0 to max_tokens, which is %d",
			*r.minTokens, maxTokens)
	}
	return int(*r.minTokens), nil
}

// choicesAsked returns n, and bounds the sequences that a request makes.
func (s *Server) choicesAsked(rt *route, r *request, p sample.Params) (int, error) {
	n := int64(1)
	if r.n != nil {
		n = *r.n
	}
	switch {
	case n < 1:
		return 0, outOfRange("n", n)
	case n > 1 && p.Greedy():
		return 0, badRequest("n", "n is %d, but with temperature 0 all choices would be the same: raise the temperature or leave n out", n)
	case r.bestOf != nil && *r.bestOf != n:
		return 0, badRequest("best_of", "best_of is %d and n is %d: every choice that is generated is given back, so best_of must equal n or be left out",
			*r.bestOf, n)
	}
	prompts := 1
	if !rt.chat {
		prompts = max(1, len(r.prompts))
	}
	if most := s.cfg.MaxChoices; n > int64(most/prompts) {
		return 0, badRequest("n", "n is %d, for each of %d prompts; one request may have %d choices in all: ask for fewer or send several requests", n, prompts, most)
	}
	return int(n), nil
}

// shown reads what a request wants to be told of tokens.
func (s *Server) shown(rt *route, r *request) (output, error) {
	o := output{special: r.showSpecial, includeStop: r.includeStop, asIDs: r.asTokenIDs, tokenIDs: r.tokenIDs,
		echo: r.echo && !rt.chat, logprobs: r.logprobs != nil || r.chatLogprobs}
	if r.promptTop != nil && r.stream {
		return o, badRequest("prompt_logprobs", "prompt_logprobs is not told in streams: leave stream out, or ask with echo and logprobs")
	}
	field, top := "logprobs", r.logprobs
	if rt.chat {
		field, top = "top_logprobs", r.topLogprobs
	}
	o.prompt = r.promptTop != nil
	var err error
	if o.promptTop, err = s.alternatives("prompt_logprobs", r.promptTop); err != nil {
		return o, err
	}
	if o.top, err = s.alternatives(field, top); err != nil {
		return o, err
	}
	if o.top > 0 && !o.logprobs {
		return o, badRequest(field, "top_logprobs is %d, but logprobs is not true: set it, or leave top_logprobs out", o.top)
	}
	return o, nil
}

// alternatives checks how many alternatives to a token a field asks for.
func (s *Server) alternatives(field string, n *int64) (int, error) {
	switch {
	case n == nil:
		return 0, nil
	case *n < 0 || *n > int64(s.cfg.MaxLogprobs):
		return 0, badRequest(field, "%s is %d; it must be an integer from 0 to --max-logprobs, %d", field, *n, s.cfg.MaxLogprobs)
	}
	return int(*n), nil
}

func outOfRange(name string, value any) error {
	return badRequest(name, "%s is %v; it must be %s", name, value, allowed(name))
}

// tokenLimit is how many tokens a request wants, and the field that said so.
type tokenLimit struct {
	tokens int // -1 when nothing said so
	field  string
}

// maxTokensAsked returns the output tokens asked for. None is a request for
// the prompt alone, which only echo gives a meaning.
func (s *Server) maxTokensAsked(rt *route, r *request) (tokenLimit, error) {
	l, value := tokenLimit{-1, "max_tokens"}, r.maxTokens
	if rt.chat && r.maxCompletionTokens != nil {
		l.field, value = "max_completion_tokens", r.maxCompletionTokens
	}
	switch {
	case value == nil:
		return l, nil
	case *value < 1 && (*value < 0 || rt.chat || !r.echo):
		return l, outOfRange(l.field, *value)
	case *value > int64(s.cfg.MaxModelLen):
		return l, badRequest(l.field, "%s is %d, but the model's context is %d tokens, prompt and output together: ask for fewer",
			l.field, *value, s.cfg.MaxModelLen)
	}
	l.tokens = int(*value)
	return l, nil
}

// fit returns the output tokens of an input: those that were asked for, or all
// that the context has left. It is at least 1, for the engine's sake.
func (s *Server) fit(in input, limit tokenLimit) (int, error) {
	n := len(in.ids)
	switch room := s.cfg.MaxModelLen - n; {
	case room < 1:
		return 0, badRequest(in.name, "the model's context is %d tokens, prompt and output together, but the prompt alone has %d: shorten it",
			s.cfg.MaxModelLen, n)
	case limit.tokens > room:
		return 0, badRequest(limit.field, "the model's context is %d tokens, but the prompt has %d and %s asks for %d more (%d in all): shorten the prompt or lower %s",
			s.cfg.MaxModelLen, n, limit.field, limit.tokens, n+limit.tokens, limit.field)
	case limit.tokens < 0:
		return room, nil
	}
	return max(1, limit.tokens), nil
}

// newID returns an id that no other request has.
func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: see crypto/rand
	return hex.EncodeToString(b[:])
}

func randomSeed() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

// finite tells a number from NaN and the infinities.
func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
