// attention_decode.cu: attention of sequences with one row in the step.
//
// Purpose   out[t,h,:] = softmax(q[t,h,:]·Kᵀ·scale)·V over the positions that row t
//           sees, in bfloat16 or float16 with heads of up to 128 elements.
// Inputs    qkv [T, (H+2G)·E] float32, of which the queries are read, rounded to T;
//           keys and values of a layer [blocks, G, B, E'], any B; StepView.single.
// Output    out [T, H·E] float32, the sequences' rows; zeros where a sequence has length 0.
// Pieces    A context is cut at multiples of 256 positions (kPiece), of more where 64
//           pieces (kMostSplits) would not reach: by the row's own context alone, so that its
//           bits depend on nothing else in the step. Pieces are summed side by side, by as
//           many multiprocessors as there are pieces, and added up in order by the block
//           that is through last: Flash-Decoding (Dao, Haziza, Massa and Sizov, 2023), its
//           second kernel folded in by a counter, as CUDA's threadFenceReduction sample
//           does: a launch a layer less, about 1% of a token of Llama-2-7B. A context of
//           one piece is written at once.
// Grid      as many blocks of 4 warps as the GPU holds at a time, or fewer. An item of work
//           is one (sequence, key head, piece); every block counts all items from lens,
//           which takes it little longer than to read them, and takes each gridDim.x-th. So
//           a graph's grid, made when nobody knows lens, has no block without work, and a
//           long sequence beside short ones is spread over the GPU as evenly as alone.
// Steps     The H/G query heads that share a key head are one item (up to 16 of them; more
//           are several items, which find the keys in the second-level cache): they are the
//           rows of the tensor cores' first operand, as in a prefill (attention.cuh). A head
//           without company leaves 15 of 16 rows empty, of units that would idle; without
//           them every element takes a conversion and a multiply-add a head, which is what
//           bounds eight heads. A warp takes every fourth 16 positions of a piece and copies
//           them by cp.async, two such ahead, to shared memory of its own, so that warps
//           wait for each other only at the piece's end, where their sums are added up.
// Window    Positions before it are neither read nor looked up: their blocks may be Freed.
// Shared    544·(width+8) + 544 + 4·(sequences+1) bytes, 74,596 at width 128 with 16
//           sequences; 16-byte rows. Blocks on a multiprocessor: 3 on an H100, 2 on an
//           A100, 1 where there are 100 KB. Registers, 102 to 164, would do for 3.
// Memory    4·(E'+2) bytes for each sequence the context allows, query head and piece, in
//           sbc_context.partial: 4,096 positions, 64 sequences of Llama-2-7B: 18 MB.
// Sums      scores and sums float32; weights are rounded to T, and so summed.
// Roofline  Llama-2-7B (H = G = 32, E = 128), 16 sequences at 2,048, a layer: keys and
//           values are 537 MB, 0.27 ms on an A100, 0.16 ms on an H100. 0.54 GFLOP, 8.6
//           issued: 28 µs of an A100's tensor cores. Pieces write and read 4 MB.
//           Mistral-7B (H = 32, G = 8, window 4,096), 16 sequences: 268 MB, 0.13 and
//           0.08 ms; 1.1 GFLOP, 4.3 issued; pieces 9 MB.
//           64 KB are on their way to a block of width 128. A multiprocessor of an H100
//           takes 25 KB/µs, of an A100 19 KB/µs, and a read about 0.8 µs.
#include "attention.cuh"

#include <algorithm>

