package engine

import (
	"fmt"

	"servebench/serving/sample"
)

// Finish says why a request ended; "" while it runs.
type Finish string

// The reasons a request ends for.
const (
	FinishStop   Finish = "stop"   // a stop token was sampled
	FinishLength Finish = "length" // MaxTokens was reached
	FinishAbort  Finish = "abort"  // cancelled, or the engine shut down
)

// Request is one sequence to generate. Submit copies what it needs.
type Request struct {
	ID         string  // for logs
	Prompt     []int32 // at least one token id, each below the vocabulary's size
	MaxTokens  int     // at least 1; Prompt plus MaxTokens must fit the context
	MinTokens  int     // stop tokens are not sampled before that many output tokens
	IgnoreEOS  bool    // stop tokens are sampled like others and end nothing
	StopTokens []int32 // ids that end the request; the id itself is emitted with FinishStop
	Sampling   sample.Params
}

// Token is one step's result for a request. The last one has Finish set; a
// request that ends without a token (abort) sends ID -1.
type Token struct {
	ID     int32
	Finish Finish
}

// validate returns what Submit refuses in a request of its own.
func (r *Request) validate(vocab, maxLen int) error {
	if len(r.Prompt) == 0 {
		return ErrEmptyPrompt
	}
	for i, id := range r.Prompt {
		if id < 0 || int(id) >= vocab {
			return fmt.Errorf("%w: prompt token %d is %d, the vocabulary has %d", ErrBadToken, i, id, vocab)
		}
	}
	for _, id := range r.StopTokens {
		if id < 0 || int(id) >= vocab {
			return fmt.Errorf("%w: stop token %d, the vocabulary has %d", ErrBadToken, id, vocab)
		}
	}
	switch {
	case r.MaxTokens < 1:
		return fmt.Errorf("%w: max_tokens is %d, must be at least 1", ErrBadParams, r.MaxTokens)
	case r.MinTokens < 0 || r.MinTokens > r.MaxTokens:
		return fmt.Errorf("%w: min_tokens is %d, must be 0 to max_tokens, %d", ErrBadParams, r.MinTokens, r.MaxTokens)
	case len(r.Prompt) > maxLen || r.MaxTokens > maxLen-len(r.Prompt):
		return &TooLongError{Prompt: len(r.Prompt), MaxTokens: r.MaxTokens, Limit: maxLen}
	}
	if err := r.Sampling.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrBadParams, err)
	}
	return nil
}
