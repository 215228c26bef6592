package models

import (
	"encoding/json"
	"fmt"
)

// mistralConfig is Transformers' MistralConfig: Mistral 7B and Nemo.
type mistralConfig struct {
	decoderConfig
	Window     *int            `json:"sliding_window"` // null (7B from v0.2 on): none
	LayerTypes json.RawMessage `json:"layer_types"`
}

// parseMistral: the network is decoder.go's; every layer sees the last
// sliding_window positions, its own included, so that the cache needs no more.
func parseMistral(config json.RawMessage) (network, error) {
	window, kvHeads := 4096, 8
	c := mistralConfig{
		decoderConfig: decoderConfig{Positions: 32 * 4096, Eps: 1e-6, Activation: "silu", KVHeads: &kvHeads},
		Window:        &window,
	}
	if err := unmarshal(config, &c); err != nil {
		return nil, err
	}
	m, err := newDecoder("mistral", c.decoderConfig)
	if err != nil {
		return nil, err
	}
	if c.LayerTypes != nil && string(c.LayerTypes) != "null" {
		return nil, fmt.Errorf("layer_types is %w: every layer of this architecture has the same window", ErrUnsupported)
	}
	if c.Window != nil {
		if err := checkWindow(*c.Window); err != nil {
			return nil, err
		}
		m.windows = make([]int, m.Layers)
		for i := range m.windows {
			m.windows[i] = *c.Window
		}
	}
	return m, nil
}

func checkWindow(w int) error {
	if w < 1 {
		return fmt.Errorf("%w: sliding_window is %d; it must be at least 1, or null for none", ErrConfig, w)
	}
	return nil
}
