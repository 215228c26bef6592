package cuda

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"servebench/kernels"
)

// graph is a step of single rows that the library keeps, and what its operations
// ask of the steps that run it.
type graph struct {
	rows      int
	id        int32
	vocab     int // rows of the smallest table of tokens
	positions int // of positions
	window    int // the widest of its attentions; 0: one without
	attends   bool
	caches    []*kv
}

func (g *graph) uses(c *kv) {
	if !slices.Contains(g.caches, c) {
		g.caches = append(g.caches, c)
	}
}

func (g *graph) sees(window int) {
	if !g.attends || window == 0 || g.window > 0 && window > g.window {
		g.window = window
	}
	g.attends = true
}

// check reports the entry of a step that a weight or cache of the graph has no
// place for, as its operations would.
func (g *graph) check(s *kernels.Step) error {
	if err := s.CheckTokens(g.vocab); err != nil {
		return err
	}
	if err := s.CheckPositions(g.positions); err != nil {
		return err
	}
	for _, c := range g.caches {
		if err := s.CheckKV(c.shape); err != nil {
			return err
		}
	}
	if g.attends {
		return s.CheckWindow(g.window)
	}
	return nil
}

// nobody is a step of rows that store nothing and see nothing.
func nobody(rows int) *kernels.Step {
	s := &kernels.Step{Tokens: make([]int32, rows), Positions: make([]int32, rows), Slots: make([]int32, rows),
		Starts: make([]int32, rows+1), Lens: make([]int32, rows), Out: make([]int32, rows)}
	for i := range rows {
		s.Slots[i], s.Starts[i+1], s.Out[i] = -1, int32(i+1), int32(i)
	}
	return s
}

// Capture, as kernels.Grapher has it. It calls ops twice: once to run, so that the
// library's own memory has grown to what they need, and once to be kept.
func (d *Device) Capture(rows int, ops func()) error {
	if err := d.idle(); err != nil {
		return err
	}
	if rows < 1 || rows > d.options.MaxSeqs {
		return fmt.Errorf("cuda: Capture of %d rows, the device was opened for 1 to %d", rows, d.options.MaxSeqs)
	}
	if err := errors.Join(d.settle(), d.fetchAhead()); err != nil {
		return err
	}
	g := &graph{rows: rows, vocab: math.MaxInt, positions: math.MaxInt}
	d.recording = g
	defer func() { d.recording, d.step, d.last = nil, nil, drawing{} }()

	s := nobody(rows)
	d.describe(s)
	if err := d.do("beginning a step to capture", fnBegin, d.ctx, address(&d.in.step)); err != nil {
		return err
	}
	d.start(s)
	ops()
	if err := d.End(); err != nil {
		return err
	}

	if err := d.do("capturing a step", fnGraphBegin, d.ctx, uintptr(rows)); err != nil {
		return err
	}
	ended := false
	defer func() { // ops that panic must not leave the stream capturing
		if !ended {
			_ = d.do("capturing a step", fnGraphEnd, d.ctx, address(&d.out.graph))
		}
	}()
	d.start(s)
	ops()
	err := d.finish()
	ended = true
	if e := d.do("capturing a step", fnGraphEnd, d.ctx, address(&d.out.graph)); err != nil || e != nil {
		return errors.Join(err, e)
	}
	g.id = d.out.graph
	d.graphs = slices.DeleteFunc(d.graphs, func(old *graph) bool { return old.rows == rows })
	d.graphs = append(d.graphs, g)
	slices.SortFunc(d.graphs, func(a, b *graph) int { return cmp.Compare(a.rows, b.rows) })
	return nil
}

// Decode, as kernels.Grapher has it.
func (d *Device) Decode(s *kernels.Step) (bool, error) {
	g := d.graphOf(s)
	if g == nil {
		return false, d.ready()
	}
	if err := d.admit(s); err != nil {
		return false, err
	}
	if s.From != nil && d.last.vocab > g.vocab {
		panic("cuda: Decode: a table of fewer rows than the ids that were drawn")
	}
	if err := g.check(s); err != nil {
		d.start(s) // and nothing runs
		d.err = err
		return true, nil
	}
	d.describe(s)
	if err := d.do("running a captured step", fnGraphRun, d.ctx, uintptr(g.id), address(&d.in.step)); err != nil {
		return false, err
	}
	d.start(s)
	return true, nil
}

// graphOf is the smallest graph that has room for a step, if it is one of single
// rows that are all wanted.
func (d *Device) graphOf(s *kernels.Step) *graph {
	if n := len(s.Tokens); n == 0 || len(s.Lens) != n || len(s.Out) != n {
		return nil
	}
	for _, g := range d.graphs {
		if g.rows >= len(s.Tokens) {
			return g
		}
	}
	return nil
}
