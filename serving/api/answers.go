package api

import (
	"bytes"
	"encoding/json"
)

// usage counts tokens. Completion tokens include a stop token, and every token
// up to the one that completed a stop string.
type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	TotalTokens      int `json:"total_tokens"`
	CompletionTokens int `json:"completion_tokens"`
}

func (j *job) usage(completion int) usage {
	n := len(j.req.Prompt)
	return usage{PromptTokens: n, TotalTokens: n + completion, CompletionTokens: completion}
}

// The whole answers of both routes, in the order of keys that vLLM sends.
type (
	envelope[C any] struct {
		ID          string `json:"id"`
		Object      string `json:"object"`
		Created     int64  `json:"created"`
		Model       string `json:"model"`
		Choices     [1]C   `json:"choices"`
		Fingerprint string `json:"system_fingerprint"`
		Usage       usage  `json:"usage"`
	}
	textChoice struct {
		Index        int     `json:"index"`
		Text         string  `json:"text"`
		Logprobs     *string `json:"logprobs"` // always null
		FinishReason string  `json:"finish_reason"`
		StopReason   *string `json:"stop_reason"`
	}
	chatChoice struct {
		Index        int         `json:"index"`
		Message      chatMessage `json:"message"`
		Logprobs     *string     `json:"logprobs"` // always null
		FinishReason string      `json:"finish_reason"`
		StopReason   *string     `json:"stop_reason"`
	}
	chatMessage struct {
		Role    string  `json:"role"`
		Content string  `json:"content"`
		Refusal *string `json:"refusal"` // always null
	}
)

// wholeAnswer is the JSON of a finished request; last is its last piece.
func (s *Server) wholeAnswer(j *job, text string, last piece, tokens int) []byte {
	var stop *string
	if last.matched != "" {
		stop = &last.matched
	}
	if j.chat {
		return marshal(envelope[chatChoice]{
			ID: j.req.ID, Object: "chat.completion", Created: j.created, Model: j.model,
			Choices: [1]chatChoice{{Message: chatMessage{Role: "assistant", Content: text},
				FinishReason: string(last.finish), StopReason: stop}},
			Fingerprint: s.cfg.Fingerprint, Usage: j.usage(tokens),
		})
	}
	return marshal(envelope[textChoice]{
		ID: j.req.ID, Object: "text_completion", Created: j.created, Model: j.model,
		Choices:     [1]textChoice{{Text: text, FinishReason: string(last.finish), StopReason: stop}},
		Fingerprint: s.cfg.Fingerprint, Usage: j.usage(tokens),
	})
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
