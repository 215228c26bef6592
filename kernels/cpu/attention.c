//go:build cgo && linux && amd64

// attention.c: cuts an Attention into tiles and deals them out.
//
// Purpose   one work list a step (the same for all layers) of tiles of up to
//           isa.queries queries that share a sequence and a KV head.
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
        n += (size_t)ceil_div((s->starts[q + 1] - s->starts[q]) * group, d->isa->queries);
    attention_tile *tiles = scratch_take(&d->tiles, n * sizeof *tiles);
    if (!tiles)
        return 0;
    d->tiles_n = 0;
    for (int q = 0; q < s->seqs; q++) {
        const int queries = (s->starts[q + 1] - s->starts[q]) * group, per = d->isa->queries;
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
        const int64_t seen = (int64_t)window + d->isa->queries - 2;
        const int64_t most = (((seen + b - 1) / b + 1) * per + SPAN - 2) / SPAN + 1;
        n = most < n ? (int)most : n;
    }
    return n > 1 && n <= POOL_MAX_TASKS / items ? n : 0;
}

static void attention_task(void *arg, int task, int worker) {
    const attention_job *j = arg;
    j->isa->attention(j, task, worker);
}

int cpu_attention(cpu_device *d, float *out, const float *qkv, const cpu_kv *kv, int layer, cpu_attn a) {
    const int group = a.heads / a.kv_heads, threads = pool_threads(d->pool);
    if (!plan(d, group))
        return 0;
    const int items = d->tiles_n * a.kv_heads;
    attention_job j = {
        .isa = d->isa,
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
