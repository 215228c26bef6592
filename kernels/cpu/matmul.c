//go:build cgo && linux && amd64

// matmul.c: cuts a MatMul into tiles and deals them out.
//
// Purpose   out = x·Wᵀ (+ bias) for x [rows, K], packed w [N, K], out [rows, N].
// Shapes    tiles of up to matmul_kind.single rows; more rows are cut evenly in tiles
//           of up to .many. The outputs are cut in groups of panels.
// Threads   a task is a range of groups, for all rows or, where there are more
//           threads than groups can feed, for a range of tiles. The weights of a group
//           are read from memory once and stay in the cache for the other tiles.
// Scratch   x is laid out in tiles (rounded, where the device is bfloat16). Up to OWN_ROWS
//           rows each thread does that for itself: no barrier, and what it writes was
//           not last read by another core, which would have to give up every line of
//           it first (16 rows of GPT-2 took 40 µs a layer of one thread that way, 12 of
//           each this way). More rows are laid out once, by all threads together.

#include "internal.h"

typedef struct {
    cpu_device *d;
    const matmul_kind *kind;
    float *out;
    const float *x, *bias;
    const cpu_weight *w;
    int rows, tiles, k_pad;
    char *packed; // x in tiles, or each thread's, behind its `laid` flag
    size_t own;   // bytes from one thread's to the next's; 0: there is one for all
    int group;    // panels
    int group_pieces, tile_pieces;
    int pack_pieces;
} matmul_job;

#define OWN_ROWS 32
#define LINE 64

// lay_out lays tiles [from, to) of x out behind `packed`.
static void lay_out(const matmul_job *j, char *packed, int from, int to) {
    const int k = j->w->k;
    for (int t = from; t < to; t++) {
        const int lo = span(j->rows, t, j->tiles), hi = span(j->rows, t + 1, j->tiles);
        j->kind->pack(packed + (size_t)lo * j->k_pad * j->kind->x_bytes, j->x + (size_t)lo * k, k, j->k_pad, hi - lo);
    }
}

static void pack_task(void *arg, int task, int worker) {
    (void)worker;
    const matmul_job *j = arg;
    lay_out(j, j->packed, span(j->tiles, task, j->pack_pieces), span(j->tiles, task + 1, j->pack_pieces));
}

// tiles returns x in tiles as a thread is to read them.
static const char *tiles(const matmul_job *j, int worker) {
    if (!j->own)
        return j->packed;
    char *laid = j->packed + (size_t)worker * j->own;
    if (!*laid) {
        lay_out(j, laid + LINE, 0, j->tiles);
        *laid = 1;
    }
    return laid + LINE;
}

// look_ahead has the `done`-th tile of a group ask for its share of the next group.
static void look_ahead(matmul_tile *tile, const matmul_job *j, int g, int done, int groups) {
    const size_t lines = tile->panel_bytes / 64, group = tile->panel_bytes * j->group;
    // Three panels by the time the second tile ends, and no sooner: asking for more
    // at once makes both cores wait for memory, and later have it idle.
    const int step = j->tiles > 1 ? 96 : 128;
    const size_t from = (size_t)done * lines * (size_t)step;
    tile->ahead_step = from < group && g + 1 < groups ? step : 0;
    tile->ahead = (const char *)j->w->data + (size_t)(g + 1) * group + from;
}

static void multiply_task(void *arg, int task, int worker) {
    const matmul_job *j = arg;
    const char *packed = tiles(j, worker);
    const int n = j->w->n, panels = ceil_div(n, PANEL), groups = ceil_div(panels, j->group);
    const int gi = task / j->tile_pieces, ti = task % j->tile_pieces;
    const int t_lo = span(j->tiles, ti, j->tile_pieces), t_hi = span(j->tiles, ti + 1, j->tile_pieces);
    matmul_tile tile = {
        .panel_bytes = (size_t)j->k_pad * (j->d->bf16 ? 2 : 4) * PANEL,
        .k = j->k_pad,
        .out_stride = (size_t)n,
    };
    for (int g = span(groups, gi, j->group_pieces); g < span(groups, gi + 1, j->group_pieces); g++) {
        for (int t = t_lo; t < t_hi; t++) {
            const int lo = span(j->rows, t, j->tiles), rows = span(j->rows, t + 1, j->tiles) - lo;
            const int whole = (g + 1) * j->group <= panels;
            look_ahead(&tile, j, g, t - t_lo, groups);
            tile.x = packed + (size_t)lo * j->k_pad * j->kind->x_bytes;
            // A group that is short of panels is done one by one.
            for (int p = g * j->group; p < min_int((g + 1) * j->group, panels); p += whole ? j->group : 1) {
                tile.w = (const char *)j->w->data + (size_t)p * tile.panel_bytes;
                tile.bias = j->bias ? j->bias + (size_t)p * PANEL : NULL;
                tile.out = j->out + (size_t)lo * n + (size_t)p * PANEL;
                tile.cols = n - p * PANEL;
                (whole ? j->kind->group : j->kind->one)[rows](&tile);
            }
        }
    }
}

int cpu_matmul(cpu_device *d, float *out, const float *x, const cpu_weight *w, const float *bias, int rows) {
    if (rows == 0)
        return 1;
    const matmul_kind *kind = d->matmul;
    matmul_job j = {.d = d, .kind = kind, .out = out, .x = x, .bias = bias, .w = w, .rows = rows};
    j.tiles = rows <= kind->single ? 1 : ceil_div(rows, kind->many);
    j.k_pad = d->bf16 ? w->k + w->k % 2 : w->k;
    const int threads = pool_threads(d->pool);
    const size_t bytes = ((size_t)rows * j.k_pad * kind->x_bytes + LINE - 1) & ~(size_t)(LINE - 1);
    if (rows <= OWN_ROWS)
        j.own = LINE + bytes;
    j.packed = scratch_take(&d->x, j.own ? (size_t)threads * j.own : bytes);
    if (!j.packed)
        return 0;
    for (int i = 0; j.own && i < threads; i++)
        j.packed[(size_t)i * j.own] = 0;
    if (!j.own) {
        j.pack_pieces = pieces(d, j.tiles, (int64_t)rows * w->k);
        pool_run(d->pool, pack_task, &j, j.pack_pieces);
    }

    j.group = kind->panels[rows / j.tiles]; // the same for a tile of one row more
    const int groups = ceil_div(ceil_div(w->n, PANEL), j.group);
    j.group_pieces = pieces(d, groups, (int64_t)w->n * w->k * ceil_div(rows, 8));
    j.tile_pieces = pieces(d, min_int(j.tiles, ceil_div(4 * pool_threads(d->pool), j.group_pieces)),
                           (int64_t)w->n * w->k * rows);
    pool_run(d->pool, multiply_task, &j, j.group_pieces * j.tile_pieces);
    return 1;
}
