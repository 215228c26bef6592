// store_kernel.h: rotary embedding and the write into the cache; included once
// a vector width.
//
// Purpose   rotates the first `rope_dims` elements of every query and key head in
//           place, then stores keys and values: equation 5 of package kernels.
// Shapes    qkv rows [lo, hi) of [T, (H+2G)·E]; table [P, rope_dims], cosines then
//           sines; the cache's layout is in attention.h.
// Threads   a row belongs to one thread. Two rows may share a cache line of the
//           cache, never an element of it.
// Bound by  the scattered 2- and 4-byte stores: a key's words lie 64 bytes apart.

FN void ISA(rotate)(float *v, const float *cosine, const float *sine, int half) {
    for (int i = 0; i < half; i += W) {
        int n = half - i;
        float *a = v + i, *b = v + half + i;
        if (n >= W) {
            V x = v_load(a), y = v_load(b), c = v_load(cosine + i), s = v_load(sine + i);
            v_store(a, v_fnma(y, s, v_mul(x, c)));
            v_store(b, v_fma(x, s, v_mul(y, c)));
        } else {
            V x = v_load_n(a, n), y = v_load_n(b, n), c = v_load_n(cosine + i, n), s = v_load_n(sine + i, n);
            v_store_n(a, v_fnma(y, s, v_mul(x, c)), n);
            v_store_n(b, v_fma(x, s, v_mul(y, c)), n);
        }
    }
}

// One head of one token, the `lane`-th of its unit. Two elements of a key are one
// word of the cache; the two tokens of a value's pair come at different times.
FN void ISA(store_bf16)(char *unit, int lane, const float *key, const float *value, int e) {
    uint32_t *k = (uint32_t *)unit + lane;
    uint16_t *v = (uint16_t *)(unit + key_bytes(1, e)) + lane / 2 * 32 + lane % 2;
    for (int i = 0; i < e; i += W) {
        const int n = min_int(e - i, W);
        union {
            float f[W];
            uint32_t u[W];
        } a, b; // rounded: the upper halves
        v_store(a.f, v_bf16(n < W ? v_load_n(key + i, n) : v_load(key + i)));
        v_store(b.f, v_bf16(n < W ? v_load_n(value + i, n) : v_load(value + i)));
        for (int j = 0; j < n; j += 2)
            k[(i + j) / 2 * 16] = a.u[j] >> 16 | a.u[j + 1];
        for (int j = 0; j < n; j++)
            v[(i + j) / 16 * 256 + (i + j) % 16 * 2] = (uint16_t)(b.u[j] >> 16);
    }
}

FN void ISA(store_f32)(char *unit, int lane, const float *key, const float *value, int e) {
    float *k = (float *)unit + lane, *v = (float *)(unit + key_bytes(0, e)) + lane / 2 * 32 + lane % 2 * 16;
    for (int i = 0; i < e; i++) {
        k[i * 16] = key[i];
        v[i / 16 * 256 + i % 16] = value[i];
    }
}

KERNEL void ISA(store_kv)(const store_job *j, int lo, int hi) {
    const int e = j->a.head_dim, heads = j->a.heads, kv_heads = j->a.kv_heads, half = j->rope_dims / 2;
    const int b = j->kv->block_size, per = ceil_div(b, UNIT);
    const size_t size = unit_bytes(j->bf16, e);
    for (int t = lo; t < hi; t++) {
        float *row = j->qkv + (size_t)t * (heads + 2 * kv_heads) * e;
        if (half > 0) {
            const float *c = j->table + (size_t)j->positions[t] * j->rope_dims;
            for (int h = 0; h < heads + kv_heads; h++)
                ISA(rotate)(row + (size_t)h * e, c, c + half, half);
        }
        const float *keys = row + (size_t)heads * e, *values = keys + (size_t)kv_heads * e;
        const int block = j->slots[t] / b, offset = j->slots[t] % b;
        for (int g = 0; g < kv_heads; g++) {
            char *unit = j->layer + (((size_t)block * kv_heads + g) * per + offset / UNIT) * size;
            if (j->bf16)
                ISA(store_bf16)(unit, offset % UNIT, keys + (size_t)g * e, values + (size_t)g * e, e);
            else
                ISA(store_f32)(unit, offset % UNIT, keys + (size_t)g * e, values + (size_t)g * e, e);
        }
    }
}
