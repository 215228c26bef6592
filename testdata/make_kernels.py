"""Makes testdata/kernels/ops.json: what PyTorch computes, in float64, for each
operation that a model is made of.

    python testdata/make_kernels.py testdata/kernels/ops.json

Made with torch 2.13 on CPU. A case is {op, its sizes and settings, its inputs
and "out"}; matrices are flat, row-major, in the shapes that the operation of
kernels.Ops has. Inputs are float32 values (in "matmul" with bf16 set, values
that bfloat16 holds, except x, which the operation rounds itself). Rotation is
Transformers' rotate_half; attention is scaled_dot_product_attention under an
explicit mask, over a prompt that is computed in one piece.
"""
import json, sys
from pathlib import Path
import torch
import torch.nn.functional as F

torch.manual_seed(1)
torch.set_default_dtype(torch.float64)


def rand(*shape):
    return (2 * torch.rand(*shape) - 1).float().double()


def flat(t):
    return [float(v) for v in t.float().flatten()]


def norm(rows, d, mean, bias):
    x, delta, w, b = 3 * rand(rows, d) + 1, rand(rows, d), rand(d), rand(d)
    x = x.float().double()
    y = (x + delta).float().double()
    eps = 1e-5
    if mean:
        out = F.layer_norm(y, (d,), w, b if bias else None, eps)
    else:
        out = F.rms_norm(y, (d,), w, eps) + (b if bias else 0)
    return dict(op="norm", rows=rows, d=d, mean=mean, eps=eps, x=flat(x), delta=flat(delta), weight=flat(w),
                bias=flat(b) if bias else None, out=flat(out))


def matmul(rows, n, k, bias, bf16):
    x, w, b = rand(rows, k), rand(n, k), rand(n)
    if bf16:
        w = w.bfloat16().double()
    out = F.linear(x.bfloat16().double() if bf16 else x, w, b if bias else None)
    return dict(op="matmul", rows=rows, n=n, k=k, bf16=bf16, x=flat(x), weight=flat(w),
                bias=flat(b) if bias else None, out=flat(out))


def activate(name, rows, width, gated):
    x = 4 * rand(rows, 2 * width if gated else width)
    x = x.float().double()
    f = (lambda v: F.gelu(v, approximate="tanh")) if name == "gelu_tanh" else F.silu
    out = f(x[:, :width]) * x[:, width:] if gated else f(x)
    return dict(op="activate", act=name, rows=rows, width=width, gated=gated, x=flat(x), out=flat(out))


def rotate_half(x):
    half = x.shape[-1] // 2
    return torch.cat((-x[..., half:], x[..., :half]), dim=-1)


def attention(rows, h, g, e, dims, window):
    qkv = rand(rows, (h + 2 * g) * e)
    freq = 10000 ** (-torch.arange(0, dims, 2) / dims) if dims else torch.zeros(0)
    angle = torch.arange(rows)[:, None] * freq[None, :]
    table = torch.cat((angle.cos(), angle.sin()), dim=1).float().double()
    cos, sin = (torch.cat((t, t), dim=1) for t in (table[:, :dims // 2], table[:, dims // 2:]))
    q, k, v = (t.reshape(rows, -1, e).transpose(0, 1) for t in qkv.split([h * e, g * e, g * e], dim=1))

    def rotated(t):
        head = t[..., :dims]
        return torch.cat((head * cos + rotate_half(head) * sin, t[..., dims:]), dim=-1)

    if dims:
        q, k = rotated(q), rotated(k)
    k, v = (t.repeat_interleave(h // g, dim=0) for t in (k, v))
    i = torch.arange(rows)
    mask = i[None, :] <= i[:, None]
    if window:
        mask &= i[None, :] > i[:, None] - window
    out = F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=mask)[0]
    return dict(op="attention", rows=rows, heads=h, kv_heads=g, head_dim=e, dims=dims, window=window,
                scale=e ** -0.5, qkv=flat(qkv), table=flat(table), out=flat(out.transpose(0, 1)))


cases = [
    norm(3, 10, True, True), norm(2, 17, False, False), norm(2, 8, True, False),
    matmul(3, 5, 7, True, False), matmul(2, 17, 12, False, True),
    activate("gelu_tanh", 2, 9, False), activate("silu", 2, 9, True), activate("gelu_tanh", 1, 5, True),
    attention(7, 2, 2, 6, 0, 0), attention(9, 4, 2, 8, 8, 0), attention(6, 3, 1, 10, 4, 0), attention(9, 2, 1, 4, 4, 3),
]
out = Path(sys.argv[1])
out.parent.mkdir(parents=True, exist_ok=True)
out.write_text("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
