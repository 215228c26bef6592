package cuda

import (
	"errors"
	"fmt"
	"math"
	"unsafe"

	"servebench/kernels"
)

// Begin hands a step over. It waits for the step before the last one, if that is
// still under way.
func (d *Device) Begin(s *kernels.Step) error {
	if err := d.admit(s); err != nil {
		return err
	}
	d.describe(s)
	if err := d.do("beginning a step", fnBegin, d.ctx, address(&d.in.step)); err != nil {
		return err
	}
	d.start(s)
	return nil
}

// admit reports why a step cannot begin, and makes room for it.
func (d *Device) admit(s *kernels.Step) error {
	if err := d.idle(); err != nil {
		return err
	}
	if err := s.Check(); err != nil {
		return err
	}
	for _, n := range []struct {
		field    string
		has, may int
	}{{"Tokens", len(s.Tokens), d.options.MaxTokens}, {"Lens", len(s.Lens), d.options.MaxSeqs},
		{"Out", len(s.Out), d.options.MaxSeqs}} {
		if n.has > n.may {
			return fmt.Errorf("%w: %s has %d entries, the device was opened for %d", kernels.ErrStep, n.field, n.has, n.may)
		}
	}
	if s.MaxBlocks > d.options.MaxBlocks {
		return fmt.Errorf("%w: MaxBlocks is %d, the device was opened for %d", kernels.ErrStep, s.MaxBlocks, d.options.MaxBlocks)
	}
	for i, row := range s.From {
		if row < -1 || int(row) >= d.last.rows {
			return fmt.Errorf("%w: From[%d] is row %d, the step before drew %d", kernels.ErrStep, i, row, d.last.rows)
		}
	}
	if err := d.settle(); err != nil {
		return err
	}
	return d.fetchAhead()
}

// describe writes the step for the library, which copies it before it returns.
func (d *Device) describe(s *kernels.Step) {
	d.in.step = cStep{tokensN: int32(len(s.Tokens)), seqs: int32(len(s.Lens)), maxBlocks: int32(s.MaxBlocks),
		outN: int32(len(s.Out)), window: int32(min(s.Window, math.MaxInt32)),
		tokens: unsafe.SliceData(s.Tokens), positions: unsafe.SliceData(s.Positions), slots: unsafe.SliceData(s.Slots),
		starts: unsafe.SliceData(s.Starts), lens: unsafe.SliceData(s.Lens), blocks: unsafe.SliceData(s.Blocks),
		out: unsafe.SliceData(s.Out)}
	if len(s.From) > 0 {
		d.in.step.from = unsafe.SliceData(s.From)
	}
}

// start makes s the step that operations are of. d.last stays what the step
// before drew until Draw, for Embed to look at.
func (d *Device) start(s *kernels.Step) { d.step, d.kv, d.err, d.drew = s, nil, nil, false }

// finish ends the step and returns its first error.
func (d *Device) finish() error {
	d.step = nil
	if !d.drew {
		d.last = drawing{}
	}
	return d.err
}

// End waits for the step, and for those that were submitted before it, and returns
// its first error. What it drew is of no more use but as the next step's From.
func (d *Device) End() error {
	if d.step == nil {
		return errors.New("cuda: End without Begin")
	}
	err := d.finish()
	if d.drew && d.last.rows > 0 {
		d.submitted(true)
	}
	if d.lost != nil && err != nil {
		return err // which says so
	}
	return errors.Join(err, d.wait())
}

func (d *Device) wait() error { return d.do("waiting for the step", fnWait, d.ctx) }

// Read copies the first n elements of a buffer to page-locked memory of the
// library, which holds them until the next Read or Close.
func (d *Device) Read(b kernels.Buffer, n int) ([]float32, error) {
	if err := d.idle(); err != nil {
		return nil, err
	}
	from := d.buffer("Read", b)
	if all := from.rows * from.cols; n < 0 || n > all {
		return nil, fmt.Errorf("cuda: Read of %d elements from a buffer of %d", n, all)
	}
	if n == 0 {
		return nil, nil
	}
	if err := d.do("reading a buffer", fnRead, d.ctx, uintptr(from.data), uintptr(n), address(&d.out.host)); err != nil {
		return nil, err
	}
	return unsafe.Slice(d.out.host, n), nil
}
