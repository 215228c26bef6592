package models

import (
	"encoding/json"
	"fmt"
)

// qwen2Config is Transformers' Qwen2Config: Qwen 2 and 2.5.
type qwen2Config struct {
	decoderConfig
	UseWindow  bool     `json:"use_sliding_window"`
	Window     *int     `json:"sliding_window"`
	FullLayers int      `json:"max_window_layers"` // the first layers see everything
	LayerTypes []string `json:"layer_types"`       // says the same layer by layer
}

// parseQwen2: the network is decoder.go's, with biases on queries, keys and
// values, and, if asked for, a sliding window in some layers. No published
// checkpoint asks for it.
func parseQwen2(config json.RawMessage) (network, error) {
	window, kvHeads := 4096, 32
	c := qwen2Config{
		decoderConfig: decoderConfig{Positions: 32768, Eps: 1e-6, Activation: "silu", KVHeads: &kvHeads},
		Window:        &window, FullLayers: 28,
	}
	if err := unmarshal(config, &c); err != nil {
		return nil, err
	}
	m, err := newDecoder("qwen2", c.decoderConfig)
	if err != nil {
		return nil, err
	}
	m.qkvBias = true
	if c.LayerTypes != nil && len(c.LayerTypes) != m.Layers {
		return nil, fmt.Errorf("%w: layer_types has %d entries, num_hidden_layers is %d", ErrConfig, len(c.LayerTypes), m.Layers)
	}
	m.windows = make([]int, m.Layers)
	for i := range m.windows {
		slides, err := c.slides(i)
		if err != nil {
			return nil, err
		}
		if slides {
			m.windows[i] = *c.Window
		}
	}
	return m, nil
}

// slides reports whether a layer has the window, which is then there.
func (c *qwen2Config) slides(layer int) (bool, error) {
	has := c.UseWindow && c.Window != nil
	if c.LayerTypes == nil {
		if !has || layer < c.FullLayers {
			return false, nil
		}
		return true, checkWindow(*c.Window)
	}
	switch kind := c.LayerTypes[layer]; {
	case kind == "full_attention":
		return false, nil
	case kind != "sliding_attention":
		return false, fmt.Errorf("layer_types has %q, which is %w; supported: full_attention, sliding_attention", kind, ErrUnsupported)
	case !has:
		return false, fmt.Errorf("%w: layer_types has sliding_attention, but there is no window: use_sliding_window is false or sliding_window null", ErrConfig)
	}
	return true, checkWindow(*c.Window)
}
