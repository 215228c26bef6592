// attention_simple.cu: attention for any width of head and any dtype, in float32.
//
// Purpose   out[t,h,:] = softmax(q[t,h,:]·Kᵀ·scale)·V over the positions that row t
//           sees, for contexts in float32 and heads wider than 128.
// Inputs    qkv [T, (H+2G)·E] float32, of which the queries are read, rounded to the
//           cache's dtype; keys and values of a layer [blocks, G, B, E'], E' a multiple of
//           8, behind E zero; StepView.
// Output    out [T, H·E] float32; zeros in rows of sequences of length 0.
// Grid      (T, H) blocks of 128 threads: one row and head each. Rows that follow each
//           other run side by side and find each other's keys in the caches.
// Steps     for every span of 128 positions, from a multiple of 128 on: a thread's dot
//           product with one key, read 16 bytes at a time; the span's largest; weights
//           e^(score − the largest so far) and their sum; then a thread for each element
//           adds weight·value over the span, in order of positions.
// Shared    8·E' + 1,040 bytes.
// Sums      float32; weights are not rounded. Spans, lanes and trees are given by positions:
//           a row's bits depend on nothing but the row.
// Roofline  Llama-2-7B (H = G = 32, E = 128) in float32, a row at 2,048 positions reads
//           67 MB a layer: 34 µs on an A100, 20 µs on an H100, if it were bound by memory.
//           It is not meant to be: a block's threads read one key each, which uses whole
//           lines but keeps few under way, and rows of one sequence do not share what
//           they read. It is the reference that the others are compared to on the device.
#include "attention.cuh"

namespace sbc {

constexpr int kSpan = 128; // positions looked at together, threads of a block
constexpr int kSpanWarps = kSpan / kWarp;

// block_max and block_sum give every thread the block's; parts is [kSpanWarps].
static __device__ __forceinline__ float block_max(float x, float *parts) {
    x = warp_max(x);
    if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = x;
    __syncthreads();
    x = parts[0];
    for (int w = 1; w < kSpanWarps; w++) x = fmaxf(x, parts[w]);
    __syncthreads();
    return x;
}
static __device__ __forceinline__ float block_sum(float x, float *parts) {
    x = warp_sum(x);
    if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = x;
    __syncthreads();
    x = parts[0];
    for (int w = 1; w < kSpanWarps; w++) x += parts[w];
    __syncthreads();
    return x;
}

// dot multiplies a key by a query in shared memory, both [padded]. As many sums as
// a load has elements keep the additions apart.
template <typename T> static __device__ __forceinline__ float dot(const T *key, const float *query, int padded) {
    constexpr int n = 16 / sizeof(T);
    float sums[n] = {};
    for (int e = 0; e < padded; e += n) {
        const uint4 chunk = load16(key + e);
        T x[n];
        memcpy(x, &chunk, sizeof chunk);
#pragma unroll
        for (int i = 0; i < n; i++) sums[i] = fmaf(to_float(x[i]), query[e + i], sums[i]);
    }
#pragma unroll
    for (int d = n / 2; d > 0; d /= 2)
#pragma unroll
        for (int i = 0; i < d; i++) sums[i] += sums[i + d];
    return sums[0];
}

template <typename T>
static __global__ void __launch_bounds__(kSpan, 8)
    attention_simple_kernel(float *out, const float *qkv, StepView step, CacheView kv, sbc_attn a) {
    SBC_DYNAMIC_SHARED(bytes);
    SBC_SHARED(float, weights, kSpan);
    SBC_SHARED(int32_t, rows, kSpan);
    SBC_SHARED(float, parts, kSpanWarps);
    float *query = reinterpret_cast<float *>(bytes), *acc = query + kv.padded;
    const T *keys = static_cast<const T *>(kv.keys), *values = static_cast<const T *>(kv.values);

    const int row = blockIdx.x, head = blockIdx.y, kv_head = head / (a.heads / a.kv_heads), thread = threadIdx.x;
    const int seq = step.seqs[row];
    const int32_t *table = step.blocks + int64_t(seq) * step.stride;
    const int hi = step.lens[seq] == 0 ? 0 : step.positions[row] + 1;
    const int lo = a.window > 0 ? max(0, hi - a.window) : 0;
    const float *from = qkv + int64_t(row) * (a.heads + 2 * a.kv_heads) * a.head_dim + int64_t(head) * a.head_dim;
    for (int e = thread; e < kv.padded; e += kSpan) query[e] = e < a.head_dim ? rounded<T>(from[e]) : 0.f, acc[e] = 0;
    __syncthreads();

    float top = -INFINITY, total = 0;
    for (int start = lo / kSpan * kSpan; start < hi; start += kSpan) {
        const int position = start + thread;
        const int32_t at = position >= lo && position < hi ? cache_row(kv, table, kv_head, position) : -1;
        const float score = at < 0 ? -INFINITY : dot(keys + int64_t(at) * kv.padded, query, kv.padded) * a.scale;
        const float higher = fmaxf(top, block_max(score, parts)), base = finite_top(higher);
        const float less = expf(top - base), weight = expf(score - base);
        top = higher;
        total = total * less + block_sum(weight, parts);
        weights[thread] = weight, rows[thread] = at;
        __syncthreads();
        for (int e = thread; e < a.head_dim; e += kSpan) {
            float sum = acc[e] * less;
#pragma unroll 4
            for (int j = 0; j < kSpan; j++)
                if (rows[j] >= 0) sum = fmaf(weights[j], to_float(values[int64_t(rows[j]) * kv.padded + e]), sum);
            acc[e] = sum;
        }
        __syncthreads();
    }
    float *to = out + (int64_t(row) * a.heads + head) * a.head_dim;
    for (int e = thread; e < a.head_dim; e += kSpan) to[e] = total == 0 ? 0.f : acc[e] / total;
}

int attention_simple(sbc_context *c, float *out, const float *qkv, const CacheView &kv, const sbc_attn &a) {
    const dim3 grid(c->step.tokens_n, a.heads), block(kSpan);
    const size_t shared = 2 * sizeof(float) * size_t(kv.padded);
    int status = SBC_OK;
    SBC_BY_DTYPE(c->options.dtype,
                 status = SBC_LAUNCH(c, attention_simple_kernel<T>, grid, block, shared, out, qkv, c->step, kv, a));
    return status;
}

} // namespace sbc
