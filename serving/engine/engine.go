package engine

import "context"

// Config bounds an engine. A zero field takes the default that is named.
type Config struct {
	MaxTokens   int // rows of a step (--max-num-batched-tokens); the model's MaxTokens
	MaxSeqs     int // sequences running at once (--max-num-seqs); the model's MaxSeqs
	MaxWaiting  int // requests that may wait to be admitted; 1024
	SampleVocab int // ids at or above are never sampled (the tokenizer's size); the model's VocabSize
}

// Engine runs requests on a model with continuous batching.
type Engine struct{}

// New starts an engine on a model; Close ends it. The model stays the caller's
// and must outlive the engine.
func New(m Model, cfg Config) (*Engine, error) { return nil, nil }

// Submit queues a request and returns its stream. Cancelling ctx ends the
// request with FinishAbort and frees its cache blocks within a step.
func (e *Engine) Submit(ctx context.Context, r Request) (*Stream, error) { return nil, nil }

// MaxModelLen is the most tokens of prompt and output together that Submit
// accepts: the model's, or less where the cache is smaller.
func (e *Engine) MaxModelLen() int { return 0 }

// Healthy returns nil while the engine takes requests, else why it does not.
func (e *Engine) Healthy() error { return nil }

// Stats returns a snapshot of queues, cache and totals.
func (e *Engine) Stats() Stats { return Stats{} }

// Close ends every request with FinishAbort, stops the engine's goroutines and
// waits for them until ctx is done. It may be called again.
func (e *Engine) Close(ctx context.Context) error { return nil }
