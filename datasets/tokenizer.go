package datasets

import "context"

// Tokenizer is the target model's own tokenizer. Methods take batches, answer
// in the same order, and are safe for concurrent use.
type Tokenizer interface {
	// Count returns each text's number of tokens. With special, the tokens the
	// tokenizer puts around a text (such as BOS) are counted in.
	Count(ctx context.Context, texts []string, special bool) ([]int, error)

	// Encode returns each text's token ids; special as in Count.
	Encode(ctx context.Context, texts []string, special bool) ([][]int32, error)

	// CountChat returns each conversation's number of tokens as the model's chat
	// template renders it, with the opening of the assistant's turn.
	CountChat(ctx context.Context, conversations [][]Message) ([]int, error)
}
