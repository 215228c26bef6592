//go:build cgo && linux && amd64

// attention.c: cuts an Attention into tiles and deals them out.
//
// Purpose   one work list a step (the same for all layers) of tiles of up to
//           attention_kind.queries queries that share a sequence and a KV head.
// Threads   items (tile × KV head) are dealt out, the longest contexts of a sequence
//           first. Where there are too few to feed all threads and contexts are
//           longer than a span, the spans of an item are dealt out too and the thread
//           that finishes an item's last span merges them: still one barrier.
// The arithmetic is in attention_kernel.h, the cache's layout in attention.h.

#include "attention.h"

// plan makes the work list for `group` query heads a KV head; 0: out of memory.
static int plan(cpu_device *d, int group) {
    if (d->tiles_group == group)
        return 1;
    const cpu_step *s = &d->step;
    size_t n = 0;
    for (int q = 0; q < s->seqs; q++)
        n += (size_t)ceil_div((s->starts[q + 1] - s->starts[q]) * group, d->attention->queries);
    attention_tile *tiles = scratch_take(&d->tiles, n * sizeof *tiles);
    if (!tiles)
        return 0;
    d->tiles_n = 0;
    for (int q = 0; q < s->seqs; q++) {
        const int queries = (s->starts[q + 1] - s->starts[q]) * group, per = d->attention->queries;
        for (int t = ceil_div(queries, per) - 1; t >= 0; t--)
            tiles[d->tiles_n++] = (attention_tile){q, t * per, min_int(per, queries - t * per)};
    }
    d->tiles_group = group;
    return 1;
}

// spans returns how many spans the longest context of the step has that a tile
// looks at, or 0 when items alone feed the threads.
static int spans(const cpu_device *d, const cpu_kv *kv, int items, int window) {
    const int threads = pool_threads(d->pool);
    if (threads == 1 || items >= 4 * threads)
        return 0;
    int longest = 0;
    for (int q = 0; q < d->step.seqs; q++)
        longest = max_int(longest, d->step.lens[q]);
    const int b = kv->block_size, per = ceil_div(b, UNIT);
    int n = ceil_div(ceil_div(longest, b) * per, SPAN);
    if (window > 0) {
        // A tile of r rows sees window + r - 1 positions, whose blocks begin
        // anywhere in a span.
        const int64_t seen = (int64_t)window + d->attention->queries - 2;
        const int64_t most = (((seen + b - 1) / b + 1) * per + SPAN - 2) / SPAN + 1;
        n = most < n ? (int)most : n;
    }
    return n > 1 && n <= POOL_MAX_TASKS / items ? n : 0;
}

static int unit_of(const attention_job *j, int position) {
    const int b = j->kv->block_size;
    return position / b * ceil_div(b, UNIT) + position % b / UNIT;
}

void attention_look(const attention_job *j, int item, attention_view *v) {
    v->tile = &j->tiles[item % j->tiles_n];
    v->g = item / j->tiles_n;
    const cpu_step *s = j->step;
    v->blocks = s->blocks + (size_t)v->tile->seq * s->max_blocks;
    for (int r = 0; r < v->tile->count; r++) {
        const int i = v->tile->first + r;
        v->row[r] = s->starts[v->tile->seq] + i / j->group;
        v->head[r] = v->g * j->group + i % j->group;
        v->hi[r] = s->positions[v->row[r]] + 1;
        v->lo[r] = j->a.window > 0 ? max_int(0, v->hi[r] - j->a.window) : 0;
    }
    v->unit_lo = unit_of(j, v->lo[0]);
    v->unit_hi = unit_of(j, v->hi[v->tile->count - 1] - 1) + 1;
}

void attention_span(const attention_job *j, const attention_view *v, int span, attention_units *k) {
    const int b = j->kv->block_size, per = ceil_div(b, UNIT);
    const size_t size = unit_bytes(j->bf16, j->a.head_dim);
    k->n = 0;
    k->next = NULL;
    k->lo = v->lo[0];
    k->hi = v->hi[v->tile->count - 1];
    for (int u = max_int(span * SPAN, v->unit_lo); u < min_int((span + 1) * SPAN, v->unit_hi); u++, k->n++) {
        k->unit[k->n] = j->layer + (((size_t)v->blocks[u / per] * j->kv->kv_heads + v->g) * per + u % per) * size;
        k->start[k->n] = u / per * b + u % per * UNIT;
        k->tokens[k->n] = min_int(UNIT, b - u % per * UNIT);
    }
}

void attention_start(const attention_job *j, attention_walk *w, int item, int end) {
    w->item = item;
    w->end = end;
    w->units.n = 0;
    if (item == end)
        return;
    attention_look(j, item, &w->view);
    w->span = w->view.unit_lo / SPAN;
    attention_span(j, &w->view, w->span, &w->units);
}

void attention_next(const attention_job *j, attention_walk *w) {
    if (++w->span * SPAN < w->view.unit_hi)
        attention_span(j, &w->view, w->span, &w->units);
    else
        attention_start(j, w, w->item + 1, w->end);
}

static void attention_task(void *arg, int task, int worker) {
    const attention_job *j = arg;
    j->kind->run(j, task, worker);
}

int cpu_attention(cpu_device *d, float *out, const float *qkv, const cpu_kv *kv, int layer, cpu_attn a) {
    const int group = a.heads / a.kv_heads, threads = pool_threads(d->pool);
    if (!plan(d, group))
        return 0;
    const int items = d->tiles_n * a.kv_heads;
    attention_job j = {
        .kind = d->attention,
        .qkv = qkv,
        .out = out,
        .layer = (char *)kv->data + (size_t)layer * layer_bytes(d->bf16, kv),
        .kv = kv,
        .step = &d->step,
        .a = a,
        .bf16 = d->bf16,
        .group = group,
        .tiles = d->tiles.data,
        .tiles_n = d->tiles_n,
        .spans = spans(d, kv, items, a.window),
    };
    // Scratch: each thread's queries and two sets of sums; the spans' sums; the counters.
    j.work_floats = query_floats(a.head_dim) + 2 * partial_floats(a.head_dim);
    const size_t work = (size_t)threads * j.work_floats;
    const size_t partials = (size_t)items * j.spans * partial_floats(a.head_dim);
    j.work = scratch_take(&d->partials, (work + partials) * sizeof(float) + (size_t)items * sizeof *j.finished);
    if (!j.work)
        return 0;
    j.partials = j.work + work;
    j.finished = (_Atomic int32_t *)(j.partials + partials);
    if (j.spans) {
        for (int i = 0; i < items; i++)
            atomic_init(&j.finished[i], 0);
        pool_run(d->pool, attention_task, &j, items * j.spans);
        return 1;
    }
    int64_t seen = 0;
    for (int q = 0; q < d->step.seqs; q++) {
        const int len = d->step.lens[q], most = a.window > 0 ? min_int(len, a.window) : len;
        seen += (int64_t)(d->step.starts[q + 1] - d->step.starts[q]) * most;
    }
    j.pieces = pieces(d, items, 2 * seen * a.heads * a.head_dim);
    pool_run(d->pool, attention_task, &j, j.pieces);
    return 1;
}
