// attention_kernel.h: attention over the paged cache; included once a vector width.
//
// Purpose   out = softmax(q·Kᵀ·scale)·V over the positions a query sees.
// Shapes    a tile of up to MAX_QUERIES queries (rows × heads that share a KV head),
//           its queries packed [2·ceil(E/2)][queries]; keys and values in the layout
//           of attention.h, read once for all queries of the tile.
// Steps     for every SPAN of 256 positions: scores of 16 keys at a time into p
//           [queries][256]; largest score, exponentials and their sum; p·V; then the
//           span is merged with those before it (flash attention's rescaling).
// Sums      float32, keys and values in order. A position that a query does not see
//           adds exactly zero, so neighbours in the tile do not show in a row.
// Threads   a task is a range of (KV head, tile) items, or, when there are few of
//           them and contexts are long, one span of one item.
// Bound by  memory when decoding (each cached byte is used once per query group),
//           by the FMA units in a prefill. doc.go has the measured shares.

// The units of a span that a tile looks at.
typedef struct {
    const char *unit[SPAN];
    int start[SPAN];  // position of the first token
    int tokens[SPAN]; // that the unit has room for
    int n;
    int lo, hi; // positions that some query of the tile sees
} ISA(units);

// Scores of `units` units from the i-th on.
FN void ISA(scores)(const ISA(units) *k, int i, const float *q, float *p, int pairs, float scale, const int bf16,
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
FN float ISA(weights)(const ISA(units) *k, float *p, int lo, int hi, float *sum) {
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
FN void ISA(values)(const ISA(units) *k, int s, const float *p, float *acc, int stride, size_t key_part,
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
FN void ISA(span)(const attention_job *j, const ISA(units) *k, const float *q, const int *lo, const int *hi,
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
    KERNEL void ISA(span_f32_##n)(const attention_job *j, const ISA(units) *k, const float *q,           \
                                  const int *lo, const int *hi, float *part) {                           \
        ISA(span)(j, k, q, lo, hi, part, 0, n, wide);                                                    \
    }                                                                                                    \
    KERNEL void ISA(span_bf16_##n)(const attention_job *j, const ISA(units) *k, const float *q,          \
                                   const int *lo, const int *hi, float *part) {                          \
        ISA(span)(j, k, q, lo, hi, part, 1, n, wide);                                                    \
    }

#if NV == 1 // 32 registers
SPAN_OF(1, 4) SPAN_OF(2, 4) SPAN_OF(3, 4) SPAN_OF(4, 4) SPAN_OF(5, 2) SPAN_OF(6, 2) SPAN_OF(7, 2) SPAN_OF(8, 2)
#define QUERIES 8
static void (*const ISA(spans)[2][QUERIES + 1])(const attention_job *, const ISA(units) *, const float *,
                                                const int *, const int *, float *) = {
    {0, ISA(span_f32_1), ISA(span_f32_2), ISA(span_f32_3), ISA(span_f32_4), ISA(span_f32_5), ISA(span_f32_6),
     ISA(span_f32_7), ISA(span_f32_8)},
    {0, ISA(span_bf16_1), ISA(span_bf16_2), ISA(span_bf16_3), ISA(span_bf16_4), ISA(span_bf16_5),
     ISA(span_bf16_6), ISA(span_bf16_7), ISA(span_bf16_8)},
};
#else // 16 registers
SPAN_OF(1, 2) SPAN_OF(2, 2) SPAN_OF(3, 1) SPAN_OF(4, 1)
#define QUERIES 4
static void (*const ISA(spans)[2][QUERIES + 1])(const attention_job *, const ISA(units) *, const float *,
                                                const int *, const int *, float *) = {
    {0, ISA(span_f32_1), ISA(span_f32_2), ISA(span_f32_3), ISA(span_f32_4)},
    {0, ISA(span_bf16_1), ISA(span_bf16_2), ISA(span_bf16_3), ISA(span_bf16_4)},
};
#endif

// A tile and what its queries see.
typedef struct {
    const attention_tile *tile;
    const int32_t *blocks; // of the sequence
    int g;                 // KV head
    int row[MAX_QUERIES], head[MAX_QUERIES];
    int lo[MAX_QUERIES], hi[MAX_QUERIES]; // positions
    int unit_lo, unit_hi;                 // units, counted over the sequence
} ISA(view);

FN int ISA(unit_of)(const attention_job *j, int position) {
    int b = j->kv->block_size;
    return position / b * ceil_div(b, UNIT) + position % b / UNIT;
}

KERNEL void ISA(look)(const attention_job *j, int item, ISA(view) *v) {
    v->tile = &j->tiles[item % j->tiles_n];
    v->g = item / j->tiles_n;
    const cpu_step *s = j->step;
    v->blocks = s->blocks + (size_t)v->tile->seq * s->max_blocks;
    for (int r = 0; r < v->tile->count; r++) {
        int i = v->tile->first + r;
        v->row[r] = s->starts[v->tile->seq] + i / j->group;
        v->head[r] = v->g * j->group + i % j->group;
        v->hi[r] = s->positions[v->row[r]] + 1;
        v->lo[r] = j->a.window > 0 ? max_int(0, v->hi[r] - j->a.window) : 0;
    }
    v->unit_lo = ISA(unit_of)(j, v->lo[0]);
    v->unit_hi = ISA(unit_of)(j, v->hi[v->tile->count - 1] - 1) + 1;
}

KERNEL void ISA(pack_queries)(const attention_job *j, const ISA(view) *v, float *q) {
    const int e = j->a.head_dim, n = v->tile->count;
    const size_t stride = (size_t)(j->a.heads + 2 * j->a.kv_heads) * e;
    for (int r = 0; r < n; r++) {
        const float *from = j->qkv + v->row[r] * stride + (size_t)v->head[r] * e;
        for (int i = 0; i < e; i++)
            q[i * n + r] = from[i];
        if (e % 2)
            q[e * n + r] = 0;
    }
}

// The sums of one span of a tile.
KERNEL void ISA(run_span)(const attention_job *j, const ISA(view) *v, int span, const float *q, float *part) {
    ISA(units) k;
    const int b = j->kv->block_size, per = ceil_div(b, UNIT);
    const size_t size = unit_bytes(j->bf16, j->a.head_dim);
    k.n = 0;
    k.lo = v->lo[0];
    k.hi = v->hi[v->tile->count - 1];
    for (int u = max_int(span * SPAN, v->unit_lo); u < min_int((span + 1) * SPAN, v->unit_hi); u++, k.n++) {
        k.unit[k.n] = j->layer + (((size_t)v->blocks[u / per] * j->kv->kv_heads + v->g) * per + u % per) * size;
        k.start[k.n] = u / per * b + u % per * UNIT;
        k.tokens[k.n] = min_int(UNIT, b - u % per * UNIT);
    }
    ISA(spans)[j->bf16][v->tile->count](j, &k, q, v->lo, v->hi, part);
}

// Adds a later span's sums to those of the earlier ones.
KERNEL void ISA(merge)(float *sums, const float *part, int n, int width) {
    for (int r = 0; r < n; r++) {
        float *acc = sums + 2 * MAX_QUERIES + r * width;
        const float *add = part + 2 * MAX_QUERIES + r * width;
        if (part[r] == -__builtin_inff())
            continue; // the query sees nothing of the span
        V top = v_max(v_set1(sums[r]), v_set1(part[r]));
        V old = v_exp(v_sub(v_set1(sums[r]), top)), new = v_exp(v_sub(v_set1(part[r]), top));
        for (int i = 0; i < width; i += W)
            v_store(acc + i, v_fma(v_load(acc + i), old, v_mul(v_load(add + i), new)));
        float both[W];
        v_store(both, v_fma(v_set1(sums[MAX_QUERIES + r]), old, v_mul(v_set1(part[MAX_QUERIES + r]), new)));
        sums[MAX_QUERIES + r] = both[0];
        v_store(both, top);
        sums[r] = both[0];
    }
}

FN void ISA(clear)(float *sums, int width) {
    for (int r = 0; r < MAX_QUERIES; r++) {
        sums[r] = -__builtin_inff();
        sums[MAX_QUERIES + r] = 0;
    }
    for (int i = 0; i < MAX_QUERIES * width; i += W)
        v_store(sums + 2 * MAX_QUERIES + i, v_set1(0));
}

KERNEL void ISA(finish)(const attention_job *j, const ISA(view) *v, const float *sums, int width) {
    const int e = j->a.head_dim;
    for (int r = 0; r < v->tile->count; r++) {
        float *out = j->out + ((size_t)v->row[r] * j->a.heads + v->head[r]) * e;
        const float *acc = sums + 2 * MAX_QUERIES + r * width;
        V total = v_set1(sums[MAX_QUERIES + r]);
        for (int i = 0; i < e; i += W) {
            V y = v_div(v_load(acc + i), total);
            if (e - i >= W)
                v_store(out + i, y);
            else
                v_store_n(out + i, y, e - i);
        }
    }
}

KERNEL void ISA(attention)(const attention_job *j, int task, int worker) {
    const int e = j->a.head_dim, width = ceil_div(e, 16) * 16;
    float *q = j->work + worker * j->work_floats, *sums = q + query_floats(e), *part = sums + partial_floats(e);
    ISA(view) v;
    if (j->spans) {
        const int item = task / j->spans;
        ISA(look)(j, item, &v);
        const int first = v.unit_lo / SPAN, n = ceil_div(v.unit_hi, SPAN) - first, i = task % j->spans;
        if (i >= n)
            return;
        float *parts = j->partials + (size_t)item * j->spans * partial_floats(e);
        ISA(pack_queries)(j, &v, q);
        ISA(run_span)(j, &v, first + i, q, parts + i * partial_floats(e));
        if (atomic_fetch_add(&j->finished[item], 1) + 1 < n)
            return;
        ISA(clear)(sums, width);
        for (int s = 0; s < n; s++)
            ISA(merge)(sums, parts + s * partial_floats(e), v.tile->count, width);
        ISA(finish)(j, &v, sums, width);
        return;
    }
    const int items = j->tiles_n * j->a.kv_heads;
    for (int item = span(items, task, j->pieces); item < span(items, task + 1, j->pieces); item++) {
        ISA(look)(j, item, &v);
        ISA(pack_queries)(j, &v, q);
        ISA(clear)(sums, width);
        for (int s = v.unit_lo / SPAN; s * SPAN < v.unit_hi; s++) {
            ISA(run_span)(j, &v, s, q, part);
            ISA(merge)(sums, part, v.tile->count, width);
        }
        ISA(finish)(j, &v, sums, width);
    }
}
