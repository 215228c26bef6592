package models

import (
	"encoding/json"
	"fmt"
	"math"

	"servebench/kernels"
)

// llamaConfig is Transformers' LlamaConfig. From version 5 on, it keeps the
// rotation's parameters in rope_parameters, before that beside the others.
type llamaConfig struct {
	Vocab      int       `json:"vocab_size"`
	Positions  int       `json:"max_position_embeddings"`
	Width      int       `json:"hidden_size"`
	FFN        int       `json:"intermediate_size"`
	Layers     int       `json:"num_hidden_layers"`
	Heads      int       `json:"num_attention_heads"`
	KVHeads    int       `json:"num_key_value_heads"` // absent: num_attention_heads
	HeadDim    int       `json:"head_dim"`            // absent: hidden_size / num_attention_heads
	Eps        float64   `json:"rms_norm_eps"`
	Activation string    `json:"hidden_act"`
	Theta      float64   `json:"rope_theta"`
	Scaling    *ropeKind `json:"rope_scaling"`
	Rope       *ropeKind `json:"rope_parameters"`
	AttnBias   bool      `json:"attention_bias"`
	MLPBias    bool      `json:"mlp_bias"`
	Tie        bool      `json:"tie_word_embeddings"`
}

type ropeKind struct {
	Type    string  `json:"rope_type"`
	OldType string  `json:"type"`
	Theta   float64 `json:"rope_theta"`
}

type llama struct {
	llamaConfig
	tokens kernels.Weight
	rope   kernels.Rope
	layers []llamaLayer
	norm   kernels.Norm
	lmHead kernels.Weight
}

type llamaLayer struct {
	norm1, norm2 kernels.Norm
	attn         attention
	mlp          mlp
}

func parseLlama(config json.RawMessage) (network, error) {
	m := &llama{llamaConfig: llamaConfig{Positions: 2048, Eps: 1e-6, Activation: "silu", Theta: 10000}}
	if err := json.Unmarshal(config, &m.llamaConfig); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrConfig, err)
	}
	if err := required(
		field{"vocab_size", m.Vocab}, field{"hidden_size", m.Width}, field{"intermediate_size", m.FFN},
		field{"num_hidden_layers", m.Layers}, field{"num_attention_heads", m.Heads},
	); err != nil {
		return nil, err
	}
	if m.KVHeads == 0 {
		m.KVHeads = m.Heads
	}
	if m.HeadDim == 0 {
		if m.Width%m.Heads != 0 {
			return nil, fmt.Errorf("%w: hidden_size %d is not a multiple of num_attention_heads %d", ErrConfig, m.Width, m.Heads)
		}
		m.HeadDim = m.Width / m.Heads
	}
	if m.HeadDim%2 != 0 {
		return nil, fmt.Errorf("%w: rotary positions need an even head size, not %d", ErrConfig, m.HeadDim)
	}
	if m.Rope != nil && m.Rope.Theta != 0 {
		m.Theta = m.Rope.Theta
	}
	return m, m.refuseVariants()
}

// refuseVariants names what this architecture's files can ask for and this code lacks.
func (m *llama) refuseVariants() error {
	for _, r := range []*ropeKind{m.Scaling, m.Rope} {
		if r == nil {
			continue
		}
		kind := r.Type
		if kind == "" {
			kind = r.OldType
		}
		if kind != "" && kind != "default" {
			return fmt.Errorf("rope scaling %q is %w; supported: default", kind, ErrUnsupported)
		}
	}
	if m.Activation != "silu" {
		return fmt.Errorf("hidden_act %q is %w; supported: silu", m.Activation, ErrUnsupported)
	}
	if m.AttnBias || m.MLPBias {
		return fmt.Errorf("attention_bias and mlp_bias are %w", ErrUnsupported)
	}
	if !(m.Theta > 0) || math.IsInf(m.Theta, 0) {
		return fmt.Errorf("%w: rope_theta %v", ErrConfig, m.Theta)
	}
	return nil
}

func (m *llama) spec() Spec {
	return Spec{
		Architecture: "llama", Vocab: m.Vocab, MaxPositions: m.Positions, Layers: m.Layers,
		Width: m.Width, FFN: m.FFN, FFNGated: true,
		Attn: kernels.Attn{
			Heads: m.Heads, KVHeads: m.KVHeads, HeadDim: m.HeadDim,
			Scale: float32(1 / math.Sqrt(float64(m.HeadDim))),
		},
	}
}

func (m *llama) load(l *loader) {
	d, f, q, kv := m.Width, m.FFN, m.Heads*m.HeadDim, m.KVHeads*m.HeadDim
	norm := func(name string) kernels.Norm {
		return kernels.Norm{Weight: l.vector(name, d), Eps: float32(m.Eps)}
	}
	m.tokens = l.matrix("model.embed_tokens.weight", m.Vocab, d)
	m.rope = l.rope(m.HeadDim, m.Theta)
	m.layers = make([]llamaLayer, m.Layers)
	for i := range m.layers {
		p := fmt.Sprintf("model.layers.%d.", i)
		m.layers[i] = llamaLayer{
			norm1: norm(p + "input_layernorm.weight"),
			attn: attention{
				qkv: l.stacked(d, rows{p + "self_attn.q_proj.weight", q},
					rows{p + "self_attn.k_proj.weight", kv}, rows{p + "self_attn.v_proj.weight", kv}),
				out: l.matrix(p+"self_attn.o_proj.weight", d, q),
			},
			norm2: norm(p + "post_attention_layernorm.weight"),
			mlp: mlp{
				up:   l.stacked(d, rows{p + "mlp.gate_proj.weight", f}, rows{p + "mlp.up_proj.weight", f}),
				down: l.matrix(p+"mlp.down_proj.weight", d, f),
				act:  kernels.SiLU, gated: true,
			},
		}
	}
	m.norm = norm("model.norm.weight")
	m.lmHead = m.tokens
	if !m.Tie {
		m.lmHead = l.matrix("lm_head.weight", m.Vocab, d)
	}
}

func (m *llama) head() (kernels.Norm, kernels.Weight) { return m.norm, m.lmHead }

func (m *llama) forward(md *Model, s *kernels.Step) {
	d, T := md.dev, len(s.Tokens)
	d.Embed(md.x, m.tokens, nil)
	var delta kernels.Buffer
	for i := range m.layers {
		l := &m.layers[i]
		d.Norm(md.norm, md.x, delta, l.norm1, T)
		l.attn.forward(md, md.norm, i, m.rope, T)
		d.Norm(md.norm, md.x, md.delta, l.norm2, T)
		l.mlp.forward(md, md.norm, T)
		delta = md.delta
	}
}
