// attention_prefill.cu: attention of sequences with more than one row in the step.
//
// Purpose   out[t,h,:] = softmax(q[t,h,:]·Kᵀ·scale)·V over the positions that row t
//           sees, in bfloat16 or float16 with heads of up to 128 elements.
// Inputs    qkv [T, (H+2G)·E] float32, of which the queries are read, rounded to T;
//           keys and values of a layer [blocks, G, B, E'], any B; StepView.tiles.
// Output    out [T, H·E] float32, the tiles' rows.
// Grid      (H, tiles) blocks of 4 warps: one tile of 64 rows (kPrefillRows) and head
//           each, 16 rows a warp. Heads that share keys run side by side and find them
//           in the second-level cache; the tile list is taken from its end, as the last
//           tile of a prompt has the most to look at.
// Steps     keys and values of 64 positions, from a multiple of 64 on, come to shared
//           memory by cp.async while the 64 before them are worked on (two stages, one
//           barrier each); attention.cuh has what is done with them. Queries stay in
//           registers. Warps leave out what lies wholly behind their rows or before their
//           windows, and compare positions only at those edges.
// Shared    512·(width+8) + 512 bytes, 70,144 at width 128; 16-byte rows. Blocks on a
//           multiprocessor: 2 on an A100 or H100 (of 212 to 222 registers a thread, 152 at
//           width 64), 1 where there are 100 KB.
// Sums      scores and sums float32; weights are rounded to T, and so summed (FlashAttention,
//           Dao et al. 2022 and 2023, has the order of the work; scores never leave the
//           registers). 64 positions after the other: a row's bits do not depend on the
//           tile or the chunk that it is in.
// Roofline  Llama-2-7B (H = G = 32, E = 128), a prompt of 2,048, a layer: 34.4 GFLOP, of
//           which whole tiles make 35.5: 0.11 ms on an A100, 35 µs on an H100 at the peak of
//           their tensor cores. Memory: queries and results 67 MB, keys and values 34 MB:
//           50 and 30 µs. With 16 rows a warp each 512 bytes that ldmatrix reads feed two
//           products: 4 cycles of shared memory for 4 of an A100's tensor cores, 2 of an
//           H100's, so that an H100 gives at most half its peak (71 µs). Beside that, every
//           score takes an exponential and about ten other instructions: 0.2 ms and 0.11 ms
//           are expected. A prompt's products take 27 TFLOP, so that this is 5% of it.
//           Mistral-7B (H = 32, G = 8), 8,192 tokens, window 4,096: 412 GFLOP, 1.3 and 0.42 ms
//           at peak; a quarter of the keys and values.
#include "attention.cuh"

namespace sbc {

constexpr int kPrefillWarps = kPrefillRows / kQueries;
constexpr int kPrefillThreads = kPrefillWarps * kWarp;
constexpr int kKeys = 64; // positions looked at together

// Looked is what a tile's rows see between them: positions [lo, hi) of a key head.
struct Looked {
    const int32_t *table;
    int32_t lo, hi, kv_head;
};

// find_rows writes where in the cache the positions of the t-th 64 lie; -1 where the
// tile does not look.
static __device__ __forceinline__ void find_rows(int32_t *rows, const CacheView &kv, const Looked &l, int t) {
    const int thread = threadIdx.x, position = t * kKeys + thread;
    if (thread >= kKeys) return;
    rows[thread] = position >= l.lo && position < l.hi ? cache_row(kv, l.table, l.kv_head, position) : -1;
}

// copy_rows has the block start the copies of 64 keys and values to a stage, zeros
// where rows says -1.
template <typename T, int width>
static __device__ __forceinline__ void copy_rows(T *stage, const CacheView &kv, const int32_t *rows) {
    constexpr int stride = width + kSkew, chunks = width / kChunk;
    static_assert(kKeys * chunks % kPrefillThreads == 0, "every thread copies as much");
    const T *keys = static_cast<const T *>(kv.keys), *values = static_cast<const T *>(kv.values);
#pragma unroll
    for (int i = 0; i < kKeys * chunks / kPrefillThreads; i++) {
        const int at = threadIdx.x + i * kPrefillThreads, r = at / chunks, e = at % chunks * kChunk;
        const bool there = rows[r] >= 0 && e < kv.padded;
        const int64_t from = there ? int64_t(rows[r]) * kv.padded + e : 0;
        cp_async16(stage + r * stride + e, keys + from, there);
        cp_async16(stage + (kKeys + r) * stride + e, values + from, there);
    }
}

// Edge is which positions the lane's two rows see, and all of the warp's.
struct Edge {
    int32_t first[2], last[2]; // by halves
    int32_t lo, hi;            // [lo, hi) some row sees
    int32_t all_lo, all_hi;    // [all_lo, all_hi) every row sees
};

static __device__ __forceinline__ Edge edge_of(const Tile &tile, int window) {
    const int lane = threadIdx.x % kWarp, warp_row = threadIdx.x / kWarp * kQueries;
    const int rows = min(kQueries, tile.rows - warp_row), position = tile.position + warp_row;
    Edge e;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        e.last[half] = position + lane / 4 + 8 * half;
        e.first[half] = window > 0 ? e.last[half] - window + 1 : 0;
    }
    e.lo = window > 0 ? position - window + 1 : 0;
    e.hi = rows > 0 ? position + rows : 0; // no row: nothing
    e.all_lo = window > 0 ? position + rows - window : 0;
    e.all_hi = position + 1;
    return e;
}

