package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"servebench/serving/tokenizer"
)

// prompt is one prompt of a completion as it was given: ids when there are any,
// else text. name is its place in the body.
type prompt struct {
	name string
	text string
	ids  []int32
}

// setPrompt takes a string, a list of token ids, or a list of either.
func setPrompt(r *request, name string, raw json.RawMessage) error {
	if raw[0] != '[' || isIDList(raw) {
		return r.addPrompt(name, raw)
	}
	// Element by element: of millions, which a body has room for, one too many
	// is read and no more.
	list := json.NewDecoder(bytes.NewReader(raw))
	if _, err := list.Token(); err != nil {
		return wrongType(name, "a string or a list", raw)
	}
	for i := 0; list.More(); i++ { // encodePrompts refuses an empty list
		if i == r.mostPrompts {
			return badRequest(name, "prompt holds more than %d prompts, which is how many choices one request may have in all: send several requests", i)
		}
		var one json.RawMessage
		if err := list.Decode(&one); err != nil {
			return wrongType(name, "a list of strings or of lists of token ids", raw)
		}
		if err := r.addPrompt(name+"["+strconv.Itoa(i)+"]", one); err != nil {
			return err
		}
	}
	return nil
}

func (r *request) addPrompt(name string, raw json.RawMessage) (err error) {
	p := prompt{name: name}
	switch {
	case raw[0] == '"':
		err = json.Unmarshal(raw, &p.text)
	case isIDList(raw):
		p.ids, err = tokenIDs(name, raw)
	case string(raw) != "[]":
		err = wrongType(name, "a string, a list of token ids, or a list of either", raw)
	}
	r.prompts = append(r.prompts, p)
	return err
}

// isIDList tells a list that starts with a number.
func isIDList(raw json.RawMessage) bool {
	rest := bytes.TrimLeft(raw[1:], " \t\r\n")
	return raw[0] == '[' && len(rest) > 0 && isNumber(rest)
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
	for _, key := range slices.Sorted(maps.Keys(parts)) {
		switch value := parts[key]; {
		case key == "role" || key == "content" || isNull(value):
		case key == "tool_calls" || key == "tool_call_id" || key == "function_call":
			return m, badRequest(at+"."+key, "%s.%s is not served: %s; leave it out", at, key, noTools)
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
