// attention_fma.h: the sums of a span for attention_kernel.h in float32 multiply-adds;
// included once a vector width.
//
// Purpose   scores q·Kᵀ·scale, weights e^(score − largest), their sum, and p·V.
// Shapes    queries [2·ceil(E/2)][queries] float32, of a bfloat16 cache rounded to
//           bfloat16; scores and weights [queries][256] float32.
// Sums      float32, keys and values in order, one accumulator for each query and
//           lane. Values of tokens that no query of the tile sees are not read.
// Bound by  memory when decoding (each cached byte is used once per query group),
//           by the FMA units in a prefill.

// Scores of `units` units from the i-th on.
FN void ISA(scores)(const attention_units *k, int i, const float *q, float *p, int pairs, float scale, const int bf16,
                    const int queries, const int units) {
    V acc[MAX_QUERIES][4 * NV];
#pragma GCC unroll 8
    for (int r = 0; r < queries; r++)
#pragma GCC unroll 8
        for (int j = 0; j < units * NV; j++)
            acc[r][j] = v_set1(0);
    for (int e = 0; e < pairs; e++, q += 2 * queries) {
        V first[4 * NV], second[4 * NV];
#pragma GCC unroll 4
        for (int u = 0; u < units; u++)
            v_pair(k->unit[i + u] + e * pair_bytes(bf16), bf16, &first[u * NV], &second[u * NV]);
#pragma GCC unroll 8
        for (int r = 0; r < queries; r++) {
            V a = v_set1(q[r]), b = v_set1(q[queries + r]);
#pragma GCC unroll 8
            for (int j = 0; j < units * NV; j++)
                acc[r][j] = v_fma(b, second[j], v_fma(a, first[j], acc[r][j]));
        }
    }
    V s = v_set1(scale);
#pragma GCC unroll 8
    for (int r = 0; r < queries; r++)
#pragma GCC unroll 8
        for (int j = 0; j < units * NV; j++)
            v_store(p + r * SPAN * UNIT + i * UNIT + j * W, v_mul(acc[r][j], s));
}

// Turns a query's scores p into e^(score − top), zero outside of positions
// [lo, hi); returns top, -inf when it sees none of them.
FN float ISA(weights)(const attention_units *k, float *p, int lo, int hi, float *sum) {
    const float none = -__builtin_inff();
    V top = v_set1(none);
    for (int i = 0; i < k->n; i++)
        for (int j = 0; j < NV; j++) {
            float *at = p + i * UNIT + j * W;
            int from = lo - k->start[i] - j * W, to = min_int(hi - k->start[i], k->tokens[i]) - j * W;
            V v = v_keep(v_load(at), v_set1(none), from, to);
            v_store(at, v);
            top = v_max(top, v);
        }
    float t = v_top(top);
    V total = v_set1(0), shift = v_set1(t);
    for (int i = 0; i < k->n * NV; i++) {
        V v = t == none ? v_set1(0) : v_exp(v_sub(v_load(p + i * W), shift));
        v_store(p + i * W, v);
        total = v_add(total, v);
    }
    *sum = v_sum(total);
    return t;
}

