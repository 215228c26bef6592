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

// attention is the self-attention block of every architecture here: x is
// normalised already, the projected result goes to m.delta.
type attention struct {
	qkv   linear       // [(H+2G)·E, D]: queries, keys and values in one product
	out   linear       // [D, H·E]
	heads kernels.Attn // layers may differ in scale and window
	rope  kernels.Rope // Dims 0 where positions are embedded
}

func (a attention) forward(m *Model, x kernels.Buffer, layer, T int) {
	d := m.dev
	a.qkv.forward(m, m.qkv, x, T)
	d.StoreKV(m.qkv, m.kv, layer, a.rope, a.heads)
	d.Attention(m.att, m.qkv, m.kv, layer, a.heads)
	a.out.forward(m, m.delta, m.att, T)
}

// mlp is the feed-forward block: delta = down(act(up(x))), or with a gate
// delta = down(act(gate(x))·up(x)), gate and up in one product.
type mlp struct {
	up    linear // [F, D], or [2F, D] gated
	down  linear // [D, F]
	act   kernels.Act
	gated bool
}

func (f mlp) forward(m *Model, x kernels.Buffer, T int) {
	f.up.forward(m, m.ff, x, T)
	m.dev.Activate(m.act, m.ff, f.act, f.gated, T)
	f.down.forward(m, m.delta, m.act, T)
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
func forwardLayers(m *Model, layers []preNorm, T int) {
	var delta kernels.Buffer
	for i := range layers {
		l := &layers[i]
		m.dev.Norm(m.norm, m.x, delta, l.norm1, T)
		l.attn.forward(m, m.norm, i, T)
		m.dev.Norm(m.norm, m.x, m.delta, l.norm2, T)
		l.mlp.forward(m, m.norm, T)
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
