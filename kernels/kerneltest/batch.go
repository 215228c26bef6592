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

// forward returns the logits [R, V] of a step.
func (m *model) forward(s *kernels.Step, kv kernels.KV) []float32 {
	m.t.Helper()
	t, d := len(s.Tokens), m.dev
	x, h, delta := m.empty(t, modelWidth), m.empty(t, modelWidth), m.empty(t, modelWidth)
	qkv, a := m.empty(t, (modelHeads+2*modelKVHeads)*modelHeadDim), m.empty(t, modelHeads*modelHeadDim)
	up, act := m.empty(t, 2*modelFeed), m.empty(t, modelFeed)
	last, lastNorm := m.empty(len(s.Out), modelWidth), m.empty(len(s.Out), modelWidth)
	logits := m.empty(len(s.Out), modelVocab)
	m.step(s, func() {
		d.Embed(x, m.embed, nil)
		var add kernels.Buffer
		for i, l := range m.layers {
			d.Norm(h, x, add, l.norm1, t)
			d.MatMul(qkv, h, l.qkv, l.qkvBias, t)
			d.StoreKV(qkv, kv, i, kernels.Rope{Dims: 8, Table: m.table}, m.attn)
			d.Attention(a, qkv, kv, i, m.attn)
			d.MatMul(delta, a, l.out, nil, t)
			d.Norm(h, x, delta, l.norm2, t)
			d.MatMul(up, h, l.up, nil, t)
			d.Activate(act, up, kernels.SiLU, true, t)
			d.MatMul(delta, act, l.down, nil, t)
			add = delta
		}
		d.Gather(last, x, delta)
		d.Norm(lastNorm, last, nil, m.layers[0].norm1, len(s.Out))
		d.MatMul(logits, lastNorm, m.head, nil, len(s.Out))
	})
	return m.read(logits)
}

// schedule runs the steps and returns each sequence's logits by position.
func (m *model) schedule(p placed, steps [][]rows) [][][]float32 {
	m.t.Helper()
	kv := p.kv(m.rig, modelLayers, modelKVHeads, modelHeadDim)
	logits := make([][][]float32, len(p.lens))
	for _, parts := range steps {
		step := p.step(parts...)
		for i, id := range step.Tokens {
			step.Tokens[i] = id * 7919 % modelVocab
		}
		all := m.forward(step, kv)
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
// sequence was cut, and wherever its blocks lie; and they are near ref's.
func (s *suite) batches(t *testing.T) {
	tol := modelF32
	if s.dtype == kernels.BF16 {
		tol = modelBF16
	}
	if s.rounded {
		tol = modelWeighed
	}
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
						require.Equal(t, first[seq][pos], logits[pos],
							"%s: sequence %d, position %d differs from the sequence alone", name, seq, pos)
					}
				}
			}
			check("together", place(31, c.block, lens...), together)
			for seed, most := range []int{2, 20, 100} {
				check(fmt.Sprintf("chunks of up to %d", most), place(uint64(32+seed), c.block, lens...),
					random(uint64(seed), lens, most))
			}
		})
	}
}
