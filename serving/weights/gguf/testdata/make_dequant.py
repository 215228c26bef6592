"""Writes dequant.gguf and dequant.f32: rows in every type that gguf.Tensor.Dequantize reads, and the
values that the gguf Python package's dequantize gives for them, float32, tensor after tensor.

    pip install gguf numpy && python serving/weights/gguf/testdata/make_dequant.py
"""
import pathlib
import numpy as np, gguf
from gguf import GGMLQuantizationType as T

here = pathlib.Path(__file__).parent
rng = np.random.default_rng(7)
rows, cols = 4, 96
x = (rng.standard_normal((rows, cols)) * 0.05).astype(np.float32)
x[0, :32] = 0              # a block whose scale is zero
x[1, :4] = [1e-7, -1e-7, 6e-5, -3e4]  # float16 subnormals, large values

w = gguf.GGUFWriter(here / "dequant.gguf", "test")
for value in ("string", "ü"):
    w.add_string("test." + value, value)
w.add_uint8("test.uint8", 200); w.add_int8("test.int8", -100)
w.add_uint16("test.uint16", 60000); w.add_int16("test.int16", -30000)
w.add_uint32("test.uint32", 4000000000); w.add_int32("test.int32", -2000000000)
w.add_uint64("test.uint64", 2**63 + 1); w.add_int64("test.int64", -2**62)
w.add_float32("test.float32", 1e-5); w.add_float64("test.float64", 1e-300)
w.add_bool("test.bool", True)
w.add_array("test.strings", ["a", "", "ü"]); w.add_array("test.ints", [3, -1, 2]); w.add_array("test.floats", [0.5, -1.5])
want = []
def add(name, raw, typ):
    w.add_tensor(name, raw, raw_dtype=typ)
    want.append(gguf.quants.dequantize(raw, typ).astype(np.float32).ravel())
for typ in (T.F32, T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q4_1):
    add(f"quantized.{typ.name}", gguf.quants.quantize(x, typ), typ)
# Random bytes reach every pattern of the quants, and scales of every size; NaN and infinity are left to float16's own test.
for typ in (T.Q8_0, T.Q4_0, T.Q4_1):
    block, size = gguf.GGML_QUANT_SIZES[typ]
    raw = rng.integers(0, 256, (rows, cols // block * size), dtype=np.uint8)
    scales = rng.integers(0, 2**16, (rows, cols // block, 2), dtype=np.uint16)
    scales[scales & 0x7c00 == 0x7c00] ^= 0x4000
    n = 2 if typ == T.Q4_1 else 1
    blocks = raw.reshape(rows, cols // block, size)
    blocks[:, :, : 2 * n] = scales[:, :, :n].view(np.uint8)
    add(f"random.{typ.name}", raw, typ)
half = np.arange(2**16, dtype=np.uint16)
half = half[(half & 0x7c00 != 0x7c00) | (half & 0x3ff == 0)].view(np.float16)[::37].reshape(1, -1)  # infinities stay, NaNs go
add("all.F16", half, T.F16)
w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
np.concatenate(want).astype("<f4").tofile(here / "dequant.f32")