// write_rows divides by the weights' sums and writes the warp's rows of out, which
// points to the head's elements of the tile's first row.
template <int width>
static __device__ __forceinline__ void write_rows(float *out, int64_t stride, int rows, int head_dim, const Sums<width> &r) {
    const int lane = threadIdx.x % kWarp;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const float inverse = 1 / quad_sum(r.sum[half]);
        const int row = threadIdx.x / kWarp * kQueries + lane / 4 + 8 * half;
        if (row >= rows) continue;
        float *to = out + row * stride;
#pragma unroll
        for (int n = 0; n < width / 8; n++) {
            const int e = 8 * n + 2 * (lane % 4);
            const float2 pair = make_float2(r.acc[n][2 * half] * inverse, r.acc[n][2 * half + 1] * inverse);
            if (e + 1 < head_dim && head_dim % 2 == 0) { // 8 bytes are aligned
                *reinterpret_cast<float2 *>(to + e) = pair;
                continue;
            }
            if (e < head_dim) to[e] = pair.x;
            if (e + 1 < head_dim) to[e + 1] = pair.y;
        }
    }
}

template <typename T, int width>
static __global__ void __launch_bounds__(kPrefillThreads, 2)
    attention_prefill_kernel(float *out, const float *qkv, StepView step, CacheView kv, sbc_attn a) {
    constexpr int stride = width + kSkew, stage = 2 * kKeys * stride; // elements of a stage
    static_assert(kPrefillRows <= 2 * kKeys, "queries pass through a stage");
    SBC_DYNAMIC_SHARED(bytes);
    SBC_SHARED(int32_t, rows, 2 * kKeys);
    T *stages = reinterpret_cast<T *>(bytes);

    const Tile tile = step.tiles[gridDim.y - 1 - blockIdx.y];
    const int head = blockIdx.x;
    Looked look;
    look.table = step.blocks + int64_t(tile.seq) * step.stride;
    look.kv_head = head / (a.heads / a.kv_heads);
    look.lo = a.window > 0 ? max(0, tile.position - a.window + 1) : 0;
    look.hi = tile.position + tile.rows;
    const int first = look.lo / kKeys, end = ceil_div(look.hi, kKeys);
    find_rows(rows + first % 2 * kKeys, kv, look, first);
    if (first + 1 < end) find_rows(rows + (first + 1) % 2 * kKeys, kv, look, first + 1);
    __syncthreads();
    copy_rows<T, width>(stages + first % 2 * stage, kv, rows + first % 2 * kKeys);
    cp_async_commit();

    // The queries pass through the stage that is not used yet.
    T *queries = stages + (first + 1) % 2 * stage;
    const int64_t row_width = int64_t(a.heads + 2 * a.kv_heads) * a.head_dim;
    stage_queries<T, width>(queries, kPrefillRows, qkv + tile.row * row_width + int64_t(head) * a.head_dim, row_width, tile.rows,
                            a.head_dim);
    __syncthreads();
    uint32_t q[width / 16][4];
    load_queries<T, width>(q, queries + threadIdx.x / kWarp * kQueries * stride);

    const Edge edge = edge_of(tile, a.window);
    const float scale = a.scale * kLog2E;
    Sums<width> sums;
    clear(sums);
    for (int t = first; t < end; t++) {
        cp_async_wait<0>();
        __syncthreads(); // this stage is there, and nobody reads the other any more
        if (t + 1 < end) copy_rows<T, width>(stages + (t + 1) % 2 * stage, kv, rows + (t + 1) % 2 * kKeys);
        cp_async_commit();
        if (t + 2 < end) find_rows(rows + t % 2 * kKeys, kv, look, t + 2);
        const int from = t * kKeys, to = from + kKeys;
        if (from >= edge.hi || to <= edge.lo) continue;
        const T *keys = stages + t % 2 * stage;
        float s[kKeys / 8][4];
        uint32_t p[kKeys / 16][4];
        scores<T, width, kKeys / 8>(s, q, keys);
        see(s, scale, from >= edge.all_lo && to <= edge.all_hi, from, edge.first, edge.last);
        fold<T, width, kKeys / 8>(sums, s, p);
        weigh<T, width, kKeys / 8>(sums, p, keys + kKeys * stride);
    }
    const int64_t out_width = int64_t(a.heads) * a.head_dim;
    write_rows(out + tile.row * out_width + int64_t(head) * a.head_dim, out_width, tile.rows, a.head_dim, sums);
}

template <typename T, int width>
static int launch_prefill(sbc_context *c, float *out, const float *qkv, const CacheView &kv, const sbc_attn &a) {
    const dim3 grid(a.heads, c->step.tiles_n), block(kPrefillThreads);
    const size_t shared = 2 * 2 * kKeys * (width + kSkew) * sizeof(T);
    return SBC_LAUNCH(c, (attention_prefill_kernel<T, width>), grid, block, shared, out, qkv, c->step, kv, a);
}

template <typename T> static int prefill(sbc_context *c, float *out, const float *qkv, const CacheView &kv, const sbc_attn &a) {
    switch (attention_width(kv.padded)) {
    case 64: return launch_prefill<T, 64>(c, out, qkv, kv, a);
    case 80: return launch_prefill<T, 80>(c, out, qkv, kv, a);
    case 96: return launch_prefill<T, 96>(c, out, qkv, kv, a);
    case 128: return launch_prefill<T, 128>(c, out, qkv, kv, a);
    }
    return fail(c, SBC_ARGUMENT, "attention: no kernel of a prefill has heads of %d elements", kv.padded);
}

int attention_prefill(sbc_context *c, float *out, const float *qkv, const CacheView &kv, const sbc_attn &a) {
    if (c->options.dtype == SBC_F16) return prefill<__half>(c, out, qkv, kv, a);
    return prefill<__nv_bfloat16>(c, out, qkv, kv, a);
}

} // namespace sbc
