// rows.cu: what works on rows of float32 activations: embedding, norm, activation,
// addition and the gathering of wanted rows. kernels/doc.go has the equations.
//
//   kernel    reads                                     writes            grid            block
//   embed     a row of a matrix or table, or two        out [T, D]        T               ≤ 256
//   norm      x, delta [rows, D], weight, bias [D]      x, out [rows, D]  rows            ≤ 1024
//   activate  x [rows, F], or [rows, 2F] when gated     out [rows, F]     rows × ⌈F/1024⌉ 256
//   add       x, y [rows, D]                            x                 ⌈rows·D/1024⌉   256
//   gather    x, delta [T, D], Out [R]                  out [R, D]        R × ⌈D/1024⌉    256
//
// Layout     rows are dense; a matrix' rows are ld elements apart (kernels.h).
// Alignment  16 bytes at a time where the pointers and the width, a multiple of 4,
//            allow; else an element at a time.
// Shared     norm: 256 bytes, for the sums of its warps. Others: none.
// Sums       float32. A norm's row is in its block's registers: mean and deviation
//            are two passes over them. Who adds what in which order depends on the
//            width alone: a row's bits are the same whatever other rows there are.
// Accuracy   1/sqrtf, expf and divisions are the rounded ones: none of these kernels
//            has arithmetic enough for it to be noticed.
//
// Roofline, Llama-2-7B (D 4096, F 11008, bfloat16), T = 512 rows of a prefill. All
// are bound by memory: 1 to 12 FLOPs a byte at most. Activations are re-read from a
// second-level cache of 40 to 50 MB, so that less than this may be seen:
//
//   kernel                          bytes     FLOPs    A100, 2.0 TB/s   H100, 3.35 TB/s
//   embed (4.2 MB of the table)     12.6 MB   -        6.3 µs           3.8 µs
//   norm with delta (4 passes)      33.6 MB   13 M     16.8 µs          10.0 µs
//   activate, gated                 67.6 MB   85 M     33.8 µs          20.2 µs
//   add                             25.2 MB   2.1 M    12.6 µs          7.5 µs
//   gather with delta, R = 64       3.1 MB    0.3 M    1.6 µs           0.9 µs
//
// One row of a decode moves 80 KB at most (norm) and is bound by latency: a launch,
// two trips to the second-level cache and two barriers, 2 to 3 µs on either.
#include "internal.cuh"

#include <cmath>
#include <cstring>

