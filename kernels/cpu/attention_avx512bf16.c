//go:build cgo && linux && amd64

// attention_avx512bf16.c: attention over a bfloat16 cache in BF16 dot products.
//
// Purpose   the arithmetic of a span for attention_kernel.h, as attention_fma.h has it
//           for other instruction sets. One 64-byte line of the cache (a pair of head
//           elements of 16 keys, or a pair of tokens of 16 elements of their values)
//           feeds one vdpbf16ps a query, against the query's broadcast pair.
// Shapes    a tile of up to 8 queries, [ceil(E/2)][queries] pairs of bfloat16; scores
//           [queries][256] float32, weights [queries][128] pairs.
// Rounds    queries, and weights before they are summed: to bfloat16, nearest, ties
//           to even. A weight's error then moves the result by its share of (value −
//           result), not of the value: one that stands alone, or among equals, does
//           not move it at all.
// Sums      float32, vdpbf16ps's own: pair after pair in one accumulator for each
//           query and lane, whatever the tile; subnormals count as zero. Weights
//           outside of a query's positions are zero, and values of tokens that no
//           query of the tile sees are masked: they may be anything.
// Bound by  memory when decoding, the dot-product unit in a prefill. doc.go has the
//           measured shares.

#include "attention.h"
#include "transpose_avx512.h"
#include "vec_avx512bf16.h"
#include "vec_exp.h"

#define QUERIES 8
_Static_assert(QUERIES <= MAX_QUERIES, "sums have room for MAX_QUERIES");

// MOST_WIDE bounds the units, and the slices of 16 elements, that are taken at once.
#define MOST_WIDE 8

FN V dot(V sum, __m512i a, __m512i b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }

// words is elements [i, i+32) of a query of e elements, rounded: 16 pairs, zero past
// its end.
FN __m512i words(const float *x, int i, int e) {
    const __mmask16 low = v_first(max_int(0, min_int(e - i, 16))), high = v_first(max_int(0, min_int(e - i - 16, 16)));
    return (__m512i)_mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(high, x + i + 16), _mm512_maskz_loadu_ps(low, x + i));
}

KERNEL void ISA(pack_queries)(const attention_job *j, const attention_view *v, void *to) {
    const int e = j->a.head_dim, n = v->tile->count, pairs = ceil_div(e, 2);
    const size_t stride = (size_t)(j->a.heads + 2 * j->a.kv_heads) * e;
    int32_t *q = to;
    for (int i0 = 0; i0 < pairs; i0 += 16) {
        __m512i line[16];
#pragma GCC unroll 16
        for (int r = 0; r < 16; r++)
            line[r] = r < QUERIES && r < n ? words(j->qkv + v->row[r] * stride + (size_t)v->head[r] * e, 2 * i0, e)
                            : _mm512_setzero_si512();
        if (n > 1)
            transpose16(line);
        else if (pairs - i0 >= 16)
            _mm512_storeu_si512(q + i0, line[0]);
        else
            _mm512_mask_storeu_epi32(q + i0, v_first(pairs - i0), line[0]);
        if (n == 1)
            continue;
        const __mmask16 all = v_first(n);
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++)
            if (i0 + i < pairs)
                _mm512_mask_storeu_epi32(q + (size_t)(i0 + i) * n, all, line[i]);
    }
}

// While one unit's keys or values are read, those UNITS_AHEAD further on are asked
// for. Units lie apart, and what the processor fetches ahead by itself ends with each:
// without this, decoding of 16 sequences reads 17 GB/s instead of 24. Into the
// second-level cache: the first level has too few places to wait in (16 GB/s).
#define UNITS_AHEAD 8

// Where the keys of the i-th unit of a span are; past its end, what is read after
// them: its values.
FN const char *ISA(keys_at)(const attention_units *k, int i, int e) {
    return i < k->n ? k->unit[i] : k->unit[min_int(i - k->n, k->n - 1)] + key_bytes(1, e);
}

// Where the values of the i-th unit of a span are; past its end, what is read after
// them: the keys of the next span.
FN const char *ISA(values_at)(const attention_units *k, int i, int e) {
    if (i < k->n)
        return k->unit[i] + key_bytes(1, e);
    const int past = i - k->n;
    return k->next && past < k->next->n ? k->next->unit[past] : k->unit[k->n - 1];
}

