package models

import "encoding/json"

// llamaConfig is Transformers' LlamaConfig: Llama 1 to 3, TinyLlama, SmolLM2 and
// whatever else took its shape. pretraining_tp, which splits products without
// changing them, does not matter here.
type llamaConfig struct {
	decoderConfig
	AttnBias bool `json:"attention_bias"` // of all four projections
	MLPBias  bool `json:"mlp_bias"`
}

// parseLlama: the network is decoder.go's, with biases where the configuration
// has them. Llama 2 has neither those nor grouped queries below 34 B parameters.
func parseLlama(config json.RawMessage) (network, error) {
	c := llamaConfig{decoderConfig: decoderConfig{Positions: 2048, Eps: 1e-6, Activation: "silu"}}
	if err := unmarshal(config, &c); err != nil {
		return nil, err
	}
	m, err := newDecoder("llama", c.decoderConfig)
	if err != nil {
		return nil, err
	}
	m.qkvBias, m.outBias, m.mlpBias = c.AttnBias, c.AttnBias, c.MLPBias
	return m, nil
}
