//go:build cgo && linux && amd64

// matmul.c: cuts a MatMul into tiles and deals them out.
//
// Purpose   out = x·Wᵀ (+ bias) for x [rows, K], packed w [N, K], out [rows, N].
// Shapes    tiles of up to matmul_kind.single rows; more rows are cut evenly in tiles
//           of up to .many. The outputs are cut in groups of panels.
// Threads   a task is a range of groups, for all rows or, where there are more
//           threads than groups can feed, for a range of tiles. The weights of a group
//           are read from memory once and stay in the cache for the other tiles.
// Scratch   x is laid out in tiles (rounded, where the device is bfloat16) once a call,
//           by all threads when it is large.

#include "internal.h"

typedef struct {
    cpu_device *d;
    const matmul_kind *kind;
    float *out;
    const float *x, *bias;
    const cpu_weight *w;
    int rows, tiles, k_pad;
    char *packed; // x in tiles
    int group;    // panels
    int group_pieces, tile_pieces;
    int pack_pieces;
} matmul_job;

static void pack_task(void *arg, int task, int worker) {
    (void)worker;
    const matmul_job *j = arg;
    const int k = j->w->k;
    for (int t = span(j->tiles, task, j->pack_pieces); t < span(j->tiles, task + 1, j->pack_pieces); t++) {
        int lo = span(j->rows, t, j->tiles), hi = span(j->rows, t + 1, j->tiles);
        j->kind->pack(j->packed + (size_t)lo * j->k_pad * j->kind->x_bytes, j->x + (size_t)lo * k, k, j->k_pad,
                      hi - lo);
    }
}

// look_ahead has the `done`-th tile of a group ask for its share of the next group.
static void look_ahead(matmul_tile *tile, const matmul_job *j, int g, int done, int groups) {
    const size_t lines = tile->panel_bytes / 64, group = tile->panel_bytes * j->group;
    const size_t from = (size_t)done * lines * AHEAD;
    tile->ahead_step = from < group && g + 1 < groups ? AHEAD : 0;
    tile->ahead = (const char *)j->w->data + (size_t)(g + 1) * group + from;
}

static void multiply_task(void *arg, int task, int worker) {
    (void)worker;
    const matmul_job *j = arg;
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
            tile.x = j->packed + (size_t)lo * j->k_pad * j->kind->x_bytes;
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
    j.packed = scratch_take(&d->x, (size_t)rows * j.k_pad * kind->x_bytes);
    if (!j.packed)
        return 0;
    j.pack_pieces = pieces(d, j.tiles, (int64_t)rows * w->k);
    pool_run(d->pool, pack_task, &j, j.pack_pieces);

    j.group = kind->panels[rows / j.tiles]; // the same for a tile of one row more
    const int groups = ceil_div(ceil_div(w->n, PANEL), j.group);
    j.group_pieces = pieces(d, groups, (int64_t)w->n * w->k * ceil_div(rows, 8));
    j.tile_pieces = pieces(d, min_int(j.tiles, ceil_div(4 * pool_threads(d->pool), j.group_pieces)),
                           (int64_t)w->n * w->k * rows);
    pool_run(d->pool, multiply_task, &j, j.group_pieces * j.tile_pieces);
    return 1;
}
