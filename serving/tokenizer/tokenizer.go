package tokenizer

import "errors"

// Tokenizer is one model's vocabulary. It is immutable once made, and safe for
// use by many goroutines at once.
type Tokenizer struct{}

// Message is one turn of a conversation.
type Message struct {
	Role    string `json:"role"`    // as the model's chat template names it: system, user, assistant
	Content string `json:"content"` // plain text
}

// Stream turns ids into text one by one. It never returns half a UTF-8
// character: the pieces and Flush, joined, are Decode of all ids.
type Stream struct{}

// Open reads the tokenizer of a model on disk: a folder with a tokenizer.json
// (see FromJSON), or a .gguf file (see FromGGUF).
func Open(path string) (*Tokenizer, error) { return nil, errors.New("tokenizer: not there yet") }

// FromJSON reads a model folder: tokenizer.json, and where they are present
// tokenizer_config.json, special_tokens_map.json, generation_config.json,
// config.json and chat_template.jinja.
func FromJSON(dir string) (*Tokenizer, error) { return nil, errors.New("tokenizer: not there yet") }

// Dummy returns the small built-in vocabulary that goes with seeded dummy
// weights of a model with vocab ids; all its ids are below vocab.
func Dummy(vocab int) (*Tokenizer, error) { return nil, errors.New("tokenizer: not there yet") }

// Encode returns the ids of text, and adds none. With special, special tokens
// written out in the text become their ids; without, they are plain text.
func (t *Tokenizer) Encode(text string, special bool) []int32 { return nil }

// EncodePrompt is Encode with specials, and with what the model's post-processor
// puts around a prompt (a beginning-of-sequence id, for those that want one):
// the original's add_special_tokens=True.
func (t *Tokenizer) EncodePrompt(text string) []int32 { return nil }

// Decode returns the text of ids; with skipSpecial, special tokens are left out.
// Bytes that are no UTF-8 become U+FFFD. Ids that the vocabulary lacks are left out.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string { return "" }

// Size is the highest id plus one.
func (t *Tokenizer) Size() int { return 0 }

// EOS returns the ids that end a generation, ascending; empty where the model names none.
func (t *Tokenizer) EOS() []int32 { return nil }

// HasChatTemplate reports whether the model came with a chat template of its own.
func (t *Tokenizer) HasChatTemplate() bool { return false }

// Chat renders messages with the model's chat template, or the default one where
// it has none. The result is to be encoded with Encode(text, true). An error
// says what the template refused (a role order, say) and is the caller's input's fault.
func (t *Tokenizer) Chat(messages []Message, addGenerationPrompt bool) (string, error) {
	return "", errors.New("tokenizer: not there yet")
}

// Stream returns a new incremental detokeniser.
func (t *Tokenizer) Stream(skipSpecial bool) *Stream { return &Stream{} }

// Push returns the text that id completes, "" where a character is still incomplete.
func (s *Stream) Push(id int32) string { return "" }

// Flush returns what is left at the end: U+FFFD for an incomplete character, else "".
func (s *Stream) Flush() string { return "" }
