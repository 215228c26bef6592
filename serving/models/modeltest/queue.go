package modeltest

import (
	"errors"
	"fmt"
	"slices"

	"servebench/kernels"
	"servebench/serving/sample"
)

// mostUnderWay is how many steps a device takes before the ids of the first must be
// asked for.
const mostUnderWay = 2

// Queue is a kernels.Drawer and a kernels.Grapher. One goroutine uses it at a time.
type Queue struct {
	dev     kernels.Device // what computes
	sampler sample.Sampler

	open      *step   // between Begin and End or Submit
	capturing bool    // and no step, but notes to keep
	under     []*step // submitted, and their ids not asked for, in that order
	before    *step   // the step before, if it drew tokens
	kept      map[int][]func()
	ids       []int32 // what Drawn returned last
	closed    bool

	counts Counts
}

// Counts is what a Queue has done.
type Counts struct {
	Submitted int // steps
	Ahead     int // of these, while another one was under way
	Ended     int // steps that were waited for by End
	Kept      int // steps of either kind that ran from what was kept
	Drawn     int // tokens
}

// step is one from Begin on.
type step struct {
	kernels.Step       // a copy
	before       *step // whose tokens From takes
	ops          []func()
	logits       kernels.Buffer // of Draw; nil without
	vocab        int
	draws        []kernels.Draw
	done         bool
	ids          []int32
	err          error
}

// NewQueue makes one of a device, which it closes.
func NewQueue(dev kernels.Device) *Queue {
	return &Queue{dev: dev, kept: map[int][]func(){}}
}

// Counts tells what it has done so far.
func (q *Queue) Counts() Counts { return q.counts }

// Name is the device's underneath.
func (q *Queue) Name() string { return q.dev.Name() + ", queued" }

// DType is the device's underneath.
func (q *Queue) DType() kernels.DType { return q.dev.DType() }

// Load is the device's underneath.
func (q *Queue) Load(l kernels.Layout, parts ...kernels.Tensor) (kernels.Weight, error) {
	return q.dev.Load(l, parts...)
}

// NewBuffer is the device's underneath.
func (q *Queue) NewBuffer(rows, cols int) (kernels.Buffer, error) { return q.dev.NewBuffer(rows, cols) }

// NewKV is the device's underneath.
func (q *Queue) NewKV(s kernels.KVShape) (kernels.KV, error) { return q.dev.NewKV(s) }

// Close closes the device underneath. What is under way is not done.
func (q *Queue) Close() error {
	q.closed, q.open, q.under = true, nil, nil
	return q.dev.Close()
}

var (
	errClosed = errors.New("modeltest: the device is closed")
	errInStep = errors.New("modeltest: in a step")
	errUnder  = errors.New("modeltest: steps are under way")
)

// Begin implements kernels.Device.
func (q *Queue) Begin(s *kernels.Step) error {
	switch {
	case q.closed:
		return errClosed
	case q.open != nil:
		return errInStep
	}
	if err := s.Check(); err != nil {
		return err
	}
	st := &step{Step: *s, before: q.before}
	for _, field := range []*[]int32{&st.Tokens, &st.From, &st.Positions, &st.Slots, &st.Starts, &st.Lens, &st.Blocks, &st.Out} {
		*field = slices.Clone(*field)
	}
	taken := map[int32]bool{}
	for i, row := range st.From {
		switch {
		case row < 0:
		case q.before == nil || int(row) >= len(q.before.draws):
			return fmt.Errorf("%w: From[%d] is row %d, which the step before drew no token for", kernels.ErrStep, i, row)
		case taken[row]:
			return fmt.Errorf("%w: From[%d] is row %d, whose token another row has", kernels.ErrStep, i, row)
		default:
			taken[row] = true
		}
	}
	q.open, q.before = st, nil
	return nil
}

// note keeps an operation for later.
func (q *Queue) note(op func()) {
	if q.open == nil {
		panic("modeltest: an operation outside of a step")
	}
	q.open.ops = append(q.open.ops, op)
}

// Embed implements kernels.Ops, as do those that follow.
func (q *Queue) Embed(out kernels.Buffer, tokens, positions kernels.Weight) {
	q.note(func() { q.dev.Embed(out, tokens, positions) })
}

// Norm notes the operation.
func (q *Queue) Norm(out, x, delta kernels.Buffer, n kernels.Norm, rows int) {
	q.note(func() { q.dev.Norm(out, x, delta, n, rows) })
}

// MatMul notes the operation.
func (q *Queue) MatMul(out, x kernels.Buffer, w, bias kernels.Weight, rows int) {
	q.note(func() { q.dev.MatMul(out, x, w, bias, rows) })
}

// StoreKV notes the operation.
func (q *Queue) StoreKV(qkv kernels.Buffer, kv kernels.KV, layer int, r kernels.Rope, a kernels.Attn) {
	q.note(func() { q.dev.StoreKV(qkv, kv, layer, r, a) })
}

// Attention notes the operation.
func (q *Queue) Attention(out, qkv kernels.Buffer, kv kernels.KV, layer int, a kernels.Attn) {
	q.note(func() { q.dev.Attention(out, qkv, kv, layer, a) })
}

// Activate notes the operation.
func (q *Queue) Activate(out, x kernels.Buffer, f kernels.Act, gated bool, rows int) {
	q.note(func() { q.dev.Activate(out, x, f, gated, rows) })
}

// Add notes the operation.
func (q *Queue) Add(x, y kernels.Buffer, rows int) { q.note(func() { q.dev.Add(x, y, rows) }) }

// Gather notes the operation.
func (q *Queue) Gather(out, x, delta kernels.Buffer) {
	q.note(func() { q.dev.Gather(out, x, delta) })
}

