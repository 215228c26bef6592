package engine

import (
	"errors"
	"fmt"
)

// Errors of Submit, wrapped with the values at fault; test them with errors.Is.
var (
	// ErrEmptyPrompt is returned when the prompt has no token.
	ErrEmptyPrompt = errors.New("the prompt is empty")
	// ErrTooLong is returned, as a *TooLongError, when prompt and output
	// together exceed the context.
	ErrTooLong = errors.New("the request exceeds the context")
	// ErrBadToken is returned when a prompt or stop token id is outside the vocabulary.
	ErrBadToken = errors.New("token id outside the vocabulary")
	// ErrBadParams is returned when a count or sampling parameter is out of range.
	ErrBadParams = errors.New("parameter out of range")
	// ErrOverloaded is returned when Config.MaxWaiting requests wait already.
	ErrOverloaded = errors.New("too many requests are waiting")
	// ErrClosed is returned once Close was called.
	ErrClosed = errors.New("the engine is closed")
	// ErrDead is returned, by Submit, Healthy and the streams that were
	// running, after a fault that the engine cannot go on from.
	ErrDead = errors.New("the engine has stopped after a fault")
)

// Errors of Stream.Next.
var (
	// ErrForward is returned when the model failed in a step that the request took part in.
	ErrForward = errors.New("the model failed")
	// ErrSample is returned when no token could be drawn, as from logits that are not finite.
	ErrSample = errors.New("sampling failed")
)

// TooLongError is ErrTooLong with its numbers.
type TooLongError struct {
	Prompt    int // tokens of the prompt
	MaxTokens int // output tokens asked for
	Limit     int // tokens that fit: Engine.MaxModelLen
}

func (e *TooLongError) Error() string {
	return fmt.Sprintf("the context holds %d tokens, but the prompt has %d and %d more were asked for: shorten the prompt or lower max_tokens",
		e.Limit, e.Prompt, e.MaxTokens)
}

// Is makes errors.Is(err, ErrTooLong) true.
func (e *TooLongError) Is(target error) bool { return target == ErrTooLong }
