"""Makes testdata/models: tiny random checkpoints of each architecture with the
float32 logits that Transformers computes from them.

    python testdata/make_models.py testdata/models

Made with transformers 5.19 and torch 2.13 on CPU. Sizes are odd on purpose:
heads that are no power of two, vocabularies that are no multiple of 16, grouped
queries. Each folder gets, beside the checkpoint, golden.json: for prompts of 1,
17 and 80 tokens, the prompt, the 16 tokens that greedy decoding adds, and the
logits of every row of both (little-endian float32, [rows, vocab], base64), and
the checkpoint's SHA-256.
"""
import base64, hashlib, json, sys
from pathlib import Path
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

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
}


def main(out):
    for n, (name, make) in enumerate(MODELS.items()):
        torch.manual_seed(n)
        model = make().eval()
        # Initial weights are so small that attention is nearly uniform and
        # logits nearly equal: spread them, so that a wrong head or mask shows.
        with torch.no_grad():
            for key, p in model.named_parameters():
                p.copy_(1 + 0.2 * torch.randn_like(p) if p.ndim == 1 and "bias" not in key else 0.3 * torch.randn_like(p))
        folder = Path(out) / name
        model.save_pretrained(folder)
        vocab = model.config.vocab_size
        runs = []
        for length in (1, 17, 80):
            ids = torch.randint(vocab, (1, length))
            with torch.no_grad():
                for _ in range(16):
                    ids = torch.cat([ids, model(ids).logits[:, -1].argmax(-1, keepdim=True)], 1)
                logits = model(ids).logits[0].float()
            runs.append({
                "prompt": ids[0, :length].tolist(),
                "output": ids[0, length:].tolist(),
                "logits": base64.b64encode(logits.numpy().astype("<f4").tobytes()).decode(),
            })
        for extra in ("generation_config.json",):
            (folder / extra).unlink(missing_ok=True)
        digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        (folder / "golden.json").write_text(json.dumps(
            {"made_by": "python testdata/make_models.py testdata/models", "sha256": digest, "runs": runs}, indent=1))


main(sys.argv[1])