namespace sbc {

constexpr int kDecodeWarps = 4;
constexpr int kDecodeThreads = kDecodeWarps * kWarp;
constexpr int kDecodeBlocks = 3;  // on a multiprocessor, at most
constexpr int kStages = 2;        // of 16 positions, for each warp
constexpr int kPiece = 256;       // positions of a piece of a context
constexpr int kPieceAlign = 64;   // of longer ones
constexpr int kArrived = 16384;   // counters of pieces that are through
constexpr int kMostCounted = 1024; // sequences of a launch, whose items are counted in shared memory
constexpr int kLongest = 1 << 30; // positions; keeps sums of them within int32

// DecodeArgs is a launch: count of the step's single sequences, from first on.
struct DecodeArgs {
    float *out;
    const float *qkv;
    StepView step;
    CacheView kv;
    sbc_attn a;
    int32_t first, count;
    int32_t limit;    // positions that a sequence has blocks for
    int32_t most;     // pieces of a context, at most
    int32_t chunks;   // of up to 16 query heads that share a key head
    int32_t *arrived; // [count, G·chunks] zero before and after
    float *acc;       // [count, H, most, E'] a piece's Σ weight·v
    float2 *stats;    // [count, H, most] its largest score and Σ weight
};

// Reach is the positions [lo, hi) that a sequence's row sees and how they are cut.
struct Reach {
    int32_t lo, hi, piece, pieces;
};

static __device__ __forceinline__ Reach reach_of(const DecodeArgs &g, int seq) {
    Reach r;
    r.hi = min(g.step.lens[seq], g.limit);
    r.lo = g.a.window > 0 ? max(0, r.hi - g.a.window) : 0;
    const int span = r.hi - r.lo;
    // One more than span has of them may begin within it.
    r.piece = span <= (kMostSplits - 1) * kPiece ? kPiece : round_up(ceil_div(span, kMostSplits - 1), kPieceAlign);
    r.pieces = r.hi > 0 ? (r.hi - 1) / r.piece - r.lo / r.piece + 1 : 1; // of nothing: one, which writes zeros
    return r;
}

// count_items makes ends[i] the items of the launch's sequences before the i-th, for
// i up to count. totals is [kDecodeWarps].
static __device__ __forceinline__ void count_items(const DecodeArgs &g, int32_t *ends, int32_t *totals) {
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, groups = g.a.kv_heads * g.chunks;
    int32_t before = 0;
    for (int start = 0; start < g.count; start += kDecodeThreads) {
        const int i = start + threadIdx.x;
        int32_t items = i < g.count ? reach_of(g, g.step.single[g.first + i]).pieces * groups : 0;
        for (int d = 1; d < kWarp; d *= 2) {
            const int32_t lower = __shfl_up_sync(kAllLanes, items, d);
            if (lane >= d) items += lower;
        }
        if (lane == kWarp - 1) totals[warp] = items;
        __syncthreads();
        int32_t all = 0;
        for (int w = 0; w < kDecodeWarps; w++) {
            if (w < warp) items += totals[w];
            all += totals[w];
        }
        if (i < g.count) ends[i + 1] = before + items;
        before += all;
        __syncthreads(); // totals has been read
    }
    if (threadIdx.x == 0) ends[0] = 0;
    __syncthreads();
}

// Item is a block's work: positions [lo, hi) of a sequence for some query heads.
struct Item {
    int32_t index, seq; // of the launch, of the step
    int32_t group;      // key head and chunk of its query heads
    int32_t kv_head, head, heads; // first query head and how many
    int32_t lo, hi, piece, pieces;
};

static __device__ __forceinline__ Item item_of(const DecodeArgs &g, const int32_t *ends, int at) {
    int i = 0; // the last sequence that begins at or before it
    for (int above = g.count; above - i > 1;) {
        const int middle = (i + above) / 2;
        if (ends[middle] <= at)
            i = middle;
        else
            above = middle;
    }
    Item it;
    it.index = i, it.seq = g.step.single[g.first + i];
    const Reach r = reach_of(g, it.seq);
    const int groups = g.a.kv_heads * g.chunks, shared = g.a.heads / g.a.kv_heads;
    it.group = (at - ends[i]) % groups; // blocks side by side have heads that lie side by side
    it.piece = (at - ends[i]) / groups, it.pieces = r.pieces;
    it.kv_head = it.group / g.chunks;
    const int skipped = it.group % g.chunks * kQueries;
    it.head = it.kv_head * shared + skipped, it.heads = min(kQueries, shared - skipped);
    const int start = (r.lo / r.piece + it.piece) * r.piece;
    it.lo = max(r.lo, start), it.hi = min(r.hi, start + r.piece);
    return it;
}

// copy_tile has a warp start the copies of the t-th 16 keys and values to a stage,
// zeros where the item does not look.
template <typename T, int width>
static __device__ __forceinline__ void copy_tile(T *stage, const DecodeArgs &g, const Item &it, int t) {
    constexpr int stride = width + kSkew, chunks = width / kChunk;
    static_assert(kQueries * chunks % kWarp == 0, "every lane copies as much");
    if (t * kQueries >= it.hi) return;
    const int lane = threadIdx.x % kWarp, position = t * kQueries + lane % kQueries;
    const int32_t *table = g.step.blocks + int64_t(it.seq) * g.step.stride;
    const int32_t row = position >= it.lo && position < it.hi ? cache_row(g.kv, table, it.kv_head, position) : -1;
    const T *keys = static_cast<const T *>(g.kv.keys), *values = static_cast<const T *>(g.kv.values);
#pragma unroll
    for (int i = 0; i < kQueries * chunks / kWarp; i++) {
        const int at = lane + i * kWarp, r = at / chunks, e = at % chunks * kChunk;
        const int32_t found = __shfl_sync(kAllLanes, row, r);
        const bool there = found >= 0 && e < g.kv.padded;
        const int64_t from = there ? int64_t(found) * g.kv.padded + e : 0;
        cp_async16(stage + r * stride + e, keys + from, there);
        cp_async16(stage + (kQueries + r) * stride + e, values + from, there);
    }
}

// look_over has each warp sum its share of the item. stages is the warp's own.
template <typename T, int width>
static __device__ __forceinline__ void look_over(Sums<width> &sums, const DecodeArgs &g, const Item &it, T *stages, T *queries) {
    constexpr int stride = width + kSkew, stage = 2 * kQueries * stride;
    const int64_t row = g.step.starts[it.seq];
    int t = it.lo / kQueries + threadIdx.x / kWarp;
#pragma unroll
    for (int ahead = 0; ahead < kStages; ahead++) {
        copy_tile<T, width>(stages + ahead * stage, g, it, t + ahead * kDecodeWarps);
        cp_async_commit();
    }
    const float *from = g.qkv + row * (g.a.heads + 2 * g.a.kv_heads) * g.a.head_dim + int64_t(it.head) * g.a.head_dim;
    stage_queries<T, width>(queries, kQueries, from, g.a.head_dim, it.heads, g.a.head_dim);
    __syncthreads();
    uint32_t q[width / 16][4];
    load_queries<T, width>(q, queries);

    clear(sums);
    const float scale = g.a.scale * kLog2E;
    const int first[2] = {it.lo, it.lo}, last[2] = {it.hi - 1, it.hi - 1};
    for (int turn = 0; t * kQueries < it.hi; t += kDecodeWarps, turn = (turn + 1) % kStages) {
        cp_async_wait<kStages - 1>();
        __syncwarp(); // of all lanes
        T *keys = stages + turn * stage;
        const int at = t * kQueries;
        float s[2][4];
        uint32_t p[1][4];
        scores<T, width, 2>(s, q, keys);
        see(s, scale, at >= it.lo && at + kQueries <= it.hi, at, first, last);
        fold<T, width, 2>(sums, s, p);
        weigh<T, width, 2>(sums, p, keys + kQueries * stride);
        __syncwarp(); // all lanes have read the stage
        copy_tile<T, width>(keys, g, it, t + kStages * kDecodeWarps);
        cp_async_commit();
    }
    cp_async_wait<0>();
    __syncwarp();
}

// hand_over writes a warp's sums of the first heads rows to shared memory: Σ weight·v
// over its first stage, [16, width+8], as many bytes as that has; the rest to tops
// and totals [16].
template <int width>
static __device__ __forceinline__ void hand_over(float *area, float *tops, float *totals, const Sums<width> &sums, int heads) {
    const int lane = threadIdx.x % kWarp;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const float total = quad_sum(sums.sum[half]);
        const int row = lane / 4 + 8 * half;
        if (row < heads) {
#pragma unroll
            for (int n = 0; n < width / 8; n++) {
                float *to = area + row * (width + kSkew) + 8 * n + 2 * (lane % 4);
                to[0] = sums.acc[n][2 * half], to[1] = sums.acc[n][2 * half + 1];
            }
            if (lane % 4 == 0) tops[row] = sums.top[half], totals[row] = total;
        }
    }
}

