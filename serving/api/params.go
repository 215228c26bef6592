package api

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"math"
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
)

// job is a request that was found good: what the engine and the answer need.
type job struct {
	chat    bool
	created int64
	model   string // as the answer names it
	req     engine.Request
	stop    []string

	stream          bool
	includeUsage    bool
	continuousUsage bool
}

// prepare checks a request against the model's limits and encodes its prompt.
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
	maxTokens, maxField, err := s.maxTokensAsked(rt, r)
	if err != nil {
		return nil, err
	}
	ids, err := s.encode(rt, r)
	if err != nil {
		return nil, err
	}
	j := &job{chat: rt.chat, created: time.Now().Unix(), model: r.model, stop: r.stop,
		stream: r.stream, includeUsage: r.includeUsage, continuousUsage: r.includeUsage && r.continuousUsage}
	if j.model == "" {
		j.model = s.cfg.Models[0]
	}
	j.req = engine.Request{ID: newID(rt.prefix), Prompt: ids, Sampling: params}
	if !r.ignoreEOS {
		j.req.StopTokens = s.eos
	}
	if j.req.MaxTokens, err = s.fit(len(ids), maxTokens, maxField); err != nil {
		return nil, err
	}
	if maxTokens == 0 && !rt.chat {
		j.req.MaxTokens = min(j.req.MaxTokens, defaultMaxTokens)
	}
	if r.minTokens != nil {
		if *r.minTokens < 0 || *r.minTokens > int64(j.req.MaxTokens) {
			return nil, badRequest("min_tokens", "min_tokens is %d; it must be an integer from 0 to max_tokens, which is %d",
				*r.minTokens, j.req.MaxTokens)
		}
		j.req.MinTokens = int(*r.minTokens)
	}
	return j, nil
}

// sampling applies defaults and ranges to the sampling parameters.
func (s *Server) sampling(r *request) (sample.Params, error) {
	p := sample.Params{Temperature: s.cfg.Defaults.Temperature, TopP: s.cfg.Defaults.TopP, TopK: s.cfg.Defaults.TopK}
	if r.temperature != nil {
		p.Temperature = *r.temperature
	}
	if p.Temperature < 0 || math.IsNaN(p.Temperature) || math.IsInf(p.Temperature, 0) {
		return p, outOfRange("temperature", p.Temperature)
	}
	if p.Temperature > 0 {
		p.Temperature = max(p.Temperature, minTemperature)
	}
	if r.topP != nil {
		p.TopP = *r.topP
	}
	if !(p.TopP > 0 && p.TopP <= 1) {
		return p, outOfRange("top_p", p.TopP)
	}
	if r.topK != nil {
		if *r.topK < -1 {
			return p, outOfRange("top_k", *r.topK)
		}
		p.TopK = int(min(max(*r.topK, 0), int64(s.cfg.Vocab)))
	}
	if r.seed != nil {
		p.Seed = uint64(*r.seed)
	} else {
		p.Seed = s.cfg.Seed()
	}
	return p, nil
}

func outOfRange(name string, value any) error {
	return badRequest(name, "%s is %v; it must be %s", name, value, allowed(name))
}

// maxTokensAsked returns the output tokens asked for, 0 for none, and the field
// that asked.
func (s *Server) maxTokensAsked(rt *route, r *request) (int, string, error) {
	field, value := "max_tokens", r.maxTokens
	if rt.chat && r.maxCompletionTokens != nil {
		field, value = "max_completion_tokens", r.maxCompletionTokens
	}
	switch {
	case value == nil:
		return 0, field, nil
	case *value < 1:
		return 0, field, outOfRange(field, *value)
	case *value > int64(s.cfg.MaxModelLen):
		return 0, field, badRequest(field, "%s is %d, but the model's context is %d tokens, prompt and output together: ask for fewer",
			field, *value, s.cfg.MaxModelLen)
	}
	return int(*value), field, nil
}

// fit returns the output tokens of a prompt of n tokens: those that the named
// field asked for, or, for 0, all that the context has left.
func (s *Server) fit(n, asked int, field string) (int, error) {
	room := s.cfg.MaxModelLen - n
	switch {
	case room < 1:
		return 0, badRequest("prompt", "the model's context is %d tokens, prompt and output together, but the prompt alone has %d: shorten it",
			s.cfg.MaxModelLen, n)
	case asked > room:
		return 0, badRequest(field, "the model's context is %d tokens, but the prompt has %d and %s asks for %d more (%d in all): shorten the prompt or lower %s",
			s.cfg.MaxModelLen, n, field, asked, n+asked, field)
	case asked > 0:
		return asked, nil
	}
	return room, nil
}

// encode returns a request's prompt ids, at least one, all of the vocabulary.
func (s *Server) encode(rt *route, r *request) ([]int32, error) {
	if rt.chat {
		return s.encodeChat(r)
	}
	p := r.prompt
	if p == nil || p.text == "" && len(p.ids) == 0 {
		return nil, badRequest("prompt", "prompt is missing or empty: give a text or a list of token ids")
	}
	if len(p.ids) == 0 {
		s.whenFree(p.text, func() { p.ids = s.cfg.Tokenizer.EncodePrompt(p.text) })
	}
	for i, id := range p.ids {
		if id < 0 || int(id) >= s.cfg.Vocab {
			return nil, badRequest("prompt", "prompt[%d] is token id %d; the model's ids are 0 to %d", i, id, s.cfg.Vocab-1)
		}
	}
	if len(p.ids) == 0 {
		return nil, badRequest("prompt", "prompt has no tokens")
	}
	return p.ids, nil
}

func (s *Server) encodeChat(r *request) ([]int32, error) {
	if len(r.messages) == 0 {
		return nil, badRequest("messages", "messages is missing or empty: give at least one message")
	}
	text, err := s.cfg.Tokenizer.Chat(r.messages, true)
	if err != nil {
		return nil, badRequest("messages", "the model's chat template refused the messages: %v", err)
	}
	var ids []int32
	s.whenFree(text, func() { ids = s.cfg.Tokenizer.Encode(text, true) })
	if len(ids) == 0 {
		return nil, badRequest("messages", "the messages have no tokens")
	}
	return ids, nil
}

// largeText is more than any usual prompt has. A text of the body's largest
// size takes the tokenizer seconds and some 250 MB when it is a single word.
const largeText = 256 << 10 // bytes

// whenFree runs encode, one at a time for large texts, so that a few clients
// with absurd prompts take neither all the memory nor the engine's cores.
func (s *Server) whenFree(text string, encode func()) {
	if len(text) > largeText {
		s.large <- struct{}{}
		defer func() { <-s.large }()
	}
	encode()
}

// newID returns an id that no other request has.
func newID(prefix string) string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: see crypto/rand
	return prefix + hex.EncodeToString(b[:])
}

func randomSeed() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}
