package tokenizer

import "errors"

// Message is one turn of a conversation.
type Message struct {
	Role    string `json:"role"`    // as the model's chat template names it: system, user, assistant
	Content string `json:"content"` // plain text
}

type chatTemplate struct{}

func parseChatTemplate(string) (*chatTemplate, error) { return nil, nil }

// HasChatTemplate reports whether the model came with a chat template of its own.
func (t *Tokenizer) HasChatTemplate() bool { return t.ownTemplate }

// Chat renders messages with the model's chat template, or the default one where
// it has none. The result is to be encoded with Encode(text, true).
func (t *Tokenizer) Chat(messages []Message, addGenerationPrompt bool) (string, error) {
	return "", errors.New("tokenizer: not there yet")
}
