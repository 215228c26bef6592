// # Tokenizing
//
// POST /tokenize gives the token ids of a prompt or of a chat, POST /detokenize the
// text of ids, special tokens included, as vLLM has them: {"count",
// "max_model_len", "tokens", "token_strs"} and {"prompt"}. token_strs are the
// vocabulary's own spelling, null unless asked for. Of a prompt, add_special_tokens
// is true when left out; of a chat it is false, whose template writes them.
// Nothing reaches the engine.
package api

import (
	"encoding/json"
	"net/http"
	"strings"
)

// tokenizeAnswer is in the order of keys that vLLM sends.
type tokenizeAnswer struct {
	Count       int      `json:"count"`
	MaxModelLen int      `json:"max_model_len"`
	Tokens      []int32  `json:"tokens"`
	Strings     []string `json:"token_strs"` // null unless asked for: the vocabulary's own spelling
}

// tokenizeRequest is what the body of /tokenize has besides a request's fields.
type tokenizeRequest struct {
	prompt  *string // nil when left out
	strings bool
}

// fields returns the setters of one request's body.
func (q *tokenizeRequest) fields() map[string]setter {
	fields := map[string]setter{
		"prompt": func(r *request, name string, raw json.RawMessage) error {
			q.prompt = new(string)
			return stringField(func(*request) *string { return q.prompt })(r, name, raw)
		},
		"return_token_strs": boolField(func(*request) *bool { return &q.strings }),
	}
	for _, name := range []string{"model", "messages", "add_special_tokens", "add_generation_prompt", "continue_final_message",
		"chat_template", "chat_template_kwargs", "mm_processor_kwargs", "tools"} {
		fields[name] = chatFields[name]
	}
	return fields
}

// tokenize answers POST /tokenize.
func (s *Server) tokenize(w http.ResponseWriter, r *http.Request) {
	var q tokenizeRequest
	req, err := s.readFields(w, r, q.fields())
	var ids []int32
	if err == nil {
		ids, err = s.tokens(&q, req)
	}
	if err != nil {
		s.writeError(w, err)
		return
	}
	a := tokenizeAnswer{Count: len(ids), MaxModelLen: s.cfg.MaxModelLen, Tokens: ids}
	if a.Tokens == nil {
		a.Tokens = []int32{} // and not null
	}
	if q.strings {
		a.Strings = make([]string, len(ids))
		for i, id := range ids {
			a.Strings[i] = s.cfg.Tokenizer.Spelling(id)
		}
	}
	s.writeJSON(w, http.StatusOK, marshal(a))
}

// tokens encodes a prompt, or a chat where there is none.
func (s *Server) tokens(q *tokenizeRequest, r *request) ([]int32, error) {
	if err := s.checkModel(r.model); err != nil {
		return nil, err
	}
	around := q.prompt != nil
	if r.addSpecial != nil {
		around = *r.addSpecial
	}
	if q.prompt != nil {
		return s.encodeText(*q.prompt, around), nil
	}
	if len(r.messages) == 0 {
		return nil, badRequest("prompt", "prompt and messages are both missing or empty: give a prompt, or a list of messages")
	}
	text, err := s.render(r)
	if err != nil {
		return nil, err
	}
	return s.encodeText(text, around), nil
}

// detokenizeFields are the setters of /detokenize's body.
func detokenizeFields(ids *[]int32) map[string]setter {
	return map[string]setter{
		"model":  chatFields["model"],
		"tokens": idsField(func(*request) *[]int32 { return ids }),
	}
}

// detokenize answers POST /detokenize.
func (s *Server) detokenize(w http.ResponseWriter, r *http.Request) {
	var ids []int32 // nil when left out
	req, err := s.readFields(w, r, detokenizeFields(&ids))
	var text string
	if err == nil {
		text, err = s.text(req.model, ids)
	}
	if err != nil {
		s.writeError(w, err)
		return
	}
	s.writeJSON(w, http.StatusOK, marshal(struct {
		Prompt string `json:"prompt"`
	}{text}))
}

// text decodes ids, special tokens included.
func (s *Server) text(model string, ids []int32) (string, error) {
	if err := s.checkModel(model); err != nil {
		return "", err
	}
	if ids == nil {
		return "", badRequest("tokens", "tokens is missing: give a list of token ids")
	}
	if err := s.inVocabulary("tokens", ids); err != nil {
		return "", err
	}
	return s.cfg.Tokenizer.Decode(ids, false), nil
}

// readFields reads a body with a route's setters, and reports the fields that
// have none.
func (s *Server) readFields(w http.ResponseWriter, r *http.Request, fields map[string]setter) (*request, error) {
	body, err := s.readBody(w, r)
	if err != nil {
		return nil, err
	}
	req := &request{mostPrompts: s.cfg.MaxChoices, mostMessages: s.cfg.MaxModelLen} // each message has a token
	if err := parseObject(req, body, fields); err != nil {
		return nil, err
	}
	s.reportIgnored(w, req.ignored)
	return req, nil
}

// reportIgnored logs and sends back the names of fields that were ignored.
func (s *Server) reportIgnored(w http.ResponseWriter, ignored []string) {
	if len(ignored) == 0 {
		return
	}
	names := headerSafe(strings.Join(ignored, ", "))
	s.cfg.Log.Warn("request has fields that this server does not know; they were ignored", "fields", names)
	w.Header().Set(ignoredHeader, names)
}
