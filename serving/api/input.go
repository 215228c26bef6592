package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	"servebench/serving/tokenizer"
)

// setPrompt takes a string, a list of token ids, or a list with one of either.
func setPrompt(r *request, name string, raw json.RawMessage) error {
	r.prompt = &prompt{}
	if raw[0] == '[' && !isIDList(raw) {
		var list []json.RawMessage
		if err := json.Unmarshal(raw, &list); err != nil {
			return wrongType(name, "a string or a list", raw)
		}
		switch len(list) {
		case 0:
			return nil // Server.encode says that it is empty
		case 1:
			name, raw = name+"[0]", list[0]
		default:
			return badRequest(name, "prompt holds %d prompts; more than one is not supported yet: send one request each", len(list))
		}
	}
	return r.prompt.set(name, raw)
}

// isIDList tells a list that starts with a number.
func isIDList(raw json.RawMessage) bool {
	rest := bytes.TrimLeft(raw[1:], " \t\r\n")
	return raw[0] == '[' && len(rest) > 0 && isNumber(rest)
}

func (p *prompt) set(name string, raw json.RawMessage) error {
	const want = "a string, a list of token ids, or a list that holds one of them"
	if raw[0] == '"' {
		return json.Unmarshal(raw, &p.text)
	}
	if raw[0] != '[' || !isIDList(raw) && string(raw) != "[]" {
		return wrongType(name, want, raw)
	}
	// encoding/json reads null as 0; in a list of numbers nothing else has an n.
	if bytes.ContainsRune(raw, 'n') {
		return badRequest(name, "%s holds null, which is no token id", name)
	}
	err := json.Unmarshal(raw, &p.ids)
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		return badRequest(name, "%s holds a %s, which is no token id; they are integers from 0 to %d", name, quote([]byte(wrong.Value)), math.MaxInt32)
	}
	return err
}

// setMessages takes a list of {role, content}. What else a message carries is
// ignored when it is null (answers of this API come back so) and reported
// like an unknown field otherwise, except tool calls, which would be lost.
func setMessages(r *request, name string, raw json.RawMessage) error {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return wrongType(name, "a list of messages", raw)
	}
	r.messages = make([]tokenizer.Message, len(list))
	for i, one := range list {
		at := fmt.Sprintf("%s[%d]", name, i)
		var err error
		if r.messages[i], err = r.message(at, one); err != nil {
			return err
		}
	}
	return nil
}

func (r *request) message(at string, raw json.RawMessage) (m tokenizer.Message, err error) {
	var parts map[string]json.RawMessage
	if json.Unmarshal(raw, &parts) != nil || parts == nil {
		return m, wrongType(at, "an object with role and content", raw)
	}
	for key, value := range parts {
		switch {
		case key == "role" || key == "content" || isNull(value):
		case key == "tool_calls" || key == "tool_call_id" || key == "function_call":
			return m, badRequest(at+"."+key, "%s.%s is not supported yet: leave it out", at, key)
		default:
			r.ignored = append(r.ignored, at+"."+quote([]byte(key)))
		}
	}
	if role := parts["role"]; role == nil || json.Unmarshal(role, &m.Role) != nil || m.Role == "" {
		return m, wrongType(at+".role", "a string like system, user or assistant", orNull(role))
	}
	content := parts["content"]
	if m.Role == "assistant" && (content == nil || isNull(content)) {
		return m, nil // OpenAI allows it there
	}
	m.Content, err = contentText(at+".content", orNull(content))
	return m, err
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

// contentText reads a string, or the texts of a list of text parts, joined with
// newlines as vLLM joins them.
func contentText(at string, raw json.RawMessage) (string, error) {
	const want = "a string or a list of text parts"
	var text string
	if isNull(raw) {
		return "", wrongType(at, want, raw)
	}
	if json.Unmarshal(raw, &text) == nil {
		return text, nil
	}
	var parts []struct {
		Type string  `json:"type"`
		Text *string `json:"text"`
	}
	if json.Unmarshal(raw, &parts) != nil {
		return "", wrongType(at, want, raw)
	}
	texts := make([]string, len(parts))
	for i, p := range parts {
		if p.Type != "text" || p.Text == nil {
			return "", badRequest(fmt.Sprintf("%s[%d]", at, i),
				`%s[%d] must be {"type": "text", "text": "…"}; this model takes nothing else`, at, i)
		}
		texts[i] = *p.Text
	}
	return strings.Join(texts, "\n"), nil
}
