package tokenizer

import (
	"errors"
	"fmt"
)

// Message is one turn of a conversation.
type Message struct {
	Role    string `json:"role"`    // as the model's chat template names it: system, user, assistant
	Content string `json:"content"` // plain text
}

// ErrChat is returned, wrapped with the reason, when a conversation has no
// rendering: the template raised an exception (over the order of roles, say), it
// failed, it went beyond its bounds, or it uses what this package lacks.
var ErrChat = errors.New("chat template")

// DefaultChatTemplate is used for models that have none of their own, such as
// GPT-2: a line "Role: content" a message, and "Assistant:" for the answer. It is
// a Jinja template, so that another server can be given the same.
const DefaultChatTemplate = `{% for message in messages %}` +
	`{{ message['role'] | capitalize + ': ' + message['content'] + '\n' }}` +
	`{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}`

// HasChatTemplate reports whether the model came with a chat template of its own.
func (t *Tokenizer) HasChatTemplate() bool { return t.ownTemplate }

// Chat renders messages with the model's chat template, or DefaultChatTemplate
// where it has none. The result is to be encoded with Encode(text, true), which
// is what vLLM and Transformers do: special tokens that the template writes
// become their ids, and so do those that a message's content spells out. Errors
// wrap ErrChat.
func (t *Tokenizer) Chat(messages []Message, addGenerationPrompt bool) (string, error) {
	if len(messages) == 0 {
		return "", fmt.Errorf("%w: a conversation needs at least one message", ErrChat)
	}
	if t.chatErr != nil {
		return "", t.chatErr
	}
	text, err := t.chat.render(messages, addGenerationPrompt, t.names)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrChat, err)
	}
	return text, nil
}
