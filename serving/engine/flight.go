package engine

import (
	"fmt"
	"slices"

	"servebench/kernels"
	"servebench/serving/kvcache"
	"servebench/serving/sample"
	"servebench/serving/sched"
)

// flight is one step, from its description to the tokens that come of it.
type flight struct {
	step    kernels.Step
	from    []int32 // step.From's memory
	rows    []row   // of logits, in the order of step.Out
	host    int     // of these, the first ones: their logits are wanted on the host
	draws   []kernels.Draw
	streams []*Stream // those with tokens in the step
}

// row is one row of logits: whose it is and what came of it.
type row struct {
	stream   *Stream
	prompt   int       // index of the prompt's token that it scores; 0 where it gives the next token
	id       int32     // the next token
	logprobs *Logprobs // of either, if asked for
	finish   Finish
	err      error
}

// A table's Freed blocks are a step's.
var _ = [1]struct{}{}[kvcache.Freed-kernels.Freed]

// newFlight makes one with room for the largest batch, so that none allocates.
func newFlight(tokens, seqs, blocks, window int) flight {
	return flight{
		step: kernels.Step{
			Window:    window,
			Tokens:    make([]int32, 0, tokens),
			Positions: make([]int32, 0, tokens),
			Slots:     make([]int32, 0, tokens),
			Starts:    make([]int32, 0, seqs+1),
			Lens:      make([]int32, 0, seqs),
			Blocks:    make([]int32, 0, seqs*blocks),
			Out:       make([]int32, 0, seqs),
		},
		from:    make([]int32, 0, tokens),
		rows:    make([]row, 0, seqs),
		draws:   make([]kernels.Draw, 0, seqs),
		streams: make([]*Stream, 0, seqs),
	}
}

// spare returns the flight that is not under way. There is one whenever a batch is
// computed: at most one step is under way then.
func (e *Engine) spare() *flight {
	if len(e.under) > 0 && e.under[0] == &e.flights[0] {
		return &e.flights[1]
	}
	return &e.flights[0]
}

// describe makes f the step of a batch and notes whose rows of logits it wants. A
// token that the step under way draws is given as its row there.
func (e *Engine) describe(f *flight, b *sched.Batch) {
	s := &f.step
	s.Tokens, s.Positions, s.Slots, f.from = s.Tokens[:0], s.Positions[:0], s.Slots[:0], f.from[:0]
	s.Starts, s.Lens, s.Out = append(s.Starts[:0], 0), s.Lens[:0], s.Out[:0]
	f.rows, f.draws, f.streams = f.rows[:0], f.draws[:0], f.streams[:0]
	s.MaxBlocks = 0
	for _, c := range b.Chunks {
		s.MaxBlocks = max(s.MaxBlocks, e.pool.BlocksFor(c.Start+c.Len))
	}
	s.Blocks = s.Blocks[:len(b.Chunks)*s.MaxBlocks]
	clear(s.Blocks)
	for i, c := range b.Chunks {
		stream, end := c.Seq.Owner.(*Stream), c.Start+c.Len
		for p := c.Start; p < end; p++ {
			id, from := int32(0), int32(-1)
			if p < len(c.Seq.Tokens) {
				id = c.Seq.Tokens[p]
			} else {
				from = stream.row
			}
			s.Tokens, f.from = append(s.Tokens, id), append(f.from, from)
			s.Positions = append(s.Positions, int32(p))
			s.Slots = append(s.Slots, c.Seq.Slot(p))
		}
		s.Starts = append(s.Starts, int32(len(s.Tokens)))
		s.Lens = append(s.Lens, int32(end))
		copy(s.Blocks[i*s.MaxBlocks:], c.Seq.Blocks()[:e.pool.BlocksFor(end)])
		f.streams = append(f.streams, stream)
		f.want(c, stream)
	}
	s.From = nil
	if len(e.under) > 0 {
		s.From = f.from
	}
}

// want notes which rows of a chunk, the step's last so far, give logits: that of
// the last token, and those that score the prompt's next token.
func (f *flight) want(c sched.Chunk, s *Stream) {
	end := c.Start + c.Len
	for p := c.Start; p < end; p++ {
		if !c.Wants(p) {
			continue
		}
		r := row{stream: s}
		if p+1 < s.prompt {
			r.prompt = p + 1
		}
		f.step.Out = append(f.step.Out, int32(len(f.step.Tokens)-end+p))
		f.rows = append(f.rows, r)
	}
}

// draw notes how the token of every row is drawn, and who finds it where. Rows whose
// logits are wanted on the host come first, and what is drawn of them is of no use.
func (f *flight) draw() {
	f.host = 0
	for i := range f.rows {
		s := f.rows[i].stream
		s.row = int32(i)
		if s.drawable() {
			f.draws = append(f.draws, s.draw())
		} else {
			f.draws = append(f.draws, kernels.Draw{TopP: 1})
			f.host = i + 1
		}
	}
}

// drew takes what was drawn for the rows that the host does not sample.
func (f *flight) drew(ids []int32) {
	for i := f.host; i < len(f.rows); i++ {
		r := &f.rows[i]
		if r.id = ids[i]; r.id == kernels.NoToken {
			r.err = fmt.Errorf("%w: %w", ErrSample, sample.ErrNotFinite)
		}
	}
}

// drawable reports whether the model can draw all that a batch is for: tokens, at
// least one, of requests that need nothing of their logits in host memory.
func drawable(b *sched.Batch) bool {
	tokens := 0
	for _, c := range b.Chunks {
		s := c.Seq.Owner.(*Stream)
		switch {
		case s.req.PromptLogprobs || c.Last && !s.drawable():
			return false
		case c.Last:
			tokens++
		}
	}
	return tokens > 0
}

// hostFirst moves those of a batch to its beginning whose logits are wanted on the
// host.
func hostFirst(b *sched.Batch) {
	slices.SortStableFunc(b.Chunks, func(x, y sched.Chunk) int {
		switch x, y := x.Seq.Owner.(*Stream).drawable(), y.Seq.Owner.(*Stream).drawable(); {
		case y && !x:
			return -1
		case x && !y:
			return 1
		}
		return 0
	})
}
