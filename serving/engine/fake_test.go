package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/serving/sample"
)

// cell is what a fake's cache holds in a slot: a token, and behind what it was
// computed. As in a model of several layers it stands for all tokens before it,
// also those that a window has passed.
type cell struct {
	token, position int32
	before          *cell // nil at position 0
}

// fake is a model that remembers which token was written to which slot and
// computes logits from what it reads back through the block table. A step that
// contradicts itself, or a slot that holds another token than the sequence's,
// ends up in its errors or in a wrong token.
type fake struct {
	logits                            []float32 // of the last step
	vocab, maxLen, maxTokens, maxSeqs int
	window                            int // 0, or 2 and more
	shape                             kernels.KVShape
	// next fills a row of logits for what follows a history; hashed by default.
	next func(history []int32, logits []float32)
	// before runs before a step is computed.
	before func(step *kernels.Step) error

	draws drawing // what makes it a Drawer

	cells   []*cell // by slot
	history []int32
	shared  int // blocks that a step wrote and another sequence of it read
	mu      sync.Mutex
	broken  error // first contradiction
}

func newFake(maxLen, maxTokens, maxSeqs, blocks, blockSize int) *fake {
	f := &fake{
		vocab: 61, maxLen: maxLen, maxTokens: maxTokens, maxSeqs: maxSeqs, next: hashed,
		shape:   kernels.KVShape{Layers: 1, Blocks: blocks, BlockSize: blockSize, KVHeads: 1, HeadDim: 2},
		cells:   make([]*cell, blocks*blockSize),
		history: make([]int32, 0, maxLen),
	}
	return f
}

func (f *fake) VocabSize() int           { return f.vocab }
func (f *fake) MaxModelLen() int         { return f.maxLen }
func (f *fake) MaxTokens() int           { return f.maxTokens }
func (f *fake) MaxSeqs() int             { return f.maxSeqs }
func (f *fake) Window() int              { return f.window }
func (f *fake) KVShape() kernels.KVShape { return f.shape }

// hashed makes the logits of a row depend on every token before it.
func hashed(history []int32, logits []float32) {
	h := uint64(14695981039346656037)
	for _, t := range history {
		h = (h ^ uint64(t)) * 1099511628211
	}
	for i := range logits {
		x := (h + uint64(i)) * 0x9E3779B97F4A7C15
		x = (x ^ x>>29) * 0xBF58476D1CE4E5B9
		logits[i] = float32(x>>40) / (1 << 21) // 0 to 8
	}
}

// counting makes token n+1 follow n.
func counting(history []int32, logits []float32) {
	clear(logits)
	logits[(int(history[len(history)-1])+1)%len(logits)] = 10
}

func (f *fake) Forward(s *kernels.Step) ([]float32, error) {
	f.draws.log = append(f.draws.log, fmt.Sprint("forward ", len(s.Tokens)))
	if len(f.draws.under) > 0 || s.From != nil {
		return nil, f.fails("Forward with %d steps under way and From %v", len(f.draws.under), s.From)
	}
	f.draws.last = nil
	if f.before != nil {
		if err := f.before(s); err != nil {
			return nil, err
		}
	}
	f.logits = grown(f.logits, len(s.Out)*f.vocab)
	if err := f.forward(s, f.logits); err != nil {
		return nil, f.fails("%w", err)
	}
	return f.logits, nil
}

// grown is a slice of length n, in the memory of s where that is enough.
func grown(s []float32, n int) []float32 { return slices.Grow(s[:0], n)[:n] }

func (f *fake) forward(s *kernels.Step, logits []float32) error {
	if err := errors.Join(s.Check(), s.CheckTokens(f.vocab), s.CheckPositions(f.maxLen), s.CheckKV(f.shape)); err != nil {
		return err
	}
	if len(s.Tokens) > f.maxTokens || len(s.Lens) > f.maxSeqs {
		return fmt.Errorf("%d rows, %d sequences", len(s.Tokens), len(s.Lens))
	}
	if s.Window != f.window {
		return fmt.Errorf("a step's window is %d, not %d", s.Window, f.window)
	}
	if err := f.store(s); err != nil {
		return err
	}
	q := 0
	for i, out := range s.Out {
		for s.Starts[q+1] <= out {
			q++
		}
		f.history = f.history[:0]
		for c := f.cells[s.Slots[out]]; c != nil; c = c.before {
			f.history = append(f.history, c.token)
		}
		slices.Reverse(f.history)
		f.next(f.history, logits[i*f.vocab:(i+1)*f.vocab])
	}
	return nil
}

