"""Makes testdata/models: tiny random checkpoints of each architecture with the
float32 logits that Transformers computes from them.

    python testdata/make_models.py testdata/models

Made with transformers 5.19 and torch 2.13 on CPU. Sizes are odd on purpose:
heads that are no power of two, vocabularies that are no multiple of 16, grouped
queries, windows shorter than the prompt. Each folder gets, beside the
checkpoint, golden.json with the checkpoint's SHA-256 and, for prompts of 1, 17
and 80 tokens:

    prompt    its token ids
    output    the 16 tokens that greedy decoding adds
    logits    of every row of both: little-endian float32, [rows, vocab], base64
    bfloat16  for every row, how far the roundings of bfloat16 move a logit: the
              largest, over the vocabulary, of the standard deviations over 64
              random perturbations (below)

A device in bfloat16 rounds matrices (embeddings too) when they are loaded, the
input rows of every product, keys and values when they are cached, and queries; it
may round attention's weights, whose sum it then divides by, so that they still
add up to 1.
A number between 2^k and 2^(k+1) has neighbours 2^(k-7) apart there, so that it
moves by up to 2^(k-8). A perturbation adds to each of exactly these numbers a
random one, uniform within that distance, in float64.
"""
import base64, hashlib, json, sys
from pathlib import Path
import torch
from torch import nn
from transformers import (AttentionInterface, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, MistralConfig,
                          MistralForCausalLM, PhiConfig, PhiForCausalLM, Qwen2Config, Qwen2ForCausalLM)
from transformers.masking_utils import AttentionMaskInterface, eager_mask
from transformers.pytorch_utils import Conv1D

PERTURBATIONS = 64


def llama(rope=None, **changes):
    return LlamaForCausalLM(LlamaConfig(**{**dict(
        vocab_size=91, hidden_size=40, intermediate_size=52, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=12, max_position_embeddings=120, rms_norm_eps=1e-5,
        rope_parameters={"rope_theta": 10000.0, **(rope or {"rope_type": "default"})}, bos_token_id=0, eos_token_id=1),
        **changes}))


def qwen2(**changes):
    return Qwen2ForCausalLM(Qwen2Config(
        vocab_size=95, hidden_size=42, intermediate_size=58, num_hidden_layers=2, num_attention_heads=3,
        num_key_value_heads=1, max_position_embeddings=120, bos_token_id=0, eos_token_id=1, **changes))


# A model's seed is its place: add new ones at the end.
MODELS = {
    "tiny-gpt2": lambda: GPT2LMHeadModel(GPT2Config(
        vocab_size=101, n_positions=112, n_embd=36, n_layer=2, n_head=3, bos_token_id=0, eos_token_id=0)),
    "tiny-llama": lambda: LlamaForCausalLM(LlamaConfig(
        vocab_size=107, hidden_size=60, intermediate_size=76, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=120, rms_norm_eps=1e-5, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 50000.0}, bos_token_id=0, eos_token_id=1)),
    "tiny-llama-tied": lambda: LlamaForCausalLM(LlamaConfig(
        vocab_size=97, hidden_size=40, intermediate_size=52, num_hidden_layers=3, num_attention_heads=5,
        num_key_value_heads=1, head_dim=12, max_position_embeddings=120, rms_norm_eps=1e-6,
        tie_word_embeddings=True, bos_token_id=0, eos_token_id=1)),
    "tiny-gpt2-options": lambda: GPT2LMHeadModel(GPT2Config(
        vocab_size=89, n_positions=100, n_embd=40, n_layer=3, n_head=5, n_inner=70, activation_function="silu",
        scale_attn_by_inverse_layer_idx=True, reorder_and_upcast_attn=True, tie_word_embeddings=False,
        bos_token_id=0, eos_token_id=0)),
    "tiny-phi": lambda: PhiForCausalLM(PhiConfig(
        vocab_size=103, hidden_size=60, intermediate_size=84, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=3, max_position_embeddings=120, partial_rotary_factor=0.4, bos_token_id=0, eos_token_id=0)),
    "tiny-mistral": lambda: MistralForCausalLM(MistralConfig(
        vocab_size=99, hidden_size=44, intermediate_size=60, num_hidden_layers=3, num_attention_heads=6,
        num_key_value_heads=2, head_dim=10, max_position_embeddings=120, sliding_window=13, bos_token_id=0,
        eos_token_id=1)),
    "tiny-qwen2": lambda: qwen2(tie_word_embeddings=True),
    "tiny-qwen2-window": lambda: qwen2(use_sliding_window=True, sliding_window=9, max_window_layers=1),
    "tiny-llama-bias": lambda: llama(
        {"rope_type": "dynamic", "factor": 2.0}, attention_bias=True, mlp_bias=True),
    "tiny-llama-linear": lambda: llama({"rope_type": "linear", "factor": 2.5}),
    "tiny-llama-llama3": lambda: llama({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64}),
    "tiny-llama-yarn": lambda: llama(
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 30}, head_dim=24),
}


