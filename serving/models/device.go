package models

import (
	"errors"
	"fmt"

	"servebench/kernels"
)

// What a device may do beyond kernels.Device: draw tokens where the logits are
// (kernels.Drawer), and keep the operations of steps in which every sequence
// decodes, to run them at once (kernels.Grapher). The architectures see neither.

// errNoDraws is what Submit and Drawn say on a device that draws nothing.
var errNoDraws = errors.New("the device draws no tokens")

// Draws reports whether the device draws tokens, so that Submit and Drawn can
// stand in the place of Forward.
func (m *Model) Draws() bool { return m.drawer != nil }

// Submit has a step computed behind those under way, two with it at most, and a
// token drawn for each of its wanted rows among the ids below vocab; draws[i] is
// how that of row s.Out[i] is. It does not wait. s and draws are the caller's again
// when it returns. An error is of this step alone, which is then not under way.
func (m *Model) Submit(s *kernels.Step, vocab int, draws []kernels.Draw) error {
	switch {
	case m.drawer == nil:
		return errNoDraws
	case len(draws) != len(s.Out):
		return fmt.Errorf("%d draws for the %d wanted rows of a step", len(draws), len(s.Out))
	}
	if err := m.begin(s); err != nil {
		return err
	}
	m.drawer.Draw(m.logits, vocab, draws)
	return m.drawer.Submit()
}

// Drawn waits for the step that was submitted first and returns the tokens drawn,
// in the order of its wanted rows, valid until the next Drawn: kernels.NoToken for
// one of logits that are not finite. After an error what the cache holds for the
// sequences of all steps under way is undefined.
func (m *Model) Drawn() ([]int32, error) {
	if m.drawer == nil {
		return nil, errNoDraws
	}
	return m.drawer.Drawn()
}

// Both is Submit and Drawn for a step that is waited for, with nothing under way, and
// returns the logits of the first rows of its wanted rows besides: no others leave
// the device. They are the caller's as Forward's are.
func (m *Model) Both(s *kernels.Step, vocab int, draws []kernels.Draw, rows int) (logits []float32, ids []int32, err error) {
	if rows < 0 || rows > len(s.Out) {
		return nil, nil, fmt.Errorf("logits of %d of the %d wanted rows of a step", rows, len(s.Out))
	}
	if err := m.Submit(s, vocab, draws); err != nil {
		return nil, nil, err
	}
	if ids, err = m.drawer.Drawn(); err != nil {
		return nil, nil, err
	}
	logits, err = m.dev.Read(m.logits, rows*m.spec.Vocab)
	return logits, ids, err
}

// Capture has the device keep the operations of steps in which up to most sequences
// decode, where it can, and returns the rows of those that it keeps: 1, 2, 4, 8, 16
// and from there multiples of 16, the sizes that vLLM captures at first, and most
// itself. A step runs as the smallest that has room for it. What a kept step takes
// of the device's memory is the device's to tell; there are most/16 + 5 of them at
// most. It is called before the first step.
func (m *Model) Capture(most int) (kept []int, err error) {
	g, ok := m.dev.(kernels.Grapher)
	if !ok {
		return nil, nil
	}
	for _, rows := range buckets(min(most, m.limits.MaxSeqs, m.limits.MaxTokens)) {
		// Forward functions look at how many rows there are, and nothing else of a step.
		s := &kernels.Step{Tokens: make([]int32, rows), Out: make([]int32, rows)}
		if err := g.Capture(rows, func() { m.queue(s) }); err != nil {
			return kept, fmt.Errorf("keeping the step of %d sequences: %w", rows, err)
		}
		kept = append(kept, rows)
		m.grapher, m.kept = g, rows
	}
	return kept, nil
}

// buckets are the sizes of steps that are kept, ascending, the last of them most.
func buckets(most int) (sizes []int) {
	for n := 1; n < most; n += min(n, 16) {
		sizes = append(sizes, n)
	}
	if most > 0 {
		sizes = append(sizes, most)
	}
	return sizes
}

// begin starts a step and has everything computed up to its logits. What follows is
// Draw and Submit, or End.
func (m *Model) begin(s *kernels.Step) error {
	T, R := len(s.Tokens), len(s.Out)
	switch {
	case T > m.limits.MaxTokens:
		return fmt.Errorf("step of %d tokens; the model was opened for %d", T, m.limits.MaxTokens)
	case R > m.limits.MaxSeqs:
		return fmt.Errorf("step that wants %d rows of logits; the model was opened for %d", R, m.limits.MaxSeqs)
	}
	// As many sequences as rows: each has one. As many wanted rows: all are.
	if T == len(s.Lens) && T == R && T <= m.kept {
		if begun, err := m.grapher.Decode(s); begun || err != nil {
			return err
		}
	}
	if err := m.dev.Begin(s); err != nil {
		return err
	}
	m.queue(s)
	return nil
}

// queue has the operations of a step done that has begun, up to m.logits [R, V].
func (m *Model) queue(s *kernels.Step) {
	m.net.forward(m, s)
	if R := len(s.Out); R > 0 {
		m.dev.Norm(m.lastN, m.last, m.delta, m.head.norm, R)
		m.head.out.forward(m, m.logits, m.lastN, R)
	}
}
