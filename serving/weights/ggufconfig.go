package weights

import (
	"errors"
	"fmt"
	"math"

	"servebench/serving/weights/gguf"
)

// config is a config.json under construction.
type config map[string]any

func (c config) modelType() string {
	s, _ := c["model_type"].(string)
	return s
}

func (c config) int(key string) int {
	n, _ := c[key].(int)
	return n
}

// ggufConfig writes the config.json that a GGUF file was converted from, as far
// as the file tells. An architecture that is not known here becomes the
// model_type under its GGUF name, for the model registry to refuse.
func ggufConfig(f *gguf.File) (config, error) {
	arch, err := f.String("general.architecture")
	if err != nil {
		return nil, err
	}
	r := &metadata{file: f, arch: arch + ".", conf: config{"model_type": arch}}
	switch arch {
	case "gpt2":
		r.gpt2()
	case "llama":
		r.llama()
	case "qwen2":
		r.decoder("qwen2", "Qwen2ForCausalLM")
	case "phi2":
		r.phi()
	default:
		return r.conf, nil
	}
	r.common()
	return r.conf, r.err
}

// metadata fills a config from a file; err is the first thing that was missing.
type metadata struct {
	file *gguf.File
	arch string // prefix of the architecture's own keys
	conf config
	err  error
}

// maxSize bounds every count in a configuration, so that products of two fit an int64.
const maxSize = 1 << 31

// count copies an integer of the architecture's keys; it must be there.
func (r *metadata) count(to, key string) int {
	n, err := r.file.Uint(r.arch + key)
	if err == nil && (n == 0 || n >= maxSize) {
		err = fmt.Errorf("%s%s is %d", r.arch, key, n)
	}
	if err != nil {
		r.fail(err)
		return 0
	}
	r.conf[to] = int(n)
	return int(n)
}

// number copies a float32 in its shortest form; it must be there.
func (r *metadata) number(to, key string) {
	x, err := r.file.Float(r.arch + key)
	if err != nil {
		r.fail(err)
		return
	}
	r.conf[to] = float32(x)
}

func (r *metadata) fail(err error) { r.err = errors.Join(r.err, err) }

func (r *metadata) has(key string) bool { return r.file.Has(r.arch + key) }

// common is what all architectures share.
func (r *metadata) common() {
	_, untied := r.file.Tensor("output.weight")
	r.conf["tie_word_embeddings"] = !untied
	// The embedding's rows are the vocabulary that the model was made with.
	if t, ok := r.file.Tensor("token_embd.weight"); ok && len(t.Shape) == 2 {
		r.conf["vocab_size"] = t.Shape[0]
	} else {
		r.count("vocab_size", "vocab_size")
	}
	for to, key := range map[string]string{
		"bos_token_id": "tokenizer.ggml.bos_token_id", "eos_token_id": "tokenizer.ggml.eos_token_id",
	} {
		if id, err := r.file.Uint(key); err == nil && id < maxSize {
			r.conf[to] = int(id)
		}
	}
}

func (r *metadata) gpt2() {
	r.conf["architectures"] = []string{"GPT2LMHeadModel"}
	r.conf["activation_function"] = "gelu_new"
	r.count("n_positions", "context_length")
	r.count("n_embd", "embedding_length")
	r.count("n_layer", "block_count")
	r.count("n_head", "attention.head_count")
	r.number("layer_norm_epsilon", "attention.layer_norm_epsilon")
	if r.has("feed_forward_length") {
		r.count("n_inner", "feed_forward_length")
	}
}

func (r *metadata) llama() {
	r.decoder("llama", "LlamaForCausalLM")
	_, attnBias := r.file.Tensor("blk.0.attn_q.bias")
	_, mlpBias := r.file.Tensor("blk.0.ffn_up.bias")
	r.conf["attention_bias"], r.conf["mlp_bias"] = attnBias, mlpBias
	r.relatives()
}

// decoder is what Llama and its relatives share.
func (r *metadata) decoder(modelType, class string) {
	r.conf["model_type"], r.conf["architectures"] = modelType, []string{class}
	r.conf["hidden_act"] = "silu"
	r.number("rms_norm_eps", "attention.layer_norm_rms_epsilon")
	head := r.sizes()
	if r.has("attention.key_length") {
		head = r.count("head_dim", "attention.key_length")
	}
	r.conf["head_dim"] = head
	if n, err := r.file.Uint(r.arch + "attention.value_length"); err == nil && n != uint64(head) {
		r.fail(fmt.Errorf("%sattention.value_length %d differs from the keys' %d: not supported", r.arch, n, head))
	}
	if n, err := r.file.Uint(r.arch + "rope.dimension_count"); err == nil && n != uint64(head) && r.err == nil {
		r.fail(fmt.Errorf("%srope.dimension_count %d differs from the head width %d: rotating part of a head is not supported", r.arch, n, head))
	}
	r.rope(head)
}

func (r *metadata) phi() {
	r.conf["model_type"], r.conf["architectures"] = "phi", []string{"PhiForCausalLM"}
	r.conf["hidden_act"] = "gelu_new"
	r.number("layer_norm_eps", "attention.layer_norm_epsilon")
	head := r.sizes()
	dims := head
	if r.has("rope.dimension_count") {
		n, err := r.file.Uint(r.arch + "rope.dimension_count")
		if err != nil || n > uint64(head) {
			r.fail(errors.Join(err, fmt.Errorf("%srope.dimension_count is %d of a head width of %d", r.arch, n, head)))
			return
		}
		dims = int(n)
	}
	// Transformers truncates the product with the head's width.
	partial := float64(dims) / float64(max(head, 1))
	if int(partial*float64(head)) < dims {
		partial = math.Nextafter(partial, 2)
	}
	r.conf["partial_rotary_factor"] = partial
	r.rope(dims)
}

// sizes copies the counts that rotary models share, and returns the width of a
// head as far as it follows from them.
func (r *metadata) sizes() (head int) {
	width := r.count("hidden_size", "embedding_length")
	r.count("intermediate_size", "feed_forward_length")
	r.count("num_hidden_layers", "block_count")
	r.count("max_position_embeddings", "context_length")
	heads := r.count("num_attention_heads", "attention.head_count")
	r.conf["num_key_value_heads"] = heads
	if r.has("attention.head_count_kv") {
		r.count("num_key_value_heads", "attention.head_count_kv")
	}
	return width / max(heads, 1)
}

// relatives names the models that llama.cpp files under llama but Transformers
// has names of their own for.
func (r *metadata) relatives() {
	if n, err := r.file.Uint(r.arch + "expert_count"); err == nil && n > 0 {
		r.conf["model_type"], r.conf["architectures"] = "mixtral", []string{"MixtralForCausalLM"}
	} else if n, err := r.file.Uint(r.arch + "attention.sliding_window"); err == nil && n > 0 {
		r.conf["model_type"], r.conf["architectures"] = "mistral", []string{"MistralForCausalLM"}
		r.conf["sliding_window"] = n
	}
}
