// attention.cuh: what the kernels of attention share: where a position lies in the
// cache, and how 16 queries of a warp look at positions in shared memory on the
// tensor cores (attention_decode.cu, attention_prefill.cu).
//
// A warp's queries are the rows of mma_16816's first operand. Lane l has columns
// 2·(l%4) and 2·(l%4)+1 of each 8, of rows l/4 ("half 0") and l/4+8 ("half 1"):
// of scores the columns are positions, of sums elements of the head.
//
//   scores   s = q·kᵀ
//   see      s·scale·log₂e, −∞ where a query does not see the position
//   fold     online softmax (Milakov and Gimelshein, 2018): weights 2^(s − top),
//            rounded to T, added to sum; what was summed before is scaled down
//            when top rises
//   weigh    acc += weights·v
//
// What becomes of a row depends on its own scores alone, not on the rows beside it,
// and positions that it does not see leave it as it was, bit for bit, as long as
// the values there are finite: a weight of 0 times infinity is no number.
//
// Rows in shared memory are kSkew elements longer than a head is wide. Eight that
// follow each other then begin at eight different fours of the 32 banks, whichever
// the width, so that neither ldmatrix nor the copies meet a bank twice. A swizzle
// would save the 6 to 12% that this costs, which make room for no further block, and
// take an exclusive or for addresses that here are constants away from each other.
#ifndef SERVEBENCH_CUDA_ATTENTION_CUH
#define SERVEBENCH_CUDA_ATTENTION_CUH

#include "internal.cuh"

#include <cmath>
#include <cstring>

namespace sbc {

constexpr int kQueries = 16; // rows of mma_16816's first operand
constexpr int kChunk = 8;    // elements of 16 bytes
constexpr int kSkew = 8;     // elements behind each row in shared memory
constexpr float kLog2E = 1.4426950408889634f;
constexpr unsigned kAllLanes = 0xffffffffu;

// attention_width is the width of head that the tensor cores' kernels have an
// instance for and that holds a head of the cache; 0 if there is none. What it has
// more than the head is zero in shared memory and costs no reads of the cache.
inline int attention_width(int padded) {
    for (int width : {64, 80, 96, 128})
        if (padded <= width) return width;
    return 0;
}

// cache_row says which row of a layer's keys, [blocks·G·B, E'], a head's key at a
// position is, and of its values; -1 if the block is freed. table is the
// sequence's row of StepView.blocks. sbc_attention has seen to it that it fits.
static __device__ __forceinline__ int32_t cache_row(const CacheView &kv, const int32_t *table, int head, int position) {
    const unsigned size = unsigned(kv.block_size), index = unsigned(position) / size;
    const int32_t block = table[index];
    return block < 0 ? -1 : (block * kv.kv_heads + head) * kv.block_size + int32_t(unsigned(position) - index * size);
}

// round_pair rounds two floats to T and returns them as a register of an operand,
// x in its lower half.
template <typename T> static __device__ __forceinline__ uint32_t round_pair(float &x, float &y);
template <> __device__ __forceinline__ uint32_t round_pair<__nv_bfloat16>(float &x, float &y) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(x, y);
    const float2 back = __bfloat1622float2(pair);
    x = back.x, y = back.y;
    uint32_t bits;
    memcpy(&bits, &pair, sizeof bits);
    return bits;
}
template <> __device__ __forceinline__ uint32_t round_pair<__half>(float &x, float &y) {
    const __half2 pair = __floats2half2_rn(x, y);
    const float2 back = __half22float2(pair);
    x = back.x, y = back.y;
    uint32_t bits;
    memcpy(&bits, &pair, sizeof bits);
    return bits;
}

// Sums is what a warp knows of its 16 queries: of each the largest score seen and
// the weights' sum, by halves (the lane's own columns of it), and Σ weight·v.
template <int width> struct Sums {
    float acc[width / 8][4];
    float top[2], sum[2];
};

template <int width> static __device__ __forceinline__ void clear(Sums<width> &r) {
#pragma unroll
    for (int n = 0; n < width / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) r.acc[n][i] = 0;
#pragma unroll
    for (int half = 0; half < 2; half++) r.top[half] = -INFINITY, r.sum[half] = 0;
}

// finite_top is what scores are compared to: 0 where a query has seen nothing, as
// −∞ less −∞ is no number.
static __device__ __forceinline__ float finite_top(float top) { return top == -INFINITY ? 0.f : top; }

// quad_sum and quad_max are over the four lanes that have a row between them.
static __device__ __forceinline__ float quad_sum(float x) {
    x += __shfl_xor_sync(kAllLanes, x, 1);
    return x + __shfl_xor_sync(kAllLanes, x, 2);
}
static __device__ __forceinline__ float quad_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, 1));
    return fmaxf(x, __shfl_xor_sync(kAllLanes, x, 2));
}