// Draw implements kernels.Drawer.
func (q *Queue) Draw(logits kernels.Buffer, vocab int, draws []kernels.Draw) {
	q.note(func() {})
	switch _, width := logits.Dims(); {
	case q.capturing:
		panic("modeltest: Draw in a step that is kept")
	case q.open.logits != nil:
		panic("modeltest: Draw twice in a step")
	case len(draws) == 0 || len(draws) > len(q.open.Out) || vocab < 1 || vocab > width:
		panic(fmt.Sprintf("modeltest: Draw of %d rows of %d, of %d ids of %d", len(draws), len(q.open.Out), vocab, width))
	}
	q.open.logits, q.open.vocab, q.open.draws = logits, vocab, slices.Clone(draws)
}

// End implements kernels.Device: the step is done, behind those under way.
func (q *Queue) End() error {
	if q.open == nil || q.capturing {
		return errors.New("modeltest: End without Begin")
	}
	st := q.open
	q.open = nil
	for _, u := range q.under {
		q.do(u)
	}
	q.do(st)
	q.counts.Ended++
	return st.err
}

// Submit implements kernels.Drawer.
func (q *Queue) Submit() error {
	st := q.open
	if st == nil || q.capturing {
		return errors.New("modeltest: Submit without Begin")
	}
	q.open = nil
	switch {
	case st.logits == nil:
		return errors.New("modeltest: Submit without Draw")
	case len(q.under) == mostUnderWay:
		return fmt.Errorf("modeltest: a step beyond the %d whose tokens were not asked for", mostUnderWay)
	}
	q.counts.Submitted++
	if len(q.under) > 0 {
		q.counts.Ahead++
	}
	q.under, q.before = append(q.under, st), st
	return nil
}

// Drawn implements kernels.Drawer.
func (q *Queue) Drawn() ([]int32, error) {
	switch {
	case q.closed:
		return nil, errClosed
	case q.open != nil:
		return nil, errInStep
	case len(q.under) == 0:
		return nil, errors.New("modeltest: Drawn without Submit")
	}
	st := q.under[0]
	q.under = q.under[1:]
	for i := range q.ids {
		q.ids[i] = 1 << 30
	}
	q.do(st)
	q.ids = slices.Clone(st.ids)
	q.counts.Drawn += len(q.ids)
	return q.ids, st.err
}

// do does a step, once. All before it were.
func (q *Queue) do(st *step) {
	if st.done {
		return
	}
	st.done = true
	for i, row := range st.From {
		if row < 0 {
			continue
		}
		if st.before.err != nil {
			st.err = fmt.Errorf("the step before: %w", st.before.err)
			return
		}
		// A row that no token could be drawn for is followed by rubbish that nobody uses.
		st.Tokens[i] = max(0, st.before.ids[row])
	}
	st.From, st.before = nil, nil
	if st.err = q.dev.Begin(&st.Step); st.err != nil {
		return
	}
	for _, op := range st.ops {
		op()
	}
	if st.err = q.dev.End(); st.err != nil || st.logits == nil {
		return
	}
	_, width := st.logits.Dims()
	var logits []float32
	if logits, st.err = q.dev.Read(st.logits, len(st.draws)*width); st.err != nil {
		return
	}
	for i, d := range st.draws {
		st.ids = append(st.ids, Draw(&q.sampler, logits[i*width:][:width], st.vocab, d))
	}
}

// Draw draws a token as a device is to: from a row of logits, among the ids below
// vocab.
func Draw(s *sample.Sampler, logits []float32, vocab int, d kernels.Draw) int32 {
	id, err := s.Sample(logits, sample.Draw{
		Params: sample.Params{Temperature: d.Temperature, TopP: d.TopP, MinP: d.MinP, TopK: d.TopK, Seed: d.Seed},
		Index:  int(d.Index), Vocab: vocab,
	})
	if err != nil {
		return kernels.NoToken
	}
	return id
}

// Read implements kernels.Device. What a buffer holds while steps are under way is
// anybody's guess.
func (q *Queue) Read(b kernels.Buffer, n int) ([]float32, error) {
	switch {
	case q.open != nil:
		return nil, errInStep
	case len(q.under) > 0:
		return nil, errUnder
	}
	return q.dev.Read(b, n)
}

// Capture implements kernels.Grapher.
func (q *Queue) Capture(rows int, ops func()) error {
	switch {
	case q.closed:
		return errClosed
	case q.open != nil:
		return errInStep
	case len(q.under) > 0:
		return errUnder
	case rows < 1:
		return fmt.Errorf("modeltest: a step of %d rows", rows)
	}
	q.open, q.capturing = &step{}, true
	defer func() { q.open, q.capturing = nil, false }()
	ops()
	q.kept[rows] = q.open.ops
	return nil
}

// Decode implements kernels.Grapher. The operations do as many rows as they were
// kept for; what those beyond the step's hold is left over from others.
func (q *Queue) Decode(s *kernels.Step) (bool, error) {
	least := 0
	for rows := range q.kept {
		if rows >= len(s.Tokens) && (least == 0 || rows < least) {
			least = rows
		}
	}
	if least == 0 || len(s.Tokens) != len(s.Lens) || len(s.Tokens) != len(s.Out) {
		return false, nil
	}
	if err := q.Begin(s); err != nil {
		return false, err
	}
	q.open.ops = slices.Clone(q.kept[least])
	q.counts.Kept++
	return true, nil
}

var (
	_ kernels.Drawer  = (*Queue)(nil)
	_ kernels.Grapher = (*Queue)(nil)
)