def perturbed(x):
    _, exponent = torch.frexp(x)  # x is between 2^(exponent-1) and 2^exponent
    return x + torch.ldexp(2 * torch.rand_like(x) - 1, exponent - 9)


def perturbed_attention(module, query, key, value, mask, scaling=None, **_):
    """query [1, H, rows, E], key and value [1, G, rows, E], mask added to scores."""
    group = query.shape[1] // key.shape[1]
    key, value = (perturbed(x).repeat_interleave(group, 1) for x in (key, value))
    scores = perturbed(query) @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling) + mask
    # A device rounds e^(score - top), where top is the largest score.
    weights = perturbed((scores - scores.amax(-1, keepdim=True)).exp())
    return (weights / weights.sum(-1, keepdim=True) @ value).transpose(1, 2).contiguous(), None


AttentionInterface.register("perturbed", perturbed_attention)
AttentionMaskInterface.register("perturbed", eager_mask)


def deviations(model, prompts):
    """For each prompt [1, rows], the largest standard deviation of each row's logits."""
    model = model.double()
    model.set_attn_implementation("perturbed")
    inputs = [m.register_forward_pre_hook(lambda _, args: (perturbed(args[0]), *args[1:]))
              for m in model.modules() if isinstance(m, (nn.Linear, Conv1D))]
    exact = {p: p.clone() for p in model.parameters() if p.ndim == 2}
    squares = [0] * len(prompts)
    means = [0] * len(prompts)
    for _ in range(PERTURBATIONS):
        for p, value in exact.items():
            p.copy_(perturbed(value))
        for i, ids in enumerate(prompts):
            logits = model(ids).logits[0]
            means[i] = means[i] + logits / PERTURBATIONS
            squares[i] = squares[i] + logits**2 / PERTURBATIONS
    for hook in inputs:
        hook.remove()
    return [(s - m**2).clamp(min=0).sqrt().amax(-1).tolist() for s, m in zip(squares, means)]


@torch.no_grad()
def main(out):
    for n, (name, make) in enumerate(MODELS.items()):
        torch.manual_seed(n)
        model = make().eval()
        # Initial weights are so small that attention is nearly uniform and
        # logits nearly equal: spread them, so that a wrong head or mask shows.
        for key, p in model.named_parameters():
            p.copy_(1 + 0.2 * torch.randn_like(p) if p.ndim == 1 and "bias" not in key else 0.3 * torch.randn_like(p))
        folder = Path(out) / name
        model.save_pretrained(folder)
        vocab = model.config.vocab_size
        runs, sequences = [], []
        for length in (1, 17, 80):
            ids = torch.randint(vocab, (1, length))
            for _ in range(16):
                ids = torch.cat([ids, model(ids).logits[:, -1].argmax(-1, keepdim=True)], 1)
            logits = model(ids).logits[0].float()
            sequences.append(ids)
            runs.append({
                "prompt": ids[0, :length].tolist(),
                "output": ids[0, length:].tolist(),
                "logits": base64.b64encode(logits.numpy().astype("<f4").tobytes()).decode(),
            })
        for run, rows in zip(runs, deviations(model, sequences)):
            run["bfloat16"] = [float(f"{d:.3g}") for d in rows]
        (folder / "generation_config.json").unlink(missing_ok=True)
        digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        (folder / "golden.json").write_text(json.dumps(
            {"made_by": "python testdata/make_models.py testdata/models", "sha256": digest, "runs": runs}, indent=1))
        print(f"{name}: logits within {logits.abs().max():.1f}, bfloat16 moves them by up to"
              f" {max(max(r['bfloat16']) for r in runs):.2g}")


main(sys.argv[1])
