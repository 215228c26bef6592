//go:build cgo && linux && amd64

// rows.c: deals the rows of the small operations out to threads.
//
// Purpose   embed, norm, activate, add, gather and store_kv. The arithmetic is in
//           rows_kernel.h and store_kernel.h; embed and gather only copy and add.
// Threads   a row belongs to one thread; few short rows stay on the caller, as a
//           barrier costs more than they do.
// Bound by  memory (cache). Embed reads a packed matrix across its panels, a cache
//           line a term pair: some 20 µs a token from memory for D = 768, against a
//           second copy of the matrix that a tied head would need otherwise.

#include "attention.h"

// COST is the work of an element in units of `pieces`.
enum { COST_NORM = 4, COST_ACTIVATE = 8, COST_STORE = 8, COST_EMBED = 16 };

typedef struct {
    const cpu_device *d;
    int rows, pieces;
    int by; // rows that stay together; 0: each by itself
    norm_job norm;
    activate_job activate;
    store_job store;
    float *out;
    const float *x, *y;
    int width;
    const cpu_weight *tokens, *positions;
} rows_job;

static int lo(const rows_job *j, int task) {
    if (j->by == 0)
        return span(j->rows, task, j->pieces);
    return min_int(j->rows, span(ceil_div(j->rows, j->by), task, j->pieces) * j->by);
}

static int hi(const rows_job *j, int task) { return lo(j, task + 1); }

static void norm_task(void *arg, int task, int worker) {
    (void)worker;
    const rows_job *j = arg;
    j->d->isa->norm(&j->norm, lo(j, task), hi(j, task));
}

void cpu_norm(cpu_device *d, float *out, float *x, const float *delta, const float *weight, const float *bias,
              float eps, int mean, int rows, int width) {
    rows_job j = {.d = d, .rows = rows, .norm = {out, x, delta, weight, bias, eps, mean, width}};
    j.pieces = pieces(d, rows, (int64_t)rows * width * COST_NORM);
    pool_run(d->pool, norm_task, &j, j.pieces);
}

static void activate_task(void *arg, int task, int worker) {
    (void)worker;
    const rows_job *j = arg;
    j->d->isa->activate(&j->activate, lo(j, task), hi(j, task));
}

void cpu_activate(cpu_device *d, float *out, const float *x, int act, int gated, int rows, int width) {
    rows_job j = {.d = d, .rows = rows, .activate = {out, x, act, gated, width}};
    j.pieces = pieces(d, rows, (int64_t)rows * width * COST_ACTIVATE);
    pool_run(d->pool, activate_task, &j, j.pieces);
}

static void add_task(void *arg, int task, int worker) {
    (void)worker;
    const rows_job *j = arg;
    size_t from = (size_t)lo(j, task) * j->width, to = (size_t)hi(j, task) * j->width;
    j->d->isa->add(j->out + from, j->x + from, j->y + from, to - from);
}

void cpu_add(cpu_device *d, float *x, const float *y, int rows, int width) {
    rows_job j = {.d = d, .rows = rows, .out = x, .x = x, .y = y, .width = width};
    j.pieces = pieces(d, rows, (int64_t)rows * width);
    pool_run(d->pool, add_task, &j, j.pieces);
}

static void copy(float *out, const float *x, int n) {
    for (int i = 0; i < n; i++)
        out[i] = x[i];
}

static void gather_task(void *arg, int task, int worker) {
    (void)worker;
    const rows_job *j = arg;
    for (int i = lo(j, task); i < hi(j, task); i++) {
        float *out = j->out + (size_t)i * j->width;
        const size_t from = (size_t)j->d->step.out[i] * j->width;
        if (j->y)
            j->d->isa->add(out, j->x + from, j->y + from, (size_t)j->width);
        else
            copy(out, j->x + from, j->width);
    }
}

void cpu_gather(cpu_device *d, float *out, const float *x, const float *delta, int width) {
    rows_job j = {.d = d, .rows = d->step.out_n, .out = out, .x = x, .y = delta, .width = width};
    j.pieces = pieces(d, j.rows, (int64_t)j.rows * width);
    pool_run(d->pool, gather_task, &j, j.pieces);
}

static void store_task(void *arg, int task, int worker) {
    (void)worker;
    const rows_job *j = arg;
    j->d->isa->store_kv(&j->store, lo(j, task), hi(j, task));
}

void cpu_store_kv(cpu_device *d, float *qkv, const cpu_kv *kv, int layer, int rope_dims, const float *table,
                  cpu_attn a) {
    const cpu_step *s = &d->step;
    char *at = (char *)kv->data + (size_t)layer * layer_bytes(d->bf16, kv);
    rows_job j = {
        .d = d,
        .rows = s->tokens_n,
        .store = {qkv, kv, at, d->bf16, rope_dims, table, a, s->positions, s->slots},
    };
    // A unit of the cache is stored whole where one thread has all its rows.
    j.by = j.rows >= 4 * UNIT * pool_threads(d->pool) ? UNIT : 1;
    j.pieces = pieces(d, ceil_div(j.rows, j.by), (int64_t)j.rows * (a.heads + 2 * a.kv_heads) * a.head_dim * COST_STORE);
    pool_run(d->pool, store_task, &j, j.pieces);
}

// row copies row n of a matrix or table, or adds it to out.
static void row(float *out, const cpu_weight *w, int32_t n, int bf16, int add) {
    if (!w->packed) {
        const float *from = (const float *)w->data + (size_t)n * w->k;
        for (int i = 0; i < w->k; i++)
            out[i] = add ? out[i] + from[i] : from[i];
        return;
    }
    const int k_pad = bf16 ? w->k + w->k % 2 : w->k;
    const size_t first = (size_t)(n / PANEL) * k_pad * PANEL; // element of the panel
    const uint16_t *half = (const uint16_t *)w->data + first + n % PANEL * 2;
    const float *full = (const float *)w->data + first + n % PANEL;
    for (int i = 0; i < w->k; i++) {
        float v = bf16 ? bf16_widen(half[(size_t)(i / 2) * 2 * PANEL + i % 2]) : full[(size_t)i * PANEL];
        out[i] = add ? out[i] + v : v;
    }
}

static void embed_task(void *arg, int task, int worker) {
    (void)worker;
    const rows_job *j = arg;
    const cpu_step *s = &j->d->step;
    for (int t = lo(j, task); t < hi(j, task); t++) {
        float *out = j->out + (size_t)t * j->width;
        row(out, j->tokens, s->tokens[t], j->d->bf16, 0);
        if (j->positions)
            row(out, j->positions, s->positions[t], j->d->bf16, 1);
    }
}

void cpu_embed(cpu_device *d, float *out, const cpu_weight *tokens, const cpu_weight *positions) {
    rows_job j = {
        .d = d, .rows = d->step.tokens_n, .out = out, .width = tokens->k, .tokens = tokens, .positions = positions};
    j.pieces = pieces(d, j.rows, (int64_t)j.rows * tokens->k * COST_EMBED);
    pool_run(d->pool, embed_task, &j, j.pieces);
}
