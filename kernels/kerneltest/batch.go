package kerneltest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
)

// The small model's sizes: none a multiple of a vector.
const (
	modelLayers, modelVocab, modelWidth, modelFeed = 2, 53, 20, 35
	modelHeads, modelKVHeads, modelHeadDim         = 4, 2, 10
	modelPositions                                 = 320
)

// model is a small Llama: grouped heads, partial rotation, gated activation.
type model struct {
	rig
	embed, head, table kernels.Weight
	layers             []modelLayer
	attn               kernels.Attn
}

type modelLayer struct {
	qkv, qkvBias, out, up, down kernels.Weight
	norm1, norm2                kernels.Norm
}

func newModel(r rig, window int) *model {
	seed := uint64(100)
	mat := func(n, k int) kernels.Weight {
		seed++
		return r.load(kernels.Matrix, tensor("w", kernels.F32, matrix(seed, n, k), n, k))
	}
	vec := func(n int) kernels.Weight {
		seed++
		return r.float(uniform(seed, n, 1), n)
	}
	m := &model{rig: r, attn: attn(modelHeads, modelKVHeads, modelHeadDim, window)}
	m.embed, m.head = mat(modelVocab, modelWidth), mat(modelVocab, modelWidth)
	m.table = r.float(angles(modelPositions, 8), modelPositions, 8)
	heads := modelHeads + 2*modelKVHeads
	for range modelLayers {
		m.layers = append(m.layers, modelLayer{
			qkv: mat(heads*modelHeadDim, modelWidth), qkvBias: vec(heads * modelHeadDim),
			out: mat(modelWidth, modelHeads*modelHeadDim),
			up:  mat(2*modelFeed, modelWidth), down: mat(modelWidth, modelFeed),
			norm1: kernels.Norm{Weight: vec(modelWidth), Eps: 1e-5},
			norm2: kernels.Norm{Weight: vec(modelWidth), Bias: vec(modelWidth), Eps: 1e-5, Mean: true},
		})
	}
	return m
}

// activations are a model's buffers for steps of so many rows, of which so many
// are wanted.
type activations struct {
	x, h, delta, qkv, a, up, act kernels.Buffer
	last, lastNorm, logits       kernels.Buffer
}

func (m *model) activations(t, r int) activations {
	m.t.Helper()
	return activations{
		x: m.empty(t, modelWidth), h: m.empty(t, modelWidth), delta: m.empty(t, modelWidth),
		qkv: m.empty(t, (modelHeads+2*modelKVHeads)*modelHeadDim), a: m.empty(t, modelHeads*modelHeadDim),
		up: m.empty(t, 2*modelFeed), act: m.empty(t, modelFeed),
		last: m.empty(r, modelWidth), lastNorm: m.empty(r, modelWidth), logits: m.empty(r, modelVocab),
	}
}

// ops are the operations of a step of t rows, r of them wanted.
func (m *model) ops(b activations, t, r int, kv kernels.KV) {
	d := m.dev
	d.Embed(b.x, m.embed, nil)
	var add kernels.Buffer
	for i, l := range m.layers {
		d.Norm(b.h, b.x, add, l.norm1, t)
		d.MatMul(b.qkv, b.h, l.qkv, l.qkvBias, t)
		d.StoreKV(b.qkv, kv, i, kernels.Rope{Dims: 8, Table: m.table}, m.attn)
		d.Attention(b.a, b.qkv, kv, i, m.attn)
		d.MatMul(b.delta, b.a, l.out, nil, t)
		d.Norm(b.h, b.x, b.delta, l.norm2, t)
		d.MatMul(b.up, b.h, l.up, nil, t)
		d.Activate(b.act, b.up, kernels.SiLU, true, t)
		d.MatMul(b.delta, b.act, l.down, nil, t)
		add = b.delta
	}
	d.Gather(b.last, b.x, b.delta)
	d.Norm(b.lastNorm, b.last, nil, m.layers[0].norm1, r)
	d.MatMul(b.logits, b.lastNorm, m.head, nil, r)
}

// forward returns the logits [R, V] of a step.
func (m *model) forward(s *kernels.Step, kv kernels.KV) []float32 {
	m.t.Helper()
	t, r := len(s.Tokens), len(s.Out)
	b := m.activations(t, r)
	m.step(s, func() { m.ops(b, t, r, kv) })
	return m.read(b.logits)
}

// tokens makes a step's ids, which count through all sequences, ids of the model.
func (m *model) tokens(s *kernels.Step) *kernels.Step {
	for i, id := range s.Tokens {
		s.Tokens[i] = id * 7919 % modelVocab
	}
	return s
}

