package engine

import "servebench/serving/sample"

// Finish says why a request ended; "" while it runs.
type Finish string

// The reasons a request ends for.
const (
	FinishStop   Finish = "stop"   // a stop token was sampled
	FinishLength Finish = "length" // MaxTokens or the model's context was reached
	FinishAbort  Finish = "abort"  // cancelled, or the engine shut down
)

// Request is one sequence to generate.
type Request struct {
	ID         string
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
