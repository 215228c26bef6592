package engine

import "servebench/kernels"

// Model runs steps. It owns the weights and the paged cache; the engine only
// tells it which slot takes which token. Package models implements it without
// knowing this package. One goroutine, locked to its thread, calls Forward;
// the other methods return constants and may be called from anywhere.
type Model interface {
	// VocabSize is V, the width of a row of logits.
	VocabSize() int
	// MaxModelLen is the most tokens a sequence may have, prompt and output together.
	MaxModelLen() int
	// MaxTokens is the most rows that a step may have (--max-num-batched-tokens).
	MaxTokens() int
	// MaxSeqs is the most sequences, and so the most wanted rows, of a step (--max-num-seqs).
	MaxSeqs() int
	// Window is the most positions that a token sees in any layer, itself
	// included; 0 is no limit. Blocks of a step that it has passed are Freed.
	Window() int
	// KVShape describes the paged cache; the engine hands out its Blocks of BlockSize tokens.
	KVShape() kernels.KVShape
	// Forward computes one step, which is the caller's and is not kept. It
	// returns logits [R, V], row i those of row step.Out[i], which are the
	// caller's until the next Forward. An error or a panic ends the sequences
	// of the step; the next call may be a step with other sequences.
	Forward(step *kernels.Step) (logits []float32, err error)
}

// Drawer is a Model that may be able to draw tokens itself, as a GPU does, and then
// takes a step while it computes the one before. The goroutine that calls Forward
// calls the others, and Forward only when nothing is under way.
type Drawer interface {
	Model
	// Draws reports whether it can, which never changes. If not, the engine calls
	// none of the others.
	Draws() bool
	// Submit has a step computed behind those under way, of which there is one at
	// most, and a token drawn for each of its wanted rows, of ids below vocab. The
	// step and draws are the caller's and are not kept. The step may have From. An
	// error or a panic ends the sequences of the step, which is not under way then.
	Submit(step *kernels.Step, vocab int, draws []kernels.Draw) error
	// Both computes a step without From, and waits for it, with nothing under way. It
	// draws as Submit and Drawn do, and returns the logits of the first rows of the
	// step's wanted rows besides, as Forward does those of all.
	Both(step *kernels.Step, vocab int, draws []kernels.Draw, rows int) (logits []float32, ids []int32, err error)
	// Drawn waits for the step that was submitted first and returns the ids drawn,
	// kernels.NoToken for a row of logits that are not finite; they are the
	// caller's until the next Drawn. It is called once for every Submit that
	// returned nil. An error or a panic ends the sequences of all steps under way,
	// for each of which Drawn is called once more.
	Drawn() ([]int32, error)
}
