package models

import (
	"encoding/json"
	"fmt"
	"math"

	"servebench/kernels"
)

// gpt2Config is Transformers' GPT2Config. What it has beside these is for
// training (dropout), for other heads than the language model's (summary_*), or
// an order of computing that changes nothing (reorder_and_upcast_attn: scores
// are float32 here always).
type gpt2Config struct {
	Vocab          int     `json:"vocab_size"`
	Positions      int     `json:"n_positions"`
	Width          int     `json:"n_embd"`
	Layers         int     `json:"n_layer"`
	Heads          int     `json:"n_head"`
	Inner          *int    `json:"n_inner"` // null: 4·n_embd
	Eps            float64 `json:"layer_norm_epsilon"`
	Activation     string  `json:"activation_function"`
	Scale          bool    `json:"scale_attn_weights"`
	ScaleByLayer   bool    `json:"scale_attn_by_inverse_layer_idx"`
	CrossAttention bool    `json:"add_cross_attention"`
	Tie            bool    `json:"tie_word_embeddings"`
}

type gpt2 struct {
	gpt2Config
	act               kernels.Act
	tokens, positions kernels.Weight
	layers            []preNorm
	last              head
}

func parseGPT2(config json.RawMessage) (network, error) {
	// Transformers' defaults: files written by it leave out what equals them.
	g := &gpt2{gpt2Config: gpt2Config{
		Vocab: 50257, Positions: 1024, Width: 768, Layers: 12, Heads: 12,
		Eps: 1e-5, Activation: "gelu_new", Scale: true, Tie: true,
	}}
	if err := unmarshal(config, &g.gpt2Config); err != nil {
		return nil, err
	}
	if g.CrossAttention {
		return nil, fmt.Errorf("add_cross_attention is %w: there is no encoder to attend to", ErrUnsupported)
	}
	if g.Heads < 1 || g.Width%g.Heads != 0 {
		return nil, fmt.Errorf("%w: n_embd %d is not a multiple of n_head %d", ErrConfig, g.Width, g.Heads)
	}
	var err error
	g.act, err = activation("activation_function", g.Activation)
	return g, err
}

func (g *gpt2) heads(layer int) kernels.Attn {
	e, scale := g.Width/g.Heads, 1.0
	if g.Scale {
		scale = 1 / math.Sqrt(float64(e))
	}
	if g.ScaleByLayer {
		scale /= float64(layer + 1)
	}
	return kernels.Attn{Heads: g.Heads, KVHeads: g.Heads, HeadDim: e, Scale: float32(scale)}
}

func (g *gpt2) spec() Spec {
	ffn := 4 * g.Width
	if g.Inner != nil {
		ffn = *g.Inner
	}
	return Spec{
		Architecture: "gpt2", Vocab: g.Vocab, MaxPositions: g.Positions, Layers: g.Layers,
		Width: g.Width, FFN: ffn, Attn: g.heads(0),
	}
}

func (g *gpt2) load(l *loader) {
	d, f := g.Width, g.spec().FFN
	// The original checkpoint has no prefix; those saved by Transformers do.
	p := "transformer."
	if !l.ck.Has(p + "wte.weight") {
		p = ""
	}
	g.tokens = l.matrix(p+"wte", g.Vocab, d)
	g.positions = l.matrix(p+"wpe", g.Positions, d)
	g.layers = make([]preNorm, g.Layers)
	for i := range g.layers {
		h := fmt.Sprintf("%sh.%d.", p, i)
		g.layers[i] = preNorm{
			norm1: l.layerNorm(h+"ln_1", d, g.Eps),
			attn: attention{
				qkv:   l.conv1D(h+"attn.c_attn", 3*d, d),
				out:   l.conv1D(h+"attn.c_proj", d, d),
				heads: g.heads(i),
			},
			norm2: l.layerNorm(h+"ln_2", d, g.Eps),
			mlp: mlp{
				up:   l.conv1D(h+"mlp.c_fc", f, d),
				down: l.conv1D(h+"mlp.c_proj", d, f),
				act:  g.act,
			},
		}
	}
	g.last = head{norm: l.layerNorm(p+"ln_f", d, g.Eps), out: linear{w: g.tokens}}
	if !g.Tie {
		g.last.out = l.linear(d, false, part{"lm_head", g.Vocab})
	}
}

func (g *gpt2) head() head { return g.last }

func (g *gpt2) forward(m *Model, s *kernels.Step) {
	m.dev.Embed(m.x, g.tokens, g.positions)
	forwardLayers(m, g.layers, s)
}
