// attention.h: the paged cache's layout, and one Attention call.
//
// A layer is [blocks][G][ceil(B/16)] units. A unit is the 16 (fewer at the end
// of a block) consecutive tokens of one KV head, both parts made of the pairs
// that vec_avx512.h explains:
//   keys    [ceil(E/2)]      pairs of head elements,  16 tokens wide
//   values  [ceil(E/16)][8]  pairs of tokens,         16 head elements wide
// so that q·K and p·V are the same broadcast-and-add as a packed matrix, for any
// E. Elements past E are zero from the start and stay so; what lies in the
// tokens past a sequence's end is never used in arithmetic.
#ifndef SERVEBENCH_CPU_ATTENTION_H
#define SERVEBENCH_CPU_ATTENTION_H

#include <stdatomic.h>

#include "internal.h"

#define UNIT 16 // tokens of a unit

// SPAN units of a sequence's context are summed from zero before they are
// merged with the units before them. Where spans begin depends on positions
// alone, so that a context may be shared out between threads at these borders
// without changing a bit of the result.
#define SPAN 16

// MAX_QUERIES bounds the rows × heads of a tile.
#define MAX_QUERIES 8

static inline size_t pair_bytes(int bf16) { return bf16 ? 64 : 128; }
static inline size_t key_bytes(int bf16, int e) { return (size_t)ceil_div(e, 2) * pair_bytes(bf16); }
static inline size_t value_bytes(int bf16, int e) { return (size_t)ceil_div(e, 16) * 8 * pair_bytes(bf16); }
static inline size_t unit_bytes(int bf16, int e) { return key_bytes(bf16, e) + value_bytes(bf16, e); }

static inline size_t layer_bytes(int bf16, const cpu_kv *kv) {
    return (size_t)kv->blocks * kv->kv_heads * ceil_div(kv->block_size, UNIT) * unit_bytes(bf16, kv->head_dim);
}

// Queries [first, first+count) of a sequence: query i is row i/(H/G) of the
// sequence, head i%(H/G) of those that share a KV head.
typedef struct {
    int32_t seq, first, count;
} attention_tile;

// A tile of one KV head and what its queries see.
typedef struct {
    const attention_tile *tile;
    const int32_t *blocks; // of the sequence
    int g;                 // KV head
    int row[MAX_QUERIES], head[MAX_QUERIES];
    int lo[MAX_QUERIES], hi[MAX_QUERIES]; // positions
    int unit_lo, unit_hi;                 // units, counted over the sequence
} attention_view;

// The units of a span that a tile looks at.
typedef struct attention_units {
    const char *unit[SPAN];
    int start[SPAN];  // position of the first token
    int tokens[SPAN]; // that the unit has room for
    int n;
    int lo, hi; // positions that some query of the tile sees
    const struct attention_units *next; // that are looked at after these; NULL: not known
} attention_units;

// A walk over the spans of items [item, end), one item after the other.
typedef struct {
    int item, end, span;
    attention_view view;   // of the item
    attention_units units; // of the span; item is end when there is no more
} attention_walk;

struct attention_job {
    const attention_kind *kind;
    const float *qkv;
    float *out;
    const char *layer; // the cache's
    const cpu_kv *kv;
    const cpu_step *step;
    cpu_attn a;
    int bf16, group;             // group: H/G
    const attention_tile *tiles; // [tiles_n]
    int tiles_n;

    // A context in one piece: tasks are ranges of the tiles_n × G items.
    int pieces;
    float *work;         // [threads] of work_floats
    size_t work_floats;

    // A context in spans: tasks are items × spans; the last one to end of an
    // item merges them. spans is 0 otherwise.
    int spans;
    float *partials;           // [items][spans] of partial_floats
    _Atomic int32_t *finished; // [items] spans
};

// Floats of the sums of a tile: largest score and sum of weights of each
// query, then the weighted values [queries][ceil(E/16)·16].
static inline size_t partial_floats(int e) { return MAX_QUERIES * (2 + (size_t)ceil_div(e, 16) * 16); }

// attention_look fills in what the queries of an item (tile × KV head) see.
void attention_look(const attention_job *j, int item, attention_view *v);

// attention_span lists the units of a span that they look at.
void attention_span(const attention_job *j, const attention_view *v, int span, attention_units *k);

// attention_start begins a walk, attention_next goes to its next span.
void attention_start(const attention_job *j, attention_walk *w, int item, int end);
void attention_next(const attention_job *j, attention_walk *w);

// Floats of a tile's queries: [2·ceil(E/2)][queries].
static inline size_t query_floats(int e) { return MAX_QUERIES * 2 * (size_t)ceil_div(e, 2); }

#endif
