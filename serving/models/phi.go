package models

import (
	"encoding/json"
	"fmt"
	"math"

	"servebench/kernels"
)

// phiConfig is Transformers' PhiConfig: Phi 1, 1.5 and 2.
type phiConfig struct {
	Vocab       int     `json:"vocab_size"`
	Positions   int     `json:"max_position_embeddings"`
	Width       int     `json:"hidden_size"`
	FFN         int     `json:"intermediate_size"`
	Layers      int     `json:"num_hidden_layers"`
	Heads       int     `json:"num_attention_heads"`
	KVHeads     *int    `json:"num_key_value_heads"` // null: num_attention_heads
	Eps         float64 `json:"layer_norm_eps"`
	Activation  string  `json:"hidden_act"`
	QKLayerNorm bool    `json:"qk_layernorm"`
	Tie         bool    `json:"tie_word_embeddings"`
	ropeConfig
}

type phi struct {
	phiConfig
	attn     kernels.Attn
	rotation rotation
	act      kernels.Act
	tokens   kernels.Weight
	layers   []phiLayer
	last     head
}

// phiLayer is x += attn(norm(x)) + mlp(norm(x)): both read the same norm.
type phiLayer struct {
	norm kernels.Norm
	attn attention
	mlp  mlp
}

func parsePhi(config json.RawMessage) (network, error) {
	// Transformers' defaults: Phi 1.5's sizes.
	m := &phi{phiConfig: phiConfig{
		Vocab: 51200, Positions: 2048, Width: 2048, FFN: 8192, Layers: 24, Heads: 32,
		Eps: 1e-5, Activation: "gelu_new",
	}}
	if err := unmarshal(config, &m.phiConfig); err != nil {
		return nil, err
	}
	if m.QKLayerNorm {
		return nil, fmt.Errorf("qk_layernorm is %w", ErrUnsupported)
	}
	if m.Heads < 1 || m.Width%m.Heads != 0 {
		return nil, fmt.Errorf("%w: hidden_size %d is not a multiple of num_attention_heads %d", ErrConfig, m.Width, m.Heads)
	}
	e := m.Width / m.Heads
	m.attn = kernels.Attn{Heads: m.Heads, KVHeads: m.Heads, HeadDim: e, Scale: float32(1 / math.Sqrt(float64(e)))}
	if m.KVHeads != nil {
		m.attn.KVHeads = *m.KVHeads
	}
	var err error
	if m.rotation, err = m.ropeConfig.rotation(e, m.Positions, 0.5); err != nil {
		return nil, err
	}
	m.act, err = activation("hidden_act", m.Activation)
	return m, err
}

func (m *phi) spec() Spec {
	return Spec{
		Architecture: "phi", Vocab: m.Vocab, MaxPositions: m.Positions, Layers: m.Layers,
		Width: m.Width, FFN: m.FFN, Attn: m.attn,
	}
}

func (m *phi) load(l *loader) {
	d, f, kv := m.Width, m.FFN, m.attn.KVHeads*m.attn.HeadDim
	m.tokens = l.matrix("model.embed_tokens", m.Vocab, d)
	rope := l.rope(m.rotation)
	m.layers = make([]phiLayer, m.Layers)
	for i := range m.layers {
		p := fmt.Sprintf("model.layers.%d.", i)
		m.layers[i] = phiLayer{
			norm: l.layerNorm(p+"input_layernorm", d, m.Eps),
			attn: attention{
				qkv:   l.linear(d, true, part{p + "self_attn.q_proj", d}, part{p + "self_attn.k_proj", kv}, part{p + "self_attn.v_proj", kv}),
				out:   l.linear(d, true, part{p + "self_attn.dense", d}),
				heads: m.attn, rope: rope,
			},
			mlp: mlp{
				up:   l.linear(d, true, part{p + "mlp.fc1", f}),
				down: l.linear(f, true, part{p + "mlp.fc2", d}),
				act:  m.act,
			},
		}
	}
	m.last = head{
		norm: l.layerNorm("model.final_layernorm", d, m.Eps),
		out:  linear{w: m.tokens, bias: l.vector("lm_head.bias", m.Vocab)},
	}
	if !m.Tie {
		m.last.out.w = l.matrix("lm_head", m.Vocab, d)
	}
}

func (m *phi) head() head { return m.last }

func (m *phi) forward(md *Model, s *kernels.Step) {
	d, rows, x, norm, seen := md.dev, len(s.Tokens), md.x, md.norm, md.att
	d.Embed(md.x, m.tokens, nil)
	var delta kernels.Buffer
	for i := range m.layers {
		l, last := &m.layers[i], i == len(m.layers)-1
		d.Norm(md.norm, md.x, delta, l.norm, rows)
		l.attn.store(md, md.norm, i, rows)
		if last && len(s.Out) == 0 {
			return
		}
		l.attn.look(md, i)
		if last { // of the other rows keys and values were all: see forwardLayers
			d.Gather(md.last, md.x, nil)
			d.Gather(md.lastAtt, md.att, nil)
			d.Gather(md.lastN, md.norm, nil)
			rows, x, norm, seen = len(s.Out), md.last, md.lastN, md.lastAtt
		}
		l.attn.project(md, seen, rows)
		d.Add(x, md.delta, rows)
		l.mlp.forward(md, norm, rows)
		delta = md.delta
	}
}