// put_together adds up what the warps handed over, in their order, and writes the
// piece, or the row where it is the only one. Warps are area floats apart.
template <int width>
static __device__ __forceinline__ void put_together(const DecodeArgs &g, const Item &it, const float *areas, int area, const float *tops,
                                                    const float *totals) {
    const int head_dim = g.a.head_dim;
    float *out = g.out + (int64_t(g.step.starts[it.seq]) * g.a.heads + it.head) * head_dim;
    for (int i = threadIdx.x; i < it.heads * head_dim; i += kDecodeThreads) {
        const int h = i / head_dim, e = i % head_dim;
        float top = tops[h];
        for (int w = 1; w < kDecodeWarps; w++) top = fmaxf(top, tops[w * kQueries + h]);
        const float base = finite_top(top);
        float value = 0, total = 0;
        for (int w = 0; w < kDecodeWarps; w++) {
            const float share = exp2f(tops[w * kQueries + h] - base);
            total += share * totals[w * kQueries + h];
            // A warp without positions has handed over zeros.
            value += share * areas[w * area + h * (width + kSkew) + e];
        }
        if (it.pieces == 1) {
            out[i] = total == 0 ? 0.f : value / total;
            continue;
        }
        const size_t piece = (size_t(it.index) * g.a.heads + it.head + h) * g.most + it.piece;
        g.acc[piece * g.kv.padded + e] = value;
        if (e == 0) g.stats[piece] = make_float2(top, total);
    }
}

