package models

import (
	"encoding/json"
	"fmt"
	"math"

	"servebench/kernels"
)

// gpt2Config is Transformers' GPT2Config.
type gpt2Config struct {
	Vocab       int     `json:"vocab_size"`
	Positions   int     `json:"n_positions"`
	Width       int     `json:"n_embd"`
	Layers      int     `json:"n_layer"`
	Heads       int     `json:"n_head"`
	Inner       *int    `json:"n_inner"` // null: 4·n_embd
	Eps         float64 `json:"layer_norm_epsilon"`
	Activation  string  `json:"activation_function"`
	Scale       bool    `json:"scale_attn_weights"`
	ScaleByIdx  bool    `json:"scale_attn_by_inverse_layer_idx"`
	CrossAttend bool    `json:"add_cross_attention"`
	Tie         bool    `json:"tie_word_embeddings"`
}

type gpt2 struct {
	gpt2Config
	tokens, positions kernels.Weight
	layers            []gpt2Layer
	norm              kernels.Norm
	lmHead            kernels.Weight
}

type gpt2Layer struct {
	norm1, norm2 kernels.Norm
	attn         attention
	mlp          mlp
}

func parseGPT2(config json.RawMessage) (network, error) {
	// Transformers' defaults: files written by it leave out what equals them.
	g := &gpt2{gpt2Config: gpt2Config{
		Vocab: 50257, Positions: 1024, Width: 768, Layers: 12, Heads: 12,
		Eps: 1e-5, Activation: "gelu_new", Scale: true, Tie: true,
	}}
	if err := json.Unmarshal(config, &g.gpt2Config); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrConfig, err)
	}
	switch g.Activation {
	case "gelu_new", "gelu_pytorch_tanh":
	default:
		return nil, fmt.Errorf("activation_function %q is %w; supported: gelu_new, gelu_pytorch_tanh", g.Activation, ErrUnsupported)
	}
	if g.ScaleByIdx || g.CrossAttend {
		return nil, fmt.Errorf("scale_attn_by_inverse_layer_idx and add_cross_attention are %w", ErrUnsupported)
	}
	if g.Heads < 1 || g.Width%g.Heads != 0 {
		return nil, fmt.Errorf("%w: n_embd %d is not a multiple of n_head %d", ErrConfig, g.Width, g.Heads)
	}
	return g, nil
}

func (g *gpt2) spec() Spec {
	ffn := 4 * g.Width
	if g.Inner != nil {
		ffn = *g.Inner
	}
	e := g.Width / g.Heads
	scale := float32(1)
	if g.Scale {
		scale = float32(1 / math.Sqrt(float64(e)))
	}
	return Spec{
		Architecture: "gpt2", Vocab: g.Vocab, MaxPositions: g.Positions, Layers: g.Layers, Width: g.Width, FFN: ffn,
		Attn: kernels.Attn{Heads: g.Heads, KVHeads: g.Heads, HeadDim: e, Scale: scale},
	}
}

func (g *gpt2) load(l *loader) {
	d, f := g.Width, g.spec().FFN
	// The original checkpoint has no prefix; those saved by Transformers do.
	p := "transformer."
	if !l.ck.Has(p + "wte.weight") {
		p = ""
	}
	norm := func(name string) kernels.Norm {
		return kernels.Norm{
			Weight: l.vector(name+".weight", d), Bias: l.vector(name+".bias", d),
			Eps: float32(g.Eps), Mean: true,
		}
	}
	g.tokens = l.matrix(p+"wte.weight", g.Vocab, d)
	g.positions = l.matrix(p+"wpe.weight", g.Positions, d)
	g.layers = make([]gpt2Layer, g.Layers)
	for i := range g.layers {
		h := fmt.Sprintf("%sh.%d.", p, i)
		g.layers[i] = gpt2Layer{
			norm1: norm(h + "ln_1"),
			attn: attention{
				qkv: l.matrixT(h+"attn.c_attn.weight", 3*d, d), qkvBias: l.vector(h+"attn.c_attn.bias", 3*d),
				out: l.matrixT(h+"attn.c_proj.weight", d, d), outBias: l.vector(h+"attn.c_proj.bias", d),
			},
			norm2: norm(h + "ln_2"),
			mlp: mlp{
				up: l.matrixT(h+"mlp.c_fc.weight", f, d), upBias: l.vector(h+"mlp.c_fc.bias", f),
				down: l.matrixT(h+"mlp.c_proj.weight", d, f), downBias: l.vector(h+"mlp.c_proj.bias", d),
				act: kernels.GELUTanh,
			},
		}
	}
	g.norm = norm(p + "ln_f")
	g.lmHead = g.tokens
	if !g.Tie {
		g.lmHead = l.matrix("lm_head.weight", g.Vocab, d)
	}
}

func (g *gpt2) head() (kernels.Norm, kernels.Weight) { return g.norm, g.lmHead }

func (g *gpt2) forward(m *Model, s *kernels.Step) {
	d, T := m.dev, len(s.Tokens)
	d.Embed(m.x, g.tokens, g.positions)
	var delta kernels.Buffer
	for i := range g.layers {
		l := &g.layers[i]
		d.Norm(m.norm, m.x, delta, l.norm1, T)
		l.attn.forward(m, m.norm, i, kernels.Rope{}, T)
		d.Norm(m.norm, m.x, m.delta, l.norm2, T)
		l.mlp.forward(m, m.norm, T)
		delta = m.delta
	}
}
