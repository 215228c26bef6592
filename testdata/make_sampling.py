"""Makes testdata/sampling/vectors.json: what Transformers' own logits processors,
called in the order of vLLM's V1 sampler (and typical_p last, as in TGI), leave to draw from, and log-probabilities.

    python testdata/make_sampling.py testdata/sampling/vectors.json

Made with torch 2.13, transformers 5.19 on CPU, in float64. A case is {name, its
parameters, "row", "prompt", "output", "probs": [[id, probability], ...] of the
ids that are left, "greedy": the id at temperature 0}; a row is {"logits",
"logprobs": those of all ids, before anything}. Transformers has no frequency
and presence penalty: those two lines are the formula of OpenAI's API reference,
over the output alone, as vLLM has it.
"""
import json, sys
from pathlib import Path
import torch
from transformers.generation import logits_process as lp

torch.manual_seed(7)
V = 67
rows = [(torch.randn(V) * s + m).float() for s, m in ((3, 0), (1, -20), (0.3, 4), (8, 1))]
NEUTRAL = dict(temperature=1.0, top_p=1.0, top_k=0, min_p=0.0, typical_p=1.0, repetition=1.0, presence=0.0, frequency=0.0,
               bias={}, allowed=None, banned=[], prompt=[], output=[])


def short(x):
    return float(f"{float(x):.10g}")


def penalised(c, x):
    if c["allowed"] is not None:
        x = lp.SuppressTokensLogitsProcessor([i for i in range(V) if i not in c["allowed"]])(None, x)
    if c["banned"]:
        x = lp.SuppressTokensLogitsProcessor(c["banned"])(None, x)
    if c["bias"]:
        bias = lp.SequenceBiasLogitsProcessor([[[i], float(b)] for i, b in c["bias"].items()])
        x = bias(torch.zeros(1, 1, dtype=torch.long), x)
    if c["repetition"] != 1:
        x = lp.RepetitionPenaltyLogitsProcessor(c["repetition"])(torch.tensor([c["prompt"] + c["output"]]), x)
    counts = torch.bincount(torch.tensor(c["output"], dtype=torch.long), minlength=V).double()[None]
    x = x - c["frequency"] * counts
    return x - c["presence"] * (counts > 0)


def case(name, row, **params):
    c = NEUTRAL | params
    raw = rows[row].double()[None]
    x = penalised(c, raw.clone())
    greedy = int(x.argmax())
    if c["temperature"] != 1:
        x = lp.TemperatureLogitsWarper(c["temperature"])(None, x)
    if c["min_p"]:
        x = lp.MinPLogitsWarper(c["min_p"])(None, x)
    if c["top_k"]:
        x = lp.TopKLogitsWarper(c["top_k"])(None, x)
    if c["top_p"] < 1:
        x = lp.TopPLogitsWarper(c["top_p"])(None, x)
    if c["typical_p"] < 1:
        x = lp.TypicalLogitsWarper(c["typical_p"])(None, x)
    p = x.softmax(-1)[0]
    return dict(name=name, row=row, **c, greedy=greedy, probs=[[i, short(p[i])] for i in range(V) if p[i] > 0])


ids = torch.randint(0, V, (60,)).tolist()
prompt, output = ids[:35], ids[35:] + ids[20:50]
history = dict(prompt=prompt, output=output)
bias = {3: 4.5, 17: -100.0, 40: 100.0, 41: -0.25}
cases = []
for row in range(len(rows)):
    cases += [
        case("plain", row),
        case("temperature", row, temperature=0.7),
        case("top-k", row, top_k=9),
        case("top-p", row, top_p=0.9),
        case("min-p", row, min_p=0.08),
        case("typical", row, typical_p=0.6),
        case("top-p, then typical", row, temperature=1.3, top_p=0.95, typical_p=0.85),
        case("min-p, top-k and top-p", row, temperature=1.6, min_p=0.02, top_k=20, top_p=0.8),
        case("repetition", row, repetition=1.3, **history),
        case("repetition under 1", row, repetition=0.8, **history),
        case("presence", row, presence=1.1, **history),
        case("frequency", row, frequency=-0.6, **history),
        case("bias", row, bias=bias),
        case("allowed and banned", row, allowed=[1, 2, 30, 31, 32, 66], banned=[2, 5]),
        case("all of them", row, temperature=0.8, top_k=40, top_p=0.95, min_p=0.01, repetition=1.2, presence=0.5,
             frequency=0.3, bias={3: 4.5, 17: -100.0, 41: -0.25}, banned=[0, 9], **history),
    ]
out = Path(sys.argv[1])
out.parent.mkdir(parents=True, exist_ok=True)
stored = [dict(logits=[float(v) for v in r], logprobs=[short(v) for v in r.double().log_softmax(-1)]) for r in rows]
lines = lambda items: ",\n".join(json.dumps(i) for i in items)
out.write_text('{"rows": [\n' + lines(stored) + '\n],\n"cases": [\n' + lines(cases) + "\n]}\n")
