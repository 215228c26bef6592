package engine

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"servebench/kernels"
	"servebench/serving/models/modeltest"
	"servebench/serving/sample"
)

// drawing is what a fake that draws keeps. It computes a step only when its tokens
// are asked for, so that what depends on its being done sooner comes out wrong.
type drawing struct {
	on bool
	// refuse runs in every Submit, after in every Drawn, when its step is done.
	refuse func(step *kernels.Step) error
	after  func(ids []int32) ([]int32, error)

	under   []*submitted
	last    *submitted // the step before, if its tokens can be taken
	failed  bool       // what is under way is rubbish
	ids     []int32    // what Drawn returned last
	sampler sample.Sampler

	steps, ahead, most int      // submitted; of these, behind another; most at once
	log                []string // of calls: "submit 3", "drawn 3", "forward 2", with their rows
}

// submitted is a step under way.
type submitted struct {
	step   kernels.Step // a copy
	before *submitted   // whose tokens step.From takes
	draws  []kernels.Draw
	vocab  int
	ids    []int32
}

// kinds runs a test with a model that gives logits and with one that draws.
func kinds(t *testing.T, test func(t *testing.T, draws bool)) {
	t.Run("logits", func(t *testing.T) { test(t, false) })
	t.Run("draws", func(t *testing.T) { test(t, true) })
}

// drawer makes a fake one that draws, or not.
func (f *fake) drawer(on bool) *fake {
	f.draws.on = on
	return f
}

func (f *fake) Draws() bool { return f.draws.on }

// fails keeps the first contradictions.
func (f *fake) fails(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = errors.Join(f.broken, err)
	return err
}

func (f *fake) Submit(s *kernels.Step, vocab int, draws []kernels.Draw) error {
	d := &f.draws
	d.log = append(d.log, fmt.Sprint("submit ", len(s.Tokens)))
	if d.refuse != nil {
		if err := d.refuse(s); err != nil {
			return err
		}
	}
	if len(draws) != len(s.Out) || len(draws) == 0 || !d.on {
		return f.fails("%d draws of %d rows", len(draws), len(s.Out))
	}
	if len(d.under) > 1 {
		return f.fails("a third step is under way")
	}
	q := &submitted{step: *s, before: d.last, draws: slices.Clone(draws), vocab: vocab}
	for _, field := range []*[]int32{
		&q.step.Tokens, &q.step.From, &q.step.Positions, &q.step.Slots, &q.step.Starts, &q.step.Lens, &q.step.Blocks, &q.step.Out,
	} {
		*field = slices.Clone(*field)
	}
	taken := map[int32]bool{}
	for i, row := range s.From {
		if row < 0 {
			continue
		}
		if len(d.under) == 0 || d.last == nil || int(row) >= len(d.last.draws) || taken[row] {
			return f.fails("From[%d] is row %d, which the step under way draws no token for, or another row has it", i, row)
		}
		taken[row] = true
	}
	if len(d.under) > 0 {
		d.ahead++
	}
	d.steps++
	d.under, d.last = append(d.under, q), q
	d.most = max(d.most, len(d.under))
	return nil
}

func (f *fake) Drawn() ([]int32, error) {
	d := &f.draws
	for i := range d.ids {
		d.ids[i] = 1 << 30
	}
	if len(d.under) == 0 {
		return nil, f.fails("Drawn with nothing under way")
	}
	q := d.under[0]
	d.under = d.under[1:]
	d.log = append(d.log, fmt.Sprint("drawn ", len(q.step.Tokens)))
	defer func() { d.failed = d.failed && len(d.under) > 0 }()
	if d.failed {
		d.ids = make([]int32, len(q.draws)) // rubbish
		return d.ids, nil
	}
	d.failed = true // unless it returns well
	if err := f.do(q); err != nil {
		return nil, err
	}
	d.ids = slices.Clone(q.ids)
	if d.after != nil {
		ids, err := d.after(d.ids)
		if err != nil || len(ids) != len(q.ids) {
			return ids, err
		}
		d.ids = ids
	}
	d.failed = false
	return d.ids, nil
}

func (f *fake) Both(s *kernels.Step, vocab int, draws []kernels.Draw, rows int) ([]float32, []int32, error) {
	d := &f.draws
	d.log = append(d.log, fmt.Sprintf("both %d, %d of %d", len(s.Tokens), rows, len(s.Out)))
	if len(d.under) > 0 || s.From != nil || len(draws) != len(s.Out) || rows >= len(draws) {
		return nil, nil, f.fails("Both for %d of %d rows with %d steps under way and From %v", rows, len(s.Out), len(d.under), s.From)
	}
	d.last = nil
	q := &submitted{step: *s, draws: draws, vocab: vocab}
	if err := f.do(q); err != nil {
		return nil, nil, err
	}
	d.ids = q.ids
	return f.logits[:rows*f.vocab], q.ids, nil
}

// do computes a step and draws its tokens.
func (f *fake) do(q *submitted) error {
	if f.before != nil {
		if err := f.before(&q.step); err != nil {
			return err
		}
	}
	for i, row := range q.step.From {
		if row >= 0 {
			q.step.Tokens[i] = max(0, q.before.ids[row])
		}
	}
	q.step.From, q.before = nil, nil
	f.logits = grown(f.logits, len(q.draws)*f.vocab)
	if err := f.forward(&q.step, f.logits); err != nil {
		return f.fails("%w", err)
	}
	for i, d := range q.draws {
		q.ids = append(q.ids, modeltest.Draw(&f.draws.sampler, f.logits[i*f.vocab:][:f.vocab], q.vocab, d))
	}
	return nil
}