// arrive counts a piece that is through and tells the block that was the last of them.
static __device__ __forceinline__ bool arrive(int32_t *arrived, int pieces, int32_t *answer) {
    __syncthreads(); // the block has written its piece
    if (threadIdx.x == 0) {
        __threadfence(); // before it is counted
        const bool last = atomicAdd(arrived, 1) == pieces - 1;
        if (last) *arrived = 0; // for the next launch
        __threadfence(); // the others' pieces are read behind their counts
        *answer = last;
    }
    __syncthreads();
    return *answer != 0;
}

// reduce adds up a row's pieces in order and writes it.
static __device__ __forceinline__ void reduce(const DecodeArgs &g, const Item &it) {
    const int head_dim = g.a.head_dim;
    float *out = g.out + (int64_t(g.step.starts[it.seq]) * g.a.heads + it.head) * head_dim;
    for (int i = threadIdx.x; i < it.heads * head_dim; i += kDecodeThreads) {
        const int h = i / head_dim, e = i % head_dim;
        const size_t first = (size_t(it.index) * g.a.heads + it.head + h) * g.most;
        const float2 *stats = g.stats + first;
        const float *acc = g.acc + first * g.kv.padded + e;
        float top = -INFINITY;
        for (int p = 0; p < it.pieces; p++) top = fmaxf(top, stats[p].x);
        const float base = finite_top(top);
        float value = 0, total = 0;
#pragma unroll 4
        for (int p = 0; p < it.pieces; p++) {
            const float share = exp2f(stats[p].x - base);
            total += share * stats[p].y;
            value += share * acc[size_t(p) * g.kv.padded];
        }
        out[i] = total == 0 ? 0.f : value / total;
    }
}

template <typename T, int width>
static __global__ void __launch_bounds__(kDecodeThreads, kDecodeBlocks) attention_decode_kernel(DecodeArgs g) {
    constexpr int stage = 2 * kQueries * (width + kSkew), own = kStages * stage; // elements: of a stage, of a warp
    static_assert(stage * sizeof(T) == kQueries * (width + kSkew) * sizeof(float), "sums fit into a stage");
    SBC_DYNAMIC_SHARED(bytes);
    SBC_SHARED(float, tops, kDecodeWarps * kQueries);
    SBC_SHARED(float, totals, kDecodeWarps * kQueries);
    SBC_SHARED(int32_t, scratch, kDecodeWarps + 1);
    T *stages = reinterpret_cast<T *>(bytes), *queries = stages + kDecodeWarps * own;
    int32_t *ends = reinterpret_cast<int32_t *>(queries + kQueries * (width + kSkew));
    const int warp = threadIdx.x / kWarp;

    count_items(g, ends, scratch);
    for (int at = blockIdx.x; at < ends[g.count]; at += gridDim.x) {
        const Item it = item_of(g, ends, at);
        Sums<width> sums;
        look_over<T, width>(sums, g, it, stages + warp * own, queries);
        hand_over<width>(reinterpret_cast<float *>(stages + warp * own), tops + warp * kQueries, totals + warp * kQueries, sums, it.heads);
        __syncthreads();
        put_together<width>(g, it, reinterpret_cast<const float *>(stages), own * int(sizeof(T)) / int(sizeof(float)), tops, totals);
        if (it.pieces > 1 && arrive(g.arrived + it.index * g.a.kv_heads * g.chunks + it.group, it.pieces, scratch + kDecodeWarps))
            reduce(g, it);
        __syncthreads(); // stages, tops and totals have been read
    }
}

