// internal.h: what the C files of this package share.
#ifndef SERVEBENCH_CPU_INTERNAL_H
#define SERVEBENCH_CPU_INTERNAL_H

#include "cpu.h"
#include "pool.h"

// PANEL outputs are packed side by side: [N/PANEL][K…][PANEL]. A 64-byte line
// holds one float32 term, or one pair of bfloat16 terms, of a panel.
#define PANEL 16

// One MatMul. Rows are cut into tiles; x of a tile lies term by term, its rows
// side by side: [k][rows of the tile] float32, or [k/2][rows][2] bfloat16.
typedef struct {
    const void *x;      // the tile's
    const void *w;      // first panel of the group
    size_t panel_bytes; // from one panel to the next
    const char *ahead;  // weights that are needed next, to be asked for meanwhile:
    int ahead_step;     // at most 128 bytes a line of w; 0: none
    int k;              // terms; even for bfloat16 matrices (zero padded)
    const float *bias;  // [cols] or NULL
    float *out;         // the tile's first row, the group's first column
    size_t out_stride;  // floats
    int cols;           // columns of out that exist; fewer than 16 a panel at the end
} matmul_tile;

typedef void (*matmul_fn)(const matmul_tile *t);

#define MAX_TILE 14 // rows of a tile, at most

// How an instruction set multiplies one kind of matrix. Row counts that come
// from cutting more than `single` rows into tiles of at most `many` all have the
// same group. pack lays `rows` rows of x [rows, k] out as a tile of k_pad terms.
typedef struct {
    int x_bytes;              // of a term of x: 4 (float32) or 2 (bfloat16)
    int single;               // up to so many rows go in one tile
    int many;                 // more rows go in tiles of at most so many
    int panels[MAX_TILE + 1]; // panels in a group, by the rows of the tile
    matmul_fn group[MAX_TILE + 1];
    matmul_fn one[MAX_TILE + 1]; // a single panel, for what is left over
    void (*pack)(void *tile, const float *x, int k, int k_pad, int rows);
} matmul_kind;

// Row kernels work on rows [lo, hi).
typedef struct {
    float *out, *x;
    const float *delta, *weight, *bias;
    float eps;
    int mean, width;
} norm_job;

typedef struct {
    float *out;
    const float *x;
    int act, gated, width;
} activate_job;

typedef struct {
    float *qkv;
    const cpu_kv *kv;
    char *layer; // the cache's
    int bf16, rope_dims;
    const float *table;
    cpu_attn a;
    const int32_t *positions, *slots;
} store_job;

typedef struct attention_job attention_job;

// How an instruction set computes attention.
typedef struct {
    int queries; // rows × heads in a tile
    void (*run)(const attention_job *j, int task, int worker);
} attention_kind;

// An instruction set.
typedef struct {
    matmul_kind f32, bf16;
    attention_kind attention; // of either dtype
    void (*norm)(const norm_job *j, int lo, int hi);
    void (*activate)(const activate_job *j, int lo, int hi);
    void (*add)(float *out, const float *x, const float *y, size_t n);
    void (*store_kv)(const store_job *j, int lo, int hi);
    void (*vexp)(float *dst, const float *src, int n);
} isa;

extern const isa isa_avx512, isa_avx2;
extern const matmul_kind matmul_avx512bf16;
extern const attention_kind attention_avx512bf16;

// Scratch memory that grows and never shrinks.
typedef struct {
    void *data;
    size_t bytes;
} scratch;

typedef struct block {
    struct block *next;
    void *data;
    size_t bytes;
} block;

struct cpu_device {
    pool *pool;
    const isa *isa;
    const matmul_kind *matmul;       // for the device's dtype
    const attention_kind *attention; // for the device's dtype
    int bf16;                        // dtype
    block *blocks;                   // of cpu_alloc
    char *chunk;                     // of cpu_alloc, for small pieces: the rest of it
    size_t chunk_left;
    cpu_step step;
    scratch step_mem;   // the step's arrays
    scratch x;          // MatMul's input tiles
    scratch tiles;      // Attention's work list
    scratch partials;   // Attention's sums of pieces of a context
    int tiles_n;        // entries of tiles,
    int tiles_group;    // made for so many query heads a KV head; 0: not yet in this step
};

// scratch_take returns at least bytes of 64-byte aligned memory, or NULL.
void *scratch_take(scratch *s, size_t bytes);

// pieces is how many tasks n units of `work` (multiply-adds or so) are worth.
int pieces(const cpu_device *d, int64_t n, int64_t work);

static inline int ceil_div(int a, int b) { return (int)(((int64_t)a + b - 1) / b); }
static inline int min_int(int a, int b) { return a < b ? a : b; }
static inline int max_int(int a, int b) { return a > b ? a : b; }

// span returns where piece i of n items cut in `pieces` begins.
static inline int span(int64_t n, int i, int pieces) { return (int)(n * i / pieces); }

// bf16_round rounds to nearest, ties to even; a NaN stays a quiet NaN.
static inline uint16_t bf16_round(float f) {
    union {
        float f;
        uint32_t u;
    } v = {f};
    if (f != f)
        return (uint16_t)(v.u >> 16 | 0x40);
    return (uint16_t)((v.u + 0x7fff + (v.u >> 16 & 1)) >> 16);
}

static inline float bf16_widen(uint16_t h) {
    union {
        uint32_t u;
        float f;
    } v = {(uint32_t)h << 16};
    return v.f;
}

#endif
