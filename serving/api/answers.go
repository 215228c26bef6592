package api

import (
	"bytes"
	"encoding/json"
	"strings"

	"servebench/serving/engine"
)

// usage counts tokens. Completion tokens include a stop token, and every token
// up to the one that completed a stop string.
type usage struct {
	PromptTokens     int            `json:"prompt_tokens"`
	TotalTokens      int            `json:"total_tokens"`
	CompletionTokens int            `json:"completion_tokens"`
	PromptDetails    *promptDetails `json:"prompt_tokens_details,omitempty"`
}

// promptDetails says how many of the prompt's tokens the prefix cache had.
type promptDetails struct {
	CachedTokens int `json:"cached_tokens"`
}

// usage is of all choices so far. A prompt counts once, whatever n is.
func (c *choices) usage() usage {
	u := usage{CompletionTokens: c.tokens, PromptDetails: &promptDetails{}}
	for i, in := range c.job.inputs {
		u.PromptTokens += len(in.ids)
		// Of a prompt's choices the first: those behind it may find what it left.
		u.PromptDetails.CachedTokens += c.gens[i*c.job.n].cached
	}
	u.TotalTokens = u.PromptTokens + u.CompletionTokens
	return u
}

// The whole answers of both routes, in the order of keys that vLLM sends.
type (
	envelope[C any] struct {
		ID             string          `json:"id"`
		Object         string          `json:"object"`
		Created        int64           `json:"created"`
		Model          string          `json:"model"`
		Choices        []C             `json:"choices"`
		Fingerprint    string          `json:"system_fingerprint"`
		Usage          usage           `json:"usage"`
		PromptLogprobs json.RawMessage `json:"prompt_logprobs,omitempty"`  // a chat's
		PromptTokenIDs json.RawMessage `json:"prompt_token_ids,omitempty"` // a chat's
	}
	textChoice struct {
		Index          int             `json:"index"`
		Text           string          `json:"text"`
		Logprobs       json.RawMessage `json:"logprobs"`
		FinishReason   string          `json:"finish_reason"`
		StopReason     json.RawMessage `json:"stop_reason"`
		TokenIDs       json.RawMessage `json:"token_ids,omitempty"`
		PromptLogprobs json.RawMessage `json:"prompt_logprobs,omitempty"`
		PromptTokenIDs json.RawMessage `json:"prompt_token_ids,omitempty"`
	}
	chatChoice struct {
		Index        int             `json:"index"`
		Message      chatMessage     `json:"message"`
		Logprobs     json.RawMessage `json:"logprobs"`
		FinishReason string          `json:"finish_reason"`
		StopReason   json.RawMessage `json:"stop_reason"`
		TokenIDs     json.RawMessage `json:"token_ids,omitempty"`
	}
	chatMessage struct {
		Role    string  `json:"role"`
		Content string  `json:"content"`
		Refusal *string `json:"refusal"` // always null
	}
)

// whole gathers a choice's pieces.
type whole struct {
	text   strings.Builder
	log    *tokenLog
	ids    []int32
	prompt []engine.Token
	last   piece
}

func (a *whole) add(p piece, tokenIDs bool) {
	a.text.WriteString(p.text)
	if a.log != nil {
		a.log.add(&p)
	}
	if tokenIDs && p.token.ID != noToken {
		a.ids = append(a.ids, p.token.ID)
	}
	if p.prompt != nil {
		a.prompt = p.prompt
	}
	a.last = p
}

// wholeAnswer is the JSON of a finished job.
func (s *Server) wholeAnswer(c *choices, parts []whole) []byte {
	j := c.job
	ids := func(ids []int32) json.RawMessage {
		if !j.out.tokenIDs {
			return nil
		}
		return appendIDs(nil, ids)
	}
	if j.chat {
		list := make([]chatChoice, len(parts))
		for i := range parts {
			a := &parts[i]
			list[i] = chatChoice{Index: i, Message: chatMessage{Role: assistant, Content: a.text.String()},
				Logprobs: a.log.appendTo(nil), FinishReason: string(a.last.finish),
				StopReason: appendStopReason(nil, &a.last), TokenIDs: ids(a.ids)}
		}
		return marshal(envelope[chatChoice]{ID: j.id, Object: "chat.completion", Created: j.created, Model: j.model,
			Choices: list, Fingerprint: s.cfg.Fingerprint, Usage: c.usage(),
			PromptLogprobs: s.promptLogprobs(j, parts[0].prompt), PromptTokenIDs: ids(j.inputs[0].ids)})
	}
	list := make([]textChoice, len(parts))
	for i := range parts {
		a := &parts[i]
		list[i] = textChoice{Index: i, Text: a.text.String(),
			Logprobs: a.log.appendTo(nil), FinishReason: string(a.last.finish),
			StopReason: appendStopReason(nil, &a.last), TokenIDs: ids(a.ids),
			PromptLogprobs: s.promptLogprobs(j, a.prompt), PromptTokenIDs: ids(j.seqs[i].Prompt)}
	}
	return marshal(envelope[textChoice]{ID: j.id, Object: "text_completion", Created: j.created, Model: j.model,
		Choices: list, Fingerprint: s.cfg.Fingerprint, Usage: c.usage()})
}

// marshal encodes structs of strings and numbers, which always works, without
// escaping HTML.
func marshal(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("api: answer does not marshal: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
