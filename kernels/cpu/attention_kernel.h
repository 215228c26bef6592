// attention_kernel.h: attention over the paged cache; included once an instruction
// set, behind what sums a span: attention_fma.h or attention_avx512bf16.c.
//
// Purpose   out = softmax(q·Kᵀ·scale)·V over the positions a query sees.
// Shapes    a tile of up to MAX_QUERIES queries (rows × heads that share a KV head);
//           pack_queries lays them out, sum_span takes them and the units of a span
//           in the layout of attention.h, read once for all queries of the tile.
// Steps     for every SPAN of 256 positions: sum_span's scores of 16 keys at a time;
//           largest score, exponentials and their sum; p·V; then the span is merged
//           with those before it (flash attention's rescaling).
// Sums      float32, keys and values in order. A position that a query does not see
//           adds exactly zero, so neighbours in the tile do not show in a row.
// Threads   a task is a range of (KV head, tile) items, or, when there are few of
//           them and contexts are long, one span of one item.

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

FN void ISA(clear)(float *sums, int n, int width) {
    for (int r = 0; r < n; r++) {
        sums[r] = -__builtin_inff();
        sums[MAX_QUERIES + r] = 0;
    }
    for (int i = 0; i < n * width; i += W)
        v_store(sums + 2 * MAX_QUERIES + i, v_set1(0));
}

KERNEL void ISA(finish)(const attention_job *j, const attention_view *v, const float *sums, int width) {
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

KERNEL void ISA(attend)(const attention_job *j, int task, int worker) {
    const int e = j->a.head_dim, width = ceil_div(e, 16) * 16;
    float *q = j->work + worker * j->work_floats, *sums = q + query_floats(e), *part = sums + partial_floats(e);
    attention_view v;
    if (j->spans) {
        const int item = task / j->spans;
        attention_look(j, item, &v);
        const int first = v.unit_lo / SPAN, n = ceil_div(v.unit_hi, SPAN) - first, i = task % j->spans;
        if (i >= n)
            return;
        float *parts = j->partials + (size_t)item * j->spans * partial_floats(e);
        ISA(pack_queries)(j, &v, q);
        attention_units k;
        attention_span(j, &v, first + i, &k);
        ISA(sum_span)(j, &k, q, &v, parts + i * partial_floats(e));
        if (atomic_fetch_add(&j->finished[item], 1) + 1 < n)
            return;
        ISA(clear)(sums, v.tile->count, width);
        for (int s = 0; s < n; s++)
            ISA(merge)(sums, parts + s * partial_floats(e), v.tile->count, width);
        ISA(finish)(j, &v, sums, width);
        return;
    }
    const int items = j->tiles_n * j->a.kv_heads;
    attention_walk walks[2], *now = walks, *then = walks + 1;
    attention_start(j, now, span(items, task, j->pieces), span(items, task + 1, j->pieces));
    while (now->item < now->end) {
        // The next span, or the next item's first, is known ahead, so that its units
        // can be asked for.
        *then = *now;
        attention_next(j, then);
        now->units.next = &then->units;
        const attention_view *v = &now->view;
        if (now->span == v->unit_lo / SPAN) {
            ISA(pack_queries)(j, v, q);
            ISA(clear)(sums, v->tile->count, width);
        }
        ISA(sum_span)(j, &now->units, q, v, part);
        ISA(merge)(sums, part, v->tile->count, width);
        if (then->item != now->item)
            ISA(finish)(j, v, sums, width);
        attention_walk *swap = now;
        now = then;
        then = swap;
    }
}
