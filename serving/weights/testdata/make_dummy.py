"""Prints the hashes in TestDummyIsTheSameEverywhere: dummy weights, drawn in plain integers and NumPy's float32.

    python serving/weights/testdata/make_dummy.py
"""
import hashlib, struct
import numpy as np

M = (1 << 64) - 1

def mix(z):
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & M
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & M
    return z ^ z >> 31

def draw(seed, name, n, std):
    h = 0xCBF29CE484222325  # FNV-1a of the seed's 8 bytes and the name
    for b in struct.pack("<Q", seed) + name.encode():
        h = ((h ^ b) * 0x100000001B3) & M
    key = mix(h)
    sums = []
    for i in range(n):
        w = mix((key + i * 0x9E3779B97F4A7C15) & M)
        sums.append(sum(w >> s & 0xFFFF for s in (0, 16, 32, 48)) - 2 * 0xFFFF)
    x = np.array(sums, np.float32) * np.float32(std / 37837.227)
    bits = x.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()

for seed, name, std in ((0, "transformer.wte.weight", 0.02), (1, "transformer.h.0.mlp.c_proj.weight", 0.02 * (1 / 24**0.5))):
    print(seed, name, hashlib.sha256(draw(seed, name, 300 * 200, std)).hexdigest()[:16])
