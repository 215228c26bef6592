package models

import (
	"fmt"

	"servebench/kernels"
)

// linear is y = x·Wᵀ + b.
type linear struct {
	w    kernels.Weight // [N, K]
	bias kernels.Weight // [N], or nil
}

func (f linear) forward(m *Model, out, x kernels.Buffer, rows int) {
	m.dev.MatMul(out, x, f.w, f.bias, rows)
}

// attention is the self-attention block of every architecture here.
type attention struct {
	qkv   linear       // [(H+2G)·E, D]: queries, keys and values in one product
	out   linear       // [D, H·E]
	heads kernels.Attn // layers may differ in scale and window
	rope  kernels.Rope // Dims 0 where positions are embedded
}

// store writes keys and values of x [T, D], which is normalised, to the cache,
// and leaves the queries in m.qkv.
func (a attention) store(m *Model, x kernels.Buffer, layer, T int) {
	a.qkv.forward(m, m.qkv, x, T)
	m.dev.StoreKV(m.qkv, m.kv, layer, a.rope, a.heads)
}

// look has the queries attend; what they see goes to m.att [T, H·E].
func (a attention) look(m *Model, layer int) { m.dev.Attention(m.att, m.qkv, m.kv, layer, a.heads) }

// project turns seen [rows, H·E] into m.delta [rows, D].
func (a attention) project(m *Model, seen kernels.Buffer, rows int) {
	a.out.forward(m, m.delta, seen, rows)
}

// mlp is the feed-forward block: delta = down(act(up(x))), or with a gate
// delta = down(act(gate(x))·up(x)), gate and up in one product.
type mlp struct {
	up    linear // [F, D], or [2F, D] gated
	down  linear // [D, F]
	act   kernels.Act
	gated bool
}

func (f mlp) forward(m *Model, x kernels.Buffer, rows int) {
	f.up.forward(m, m.ff, x, rows)
	m.dev.Activate(m.act, m.ff, f.act, f.gated, rows)
	f.down.forward(m, m.delta, m.act, rows)
}

// preNorm is the layer of most decoders: x += attn(norm1(x)), x += mlp(norm2(x)).
type preNorm struct {
	norm1 kernels.Norm
	attn  attention
	norm2 kernels.Norm
	mlp   mlp
}

// forwardLayers runs layers over the embedded tokens in m.x. Additions are left
// to the norm that follows: what the last layer adds stays in m.delta.
//
// Of most rows of a prompt only the last layer's keys and values are wanted: what
// else it makes of them goes nowhere. It goes on with the rows that want logits
// alone, in m.last, which spares 6% of the products of GPT-2's prefill.
func forwardLayers(m *Model, layers []preNorm, s *kernels.Step) {
	rows, x, seen := len(s.Tokens), m.x, m.att
	var delta kernels.Buffer
	for i := range layers {
		l, last := &layers[i], i == len(layers)-1
		m.dev.Norm(m.norm, x, delta, l.norm1, rows)
		l.attn.store(m, m.norm, i, rows)
		if last && len(s.Out) == 0 {
			return
		}
		l.attn.look(m, i)
		if last {
			m.dev.Gather(m.last, m.x, nil)
			m.dev.Gather(m.lastAtt, m.att, nil)
			rows, x, seen = len(s.Out), m.last, m.lastAtt
		}
		l.attn.project(m, seen, rows)
		m.dev.Norm(m.norm, x, m.delta, l.norm2, rows)
		l.mlp.forward(m, m.norm, rows)
		delta = m.delta
	}
}

// head turns the residual stream into logits: out(norm(x)).
type head struct {
	norm kernels.Norm
	out  linear // [V, D]
}

// activations maps the names of Transformers' ACT2FN to what computes them;
// four of them are one function written in four ways.
var activations = map[string]kernels.Act{
	"gelu_new":          kernels.GELUTanh,
	"gelu_pytorch_tanh": kernels.GELUTanh,
	"gelu_fast":         kernels.GELUTanh,
	"gelu_accurate":     kernels.GELUTanh,
	"silu":              kernels.SiLU,
	"swish":             kernels.SiLU,
}

// activation looks up the function that a field of a config.json names.
func activation(field, name string) (kernels.Act, error) {
	act, ok := activations[name]
	if !ok {
		return 0, fmt.Errorf("%s %q is %w; supported: %s", field, name, ErrUnsupported, names(activations))
	}
	return act, nil
}
