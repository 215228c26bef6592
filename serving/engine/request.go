package engine

import (
	"fmt"

	"servebench/serving/sample"
)

// Finish says why a request ended; "" while it runs.
type Finish string

// The reasons a request ends for.
const (
	FinishStop   Finish = "stop"   // a stop token was sampled, or Stream.Stop called
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
// request that ends without a token (FinishAbort, Stream.Stop) sends ID -1.
type Token struct {
	ID       int32
	Finish   Finish
	Logprobs *Logprobs // nil unless asked for
}

// Logprobs are a token's log-probability and those of the TopLogprobs likeliest
// ids at its place, as the model gives them.
type Logprobs = sample.Logprobs

// Logprob is one id's log-probability.
type Logprob = sample.Logprob

// validate returns what Submit refuses in a request of its own.
func (r *Request) validate(vocab, maxLen, maxLogprobs int) error {
	if len(r.Prompt) == 0 {
		return ErrEmptyPrompt
	}
	if err := r.validateIDs(vocab); err != nil {
		return err
	}
	switch {
	case r.MaxTokens < 1:
		return fmt.Errorf("%w: max_tokens is %d, must be at least 1", ErrBadParams, r.MaxTokens)
	case r.MinTokens < 0 || r.MinTokens > r.MaxTokens:
		return fmt.Errorf("%w: min_tokens is %d, must be 0 to max_tokens, %d", ErrBadParams, r.MinTokens, r.MaxTokens)
	case len(r.Prompt) > maxLen || r.MaxTokens > maxLen-len(r.Prompt):
		return &TooLongError{Prompt: len(r.Prompt), MaxTokens: r.MaxTokens, Limit: maxLen}
	case r.TopLogprobs < 0 || r.TopLogprobs > maxLogprobs:
		return fmt.Errorf("%w: %d likeliest tokens were asked for, must be 0 to --max-logprobs, %d", ErrBadParams, r.TopLogprobs, maxLogprobs)
	case !r.Logprobs && (r.TopLogprobs > 0 || r.PromptLogprobs):
		return fmt.Errorf("%w: the likeliest tokens, or the prompt's log-probabilities, were asked for without logprobs", ErrBadParams)
	}
	if err := r.Sampling.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrBadParams, err)
	}
	return nil
}

// validateIDs returns ErrBadToken for the first id outside the vocabulary.
func (r *Request) validateIDs(vocab int) error {
	outside := func(id int32) bool { return id < 0 || int(id) >= vocab }
	for i, id := range r.Prompt {
		if outside(id) {
			return fmt.Errorf("%w: prompt token %d is %d, the vocabulary has %d", ErrBadToken, i, id, vocab)
		}
	}
	for _, id := range r.StopTokens {
		if outside(id) {
			return fmt.Errorf("%w: stop token %d, the vocabulary has %d", ErrBadToken, id, vocab)
		}
	}
	for _, b := range r.Sampling.Bias {
		if outside(b.ID) {
			return fmt.Errorf("%w: logit_bias of token %d, the vocabulary has %d", ErrBadToken, b.ID, vocab)
		}
	}
	for _, id := range r.Sampling.Allowed {
		if outside(id) {
			return fmt.Errorf("%w: allowed token %d, the vocabulary has %d", ErrBadToken, id, vocab)
		}
	}
	return nil
}
