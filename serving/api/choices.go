package api

import (
	"context"
)

// choices are the running sequences of a job, read by one goroutine. A single
// one, which most requests are, is read where it is wanted; of several, each
// has a goroutine that waits for its tokens and decodes them, and next takes
// what comes, in the order it comes.
type choices struct {
	job    *job
	gens   []*generation
	merged chan arrival // nil for one choice
	left   int          // choices that have not ended
	tokens int          // of all choices so far
}

// arrival is what a choice had to say.
type arrival struct {
	piece piece
	err   error
}

// start submits a job's sequences. They end with ctx, which the caller must
// end, also after an error: some may run already.
func (s *Server) start(ctx context.Context, j *job) (*choices, error) {
	c := &choices{job: j, gens: make([]*generation, len(j.seqs)), left: len(j.seqs)}
	for i := range j.seqs {
		t, err := s.cfg.Engine.Submit(ctx, j.seqs[i])
		if err != nil {
			return nil, err
		}
		c.gens[i] = s.newGeneration(j, i, t)
	}
	if len(c.gens) == 1 {
		return c, nil
	}
	c.merged = make(chan arrival, len(c.gens))
	for _, g := range c.gens {
		go g.run(ctx, c.merged)
	}
	return c, nil
}

// run sends a choice's pieces until its last one, an error, or the end of ctx.
func (g *generation) run(ctx context.Context, to chan<- arrival) {
	for {
		p, err := g.next(ctx)
		select {
		case to <- arrival{p, err}:
		case <-ctx.Done():
			return
		}
		if err != nil || p.finish != "" {
			return
		}
	}
}

// next waits for a token of any choice. An error of one is the end of all; it
// is not called any more after that, or once over.
func (c *choices) next(ctx context.Context) (p piece, err error) {
	if c.merged == nil {
		p, err = c.gens[0].next(ctx)
	} else {
		select {
		case o := <-c.merged:
			p, err = o.piece, o.err
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil {
		return p, err
	}
	if p.token.ID != noToken {
		c.tokens++
	}
	if p.finish != "" {
		c.left--
	}
	return p, nil
}

// over tells that every choice has ended.
func (c *choices) over() bool { return c.left == 0 }
