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
	StopTokens []int32 // ids that end the request; the id itself is emitted with FinishStop
	Sampling   sample.Params

	Logprobs       bool // tokens come with their log-probability and rank
	TopLogprobs    int  // and with so many of the likeliest ids at their place; needs Logprobs
	PromptLogprobs bool // Stream.Prompt gives the same for the prompt's tokens; needs Logprobs
}

// Token is one step's result for a request. The last one has Finish set; a
// request that ends without a token (abort) sends ID -1.
type Token struct {
	ID       int32
	Finish   Finish
	Logprobs *Logprobs // nil unless asked for
}

// Logprobs are natural logarithms of probabilities as the model gives them:
// the softmax of the row's logits before temperature, penalties and biases.
type Logprobs struct {
	Own Logprob   // of the token itself
	Top []Logprob // the likeliest ids, descending; TopLogprobs of them
}

// Logprob is one id's log-probability.
type Logprob struct {
	ID      int32
	Rank    int // 1 is the likeliest id of its row
	Logprob float32
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