// schedule runs the steps and returns each sequence's logits by position.
func (m *model) schedule(p placed, steps [][]rows) [][][]float32 {
	m.t.Helper()
	kv := p.kv(m.rig, modelLayers, modelKVHeads, modelHeadDim)
	logits := make([][][]float32, len(p.lens))
	for _, parts := range steps {
		all := m.forward(m.tokens(p.step(parts...)), kv)
		for _, r := range parts {
			for range r.to - r.from {
				logits[r.seq] = append(logits[r.seq], all[:modelVocab])
				all = all[modelVocab:]
			}
		}
	}
	return logits
}

// random cuts sequences in chunks and mixes them into steps.
func random(seed uint64, lens []int, most int) [][]rows {
	rng := rand.New(rand.NewPCG(seed, 3))
	done := make([]int, len(lens))
	var steps [][]rows
	for {
		var step []rows
		left := false
		for _, seq := range rng.Perm(len(lens)) {
			if done[seq] == lens[seq] {
				continue
			}
			left = true
			if rng.IntN(3) == 0 {
				continue // not in this step
			}
			n := min(1+rng.IntN(most), lens[seq]-done[seq])
			step = append(step, rows{seq, done[seq], done[seq] + n})
			done[seq] += n
		}
		if !left {
			return steps
		}
		if len(step) > 0 {
			steps = append(steps, step)
		}
	}
}

// A row's logits are the same bits whatever else is in the step, however the
// sequence was cut (Traits may say otherwise), and wherever its blocks lie; and
// they are near ref's.
func (s *suite) batches(t *testing.T) {
	tol := s.model()
	for _, c := range []struct {
		block, window int
		lens          []int
	}{{16, 0, []int{270, 41, 17, 1}}, {5, 0, []int{41, 17, 16, 1, 9}}, {16, 21, []int{50, 17, 1, 33}}} {
		t.Run(fmt.Sprintf("block %d window %d", c.block, c.window), func(t *testing.T) {
			lens := c.lens
			alone, together := [][]rows(nil), [][]rows{nil}
			for seq, n := range lens {
				alone = append(alone, []rows{{seq, 0, n}})
				together[0] = append(together[0], rows{seq, 0, n})
			}
			got, want := s.pair(t)
			var w worst
			defer w.log(t)
			m := newModel(got, c.window)
			first := m.schedule(place(30, c.block, lens...), alone)
			ref := newModel(want, c.window).schedule(place(30, c.block, lens...), alone)
			for seq := range lens {
				for pos := range ref[seq] {
					w.compare(t, fmt.Sprintf("sequence %d, position %d", seq, pos), first[seq][pos], ref[seq][pos], tol)
				}
			}
			check := func(name string, place placed, steps [][]rows) {
				t.Helper()
				for seq, logits := range m.schedule(place, steps) {
					for pos := range logits {
						if s.cuts() {
							w.compare(t, fmt.Sprintf("%s: sequence %d, position %d", name, seq, pos), logits[pos], ref[seq][pos], tol)
							continue
						}
						require.Equal(t, first[seq][pos], logits[pos],
							"%s: sequence %d, position %d differs from the sequence alone", name, seq, pos)
					}
				}
			}
			check("together", place(31, c.block, lens...), together)
			require.Equal(t, m.schedule(place(31, c.block, lens...), together), m.schedule(place(36, c.block, lens...), together),
				"the same step with other blocks")
			for seed, most := range []int{2, 20, 100} {
				check(fmt.Sprintf("chunks of up to %d", most), place(uint64(32+seed), c.block, lens...),
					random(uint64(seed), lens, most))
			}
		})
	}
}

// neighbours holds that a row's bits depend on how many rows a step has at most,
// and not on what the others are: their tokens, how much they see, and where.
func (s *suite) neighbours(t *testing.T) {
	got, _ := s.pair(t)
	m := newModel(got, 0)
	for _, n := range []int{2, 16, 23} {
		var first []float32
		for variant := range 3 {
			lens := []int{37}
			for i := range n - 1 {
				lens = append(lens, 1+(variant*13+i*7)%60)
			}
			p := place(uint64(60+variant), 8, lens...)
			kv := p.kv(got, modelLayers, modelKVHeads, modelHeadDim)
			var prompts, last []rows
			for seq, n := range lens {
				if n > 1 {
					prompts = append(prompts, rows{seq, 0, n - 1})
				}
				last = append(last, rows{seq, n - 1, n})
			}
			for _, prompt := range prompts { // one at a time: what is compared is the last step
				m.forward(m.tokens(p.step(prompt)), kv)
			}
			logits := m.forward(m.tokens(p.step(last...)), kv)[:modelVocab]
			if first == nil {
				first = logits
			}
			require.Equal(t, first, logits, "step of %d rows, variant %d", n, variant)
		}
	}
}
