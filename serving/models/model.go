package models

import (
	"fmt"

	"servebench/kernels"
	"servebench/serving/weights"
)

// Limits bound one model's steps and its cache.
type Limits struct {
	MaxModelLen int // longest sequence; 0 is what the model was made for
	MaxTokens   int // T: rows of the largest step
	MaxSeqs     int // R: rows of a step that can want logits
	Blocks      int // KV blocks
	BlockSize   int // B: tokens in a block
}

// Model is a loaded model with its KV cache. One goroutine uses it at a time.
type Model struct {
	net    network
	spec   Spec
	limits Limits
	dev    kernels.Device
	kv     kernels.KV

	drawer  kernels.Drawer  // dev, where it draws; else nil
	grapher kernels.Grapher // dev, where it keeps steps
	kept    int             // rows of the largest of these

	// Activations, float32.
	x       kernels.Buffer // [T, D] residual stream
	norm    kernels.Buffer // [T, D] normalised
	delta   kernels.Buffer // [T, D] what the last block adds to x; [R, D] of the last layer
	qkv     kernels.Buffer // [T, (H+2G)·E]
	att     kernels.Buffer // [T, H·E]
	ff      kernels.Buffer // [T, F], or [T, 2F] gated
	act     kernels.Buffer // [T, F]
	last    kernels.Buffer // [R, D] residual stream of the rows that want logits
	lastN   kernels.Buffer // [R, D] the same, normalised
	lastAtt kernels.Buffer // [R, H·E] of them
	logits  kernels.Buffer // [R, V]

	head head
}

// Open loads a checkpoint onto a device. The checkpoint may be closed afterwards;
// the device must outlive the model. It fails with ErrUnsupported, ErrConfig,
// weights.ErrNoTensor or the device's own error, naming the tensor.
func Open(dev kernels.Device, ck weights.Checkpoint, limits Limits) (*Model, error) {
	net, err := parse(ck)
	if err != nil {
		return nil, err
	}
	m := &Model{net: net, spec: net.spec(), limits: limits, dev: dev}
	m.drawer, _ = dev.(kernels.Drawer)
	if m.limits.MaxModelLen == 0 {
		m.limits.MaxModelLen = m.spec.MaxPositions
	}
	if err := m.limits.check(m.spec); err != nil {
		return nil, err
	}
	l := &loader{dev: dev, ck: ck, positions: m.limits.MaxModelLen}
	net.load(l)
	if l.err != nil {
		return nil, l.err
	}
	m.head = net.head()
	return m, m.allocate()
}

func (l Limits) check(s Spec) error {
	if l.MaxModelLen < 1 || l.MaxModelLen > s.MaxPositions {
		return fmt.Errorf("context of %d tokens asked for; the model was made for 1 to %d", l.MaxModelLen, s.MaxPositions)
	}
	if l.MaxTokens < 1 || l.MaxSeqs < 1 || l.Blocks < 1 || l.BlockSize < 1 {
		return fmt.Errorf("limits must be positive: %+v", l)
	}
	return nil
}

func (m *Model) allocate() error {
	a, T, R, D := m.spec.Attn, m.limits.MaxTokens, m.limits.MaxSeqs, m.spec.Width
	up := m.spec.FFN
	if m.spec.FFNGated {
		up *= 2
	}
	for _, b := range []struct {
		buf        *kernels.Buffer
		rows, cols int
	}{
		{&m.x, T, D}, {&m.norm, T, D}, {&m.delta, T, D},
		{&m.qkv, T, (a.Heads + 2*a.KVHeads) * a.HeadDim},
		{&m.att, T, a.Heads * a.HeadDim},
		{&m.ff, T, up}, {&m.act, T, m.spec.FFN},
		{&m.last, R, D}, {&m.lastN, R, D}, {&m.lastAtt, R, a.Heads * a.HeadDim}, {&m.logits, R, m.spec.Vocab},
	} {
		buf, err := m.dev.NewBuffer(b.rows, b.cols)
		if err != nil {
			return fmt.Errorf("activations: %w", err)
		}
		*b.buf = buf
	}
	kv, err := m.dev.NewKV(kernels.KVShape{
		Layers: m.spec.Layers, Blocks: m.limits.Blocks, BlockSize: m.limits.BlockSize,
		KVHeads: a.KVHeads, HeadDim: a.HeadDim,
	})
	if err != nil {
		return fmt.Errorf("KV cache: %w", err)
	}
	m.kv = kv
	return nil
}

// Spec returns the model's sizes.
func (m *Model) Spec() Spec { return m.spec }

// VocabSize returns V, the logits of a row.
func (m *Model) VocabSize() int { return m.spec.Vocab }

// MaxModelLen returns the longest sequence, prompt and output together.
func (m *Model) MaxModelLen() int { return m.limits.MaxModelLen }

// MaxTokens returns T of the largest step.
func (m *Model) MaxTokens() int { return m.limits.MaxTokens }

// MaxSeqs returns R of the largest step.
func (m *Model) MaxSeqs() int { return m.limits.MaxSeqs }

// Window returns the positions that a query sees in every layer, itself
// included; what lies before them is never read again. It is 0 when a layer
// sees the whole sequence.
func (m *Model) Window() int { return m.spec.Attn.Window }

// KVShape describes the cache.
func (m *Model) KVShape() kernels.KVShape { return m.kv.Shape() }

// Forward runs one step and returns logits [R, V], row i those of row s.Out[i].
// They are the caller's to change until the next Forward. The cache then holds
// the step's keys and values. After an error, what the cache holds for the
// step's sequences is undefined.
func (m *Model) Forward(s *kernels.Step) ([]float32, error) {
	if err := m.begin(s); err != nil {
		return nil, err
	}
	if err := m.dev.End(); err != nil {
		return nil, err
	}
	return m.dev.Read(m.logits, len(s.Out)*m.spec.Vocab)
}
