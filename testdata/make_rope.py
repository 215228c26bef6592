"""Makes testdata/rope/frequencies.json: the rotary frequencies that Transformers
derives from a config.json, in both spellings of its rotary fields.

    python testdata/make_rope.py testdata/rope/frequencies.json

Made with transformers 5.19 and torch 2.13 on CPU. A case is {name, the fields of
its config.json, head_dim, positions (max_position_embeddings), inverse: the
frequency of every pair in float32, magnitude: what cosines and sines are
multiplied by}.
"""
import json, sys
from pathlib import Path
from transformers import LlamaConfig, PhiConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.phi.modeling_phi import PhiRotaryEmbedding

LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
CASES = [
    # name, head width, max_position_embeddings, fields
    ("Llama 2", 128, 4096, {}),
    ("Llama 2, old spelling", 128, 4096, {"rope_theta": 10000.0, "rope_scaling": None}),
    ("Mixed spellings", 64, 4096, {"rope_theta": 1000000.0, "rope_scaling": {"type": "linear", "factor": 4}}),
    ("Both spellings", 64, 4096, {"rope_scaling": {"type": "linear", "factor": 4}, "rope_theta": 500.0,
                                  "rope_parameters": {"rope_type": "linear", "factor": 3, "rope_theta": 400.0}}),
    ("Empty old spelling", 64, 4096, {"rope_scaling": {}, "rope_parameters": {"rope_type": "linear", "factor": 3, "rope_theta": 400.0}}),
    ("Llama 3", 128, 8192, {"rope_theta": 500000.0}),
    ("Llama 3.1", 128, 131072, {"rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", **LLAMA3}}),
    ("Llama 3.2", 64, 131072, {"rope_parameters": {"rope_type": "llama3", "rope_theta": 500000.0, **LLAMA3, "factor": 32.0}}),
    ("Llama 3.1 without its original context", 128, 8192, {"rope_parameters": {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}}),
    ("dynamic", 96, 4096, {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}}),
    ("Qwen 2.5 with yarn", 128, 32768, {"rope_theta": 1000000.0, "rope_scaling": {**YARN, "type": "yarn"}}),
    ("yarn, original context outside", 128, 131072, {"original_max_position_embeddings": 4096, "rope_parameters": {**YARN, "rope_theta": 1e6}}),
    ("yarn, whole options", 64, 131072, {"rope_parameters": {
        **YARN, "rope_theta": 150000.0, "beta_fast": 24.0, "beta_slow": 2.0, "truncate": False, "attention_factor": 1.25}}),
    ("yarn, mscale", 64, 131072, {"rope_parameters": {**YARN, "factor": 40.0, "rope_theta": 1e4, "mscale": 1.0, "mscale_all_dim": 0.707}}),
    ("yarn, mscale alone", 64, 131072, {"rope_parameters": {**YARN, "factor": 40.0, "rope_theta": 1e4, "mscale": 0.5}}),
    ("yarn, a short context", 24, 120, {"rope_parameters": {**YARN, "rope_theta": 1e4, "original_max_position_embeddings": 6}}),
    ("yarn, factor of the contexts", 64, 131072, {"rope_parameters": {**YARN, "rope_theta": 1e4, "factor": None}}),
]
PHI = [
    ("Phi 2, old spelling", 80, 2048, {"partial_rotary_factor": 0.4, "rope_theta": 10000.0, "rope_scaling": None}),
    ("Phi 2", 80, 2048, {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.4}}),
    ("Phi without a fraction", 80, 2048, {}),
    ("Phi, a fraction that truncates", 10, 2048, {"partial_rotary_factor": 0.65}),
    ("Phi with linear scaling", 80, 2048, {"partial_rotary_factor": 0.4, "rope_scaling": {"type": "linear", "factor": 2.0}}),
]


def case(name, head, positions, fields, config_class, embedding):
    c = config_class(hidden_size=2 * head, num_attention_heads=2, max_position_embeddings=positions,
                     **json.loads(json.dumps(fields)))
    e = embedding(c)
    return {"name": name, "fields": fields, "head_dim": head, "positions": positions,
            "partial": 0.5 if config_class is PhiConfig else 1,
            "inverse": e.inv_freq.tolist(), "magnitude": float(e.attention_scaling)}


cases = [case(*c, LlamaConfig, LlamaRotaryEmbedding) for c in CASES]
cases += [case(*c, PhiConfig, PhiRotaryEmbedding) for c in PHI]
out = Path(sys.argv[1])
out.parent.mkdir(parents=True, exist_ok=True)
out.write_text("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
