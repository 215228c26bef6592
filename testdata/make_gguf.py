"""Makes testdata/gguf: the checkpoints of testdata/models as GGUF files, float32,
with the metadata, tensor names and row orders that llama.cpp's convert_hf_to_gguf.py
gives them. Names come from the gguf package's own tensor mapping.

    python testdata/make_gguf.py testdata/models testdata/gguf

Made with gguf 0.17.1. tiny-phi-fused is tiny-phi as files of before 2024 are:
queries, keys and values in one tensor.
"""
import json, math, sys
from pathlib import Path
import gguf, numpy as np
from safetensors.numpy import load_file

ARCHS = {"gpt2": gguf.MODEL_ARCH.GPT2, "llama": gguf.MODEL_ARCH.LLAMA, "mistral": gguf.MODEL_ARCH.LLAMA,
         "qwen2": gguf.MODEL_ARCH.QWEN2, "phi": gguf.MODEL_ARCH.PHI2}
MODELS = ["tiny-gpt2", "tiny-llama", "tiny-llama-tied", "tiny-llama-bias", "tiny-llama-linear", "tiny-llama-llama3",
          "tiny-llama-yarn", "tiny-mistral", "tiny-qwen2", "tiny-phi"]


def permute(x, heads):
    """Neighbours where Transformers has halves: llama.cpp rotates neighbours."""
    return x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def head_dim(c):
    return c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]


def metadata(w, c):
    """What set_gguf_parameters of the model's class writes."""
    kind = c["model_type"]
    if kind == "gpt2":
        w.add_block_count(c["n_layer"])
        w.add_context_length(c["n_positions"])
        w.add_embedding_length(c["n_embd"])
        w.add_feed_forward_length(4 * c["n_embd"])
        w.add_head_count(c["n_head"])
        w.add_layer_norm_eps(c["layer_norm_epsilon"])
        return
    rope = c.get("rope_parameters") or {}
    w.add_block_count(c["num_hidden_layers"])
    w.add_context_length(c["max_position_embeddings"])
    w.add_embedding_length(c["hidden_size"])
    w.add_feed_forward_length(c["intermediate_size"])
    w.add_head_count(c["num_attention_heads"])
    w.add_head_count_kv(c["num_key_value_heads"])
    w.add_rope_freq_base(rope["rope_theta"])
    if kind == "phi":
        w.add_layer_norm_eps(c["layer_norm_eps"])
        w.add_rope_dimension_count(int(rope["partial_rotary_factor"] * c["hidden_size"]) // c["num_attention_heads"])
        w.add_add_bos_token(False)
        return
    w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    if kind != "qwen2":
        w.add_rope_dimension_count(head_dim(c))
        w.add_key_length(head_dim(c))
        w.add_value_length(head_dim(c))
    if kind == "mistral":
        w.add_sliding_window(c["sliding_window"])
    scaling = {"linear": gguf.RopeScalingType.LINEAR, "yarn": gguf.RopeScalingType.YARN}.get(rope["rope_type"])
    if scaling:
        w.add_rope_scaling_type(scaling)
        w.add_rope_scaling_factor(rope["factor"])
    if scaling == gguf.RopeScalingType.YARN:
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])


def llama3_factors(c):
    """The tensor rope_freqs: what Llama 3.1's scaling divides each frequency by."""
    rope, dims = c["rope_parameters"], head_dim(c)
    low, high, old = rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"]
    factors = []
    for i in range(0, dims, 2):
        wave = 2 * math.pi * np.float32(rope["rope_theta"]) ** np.float32(i / dims)
        if wave < old / high:
            factors.append(1)
        elif wave > old / low:
            factors.append(rope["factor"])
        else:
            smooth = (old / wave - low) / (high - low)
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(factors, np.float32)


def convert(folder, out, fuse=False):
    c = json.loads((folder / "config.json").read_text())
    kind = c["model_type"]
    layers = c.get("n_layer") or c["num_hidden_layers"]
    names = gguf.get_tensor_name_map(ARCHS[kind], layers)
    w = gguf.GGUFWriter(out, gguf.MODEL_ARCH_NAMES[ARCHS[kind]])
    metadata(w, c)
    tensors = load_file(folder / "model.safetensors")
    if fuse:
        for i in range(layers):
            for suffix in ("weight", "bias"):
                p = f"model.layers.{i}.self_attn."
                tensors[f"{p}query_key_value.{suffix}"] = np.concatenate([tensors.pop(f"{p}{x}_proj.{suffix}") for x in "qkv"])
    if (c.get("rope_parameters") or {}).get("rope_type") == "llama3":
        w.add_tensor("rope_freqs.weight", llama3_factors(c))
    for name, x in sorted(tensors.items()):
        if kind in ("llama", "mistral"):
            if ".q_proj." in name:
                x = permute(x, c["num_attention_heads"])
            elif ".k_proj." in name:
                x = permute(x, c["num_key_value_heads"])
        if kind == "gpt2" and x.ndim == 2 and ".h." in name:
            x = x.T
        to = names.get_name(name, (".weight", ".bias"))
        w.add_tensor(to, np.ascontiguousarray(x, np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main(models, out):
    Path(out).mkdir(exist_ok=True)
    for name in MODELS:
        convert(Path(models) / name, Path(out) / f"{name}.gguf")
    convert(Path(models) / "tiny-phi", Path(out) / "tiny-phi-fused.gguf", fuse=True)


main(*sys.argv[1:])