// store writes a step's rows to the cache, each behind the one before it, and
// then reads everything back that the rows see.
func (f *fake) store(s *kernels.Step) error {
	size := f.shape.BlockSize
	at := func(q, p int) **cell { return &f.cells[int(s.Blocks[q*s.MaxBlocks+p/size])*size+p%size] }
	// A block that is written to is nobody else's, unless this step fills it and
	// the other begins behind it.
	for q, n := range s.Lens {
		for i := int(s.Positions[s.Starts[q]]) / size; i*size < int(n); i++ {
			for r := range s.Lens {
				for j := range (int(s.Lens[r]) + size - 1) / size {
					if r == q || s.Blocks[r*s.MaxBlocks+j] != s.Blocks[q*s.MaxBlocks+i] {
						continue
					}
					if j != i || (i+1)*size > int(n) || (j+1)*size > int(s.Positions[s.Starts[r]]) {
						return fmt.Errorf("sequence %d of the step writes to a block that %d sees", q, r)
					}
					f.shared++
				}
			}
		}
	}
	for q := range s.Lens {
		for t := s.Starts[q]; t < s.Starts[q+1]; t++ {
			p := int(s.Positions[t])
			c := &cell{token: s.Tokens[t], position: int32(p)}
			if p > 0 {
				c.before = *at(q, p-1)
			}
			*at(q, p) = c
		}
	}
	for q, n := range s.Lens {
		from := 0
		if f.window > 0 {
			from = max(0, int(s.Positions[s.Starts[q]])-f.window+1)
		}
		c := *at(q, int(n)-1)
		for p := int(n) - 1; p >= from; p, c = p-1, c.before {
			// The same token may have been computed twice, in two sequences.
			if got := *at(q, p); c == nil || got == nil || got.position != int32(p) || got.token != c.token {
				return fmt.Errorf("the slot of position %d holds %+v, behind which the sequence has %+v", p, got, c)
			}
		}
	}
	return nil
}

// logprobs are what a request wants to know of an id, or nil.
func (f *fake) logprobs(t testing.TB, r Request, logits []float32, id int32, vocab int) *Logprobs {
	if !r.Logprobs {
		return nil
	}
	lp := &Logprobs{Top: make([]Logprob, r.TopLogprobs)}
	require.NoError(t, new(sample.Sampler).Logprobs(logits, id, vocab, lp))
	return lp
}

// scores is the prompt as Stream.Prompt gives it, with no engine, cache or batch.
func (f *fake) scores(t testing.TB, r Request, vocab int) []Token {
	logits := make([]float32, f.vocab)
	out := []Token{{ID: r.Prompt[0]}}
	for i, id := range r.Prompt[1:] {
		f.next(r.Prompt[:i+1], logits)
		out = append(out, Token{ID: id, Logprobs: f.logprobs(t, r, logits, id, vocab)})
	}
	return out
}

// reference generates a request's output with no engine, cache or batch.
func (f *fake) reference(t testing.TB, r Request, vocab int) (out []Token) {
	logits := make([]float32, f.vocab)
	var s sample.Sampler
	tokens := slices.Clone(r.Prompt)
	for i := range r.MaxTokens {
		f.next(tokens, logits)
		d := sample.Draw{Params: r.Sampling, Index: i, Vocab: vocab, History: sample.NewHistory(r.Sampling, r.Prompt, 0)}
		for _, id := range tokens[len(r.Prompt):] {
			d.History.Add(id)
		}
		if i < r.MinTokens {
			d.Banned = r.StopTokens
		}
		id, err := s.Sample(logits, d)
		require.NoError(t, err)
		tokens = append(tokens, id)
		out = append(out, Token{ID: id, Logprobs: f.logprobs(t, r, logits, id, vocab)})
		for _, stop := range r.StopTokens {
			if id == stop {
				out[i].Finish = FinishStop
				return out
			}
		}
	}
	out[len(out)-1].Finish = FinishLength
	return out
}

// quiet drops the log of faults that a test makes on purpose.
var quiet = slog.New(slog.DiscardHandler)

// start runs an engine until the test ends, and then holds that the scheduler's
// accounts are right, every block is free and no step was wrong.
func start(t *testing.T, f *fake, cfg Config) *Engine {
	t.Helper()
	cfg.Log = quiet
	e, err := newEngine(f, cfg)
	require.NoError(t, err)
	e.samplers.worth = 1 // a fake's rows are worth no helper
	go e.run()
	t.Cleanup(func() { stop(t, e, f) })
	return e
}

// manual makes an engine whose turns the test takes itself.
func manual(t testing.TB, f *fake, cfg Config) *Engine {
	t.Helper()
	cfg.Log = quiet
	e, err := newEngine(f, cfg)
	require.NoError(t, err)
	e.samplers.worth = 1
	t.Cleanup(e.samplers.close)
	return e
}

func stop(t *testing.T, e *Engine, f *fake) {
	t.Helper()
	require.NoError(t, e.Close(context.Background()))
	require.NoError(t, e.sched.Check())
	require.Zero(t, e.Stats().KVBlocksUsed, "blocks were not returned")
	require.Empty(t, e.live)
	f.mu.Lock()
	defer f.mu.Unlock()
	require.NoError(t, f.broken)
	require.Empty(t, f.draws.under, "steps are under way")
}

func submit(t testing.TB, e *Engine, r Request) *Stream {
	t.Helper()
	s, err := e.Submit(context.Background(), r)
	require.NoError(t, err)
	return s
}

// collect reads a stream to its end.
func collect(s *Stream) (out []Token, err error) {
	for {
		tok, err := s.Next(context.Background())
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, tok)
	}
}

// greedy is a request for n tokens after a prompt.
func greedy(n int, prompt ...int32) Request {
	return Request{Prompt: prompt, MaxTokens: n, Sampling: sample.Params{TopP: 1}}
}