// Scores of `units` units from the i-th on.
FN void ISA(scores)(const attention_units *k, int i, const int32_t *q, float *p, int pairs, float scale,
                    const int queries, const int units) {
    V acc[QUERIES][MOST_WIDE];
#pragma GCC unroll 8
    for (int r = 0; r < queries; r++)
#pragma GCC unroll 8
        for (int u = 0; u < units; u++)
            acc[r][u] = v_set1(0);
    const char *ahead[MOST_WIDE];
#pragma GCC unroll 8
    for (int u = 0; u < units; u++)
        ahead[u] = ISA(keys_at)(k, i + u + UNITS_AHEAD, 2 * pairs);
    for (int e = 0; e < pairs; e++, q += queries) {
        __m512i line[MOST_WIDE];
#pragma GCC unroll 8
        for (int u = 0; u < units; u++)
            _mm_prefetch(ahead[u] + (size_t)e * 64, _MM_HINT_T1);
#pragma GCC unroll 8
        for (int u = 0; u < units; u++)
            line[u] = _mm512_load_si512(k->unit[i + u] + (size_t)e * 64);
#pragma GCC unroll 8
        for (int r = 0; r < queries; r++) {
            __m512i a = _mm512_set1_epi32(q[r]);
#pragma GCC unroll 8
            for (int u = 0; u < units; u++)
                acc[r][u] = dot(acc[r][u], line[u], a);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < queries; r++)
#pragma GCC unroll 8
        for (int u = 0; u < units; u++)
            v_store(p + (r * SPAN + i + u) * UNIT, v_mul(acc[r][u], v_set1(scale)));
}

// e^x for x ≤ 0 to be rounded to bfloat16: relative error below 2⁻¹⁸, 1 at 0,
// 0 at -inf and wherever float32 has no normal number, NaN for NaN. With t = x/ln 2
// it is 2^⌊t⌋·p(t − ⌊t⌋), p the minimax polynomial on [0, 1) among those that are 1
// at 0.
FN V ISA(exp_down)(V x) {
    V t = v_mul(x, v_set1(1.44269504f));
    V r = _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    V y = v_fma(v_set1(0.013426684f), r, v_set1(0.052242473f));
    y = v_fma(y, r, v_set1(0.2412802f));
    y = v_fma(y, r, v_set1(0.69304484f));
    y = v_fma(y, r, v_set1(1));
    return _mm512_scalef_ps(y, t);
}

// Turns a query's scores p into weights w, e^(score − top) rounded, zero outside of
// positions [lo, hi). Returns top, -inf when it sees none of them, and the sum of the
// rounded weights.
FN float ISA(weights)(const attention_units *k, float *p, __m256i *w, int lo, int hi, float *sum) {
    const float none = -__builtin_inff();
    V top = v_set1(none);
    for (int i = 0; i < k->n; i++) {
        const int from = lo - k->start[i], to = min_int(hi - k->start[i], k->tokens[i]);
        V v = v_load(p + i * UNIT);
        if (from > 0 || to < UNIT) {
            v = v_keep(v, v_set1(none), from, to);
            v_store(p + i * UNIT, v);
        }
        top = v_max(top, v);
    }
    const float t = v_top(top);
    if (t == none) {
        for (int i = 0; i < k->n; i++)
            _mm256_storeu_si256(w + i, _mm256_setzero_si256());
        *sum = 0;
        return t;
    }
    const __m256bh ones = (__m256bh)_mm256_set1_epi16(0x3f80);
    __m256 total = _mm256_setzero_ps();
    for (int i = 0; i < k->n; i++) {
        __m256bh y = _mm512_cvtneps_pbh(ISA(exp_down)(v_sub(v_load(p + i * UNIT), v_set1(t))));
        _mm256_storeu_si256(w + i, (__m256i)y);
        total = _mm256_dpbf16_ps(total, y, ones);
    }
    *sum = v_sum(_mm512_zextps256_ps512(total));
    return t;
}

// One pair of tokens of `slices` slices of 16 elements: mask has the bits of those
// that some query sees.
FN void ISA(add_values)(V sum[QUERIES][MOST_WIDE], const char *v, const char *ahead, const int32_t *w, const int masked, int32_t mask,
                        const int queries, const int slices) {
    __m512i line[MOST_WIDE];
#pragma GCC unroll 8
    for (int u = 0; u < slices; u++) {
        _mm_prefetch(ahead + (size_t)u * 512, _MM_HINT_T1);
        line[u] = _mm512_load_si512(v + (size_t)u * 512);
        if (masked)
            line[u] = _mm512_and_si512(line[u], _mm512_set1_epi32(mask));
    }
#pragma GCC unroll 8
    for (int r = 0; r < queries; r++) {
        __m512i a = _mm512_set1_epi32(w[r * SPAN * UNIT / 2]);
#pragma GCC unroll 8
        for (int u = 0; u < slices; u++)
            sum[r][u] = dot(sum[r][u], line[u], a);
    }
}

// acc [queries][16·slices of E] of p·V, for `slices` slices from s on.
FN void ISA(values)(const attention_units *k, int s, const int32_t *w, float *acc, int e, const int queries,
                    const int slices) {
    V sum[QUERIES][MOST_WIDE];
#pragma GCC unroll 8
    for (int r = 0; r < queries; r++)
#pragma GCC unroll 8
        for (int u = 0; u < slices; u++)
            sum[r][u] = v_set1(0);
    for (int i = 0; i < k->n; i++, w += UNIT / 2) {
        const int from = max_int(k->lo - k->start[i], 0), to = min_int(k->hi - k->start[i], k->tokens[i]);
        const char *v = k->unit[i] + key_bytes(1, e) + (size_t)s * 512;
        const char *ahead = ISA(values_at)(k, i + UNITS_AHEAD, e) + (size_t)s * 512;
        if (to - from == UNIT)
            for (int t = 0; t < UNIT / 2; t++)
                ISA(add_values)(sum, v + t * 64, ahead + t * 64, w + t, 0, 0, queries, slices);
        else
            for (int t = from / 2; t < ceil_div(to, 2); t++)
                ISA(add_values)(sum, v + t * 64, ahead + t * 64, w + t, 1, (2 * t < from ? 0 : 0xffff) | (2 * t + 1 >= to ? 0 : ~0xffff),
                                queries, slices);
    }
    const int stride = ceil_div(e, 16) * 16;
#pragma GCC unroll 8
    for (int r = 0; r < queries; r++)
#pragma GCC unroll 8
        for (int u = 0; u < slices; u++)
            v_store(acc + r * stride + (s + u) * 16, sum[r][u]);
}

// One span of a tile of a constant number of queries, `units` units and `at_once`
// slices at a time.
FN void ISA(span)(const attention_job *j, const attention_units *k, const int32_t *q, const attention_view *v,
                  float *part, const int queries, const int units, const int at_once) {
    float p[QUERIES * SPAN * UNIT];
    __m256i w[QUERIES * SPAN];
    const int e = j->a.head_dim, slices = ceil_div(e, 16);
    int i = 0;
    for (; i + units <= k->n; i += units)
        ISA(scores)(k, i, q, p, ceil_div(e, 2), j->a.scale, queries, units);
    for (; i < k->n; i++)
        ISA(scores)(k, i, q, p, ceil_div(e, 2), j->a.scale, queries, 1);
    for (int r = 0; r < queries; r++)
        part[r] = ISA(weights)(k, p + r * SPAN * UNIT, w + r * SPAN, v->lo[r], v->hi[r], &part[MAX_QUERIES + r]);
    const int32_t *words = (const int32_t *)w;
    float *acc = part + 2 * MAX_QUERIES;
    int s = 0;
    for (; s + at_once <= slices; s += at_once)
        ISA(values)(k, s, words, acc, e, queries, at_once);
    for (; s < slices; s++)
        ISA(values)(k, s, words, acc, e, queries, 1);
}

typedef void (*span_fn)(const attention_job *j, const attention_units *k, const int32_t *q, const attention_view *v,
                        float *part);

// SPAN_OF makes the function of one number of queries: how many units, and slices of
// 16 elements, it takes at once is what 32 registers hold of accumulators, lines and
// one pair. One to three queries, as decoding has them, wait for memory: more units
// at once ask for more of it.
#define SPAN_OF(n, units, slices)                                                                \
    KERNEL void ISA(span_##n)(const attention_job *j, const attention_units *k, const int32_t *q, \
                              const attention_view *v, float *part) {                            \
        ISA(span)(j, k, q, v, part, n, units, slices);                                           \
    }

SPAN_OF(1, 8, 4) SPAN_OF(2, 8, 4) SPAN_OF(3, 8, 4) SPAN_OF(4, 4, 4)
SPAN_OF(5, 4, 4) SPAN_OF(6, 4, 4) SPAN_OF(7, 3, 2) SPAN_OF(8, 3, 2)

static const span_fn spans[QUERIES + 1] = {
    0,           ISA(span_1), ISA(span_2), ISA(span_3), ISA(span_4), ISA(span_5), ISA(span_6),
    ISA(span_7), ISA(span_8),
};

FN void ISA(sum_span)(const attention_job *j, const attention_units *k, const void *q, const attention_view *v,
                  float *part) {
    spans[v->tile->count](j, k, q, v, part);
}

#include "attention_kernel.h"

const attention_kind attention_avx512bf16 = {QUERIES, ISA(attend)};