namespace sbc {

constexpr int kRowThreads = 256;   // of a block of elementwise kernels
constexpr int kNormThreads = 1024; // most of a norm's block
constexpr int kNormFours = 8;      // most fours of elements that a thread of a norm keeps
constexpr int kNormOnes = 16;      // the same of single elements: 32 would not fit in 64 registers

// Elements of float32, kWide (4 or 1) at a time: read takes what nobody writes in the
// kernel, read_own what only this thread writes.
static __device__ __forceinline__ void unpack(float (&v)[4], uint4 u) {
    v[0] = __uint_as_float(u.x), v[1] = __uint_as_float(u.y), v[2] = __uint_as_float(u.z), v[3] = __uint_as_float(u.w);
}
template <int kWide> static __device__ __forceinline__ void read(float (&v)[kWide], const float *p) {
    if constexpr (kWide == 4)
        unpack(v, load16(p));
    else
        v[0] = __ldg(p);
}
template <int kWide> static __device__ __forceinline__ void read_own(float (&v)[kWide], const float *p) {
    if constexpr (kWide == 4)
        unpack(v, load16_own(p));
    else
        v[0] = *p;
}
template <int kWide> static __device__ __forceinline__ void write(float *p, const float (&v)[kWide]) {
    if constexpr (kWide == 4)
        store16(p, make_uint4(__float_as_uint(v[0]), __float_as_uint(v[1]), __float_as_uint(v[2]), __float_as_uint(v[3])));
    else
        *p = v[0];
}

// wide says whether rows of width elements at all of those addresses can be read
// and written 16 bytes at a time.
template <typename... P> static bool wide(int width, P... at) {
    return width % 4 == 0 && ((uint64_t(at) | ... | 0) & 15) == 0;
}

// Table is a weight's rows. A nullptr has none.
template <typename T> struct Table {
    const T *data;
    int32_t n, ld;
};

// read8 reads 8 elements of a table's row.
template <typename T> static __device__ __forceinline__ void read8(float (&v)[8], const T *p) {
    constexpr int kEach = 16 / sizeof(T); // elements in 16 bytes
    for (int i = 0; i < 8; i += kEach) {
        uint4 u = load16(p + i);
        T e[kEach];
        memcpy(static_cast<void *>(e), &u, sizeof u);
        for (int j = 0; j < kEach; j++) v[i + j] = to_float(e[j]);
    }
}

// A token or a position that a table has no row for is the host's mistake; its row
// becomes NaN, which the drawing of its token reports.
template <typename A, typename B>
static __global__ void __launch_bounds__(kRowThreads) embed_kernel(float *out, int width, int vector, Table<A> tokens, Table<B> positions,
                                                                   const int32_t *ids, const int32_t *places) {
    const int t = blockIdx.x, id = ids[t], place = positions.data ? places[t] : 0;
    float *to = out + int64_t(t) * width;
    if (id < 0 || id >= tokens.n || (positions.data && (place < 0 || place >= positions.n))) {
        for (int i = threadIdx.x; i < width; i += blockDim.x) to[i] = NAN;
        return;
    }
    const A *a = tokens.data + int64_t(id) * tokens.ld;
    const B *b = positions.data ? positions.data + int64_t(place) * positions.ld : nullptr;
    const int eights = vector ? width / 8 * 8 : 0;
    for (int i = 8 * threadIdx.x; i < eights; i += 8 * blockDim.x) {
        float v[8], p[8] = {};
        read8(v, a + i);
        if (b) read8(p, b + i);
        float low[4], high[4];
        for (int j = 0; j < 4; j++) {
            low[j] = b ? v[j] + p[j] : v[j];
            high[j] = b ? v[j + 4] + p[j + 4] : v[j + 4];
        }
        write<4>(to + i, low);
        write<4>(to + i + 4, high);
    }
    for (int i = eights + threadIdx.x; i < width; i += blockDim.x) {
        float v = to_float(a[i]);
        to[i] = b ? v + to_float(b[i]) : v;
    }
}

// block_sum is x summed over the block, for every thread. partial is kWarp floats
// that nobody else uses.
static __device__ __forceinline__ float block_sum(float x, float *partial) {
    const int lane = threadIdx.x % kWarp;
    x = warp_sum(x);
    if (lane == 0) partial[threadIdx.x / kWarp] = x;
    __syncthreads();
    return warp_sum(lane < int(blockDim.x) / kWarp ? partial[lane] : 0.f);
}

struct NormRows {
    float *out, *x;
    const float *delta, *weight, *bias; // delta and bias may be nullptr
    float eps;
    int32_t mean, width; // width a multiple of kWide
};

// Thread i of n has the elements i·kWide + j, j < kWide, of every n·kWide.
template <int kWide, int kGroups> static __global__ void __launch_bounds__(kNormThreads) norm_kernel(NormRows a) {
    SBC_SHARED(float, sums, kWarp);
    SBC_SHARED(float, squares, kWarp);
    const int64_t row = int64_t(blockIdx.x) * a.width;
    float v[kGroups][kWide];
    float sum = 0;
#pragma unroll
    for (int g = 0; g < kGroups; g++) {
        const int i = (g * blockDim.x + threadIdx.x) * kWide;
        for (int j = 0; j < kWide; j++) v[g][j] = 0;
        if (i >= a.width) continue;
        read_own<kWide>(v[g], a.x + row + i);
        if (a.delta) {
            float d[kWide];
            read<kWide>(d, a.delta + row + i);
            for (int j = 0; j < kWide; j++) v[g][j] += d[j];
            write<kWide>(a.x + row + i, v[g]);
        }
        for (int j = 0; j < kWide; j++) sum += v[g][j];
    }
    const float mean = a.mean ? block_sum(sum, sums) / float(a.width) : 0.f;
    float square = 0;
#pragma unroll
    for (int g = 0; g < kGroups; g++) {
        const int i = (g * blockDim.x + threadIdx.x) * kWide;
        if (i >= a.width) continue;
        for (int j = 0; j < kWide; j++) {
            v[g][j] -= mean;
            square += v[g][j] * v[g][j];
        }
    }
    const float scale = 1 / sqrtf(block_sum(square, squares) / float(a.width) + a.eps);
#pragma unroll
    for (int g = 0; g < kGroups; g++) {
        const int i = (g * blockDim.x + threadIdx.x) * kWide;
        if (i >= a.width) continue;
        float w[kWide], b[kWide] = {};
        read<kWide>(w, a.weight + i);
        if (a.bias) read<kWide>(b, a.bias + i);
        for (int j = 0; j < kWide; j++) v[g][j] = v[g][j] * scale * w[j] + b[j];
        write<kWide>(a.out + row + i, v[g]);
    }
}

// activation is x·σ(u) = x / (1 + e⁻ᵘ) in both cases, as (1 + tanh u)/2 = σ(2u): in
// this form the small values left of zero keep their relative precision. Where e⁻ᵘ
// overflows, x / ∞ is the zero that it should be.
static __device__ __forceinline__ float activation(int act, float x) {
    constexpr float kTwice = 1.5957691216057307f; // 2·√(2/π)
    float u = act == SBC_SILU ? x : kTwice * (x + 0.044715f * x * x * x);
    return x / (1 + expf(-u));
}

template <int kWide>
static __global__ void __launch_bounds__(kRowThreads) activate_kernel(float *out, const float *x, int act, int gated, int width) {
    const int i = (blockIdx.y * blockDim.x + threadIdx.x) * kWide;
    if (i >= width) return;
    const float *from = x + int64_t(blockIdx.x) * width * (gated ? 2 : 1) + i;
    float v[kWide], gate[kWide];
    read<kWide>(v, from);
    for (int j = 0; j < kWide; j++) v[j] = activation(act, v[j]);
    if (gated) {
        read<kWide>(gate, from + width);
        for (int j = 0; j < kWide; j++) v[j] *= gate[j];
    }
    write<kWide>(out + int64_t(blockIdx.x) * width + i, v);
}

// n is a multiple of kWide.
template <int kWide> static __global__ void __launch_bounds__(kRowThreads) add_kernel(float *x, const float *y, int64_t n) {
    const int64_t i = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * kWide;
    if (i >= n) return;
    float v[kWide], d[kWide];
    read_own<kWide>(v, x + i);
    read<kWide>(d, y + i);
    for (int j = 0; j < kWide; j++) v[j] += d[j];
    write<kWide>(x + i, v);
}

template <int kWide>
static __global__ void __launch_bounds__(kRowThreads) gather_kernel(float *out, const float *x, const float *delta, const int32_t *rows, int width) {
    const int i = (blockIdx.y * blockDim.x + threadIdx.x) * kWide;
    if (i >= width) return;
    const int64_t from = int64_t(rows[blockIdx.x]) * width + i;
    float v[kWide], d[kWide];
    read<kWide>(v, x + from);
    if (delta) {
        read<kWide>(d, delta + from);
        for (int j = 0; j < kWide; j++) v[j] += d[j];
    }
    write<kWide>(out + int64_t(blockIdx.x) * width + i, v);
}

template <typename A, typename B> static int embed(sbc_context *c, sbc_ptr out, const sbc_weight *tokens, const sbc_weight *positions) {
    const StepView &s = c->step;
    const int width = tokens->k;
    Table<A> a = {reinterpret_cast<const A *>(tokens->data), tokens->n, tokens->ld ? tokens->ld : width};
    Table<B> b = {};
    if (positions) b = {reinterpret_cast<const B *>(positions->data), positions->n, positions->ld ? positions->ld : width};
    const int vector = wide(width, out, tokens->data, positions ? positions->data : 0);
    const int threads = round_up(ceil_div(width, 8), kWarp);
    return SBC_LAUNCH(c, (embed_kernel<A, B>), dim3(s.tokens_n), dim3(threads < kRowThreads ? threads : kRowThreads), 0,
                      reinterpret_cast<float *>(out), width, vector, a, b, s.tokens, s.positions);
}

// norm launches the kernel with room for the groups of kWide that a thread gets.
template <int kWide> static int norm(sbc_context *c, const NormRows &a, int rows) {
    const int groups = a.width / kWide, all = round_up(groups, kWarp);
    const int threads = all < kNormThreads ? all : kNormThreads, each = ceil_div(groups, threads);
    const dim3 grid(rows), block(threads);
    if (each <= 1) return SBC_LAUNCH(c, (norm_kernel<kWide, 1>), grid, block, 0, a);
    if (each <= 2) return SBC_LAUNCH(c, (norm_kernel<kWide, 2>), grid, block, 0, a);
    if (each <= 4) return SBC_LAUNCH(c, (norm_kernel<kWide, 4>), grid, block, 0, a);
    return SBC_LAUNCH(c, (norm_kernel<kWide, kWide == 4 ? kNormFours : kNormOnes>), grid, block, 0, a);
}

// row_grid is a block for every so many elements of a row.
static dim3 row_grid(int rows, int width, int each) { return dim3(rows, ceil_div(width, each * kRowThreads)); }

} // namespace sbc

