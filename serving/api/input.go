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
	return eachOf(raw, func(i int, one json.RawMessage) error { // encodePrompts refuses an empty list
		if i == r.mostPrompts {
			return badRequest(name, "prompt holds more than %d prompts, which is how many choices one request may have in all: send several requests", i)
		}
		return r.addPrompt(name+"["+strconv.Itoa(i)+"]", one)
	})
}

// eachOf calls do with the elements of a list, which raw is, one by one until
// the first error: a body has room for millions, of which one too many is read
// and no more.
func eachOf(raw json.RawMessage, do func(i int, one json.RawMessage) error) error {
	list := json.NewDecoder(bytes.NewReader(raw))
	if _, err := list.Token(); err != nil { // the bracket
		return err
	}
	for i := 0; list.More(); i++ {
		var one json.RawMessage
		if err := list.Decode(&one); err != nil {
			return err
		}
		if err := do(i, one); err != nil {
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
	if raw[0] != '[' {
		return wrongType(name, "a list of messages", raw)
	}
	return eachOf(raw, func(i int, one json.RawMessage) error {
		if i == r.mostMessages {
			return badRequest(name, "messages holds more than %d messages, which is how many tokens the model's context has: leave out the oldest", i)
		}
		m, err := r.message(fmt.Sprintf("%s[%d]", name, i), one)
		r.messages = append(r.messages, m)
		return err
	})
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
	m.Content, err = r.contentText(at+".content", orNull(content))
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
func (r *request) contentText(at string, raw json.RawMessage) (text string, err error) {
	switch raw[0] {
	case '"':
		err = json.Unmarshal(raw, &text)
		return text, err
	case '[':
	default:
		return "", wrongType(at, "a string or a list of text parts", raw)
	}
	var texts []string
	err = eachOf(raw, func(i int, one json.RawMessage) error {
		at := fmt.Sprintf("%s[%d]", at, i)
		var part map[string]json.RawMessage
		var kind string
		var said *string
		if json.Unmarshal(one, &part) != nil || json.Unmarshal(orNull(part["type"]), &kind) != nil || kind != "text" ||
			json.Unmarshal(orNull(part["text"]), &said) != nil || said == nil {
			return badRequest(at, `%s must be {"type": "text", "text": "…"}; this model takes nothing else`, at)
		}
		for _, key := range slices.Sorted(maps.Keys(part)) {
			if key != "type" && key != "text" && !isNull(part[key]) {
				r.ignored = append(r.ignored, at+"."+quote([]byte(key)))
			}
		}
		texts = append(texts, *said)
		return nil
	})
	return strings.Join(texts, "\n"), err
}
