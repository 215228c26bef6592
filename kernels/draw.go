package kernels

// Draw says how the next token of a row is drawn; servebench/serving/sample has the
// meaning of each field and the order in which they apply.
type Draw struct {
	Temperature float64 // 0: the largest logit, of equals the lowest id
	TopP        float64 // (0, 1]; 1 keeps all
	MinP        float64 // [0, 1]; 0 keeps all
	TopK        int     // 0 or less keeps all
	Seed, Index uint64  // of the random number
}

// Drawer is a Device that draws tokens where the logits are, so that only their
// ids leave it, and that takes a step before the one before it is done: while it
// computes, the next one is prepared.
type Drawer interface {
	Device
	// Draw is an operation of a step: it draws a token of each of the first
	// len(draws) rows of logits [R, V], among the ids below vocab. At most one of a step.
	Draw(logits Buffer, vocab int, draws []Draw)
	// Submit ends a step in which Draw was called, as End does, but does not wait
	// for it. At most two steps are under way: a third Begin waits for the first.
	// An error is of this step, which has then drawn nothing.
	Submit() error
	// Drawn waits for the oldest step that was submitted and returns the ids it
	// drew, which are valid until the next Drawn; NoToken stands for a row with a
	// logit that was not finite. After an error what every step under way has
	// drawn, and what the cache holds for its sequences, is undefined.
	Drawn() ([]int32, error)
}

// NoToken is what Drawn tells of a row with a logit that is not finite.
const NoToken = -1

// Grapher is a Device that can keep the operations of a step of single rows (each
// of a sequence of its own, which wants its logits) and run them again at once.
type Grapher interface {
	Device
	// Capture keeps what ops does in a step of so many rows. It runs ops itself,
	// between Begin and End of such a step, on nobody's sequences, and is called
	// outside a step.
	Capture(rows int, ops func()) error
	// Decode is Begin with the operations of the smallest step kept that has room
	// for s; what follows is what would follow the last of them. False, and nothing
	// has been started: no step that was kept will do.
	Decode(s *Step) (bool, error)
}
