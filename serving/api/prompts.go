package api

import (
	"strings"
)

// encode returns a request's prompts as ids: at least one prompt, each with at
// least one id, all of the vocabulary.
func (s *Server) encode(rt *route, r *request, limit tokenLimit) (list []input, err error) {
	keep, err := s.keepTokens(rt, r, limit)
	if err != nil {
		return nil, err
	}
	if rt.chat {
		list, err = s.encodeChat(r, keep)
	} else {
		list, err = s.encodePrompts(r, keep)
	}
	return list, err
}

// keepTokens returns how many of a prompt's last tokens truncate_prompt_tokens
// keeps, 0 for all.
func (s *Server) keepTokens(rt *route, r *request, limit tokenLimit) (int, error) {
	room := max(1, limit.tokens) // to leave for the output
	if limit.tokens < 0 && !rt.chat {
		room = defaultMaxTokens
	}
	switch t := r.truncate; {
	case t == nil:
		return 0, nil
	case *t == -1:
		return max(1, s.cfg.MaxModelLen-room), nil
	case *t < 1:
		return 0, outOfRange("truncate_prompt_tokens", *t)
	case *t > int64(s.cfg.MaxModelLen):
		return 0, badRequest("truncate_prompt_tokens", "truncate_prompt_tokens is %d, but the model's context is %d tokens: lower it, or give -1 for as much as fits",
			*t, s.cfg.MaxModelLen)
	default:
		return int(*t), nil
	}
}

// truncate keeps the last tokens of ids, keep of them unless it is 0.
func truncate(ids []int32, keep int) (kept []int32, cut bool) {
	if keep == 0 || len(ids) <= keep {
		return ids, false
	}
	return ids[len(ids)-keep:], true
}

func (s *Server) encodePrompts(r *request, keep int) ([]input, error) {
	if len(r.prompts) == 0 {
		return nil, badRequest("prompt", "prompt is missing or empty: give a text or a list of token ids")
	}
	special := r.addSpecial == nil || *r.addSpecial
	list := make([]input, len(r.prompts))
	for i, p := range r.prompts {
		if p.text == "" && len(p.ids) == 0 {
			return nil, badRequest(p.name, "%s is missing or empty: give a text or a list of token ids", p.name)
		}
		in, text := input{ids: p.ids, name: p.name}, p.text
		if len(p.ids) == 0 {
			in.ids = s.encodeText(p.text, special)
		}
		if err := s.inVocabulary(p.name, in.ids); err != nil {
			return nil, err
		}
		if len(in.ids) == 0 {
			return nil, badRequest(p.name, "%s has no tokens", p.name)
		}
		var cut bool
		in.ids, cut = truncate(in.ids, keep)
		if r.echo && (cut || text == "") {
			text = s.cfg.Tokenizer.Decode(in.ids, !r.showSpecial)
		}
		if r.echo {
			in.echo = text
		}
		list[i] = in
	}
	return list, nil
}

func (s *Server) encodeChat(r *request, keep int) ([]input, error) {
	if len(r.messages) == 0 {
		return nil, badRequest("messages", "messages is missing or empty: give at least one message")
	}
	text, err := s.render(r)
	if err != nil {
		return nil, err
	}
	ids := s.encodeText(text, r.addSpecial != nil && *r.addSpecial)
	if len(ids) == 0 {
		return nil, badRequest("messages", "the messages have no tokens")
	}
	ids, _ = truncate(ids, keep)
	in := input{ids: ids, name: "messages"}
	if last := r.messages[len(r.messages)-1]; r.echo && last.Role == assistant {
		in.echo = last.Content // as vLLM: the beginning of the message that the answer goes on with
	}
	return []input{in}, nil
}

// assistant is the role of answers.
const assistant = "assistant"

// render applies the chat template.
func (s *Server) render(r *request) (string, error) {
	generate := !r.continueFinalMessage
	if r.addGenerationPrompt != nil {
		generate = *r.addGenerationPrompt
	}
	if generate && r.continueFinalMessage {
		return "", badRequest("continue_final_message", "continue_final_message goes on with the last message and add_generation_prompt begins a new one: give only one of them")
	}
	text, err := s.cfg.Tokenizer.Chat(r.messages, generate)
	if err != nil {
		return "", badRequest("messages", "the messages are refused by the model's %v", err)
	}
	if !r.continueFinalMessage {
		return text, nil
	}
	// The rendered chat ends with its last message. A template may trim it, so
	// trailing white space is only kept where the template kept it.
	final := r.messages[len(r.messages)-1].Content
	core := strings.TrimSpace(final)
	at := strings.LastIndex(text, core)
	if core == "" || at < 0 {
		return "", badRequest("continue_final_message", "continue_final_message needs a last message with text that the model's chat template repeats")
	}
	end := at + len(core)
	if tail := final[strings.LastIndex(final, core)+len(core):]; strings.HasPrefix(text[end:], tail) {
		end += len(tail)
	}
	return text[:end], nil
}

// encodeText encodes a prompt; around puts what the model wants around it
// (a beginning-of-sequence id, for those that have one).
func (s *Server) encodeText(text string, around bool) (ids []int32) {
	s.whenFree(text, func() {
		if around {
			ids = s.cfg.Tokenizer.EncodePrompt(text)
		} else {
			ids = s.cfg.Tokenizer.Encode(text, true)
		}
	})
	return ids
}

// largeText is more than any usual prompt has. A text of the body's largest
// size takes the tokenizer up to 1.5 s and some 250 MB, when none of it is UTF-8.
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