using namespace sbc;

int sbc_embed(sbc_context *c, sbc_ptr out, const sbc_weight *tokens, const sbc_weight *positions) {
    SBC_TRY(enter(c, true));
    if (!out || !tokens || !tokens->data || tokens->k <= 0 || (positions && (!positions->data || positions->k != tokens->k)))
        return fail(c, SBC_ARGUMENT, "embedding: tokens' and positions' rows must be as wide as each other");
    if (c->step.tokens_n == 0) return SBC_OK;
    const bool table = tokens->ld == 0, places = positions && positions->ld == 0;
    int status = SBC_OK;
    SBC_BY_DTYPE(c->options.dtype, {
        if (table && places)
            status = embed<float, float>(c, out, tokens, positions);
        else if (table)
            status = embed<float, T>(c, out, tokens, positions);
        else if (places)
            status = embed<T, float>(c, out, tokens, positions);
        else
            status = embed<T, T>(c, out, tokens, positions);
    });
    return status;
}

int sbc_norm(sbc_context *c, const sbc_norm_args *a) {
    SBC_TRY(enter(c, true));
    if (!a || !a->out || !a->x || !a->weight || a->rows < 0 || a->width <= 0)
        return fail(c, SBC_ARGUMENT, "norm: there is nothing to be normalised");
    const bool fours = wide(a->width, a->out, a->x, a->delta, a->weight, a->bias);
    const int widest = kNormThreads * (fours ? 4 * kNormFours : kNormOnes);
    if (a->width > widest)
        return fail(c, SBC_ARGUMENT, "norm: rows of %d elements are too long: up to %d can be normalised%s", int(a->width), widest,
                    fours ? "" : " where they are no multiple of 4");
    if (a->rows == 0) return SBC_OK;
    auto at = [](sbc_ptr p) { return reinterpret_cast<float *>(p); };
    const NormRows rows = {at(a->out), at(a->x), at(a->delta), at(a->weight), at(a->bias), a->eps, a->mean, a->width};
    if (fours) return norm<4>(c, rows, a->rows);
    return norm<1>(c, rows, a->rows);
}

