// store_kernel.h: rotary embedding and the write into the cache; included once
// a vector width.
//
// Purpose   rotates the first `rope_dims` elements of every query and key head in
//           place, then stores keys and values: equation 5 of package kernels.
// Shapes    qkv rows [lo, hi) of [T, (H+2G)·E]; table [P, rope_dims], cosines then
//           sines; the cache's layout is in attention.h.
// Threads   a row belongs to one thread. Two rows may share a cache line of the
//           cache, never an element of it.
// Bound by  the scattered 2- and 4-byte stores of single tokens: a key's words lie 64
//           bytes apart. The 16 tokens of a whole unit, as a prefill has them, are
//           transposed in registers and stored by the line.

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

#if NV == 1 // a line is a vector

// 32 elements, the first n of them there, rounded to bfloat16: 16 words.
FN __m512i ISA(words)(const float *from, int n) {
    V a = n >= W ? v_load(from) : v_load_n(from, n);
    V b = n >= 2 * W ? v_load(from + W) : v_load_n(from + W, max_int(n - W, 0));
    __m256i low = _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_castps_si512(v_bf16(a)), 16));
    __m256i high = _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_castps_si512(v_bf16(b)), 16));
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

// store_bf16 of one head of all tokens of a unit, whose rows lie stride apart.
FN void ISA(store_unit)(char *unit, const float *key, const float *value, size_t stride, int e) {
    for (int i = 0; i < e; i += 2 * W) {
        __m512i v[UNIT];
#pragma GCC unroll 16
        for (int t = 0; t < UNIT; t++)
            v[t] = ISA(words)(key + t * stride + i, e - i);
        transpose16(v);
        const int lines = min_int(UNIT, ceil_div(e - i, 2));
#pragma GCC unroll 16
        for (int l = 0; l < UNIT; l++)
            if (l < lines)
                _mm512_store_si512(unit + (size_t)(i / 2 + l) * 64, v[l]);
    }
    char *at = unit + key_bytes(1, e);
    for (int i = 0; i < e; i += W)
        for (int t = 0; t < UNIT; t += 2, at += 64) {
            const float *from = value + t * stride + i;
            V a = v_bf16(e - i >= W ? v_load(from) : v_load_n(from, e - i));
            V b = v_bf16(e - i >= W ? v_load(from + stride) : v_load_n(from + stride, e - i));
            _mm512_store_si512(at, _mm512_or_si512(_mm512_srli_epi32(_mm512_castps_si512(a), 16), _mm512_castps_si512(b)));
        }
}

// whole reports whether the rows from t on, of those below hi, fill a unit of the cache.
FN int ISA(whole)(const store_job *j, int t, int hi) {
    const int offset = j->slots[t] % j->kv->block_size;
    if (!j->bf16 || offset % UNIT || j->kv->block_size - offset < UNIT || hi - t < UNIT)
        return 0;
    for (int i = 1; i < UNIT; i++)
        if (j->slots[t + i] != j->slots[t] + i)
            return 0;
    return 1;
}

#else
FN int ISA(whole)(const store_job *j, int t, int hi) {
    (void)j, (void)t, (void)hi;
    return 0;
}

FN void ISA(store_unit)(char *unit, const float *key, const float *value, size_t stride, int e) {
    (void)unit, (void)key, (void)value, (void)stride, (void)e;
}
#endif

FN void ISA(rotate_row)(const store_job *j, int t, float *row) {
    const int e = j->a.head_dim, half = j->rope_dims / 2;
    const float *c = j->table + (size_t)j->positions[t] * j->rope_dims;
    for (int h = 0; h < j->a.heads + j->a.kv_heads; h++)
        ISA(rotate)(row + (size_t)h * e, c, c + half, half);
}

KERNEL void ISA(store_kv)(const store_job *j, int lo, int hi) {
    const int e = j->a.head_dim, kv_heads = j->a.kv_heads;
    const int b = j->kv->block_size, per = ceil_div(b, UNIT);
    const size_t size = unit_bytes(j->bf16, e), stride = (size_t)(j->a.heads + 2 * kv_heads) * e;
    for (int t = lo, n; t < hi; t += n) {
        float *row = j->qkv + (size_t)t * stride;
        n = ISA(whole)(j, t, hi) ? UNIT : 1;
        if (j->rope_dims > 0)
            for (int i = 0; i < n; i++)
                ISA(rotate_row)(j, t + i, row + i * stride);
        const float *keys = row + (size_t)j->a.heads * e, *values = keys + (size_t)kv_heads * e;
        const int block = j->slots[t] / b, offset = j->slots[t] % b;
        for (int g = 0; g < kv_heads; g++, keys += e, values += e) {
            char *unit = j->layer + (((size_t)block * kv_heads + g) * per + offset / UNIT) * size;
            if (n > 1)
                ISA(store_unit)(unit, keys, values, stride, e);
            else if (j->bf16)
                ISA(store_bf16)(unit, offset % UNIT, keys, values, e);
            else
                ISA(store_f32)(unit, offset % UNIT, keys, values, e);
        }
    }
}
