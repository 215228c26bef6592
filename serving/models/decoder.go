package models

import (
	"encoding/json"
	"fmt"
	"math"

	"servebench/kernels"
)

// decoderConfig is what the configurations of Llama and its relatives share in
// Transformers.
type decoderConfig struct {
	Vocab      int     `json:"vocab_size"`
	Positions  int     `json:"max_position_embeddings"`
	Width      int     `json:"hidden_size"`
	FFN        int     `json:"intermediate_size"`
	Layers     int     `json:"num_hidden_layers"`
	Heads      int     `json:"num_attention_heads"`
	KVHeads    *int    `json:"num_key_value_heads"` // null: num_attention_heads
	HeadDim    *int    `json:"head_dim"`            // null: hidden_size / num_attention_heads
	Eps        float64 `json:"rms_norm_eps"`
	Activation string  `json:"hidden_act"`
	Tie        bool    `json:"tie_word_embeddings"`
	ropeConfig
}

// decoder is the network of Llama and its relatives: RMS norms, rotary
// positions, grouped queries, a gated feed-forward block. Their files say what
// each adds: biases, and layers that see a window of positions only.
type decoder struct {
	decoderConfig
	arch    string
	qkvBias bool
	outBias bool // of attention
	mlpBias bool
	windows []int // [L] positions that a layer sees, 0 for all; nil: all layers see all

	rotation rotation
	act      kernels.Act
	tokens   kernels.Weight
	layers   []preNorm
	last     head
}

// newDecoder checks the sizes of a configuration and fills in what depends on others.
func newDecoder(arch string, c decoderConfig) (*decoder, error) {
	if err := required(
		field{"vocab_size", c.Vocab}, field{"hidden_size", c.Width}, field{"intermediate_size", c.FFN},
		field{"num_hidden_layers", c.Layers}, field{"num_attention_heads", c.Heads},
	); err != nil {
		return nil, err
	}
	if c.KVHeads == nil {
		c.KVHeads = &c.Heads
	}
	if c.HeadDim == nil {
		if c.Width%c.Heads != 0 {
			return nil, fmt.Errorf("%w: hidden_size %d is not a multiple of num_attention_heads %d", ErrConfig, c.Width, c.Heads)
		}
		e := c.Width / c.Heads
		c.HeadDim = &e
	}
	m := &decoder{decoderConfig: c, arch: arch}
	if err := m.spec().check(); err != nil {
		return nil, err
	}
	var err error
	if m.rotation, err = c.rotation(*c.HeadDim, c.Positions, 1); err != nil {
		return nil, err
	}
	if m.rotation.dims != *c.HeadDim {
		return nil, fmt.Errorf("partial_rotary_factor is %w: %s rotates whole heads", ErrUnsupported, arch)
	}
	m.act, err = activation("hidden_act", c.Activation)
	return m, err
}

func (m *decoder) heads(layer int) kernels.Attn {
	a := kernels.Attn{
		Heads: m.Heads, KVHeads: *m.KVHeads, HeadDim: *m.HeadDim,
		Scale: float32(1 / math.Sqrt(float64(*m.HeadDim))),
	}
	if m.windows != nil {
		a.Window = m.windows[layer]
	}
	return a
}

func (m *decoder) spec() Spec {
	s := Spec{
		Architecture: m.arch, Vocab: m.Vocab, MaxPositions: m.Positions, Layers: m.Layers,
		Width: m.Width, FFN: m.FFN, FFNGated: true, Attn: m.heads(0),
	}
	for _, w := range m.windows {
		if w == 0 {
			s.Attn.Window = 0
			break
		}
		s.Attn.Window = max(s.Attn.Window, w)
	}
	return s
}

func (m *decoder) load(l *loader) {
	d, f, q, kv := m.Width, m.FFN, m.Heads**m.HeadDim, *m.KVHeads**m.HeadDim
	m.tokens = l.matrix("model.embed_tokens", m.Vocab, d)
	rope := l.rope(m.rotation)
	m.layers = make([]preNorm, m.Layers)
	for i := range m.layers {
		p := fmt.Sprintf("model.layers.%d.", i)
		m.layers[i] = preNorm{
			norm1: l.rmsNorm(p+"input_layernorm", d, m.Eps),
			attn: attention{
				qkv:   l.linear(d, m.qkvBias, part{p + "self_attn.q_proj", q}, part{p + "self_attn.k_proj", kv}, part{p + "self_attn.v_proj", kv}),
				out:   l.linear(q, m.outBias, part{p + "self_attn.o_proj", d}),
				heads: m.heads(i), rope: rope,
			},
			norm2: l.rmsNorm(p+"post_attention_layernorm", d, m.Eps),
			mlp: mlp{
				up:   l.linear(d, m.mlpBias, part{p + "mlp.gate_proj", f}, part{p + "mlp.up_proj", f}),
				down: l.linear(f, m.mlpBias, part{p + "mlp.down_proj", d}),
				act:  m.act, gated: true,
			},
		}
	}
	m.last = head{norm: l.rmsNorm("model.norm", d, m.Eps), out: linear{w: m.tokens}}
	if !m.Tie {
		m.last.out = l.linear(d, false, part{"lm_head", m.Vocab})
	}
}

func (m *decoder) head() head { return m.last }

func (m *decoder) forward(md *Model, s *kernels.Step) {
	md.dev.Embed(md.x, m.tokens, nil)
	forwardLayers(md, m.layers, s)
}

// unmarshal reads a config.json over the defaults that c holds.
func unmarshal(config json.RawMessage, c any) error {
	if err := json.Unmarshal(config, c); err != nil {
		return fmt.Errorf("%w: %v", ErrConfig, err)
	}
	return nil
}

// field is a number of a config.json.
type field struct {
	name  string
	value int
}

// required reports the first of the fields that is missing.
func required(fields ...field) error {
	for _, f := range fields {
		if f.value == 0 {
			return fmt.Errorf("%w: config.json has no %s", ErrConfig, f.name)
		}
	}
	return nil
}
