package weights

import "strings"

// scheme maps an architecture's tensor names between GGUF and Transformers.
// Names stand without their ".weight" or ".bias".
type scheme struct {
	model  map[string]string // outside the layers, GGUF to Transformers
	layer  map[string]string // within a layer, without "blk.0." or prefix and "0."
	prefix string            // of a layer's number in Transformers
	// ignored are those that Transformers has no tensor for.
	ignored map[string]bool
	// transposed are the layer matrices that Transformers keeps as [in, out] (its Conv1D).
	transposed map[string]bool
}

// schemes has the architectures by model_type. The names are those of
// gguf-py's tensor_mapping.py in llama.cpp.
var schemes = map[string]*scheme{
	"gpt2": &gpt2Scheme, "llama": &llamaScheme, "mistral": &llamaScheme, "qwen2": &qwen2Scheme, "phi": &phiScheme,
}

// fusedQKV stands in a Transformers name for q_proj, k_proj and v_proj, of which
// a GGUF file may have one tensor.
const fusedQKV = "(q|k|v)_proj"

var gpt2Scheme = scheme{
	model: map[string]string{
		"token_embd": "transformer.wte", "position_embd": "transformer.wpe",
		"output_norm": "transformer.ln_f", "output": "lm_head",
	},
	prefix: "transformer.h.",
	layer: map[string]string{
		"attn_norm": "ln_1", "attn_qkv": "attn.c_attn", "attn_output": "attn.c_proj",
		"ffn_norm": "ln_2", "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj",
	},
	transposed: map[string]bool{"attn_qkv": true, "attn_output": true, "ffn_up": true, "ffn_down": true},
}

var llamaScheme = scheme{
	model:  map[string]string{"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"},
	prefix: "model.layers.",
	layer: map[string]string{
		"attn_norm": "input_layernorm",
		"attn_q":    "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
		"attn_output": "self_attn.o_proj",
		"ffn_norm":    "post_attention_layernorm",
		"ffn_gate":    "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
	},
	// ggufConfig tells of rope_freqs; attn_rot_embd repeats what rope_theta says.
	ignored: map[string]bool{"rope_freqs": true, "attn_rot_embd": true},
}

// qwen2Scheme is Llama's, but rows stay in their order.
var qwen2Scheme = llamaScheme

// phiScheme: files of before 2024 have queries, keys and values in one tensor.
var phiScheme = scheme{
	model:  map[string]string{"token_embd": "model.embed_tokens", "output_norm": "model.final_layernorm", "output": "lm_head"},
	prefix: "model.layers.",
	layer: map[string]string{
		"attn_norm": "input_layernorm", "attn_qkv": "self_attn." + fusedQKV,
		"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
		"attn_output": "self_attn.dense", "ffn_up": "mlp.fc1", "ffn_down": "mlp.fc2",
	},
}

// transformers returns the Transformers name of a GGUF tensor, "" for one that
// is ignored, and false for one that the architecture does not have.
func (s *scheme) transformers(name string) (string, bool) {
	base, suffix := layerTensor(name)
	if s.ignored[base] {
		return "", true
	}
	number, inLayer := layerNumber(name, "blk.")
	if !inLayer {
		to, ok := s.model[base]
		return to + suffix, ok && suffix != ""
	}
	to, ok := s.layer[base]
	return s.prefix + number + "." + to + suffix, ok && suffix != ""
}

// gguf is the inverse of transformers; a name that is not of the architecture stays.
func (s *scheme) gguf(name string) string {
	base, suffix := splitSuffix(name)
	number, inLayer := layerNumber(base, s.prefix)
	if !inLayer {
		for from, to := range s.model {
			if to == base {
				return from + suffix
			}
		}
		return name
	}
	for from, to := range s.layer {
		if s.prefix+number+"."+to == base {
			return "blk." + number + "." + from + suffix
		}
	}
	return name
}

// layerTensor takes the layer's number and the suffix off a GGUF name:
// "blk.7.attn_q.weight" gives "attn_q" and ".weight".
func layerTensor(name string) (base, suffix string) {
	base, suffix = splitSuffix(name)
	if number, ok := layerNumber(base, "blk."); ok {
		base = strings.TrimPrefix(base, "blk."+number+".")
	}
	return base, suffix
}

// splitSuffix takes ".weight" or ".bias" off a name.
func splitSuffix(name string) (base, suffix string) {
	for _, suffix := range []string{".weight", ".bias"} {
		if base, ok := strings.CutSuffix(name, suffix); ok {
			return base, suffix
		}
	}
	return name, ""
}

// layerNumber returns the digits between a prefix and the next dot.
func layerNumber(name, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return "", false
	}
	number, _, ok := strings.Cut(rest, ".")
	return number, ok && number != "" && strings.Trim(number, "0123456789") == ""
}