// acc [queries][16·slices of E] of p·V, for `slices` slices from s on.
FN void ISA(values)(const attention_units *k, int s, const float *p, float *acc, int stride, size_t key_part,
                    const int bf16, const int queries, const int slices) {
    V sum[MAX_QUERIES][4 * NV];
#pragma GCC unroll 8
    for (int r = 0; r < queries; r++)
#pragma GCC unroll 8
        for (int j = 0; j < slices * NV; j++)
            sum[r][j] = v_set1(0);
    for (int i = 0; i < k->n; i++) {
        int from = max_int(k->lo - k->start[i], 0), to = min_int(k->hi - k->start[i], k->tokens[i]);
        const char *v = k->unit[i] + key_part + (size_t)s * 8 * pair_bytes(bf16);
        for (int t = from & ~1; t < to; t += 2) {
            const float *w = p + i * UNIT + t;
            V first[4 * NV], second[4 * NV];
#pragma GCC unroll 4
            for (int u = 0; u < slices; u++)
                v_pair(v + (size_t)(u * 8 + t / 2) * pair_bytes(bf16), bf16, &first[u * NV], &second[u * NV]);
            if (t >= from)
#pragma GCC unroll 8
                for (int r = 0; r < queries; r++) {
                    V a = v_set1(w[r * SPAN * UNIT]);
#pragma GCC unroll 8
                    for (int j = 0; j < slices * NV; j++)
                        sum[r][j] = v_fma(a, first[j], sum[r][j]);
                }
            if (t + 1 < to)
#pragma GCC unroll 8
                for (int r = 0; r < queries; r++) {
                    V a = v_set1(w[r * SPAN * UNIT + 1]);
#pragma GCC unroll 8
                    for (int j = 0; j < slices * NV; j++)
                        sum[r][j] = v_fma(a, second[j], sum[r][j]);
                }
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < queries; r++)
#pragma GCC unroll 8
        for (int j = 0; j < slices * NV; j++)
            v_store(acc + r * stride + s * 16 + j * W, sum[r][j]);
}

// One span of a tile of a constant number of queries. wide units or slices are
// taken at once, as many as the registers hold accumulators for.
FN void ISA(span)(const attention_job *j, const attention_units *k, const float *q, const int *lo, const int *hi,
                  float *part, const int bf16, const int queries, const int wide) {
    float p[MAX_QUERIES * SPAN * UNIT];
    const int e = j->a.head_dim, slices = ceil_div(e, 16);
    int i = 0;
    for (; i + wide <= k->n; i += wide)
        ISA(scores)(k, i, q, p, ceil_div(e, 2), j->a.scale, bf16, queries, wide);
    for (; i < k->n; i++)
        ISA(scores)(k, i, q, p, ceil_div(e, 2), j->a.scale, bf16, queries, 1);
    for (int r = 0; r < queries; r++)
        part[r] = ISA(weights)(k, p + r * SPAN * UNIT, lo[r], hi[r], &part[MAX_QUERIES + r]);
    float *acc = part + 2 * MAX_QUERIES;
    int s = 0;
    for (; s + wide <= slices; s += wide)
        ISA(values)(k, s, p, acc, slices * 16, key_bytes(bf16, e), bf16, queries, wide);
    for (; s < slices; s++)
        ISA(values)(k, s, p, acc, slices * 16, key_bytes(bf16, e), bf16, queries, 1);
}

#define SPAN_OF(n, wide)                                                                                 \
    KERNEL void ISA(span_f32_##n)(const attention_job *j, const attention_units *k, const float *q,           \
                                  const int *lo, const int *hi, float *part) {                           \
        ISA(span)(j, k, q, lo, hi, part, 0, n, wide);                                                    \
    }                                                                                                    \
    KERNEL void ISA(span_bf16_##n)(const attention_job *j, const attention_units *k, const float *q,          \
                                   const int *lo, const int *hi, float *part) {                          \
        ISA(span)(j, k, q, lo, hi, part, 1, n, wide);                                                    \
    }

#if NV == 1 // 32 registers
SPAN_OF(1, 4) SPAN_OF(2, 4) SPAN_OF(3, 4) SPAN_OF(4, 4) SPAN_OF(5, 2) SPAN_OF(6, 2) SPAN_OF(7, 2) SPAN_OF(8, 2)
#define QUERIES 8
static void (*const ISA(spans)[2][QUERIES + 1])(const attention_job *, const attention_units *, const float *,
                                                const int *, const int *, float *) = {
    {0, ISA(span_f32_1), ISA(span_f32_2), ISA(span_f32_3), ISA(span_f32_4), ISA(span_f32_5), ISA(span_f32_6),
     ISA(span_f32_7), ISA(span_f32_8)},
    {0, ISA(span_bf16_1), ISA(span_bf16_2), ISA(span_bf16_3), ISA(span_bf16_4), ISA(span_bf16_5),
     ISA(span_bf16_6), ISA(span_bf16_7), ISA(span_bf16_8)},
};
#else // 16 registers
SPAN_OF(1, 2) SPAN_OF(2, 2) SPAN_OF(3, 1) SPAN_OF(4, 1)
#define QUERIES 4
static void (*const ISA(spans)[2][QUERIES + 1])(const attention_job *, const attention_units *, const float *,
                                                const int *, const int *, float *) = {
    {0, ISA(span_f32_1), ISA(span_f32_2), ISA(span_f32_3), ISA(span_f32_4)},
    {0, ISA(span_bf16_1), ISA(span_bf16_2), ISA(span_bf16_3), ISA(span_bf16_4)},
};
#endif

KERNEL void ISA(pack_queries)(const attention_job *j, const attention_view *v, void *to) {
    const int e = j->a.head_dim, n = v->tile->count;
    float *q = to;
    const size_t stride = (size_t)(j->a.heads + 2 * j->a.kv_heads) * e;
    for (int r = 0; r < n; r++) {
        const float *from = j->qkv + v->row[r] * stride + (size_t)v->head[r] * e;
        for (int i = 0; i < e; i++)
            q[i * n + r] = j->bf16 ? bf16_widen(bf16_round(from[i])) : from[i];
        if (e % 2)
            q[e * n + r] = 0;
    }
}

FN void ISA(sum_span)(const attention_job *j, const attention_units *k, const void *q, const attention_view *v,
                  float *part) {
    ISA(spans)[j->bf16][v->tile->count](j, k, q, v->lo, v->hi, part);
}