// pieces_of is the pieces that a row which sees span positions has at most.
static int pieces_of(int64_t span) { return int(std::min<int64_t>(kMostSplits, (span + kPiece - 1) / kPiece + 1)); }

template <typename T, int width> static int launch_decode(sbc_context *c, const DecodeArgs &g, int pieces) {
    const size_t shared = (kDecodeWarps * kStages * 2 + 1) * kQueries * (width + kSkew) * sizeof(T) + sizeof(int32_t) * size_t(g.count + 1);
    // A multiprocessor has a block's most and 1 KB, and keeps 1 KB of it for each block;
    // what the kernel declares itself is less than another.
    const int64_t fit = (int64_t(c->about.shared_per_block) + 1024) / (int64_t(shared) + 2048);
    const int64_t blocks = std::max(1, c->about.sms) * std::max<int64_t>(1, std::min<int64_t>(kDecodeBlocks, fit));
    const int64_t items = int64_t(g.count) * g.a.kv_heads * g.chunks * pieces;
    return SBC_LAUNCH(c, (attention_decode_kernel<T, width>), dim3(unsigned(std::min(items, blocks))), dim3(kDecodeThreads), shared, g);
}

template <typename T> static int decode(sbc_context *c, const DecodeArgs &g, int pieces) {
    switch (attention_width(g.kv.padded)) {
    case 64: return launch_decode<T, 64>(c, g, pieces);
    case 80: return launch_decode<T, 80>(c, g, pieces);
    case 96: return launch_decode<T, 96>(c, g, pieces);
    case 128: return launch_decode<T, 128>(c, g, pieces);
    }
    return fail(c, SBC_ARGUMENT, "attention: no kernel of decoding has heads of %d elements", g.kv.padded);
}

// reserve sees to it that there is room for the pieces of so many sequences, and
// counters that are zero before them. It depends on no step's rows, so that the
// memory is the same for all of a model's graphs.
static int reserve(sbc_context *c, DecodeArgs &g, int64_t seqs) {
    const size_t pieces = size_t(seqs) * size_t(g.a.heads) * size_t(g.most);
    const size_t counters = kArrived * sizeof(int32_t), acc = pieces * size_t(g.kv.padded) * sizeof(float);
    const size_t had = c->partial_bytes;
    void *p = c->partial;
    const int status = grow(c, &p, &c->partial_bytes, counters + acc + pieces * sizeof(float2), "what decoding keeps of each piece of a context");
    c->partial = static_cast<float *>(p);
    SBC_TRY(status);
    if (c->partial_bytes != had) {
        const int zeroed = check(c, cudaMemsetAsync(p, 0, counters, c->stream), "zeroing the counters of attention");
        if (zeroed != SBC_OK) {
            c->partial_bytes = 0; // so that it is taken, and zeroed, again
            return zeroed;
        }
    }
    char *at = static_cast<char *>(p);
    g.arrived = reinterpret_cast<int32_t *>(at);
    g.acc = reinterpret_cast<float *>(at + counters);
    g.stats = reinterpret_cast<float2 *>(at + counters + acc);
    return SBC_OK;
}

int attention_decode(sbc_context *c, float *out, const float *qkv, const CacheView &kv, const sbc_attn &a) {
    DecodeArgs g = {};
    g.out = out, g.qkv = qkv, g.step = c->step, g.kv = kv, g.a = a;
    g.limit = int32_t(std::min<int64_t>(kLongest, int64_t(c->step.stride) * kv.block_size));
    g.chunks = ceil_div(a.heads / a.kv_heads, kQueries);
    // sbc_attention has seen to it that there are no more heads than counters.
    const int slice = std::min(kMostCounted, kArrived / (a.kv_heads * g.chunks));
    auto seen = [&](int32_t n) { return a.window > 0 ? std::min(n, a.window) : n; };
    g.most = pieces_of(seen(g.limit));
    SBC_TRY(reserve(c, g, std::min(slice, c->options.max_seqs)));
    const int pieces = c->step.longest > 0 ? std::min<int>(g.most, pieces_of(seen(c->step.longest))) : g.most;
    for (g.first = 0; g.first < c->step.single_n; g.first += slice) {
        g.count = std::min(slice, c->step.single_n - g.first);
        SBC_TRY(c->options.dtype == SBC_F16 ? decode<__half>(c, g, pieces) : decode<__nv_bfloat16>(c, g, pieces));
    }
    return SBC_OK;
}

} // namespace sbc
