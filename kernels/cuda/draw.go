package cuda

import (
	"errors"
	"math"

	"servebench/kernels"
)

// mostDrawn is how many steps the library keeps the ids of (SBC_DRAWN).
const mostDrawn = 4

// drawn is a step that was submitted.
type drawn struct {
	rows    int
	dropped bool    // nobody asks for them
	ids     []int32 // nil until they were fetched from the library
}

// Draw, as kernels.Drawer has it. The library keeps the ids for the next step's
// From, and sends them to the host behind the step.
func (d *Device) Draw(logits kernels.Buffer, vocab int, draws []kernels.Draw) {
	if !d.begun() {
		return
	}
	kernels.CheckDraw(d.step, logits, vocab, draws)
	switch {
	case d.drew:
		panic("cuda: Draw: twice in a step")
	case d.recording != nil:
		panic("cuda: Draw: in a step that is captured: what is drawn is not the same every time")
	}
	from := d.buffer("Draw", logits)
	d.drew, d.last = true, drawing{}
	if len(draws) == 0 {
		return
	}
	for i, w := range draws {
		d.in.draws[i] = cDraw{temperature: w.Temperature, topP: w.TopP, minP: w.MinP, seed: w.Seed, index: w.Index,
			topK: int32(min(max(w.TopK, 0), math.MaxInt32))}
	}
	d.err = d.do("Draw", fnDrawTokens, d.ctx, uintptr(from.data), uintptr(from.cols), uintptr(vocab), uintptr(len(draws)), address(&d.in.draws[0]))
	if d.err == nil {
		d.last = drawing{len(draws), vocab}
	}
}

// Submit, as kernels.Drawer has it.
func (d *Device) Submit() error {
	if d.step == nil {
		return errors.New("cuda: Submit without Begin")
	}
	if err := d.finish(); err != nil {
		if d.drew && d.last.rows > 0 { // an operation behind Draw
			d.submitted(true)
			d.last = drawing{}
		}
		return err
	}
	if !d.drew {
		return errors.Join(errors.New("cuda: Submit of a step without Draw: End it"), d.wait())
	}
	d.submitted(false)
	return nil
}

// submitted adds the step to those whose ids are due.
func (d *Device) submitted(dropped bool) {
	q := drawn{rows: d.last.rows, dropped: dropped}
	if q.rows == 0 {
		q.ids = d.room()
	}
	d.queue = append(d.queue, q)
}

// room is memory for a step's ids.
func (d *Device) room() []int32 {
	if n := len(d.spare); n > 0 {
		ids := d.spare[n-1]
		d.spare = d.spare[:n-1]
		return ids
	}
	return make([]int32, d.options.MaxSeqs)
}

// fetch waits for a step's ids.
func (d *Device) fetch(q *drawn) error {
	if err := d.do("waiting for drawn tokens", fnDrawn, d.ctx, address(&d.in.ids[0]), uintptr(q.rows)); err != nil {
		return err
	}
	q.ids = d.room()
	copy(q.ids, d.in.ids[:q.rows])
	return nil
}

// fetchAhead sees to it that the library has room for the ids of another step.
func (d *Device) fetchAhead() error {
	kept := 0
	for i := range d.queue {
		if d.queue[i].ids == nil {
			kept++
		}
	}
	for i := 0; kept >= mostDrawn; i++ {
		if d.queue[i].ids != nil {
			continue
		}
		if err := d.fetch(&d.queue[i]); err != nil {
			d.forget()
			return err
		}
		kept--
	}
	return nil
}

// forget gives up all ids that are due: after an error they are undefined. Those
// that the library still has are to be fetched before later ones.
func (d *Device) forget() {
	for i := range d.queue {
		d.queue[i].dropped = true
	}
	d.last = drawing{}
}

// Drawn, as kernels.Drawer has it.
func (d *Device) Drawn() ([]int32, error) {
	if err := d.ready(); err != nil {
		return nil, err
	}
	for len(d.queue) > 0 {
		if d.queue[0].ids == nil {
			if err := d.fetch(&d.queue[0]); err != nil {
				d.forget()
				return nil, err
			}
		}
		q := d.queue[0]
		d.queue = d.queue[:copy(d.queue, d.queue[1:])]
		if d.current != nil {
			d.spare = append(d.spare, d.current)
		}
		d.current = q.ids
		if !q.dropped {
			return q.ids[:q.rows], nil
		}
	}
	return nil, errors.New("cuda: Drawn without a step that was submitted")
}