int sbc_activate(sbc_context *c, sbc_ptr out, sbc_ptr x, int32_t act, int32_t gated, int32_t rows, int32_t width) {
    SBC_TRY(enter(c, true));
    if (!out || !x || (act != SBC_GELU_TANH && act != SBC_SILU) || rows < 0 || width <= 0)
        return fail(c, SBC_ARGUMENT, "activation: function %d of %d rows of %d", int(act), int(rows), int(width));
    if (rows == 0) return SBC_OK;
    float *to = reinterpret_cast<float *>(out);
    const float *from = reinterpret_cast<const float *>(x);
    if (wide(width, out, x))
        return SBC_LAUNCH(c, activate_kernel<4>, row_grid(rows, width, 4), dim3(kRowThreads), 0, to, from, act, gated, width);
    return SBC_LAUNCH(c, activate_kernel<1>, row_grid(rows, width, 1), dim3(kRowThreads), 0, to, from, act, gated, width);
}

int sbc_add(sbc_context *c, sbc_ptr x, sbc_ptr y, int32_t rows, int32_t width) {
    SBC_TRY(enter(c, true));
    if (!x || !y || rows < 0 || width <= 0) return fail(c, SBC_ARGUMENT, "addition: %d rows of %d", int(rows), int(width));
    const int64_t n = int64_t(rows) * width;
    if (n == 0) return SBC_OK;
    float *to = reinterpret_cast<float *>(x);
    const float *from = reinterpret_cast<const float *>(y);
    const int each = wide(width, x, y) ? 4 : 1;
    const dim3 grid(unsigned((n / each + kRowThreads - 1) / kRowThreads)), block(kRowThreads);
    if (each == 4) return SBC_LAUNCH(c, add_kernel<4>, grid, block, 0, to, from, n);
    return SBC_LAUNCH(c, add_kernel<1>, grid, block, 0, to, from, n);
}

int sbc_gather(sbc_context *c, sbc_ptr out, sbc_ptr x, sbc_ptr delta, int32_t width) {
    SBC_TRY(enter(c, true));
    if (!x || width <= 0 || (!out && c->step.out_n > 0)) return fail(c, SBC_ARGUMENT, "gathering rows of %d", int(width));
    if (c->step.out_n == 0) return SBC_OK;
    float *to = reinterpret_cast<float *>(out);
    const float *from = reinterpret_cast<const float *>(x), *change = reinterpret_cast<const float *>(delta);
    const int rows = c->step.out_n;
    if (wide(width, out, x, delta))
        return SBC_LAUNCH(c, gather_kernel<4>, row_grid(rows, width, 4), dim3(kRowThreads), 0, to, from, change, c->step.out, width);
    return SBC_LAUNCH(c, gather_kernel<1>, row_grid(rows, width, 1), dim3(kRowThreads), 0, to, from, change, c->step.out, width);
}