// stage_queries has the block's threads round rows of queries into shared memory
// [rows, width+kSkew]. The r-th begins at from + r·stride; those from filled on,
// and what is behind a head's last element, are zero.
template <typename T, int width>
static __device__ __forceinline__ void stage_queries(T *to, int rows, const float *from, int64_t stride, int filled, int head_dim) {
    for (int i = threadIdx.x; i < rows * width; i += blockDim.x) {
        const int r = i / width, e = i % width;
        to[r * (width + kSkew) + e] = from_float<T>(r < filled && e < head_dim ? from[r * stride + e] : 0.f);
    }
}

// load_queries reads the 16 queries at rows into registers.
template <typename T, int width>
static __device__ __forceinline__ void load_queries(uint32_t (&q)[width / 16][4], const T *rows) {
    const int lane = threadIdx.x % kWarp;
    const T *at = rows + lane % 16 * (width + kSkew) + lane / 16 * 8;
#pragma unroll
    for (int k = 0; k < width / 16; k++) ldmatrix_x4(q[k], at + 16 * k);
}

// scores multiplies the queries by 8·tiles keys, [8·tiles, width+kSkew].
template <typename T, int width, int tiles>
static __device__ __forceinline__ void scores(float (&s)[tiles][4], const uint32_t (&q)[width / 16][4], const T *keys) {
    constexpr int stride = width + kSkew;
    const int lane = threadIdx.x % kWarp;
    const T *at = keys + (lane % 8 + lane / 16 * 8) * stride + lane / 8 % 2 * 8;
#pragma unroll
    for (int n = 0; n < tiles; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) s[n][i] = 0;
#pragma unroll
    for (int k = 0; k < width / 16; k++) {
#pragma unroll
        for (int n = 0; n < tiles; n += 2) {
            uint32_t b[4];
            ldmatrix_x4(b, at + 8 * n * stride + 16 * k);
            const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
            mma_16816<T>(s[n], q[k], low);
            mma_16816<T>(s[n + 1], q[k], high);
        }
    }
}

// see scales the scores of the positions from at on. Unless all of them are seen by
// all queries, half h sees those from first[h] to last[h].
template <int tiles>
static __device__ __forceinline__ void see(float (&s)[tiles][4], float scale, bool all, int at, const int (&first)[2], const int (&last)[2]) {
    // Two loops, as comparing positions takes more than all else that is done to scores
    // here, and most tiles have no edge.
    if (all) {
#pragma unroll
        for (int n = 0; n < tiles; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) s[n][i] *= scale;
        return;
    }
    const int column = at + 2 * (threadIdx.x % 4);
#pragma unroll
    for (int n = 0; n < tiles; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int position = column + 8 * n + i % 2;
            const bool seen = position >= first[i / 2] && position <= last[i / 2];
            s[n][i] = seen ? s[n][i] * scale : -INFINITY;
        }
}

// fold makes weights of scores: p, rounded, as first operand of weigh.
template <typename T, int width, int tiles>
static __device__ __forceinline__ void fold(Sums<width> &r, float (&s)[tiles][4], uint32_t (&p)[tiles / 2][4]) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float top = r.top[half];
#pragma unroll
        for (int n = 0; n < tiles; n++) top = fmaxf(top, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
        top = quad_max(top);
        const float base = finite_top(top), less = exp2f(r.top[half] - base);
        r.top[half] = top;
        r.sum[half] *= less;
#pragma unroll
        for (int n = 0; n < width / 8; n++) r.acc[n][2 * half] *= less, r.acc[n][2 * half + 1] *= less;
#pragma unroll
        for (int n = 0; n < tiles; n++) {
            float x = exp2f(s[n][2 * half] - base), y = exp2f(s[n][2 * half + 1] - base);
            p[n / 2][n % 2 * 2 + half] = round_pair<T>(x, y);
            r.sum[half] += x + y;
        }
    }
}

// weigh adds 8·tiles values, [8·tiles, width+kSkew], times their weights.
template <typename T, int width, int tiles>
static __device__ __forceinline__ void weigh(Sums<width> &r, const uint32_t (&p)[tiles / 2][4], const T *values) {
    constexpr int stride = width + kSkew;
    const int lane = threadIdx.x % kWarp;
    const T *at = values + lane % 16 * stride + lane / 16 * 8;
#pragma unroll
    for (int k = 0; k < tiles / 2; k++) {
#pragma unroll
        for (int n = 0; n < width / 8; n += 2) {
            uint32_t b[4];
            ldmatrix_x4_trans(b, at + 16 * k * stride + 8 * n);
            const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
            mma_16816<T>(r.acc[n], p[k], low);
            mma_16816<T>(r.acc[n + 1], p[k], high);
        }
    }
}

} // namespace sbc
#endif
