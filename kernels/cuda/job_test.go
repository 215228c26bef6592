package cuda

import (
	"errors"
	"fmt"
	"slices"

	"servebench/kernels"
)

// job is all that a server does with a device: a small Llama is loaded, a step of
// two sequences captured, a prompt prefilled in a step whose products are large,
// and tokens are drawn by steps that are captured, in flight, and neither.
type job struct {
	d *Device

	embed, qkv, out, up, down, norm, bias, table kernels.Weight
	x, h, delta, heads, att, ff, act, logits     kernels.Buffer
	cache                                        kernels.KV
}

// The sizes of a job.
const (
	jobVocab, jobWidth, jobFeed    = 29, 20, 33
	jobHeads, jobKVHeads, jobHead  = 2, 1, 10
	jobPrompt, jobBlock, jobBlocks = 20, 4, 16
)

// do opens a device, does the job and closes it. It returns every token that was
// drawn, and the first error with that of Close.
func do(o Options) (tokens []int32, err error) {
	d, err := New(o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	j := &job{d: d}
	if err := j.load(); err != nil {
		return nil, err
	}
	if err := j.allocate(); err != nil {
		return nil, err
	}
	if err := d.Capture(2, func() { j.forward(2, 2) }); err != nil {
		return nil, fmt.Errorf("capturing: %w", err)
	}
	return j.generate()
}

func (j *job) load() error {
	tensor := func(seed int, dtype kernels.DType, shape ...int) kernels.Tensor {
		t := kernels.Tensor{Name: fmt.Sprintf("tensor %d", seed), Shape: shape, DType: dtype}
		n := 1
		for _, s := range shape {
			n *= s
		}
		for i := range n {
			v := float32((i*7919+seed*104729)%997-498) / 1500
			h := kernels.BF16FromF32(v)
			if dtype == kernels.F16 {
				h = kernels.F16FromF32(v)
			}
			t.Data = append(t.Data, byte(h), byte(h>>8))
		}
		return t
	}
	const heads = jobHeads + 2*jobKVHeads
	for _, w := range []struct {
		to    *kernels.Weight
		l     kernels.Layout
		parts []kernels.Tensor
	}{
		{&j.embed, kernels.Matrix, []kernels.Tensor{tensor(1, kernels.BF16, jobVocab, jobWidth)}},
		{&j.qkv, kernels.Matrix, []kernels.Tensor{tensor(2, kernels.F16, jobHeads*jobHead, jobWidth), tensor(3, kernels.BF16, 2*jobKVHeads*jobHead, jobWidth)}},
		{&j.out, kernels.MatrixT, []kernels.Tensor{tensor(4, kernels.BF16, jobHeads*jobHead, jobWidth)}},
		{&j.up, kernels.Matrix, []kernels.Tensor{tensor(5, kernels.BF16, 2*jobFeed, jobWidth)}},
		{&j.down, kernels.Matrix, []kernels.Tensor{tensor(6, kernels.BF16, jobWidth, jobFeed)}},
		{&j.norm, kernels.Float, []kernels.Tensor{tensor(7, kernels.BF16, jobWidth)}},
		{&j.bias, kernels.Float, []kernels.Tensor{tensor(8, kernels.F16, heads*jobHead-7), tensor(9, kernels.BF16, 7)}},
		{&j.table, kernels.Float, []kernels.Tensor{tensor(10, kernels.BF16, jobBlock*jobBlocks/2, 6)}},
	} {
		var err error
		if *w.to, err = j.d.Load(w.l, w.parts...); err != nil {
			return err
		}
	}
	return nil
}

func (j *job) allocate() error {
	for _, b := range []struct {
		to   *kernels.Buffer
		cols int
	}{{&j.x, jobWidth}, {&j.h, jobWidth}, {&j.delta, jobWidth}, {&j.heads, (jobHeads + 2*jobKVHeads) * jobHead},
		{&j.att, jobHeads * jobHead}, {&j.ff, 2 * jobFeed}, {&j.act, jobFeed}, {&j.logits, jobVocab}} {
		var err error
		if *b.to, err = j.d.NewBuffer(j.d.options.MaxTokens, b.cols); err != nil {
			return err
		}
	}
	var err error
	j.cache, err = j.d.NewKV(kernels.KVShape{Layers: 1, Blocks: jobBlocks, BlockSize: jobBlock, KVHeads: jobKVHeads, HeadDim: jobHead})
	return err
}

// forward queues a step of t rows, of which r are wanted.
func (j *job) forward(t, r int) {
	d, a := j.d, kernels.Attn{Heads: jobHeads, KVHeads: jobKVHeads, HeadDim: jobHead, Scale: 0.3}
	norm := kernels.Norm{Weight: j.norm, Eps: 1e-5}
	d.Embed(j.x, j.embed, nil)
	d.Norm(j.h, j.x, nil, norm, t)
	d.MatMul(j.heads, j.h, j.qkv, j.bias, t)
	d.StoreKV(j.heads, j.cache, 0, kernels.Rope{Dims: 6, Table: j.table}, a)
	d.Attention(j.att, j.heads, j.cache, 0, a)
	d.MatMul(j.delta, j.att, j.out, nil, t)
	d.Norm(j.h, j.x, j.delta, norm, t)
	d.MatMul(j.ff, j.h, j.up, nil, t)
	d.Activate(j.act, j.ff, kernels.SiLU, true, t)
	d.MatMul(j.delta, j.act, j.down, nil, t)
	d.Add(j.x, j.delta, t)
	d.Gather(j.h, j.x, nil)
	d.MatMul(j.logits, j.h, j.embed, nil, r)
}

// step is the next n tokens of sequences that have so many already.
func (j *job) step(have []int, tokens ...[]int32) *kernels.Step {
	s := &kernels.Step{Starts: []int32{0}, MaxBlocks: jobBlocks / 2}
	for seq, ids := range tokens {
		for i, id := range ids {
			pos := int32(have[seq] + i)
			s.Tokens, s.Positions = append(s.Tokens, id), append(s.Positions, pos)
			s.Slots = append(s.Slots, (int32(seq)+2*(pos/jobBlock))*jobBlock+pos%jobBlock)
		}
		s.Starts = append(s.Starts, int32(len(s.Tokens)))
		s.Out = append(s.Out, int32(len(s.Tokens)-1))
		s.Lens = append(s.Lens, int32(have[seq]+len(ids)))
		for i := range jobBlocks / 2 {
			s.Blocks = append(s.Blocks, int32(seq+2*i))
		}
		have[seq] += len(ids)
	}
	return s
}

// draws are how a step's tokens are drawn.
func (j *job) draws(index int) []kernels.Draw {
	return []kernels.Draw{{TopP: 1}, {Temperature: 1, TopP: 0.9, TopK: 20, Seed: 3, Index: uint64(index)}}
}

// generate returns the tokens of two sequences, one step's behind the other's.
func (j *job) generate() ([]int32, error) {
	d, have := j.d, []int{0, 0}
	var all []int32
	drawn := func() error {
		ids, err := d.Drawn()
		all = append(all, ids...)
		return err
	}
	prompt := make([]int32, jobPrompt)
	for i := range prompt {
		prompt[i] = int32(i * 5 % jobVocab)
	}
	if err := d.Begin(j.step(have, prompt[:jobPrompt-1], prompt[:1])); err != nil {
		return nil, err
	}
	j.forward(jobPrompt, 2)
	d.Draw(j.logits, jobVocab, j.draws(0))
	if err := d.Submit(); err != nil {
		return nil, err
	}
	for i := 1; i < 5; i++ {
		s := j.step(have, []int32{0}, []int32{0})
		s.From = []int32{0, 1}
		started, err := false, error(nil)
		if i == 3 { // without the graph
			if err = d.Begin(s); err == nil {
				j.forward(2, 2)
			}
		} else if started, err = d.Decode(s); err == nil && !started {
			err = errors.New("no step was captured for two rows")
		}
		if err != nil {
			return nil, err
		}
		d.Draw(j.logits, jobVocab, j.draws(i))
		if err := errors.Join(d.Submit(), drawn()); err != nil {
			return nil, err
		}
	}
	if err := drawn(); err != nil {
		return nil, err
	}
	// The host draws the last token.
	if err := d.Begin(j.step(have, slices.Clone(all[len(all)-2:len(all)-1]))); err != nil {
		return nil, err
	}
	j.forward(1, 1)
	if err := d.End(); err != nil {
		return nil, err
	}
	logits, err := d.Read(j.logits, jobVocab)
	if err != nil {
		return nil, err
	}
	best := 0
	for i, v := range logits {
		if v > logits[best] {
			best = i
		}
	}
	return append(all, int32(best)), nil
}
