package client

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

// payload is the JSON of a whole answer or of one event, in both APIs. Fields
// that the suite does not use are left out, whatever their type.
type payload struct {
	Choices []choice        `json:"choices"`
	Usage   *usage          `json:"usage"`
	Error   json.RawMessage `json:"error"`
	// Progress marks llama.cpp's events that tell how far prefill has got.
	Progress json.RawMessage `json:"prompt_progress"`
}

type choice struct {
	Index        int       `json:"index"`
	Text         *string   `json:"text"`    // completions
	Delta        *message  `json:"delta"`   // chat, in events
	Message      *message  `json:"message"` // chat, whole
	FinishReason *string   `json:"finish_reason"`
	TokenIDs     *[]uint32 `json:"token_ids"` // vLLM with return_token_ids
}

type message struct {
	Role    string  `json:"role"`
	Content *string `json:"content"`
}

type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
}

// parsePayload reads the JSON of an answer or an event.
func parsePayload(data []byte) (payload, error) {
	var p payload
	if err := json.Unmarshal(data, &p); err != nil {
		return p, fmt.Errorf("%w in %s", err, excerpt(data))
	}
	if u := p.Usage; u != nil && (!credible(u.PromptTokens) || !credible(u.CompletionTokens)) {
		return p, fmt.Errorf("usage with a count that cannot be in %s", excerpt(data))
	}
	return p, nil
}

// credible reports whether n can be a number of tokens; sums of such do not overflow.
func credible(n int) bool { return n >= 0 && n <= math.MaxInt32 }

// first returns choice 0, the only one the suite asks for; nil if there is none.
func (p *payload) first() *choice {
	for i := range p.Choices {
		if p.Choices[i].Index == 0 {
			return &p.Choices[i]
		}
	}
	return nil
}

// piece returns the generated text of a choice, and whether it stands for
// tokens. Text that is empty does when nothing else explains the event: a
// server sends it for a token that completes no character, but also to
// announce the role or the end. named says that the role was announced before:
// TGI has it in every event.
func (c *choice) piece(named bool) (text string, tokens bool) {
	content := c.Text
	if m := c.Delta; m != nil {
		content = m.Content
	} else if m := c.Message; m != nil {
		content = m.Content
	}
	if c.TokenIDs != nil && len(*c.TokenIDs) > 0 {
		tokens = true
	}
	if content == nil {
		return "", tokens
	}
	return *content, tokens || *content != "" || ((named || c.role() == "") && c.finish() == "")
}

// role returns the role that an event of a chat announces, "" if it does not.
func (c *choice) role() string {
	if c.Delta == nil {
		return ""
	}
	return c.Delta.Role
}

// finish returns the finish reason, "" before the end; TGI writes it so itself.
func (c *choice) finish() string {
	if c.FinishReason == nil {
		return ""
	}
	return *c.FinishReason
}

// failure returns the message of an error answer or an error event, in the
// shapes that servers use: {"error": {"message"}}, {"error": "…"}, and, in
// answers whose status already says so, {"detail": …} or plain text.
func failure(p payload, data []byte) string {
	if msg := text(p.Error, "message"); msg != "" {
		return msg
	}
	var other struct{ Detail, Message json.RawMessage }
	if json.Unmarshal(data, &other) == nil {
		if msg := text(other.Detail, "msg"); msg != "" {
			return msg
		}
		if msg := text(other.Message, ""); msg != "" {
			return msg
		}
	}
	return excerpt(data)
}

// text returns raw as a string: itself, its field if it is an object, or its JSON.
func text(raw json.RawMessage, field string) string {
	if len(raw) == 0 || string(raw) == "null" {
		return ""
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) == nil && json.Unmarshal(fields[field], &s) == nil {
		return s
	}
	return excerpt(raw)
}

// excerpt shortens foreign bytes for an error.
func excerpt(data []byte) string {
	const most = 300
	s := strings.ToValidUTF8(strings.TrimSpace(string(data[:min(len(data), most+1)])), "�")
	if len(data) > most {
		s += "…"
	}
	return fmt.Sprintf("%q", s)
}
