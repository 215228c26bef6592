// matmul_small.cu: products of up to kSmallRows rows, in the time of reading W once.
//
// Purpose   out[r, n] = Σₖ x[r, k]·W[n, k] (+ bias[n])
// Shapes    x [rows, K], out [rows, N], bias [N]: float32, dense. W [N, ld] in the
//           context's dtype, ld is K rounded up to 16, zero behind K.
// Aligned   x, W and out to 16 bytes; rows of x whatever K makes of them.
// Sums      float32. A row's result is the same bits whatever the other rows are and
//           however many: neither what a warp sums nor the order in which the sums
//           of warps are added depends on rows, and a kernel for more rows, or more
//           outputs, does for each the same as one for fewer.
//
// tensor_kernel<T, RT, OT, WHOLE>: bfloat16 and float16, on tensor cores
//   On CUDA cores 16 rows would need 16·2 FLOP of every 2 bytes: 32 TFLOP/s at the 2.0
//   TB/s of an A100 that has 19.5. So x is the A of mma.m16n8k16, 16 rows by 16 terms,
//   and W the B, 16 terms by 8 outputs. One row goes the same way, so that its bits are
//   those that it has among sixteen. Absent rows are zeros: 16 FLOP a byte of W always,
//   32 TFLOP/s at an A100's memory, a tenth of what its tensor cores do.
//
//   Lanes     W goes from memory into B's registers with no shared memory between: four
//             lanes read 64 bytes of an output's row, 16 each. That is 32 terms, two
//             mma: lane t's 8 terms 8t … 8t+7 stand for terms 2t, 2t+1, 2t+8, 2t+9 of
//             the first, then of the second. x is read by the same rule, so that W and x
//             agree on which term is which, and the sum is of all 32.
//   Block     8 warps share the terms of 8·OT outputs: warp w takes every eighth 64
//             terms, a cache line of each output's row, in 2 steps of 32.
//   Grid      N / (8·OT) blocks. 3 of them fit on a multiprocessor, or 2 for more than
//             8 rows, so that while one begins or ends others read.
//   Under way a warp's W comes through a ring of 8 slots, 32 terms of 8 outputs each, all
//             asked for again as soon as they have been used: 8 · 16 bytes = 128 bytes a
//             thread, 96 KB a multiprocessor with 3 blocks, 64 with 2. By Little's law
//             2.0 TB/s · 0.6 µs / 108 = 11 KB would do on an A100, 3.35 TB/s · 0.65 µs /
//             132 = 16 KB on an H100: the 32 KB of one block on each as well, which is
//             all that a matrix of 4096 outputs makes, 32 to a block.
//   x         is read as float32 and rounded in registers by every warp for itself: no
//             term is read twice in a block, so that shared memory would spare nothing.
//             It comes from the L1 cache, which W is kept out of, or the L2 cache, behind
//             the W that it is multiplied with but sooner. For 16·OT bytes of W each term
//             is 4·rows bytes. OT grows with rows, so that x is half as much as W at
//             most: 2 for up to 4 rows, 4 for 8, 8 for 16. Where that would leave
//             multiprocessors without a block OT is less: for 9 to 16 rows of a matrix of
//             4096 outputs x is as much as W.
//   Registers 32 of the ring, 4·OT of sums, 8·RT and more of x, and addresses; 80 fit
//             with 3 blocks, 128 with 2.
//   Shared    the 8 warps' sums, added in the order of warps: 8·8·RT·(8·OT + 8)·4 bytes,
//             6 KB to 36 KB. The 8 behind keep what lanes write in pairs on banks of
//             their own.
//   WHOLE     K is a multiple of 8, as in every model that is served; without it x is
//             read one by one.
//
// float_kernel<ROWS>: float32, on CUDA cores
//   A warp sums 4 outputs for up to ROWS rows; lane l takes terms 4l … 4l+3 of every
//   128; the lanes' sums are added by warp_sum's tree. 8 loads of 16 bytes a thread are
//   under way, 2 blocks of 8 warps on a multiprocessor: 64 KB. x comes from the caches,
//   rows/4 bytes for each byte of W from L1, rows/32 from L2 where the warps of a block
//   keep together. 16 rows need 8 FLOP for each byte of W: 16 TFLOP/s of an A100's 19.5,
//   27 of an H100's 67.
//
// Bound by  memory: 2·N·ld bytes (float32: 4·N·ld), 2·rows·N·K FLOP. Llama-2-7B in 16
//           bits, times of memory by the data sheets' 2.0 TB/s of an A100 and 3.35 TB/s of
//           an H100; 16 rows of arithmetic are a tenth of that at 312 and 990 TFLOP/s:
//             N × K           MB     A100     H100    GFLOP of 16 rows
//             12288 × 4096   100.7    50 µs    30 µs   1.6   (queries, keys, values)
//              4096 × 4096    33.6    17 µs    10 µs   0.5   (attention's output)
//             22016 × 4096   180.4    90 µs    54 µs   2.9   (gate and up)
//              4096 × 11008   90.2    45 µs    27 µs   1.4   (down)
//             32000 × 4096   262.1   131 µs    78 µs   4.2   (logits)
//           a token: 32 layers and the logits are 13.2 GB, 6.6 ms and 3.9 ms. To that
//           each launch adds what it takes for a first load to come back and a last sum
//           to leave, 1 to 2 µs when nothing else runs. None of it has been measured.
#include "matmul.cuh"

#include <cmath>

namespace sbc {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarp;

// Product is what all kernels of this file are given.
struct Product {
    float *out;        // [rows, n]
    const float *x;    // [rows, k]
    const void *w;     // [n, ld]
    const float *bias; // [n] or NULL
    int n, k, ld, rows;
};

// tensor_kernel

constexpr int kOutputs = 8; // of an mma
constexpr int kRows = 8;    // of half an mma
constexpr int kStep = 32;   // terms that four lanes read of an output at once
constexpr int kLine = 64;   // terms of a line of the cache: two steps
constexpr int kSlots = 8;   // of a warp's ring, 16 bytes a lane each

// ahead is how many terms behind a warp's first its step is.
static constexpr __device__ int ahead(int step) { return step / 2 * kWarps * kLine + step % 2 * kStep; }

// multiply adds the products of a step of 8 outputs with the rows of x.
template <typename T, int RT> static __device__ __forceinline__ void multiply(float (&sums)[4], const uint4 &w, const uint4 (&x)[RT]) {
    const uint4 zero = {0, 0, 0, 0}, &low = x[0], &high = RT > 1 ? x[RT - 1] : zero; // of row g = lane/4, and g+8
    const uint32_t first[4] = {low.x, high.x, low.y, high.y}, first_w[2] = {w.x, w.y};
    const uint32_t second[4] = {low.z, high.z, low.w, high.w}, second_w[2] = {w.z, w.w};
    mma_16816<T>(sums, first, first_w);
    mma_16816<T>(sums, second, second_w);
}

// sum_warps adds what the warps have summed, and the bias, and writes it.
template <int RT, int OT> static __device__ __forceinline__ void sum_warps(const Product &p, int output, const float (&sums)[OT][4]) {
    constexpr int rows = kRows * RT, outputs = kOutputs * OT, stride = outputs + 8;
    SBC_SHARED(float, partial, kWarps * rows * stride); // [warp, row, output]
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
#pragma unroll
    for (int o = 0; o < OT; o++)
#pragma unroll
        for (int i = 0; i < 2 * RT; i++) {
            const int row = i / 2 * kRows + lane / 4;
            partial[(warp * rows + row) * stride + kOutputs * o + lane % 4 * 2 + i % 2] = sums[o][i];
        }
    __syncthreads();
    for (int i = threadIdx.x; i < p.rows * outputs; i += kThreads) {
        const int row = i / outputs, at = i % outputs;
        if (output + at >= p.n) continue;
        float sum = 0;
#pragma unroll
        for (int w = 0; w < kWarps; w++) sum += partial[(w * rows + row) * stride + at];
        if (p.bias) sum += p.bias[output + at];
        p.out[size_t(row) * p.n + output + at] = sum;
    }
}

template <typename T, int RT, int OT, bool WHOLE>
static __global__ void __launch_bounds__(kThreads, RT == 1 ? 3 : 2) tensor_kernel(Product p) {
    constexpr int held = kSlots / OT;         // steps that the ring holds
    constexpr int turn = held > 2 ? held : 2; // steps of a turn: whole lines
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    const int output = blockIdx.x * kOutputs * OT;
    const int left = p.n - output - lane / 4; // outputs from the lane's first
    int k = warp * kLine + lane % 4 * 8;      // the lane's first term of a turn
    const T *w = static_cast<const T *>(p.w) + size_t(output + lane / 4) * p.ld + k;
    const size_t next_output = size_t(kOutputs) * p.ld;

    // Where the lane's rows of x begin. Those behind the last are zero.
    const float *row[RT];
    bool live[RT];
#pragma unroll
    for (int r = 0; r < RT; r++) {
        live[r] = kRows * r + lane / 4 < p.rows;
        row[r] = p.x + size_t(live[r] ? kRows * r + lane / 4 : 0) * p.k;
    }

    uint4 ring[kSlots];
    // Outputs behind the last, and steps behind a warp's last, are not read: they add zero.
    const auto fetch = [&](int step, int o) {
        ring[step % held * OT + o] = load16_stream(w + o * next_output + ahead(step), k + ahead(step) < p.ld && kOutputs * o < left);
    };
#pragma unroll
    for (int s = 0; s < kSlots; s++) fetch(s / OT, s % OT);
    float sums[OT][4] = {};
    for (int first = warp * kLine; first < p.ld; first += ahead(turn)) {
#pragma unroll
        for (int step = 0; step < turn; step++) {
            uint4 x[RT];
#pragma unroll
            for (int r = 0; r < RT; r++) x[r] = packed<T>(eight(row[r], live[r], k + ahead(step), p.k, WHOLE));
#pragma unroll
            for (int o = 0; o < OT; o++) {
                multiply<T, RT>(sums[o], ring[step % held * OT + o], x);
                fetch(step + held, o);
            }
        }
        k += ahead(turn);
        w += ahead(turn);
    }
    sum_warps<RT, OT>(p, output, sums);
}

// float_kernel

constexpr int kWarpOutputs = 4;         // of a warp
constexpr int kLaneTerms = 4;           // that a lane reads at once: 16 bytes
constexpr int kTurn = kWarp * kLaneTerms; // terms that a warp reads at once
constexpr int kTurns = 2;               // that are under way

// Four are four consecutive numbers.
struct Four {
    float v[kLaneTerms];
};

// four reads terms from … from+3 of a row of k; those behind k are zero. whole says
// that the row is aligned to 16 bytes, and that either all four are there or none.
static __device__ __forceinline__ Four four(const float *row, int from, int k, bool whole) {
    Four f = {};
    if (whole) {
        if (from < k) {
            const uint4 words = load16(row + from);
            memcpy(f.v, &words, sizeof words);
        }
        return f;
    }
#pragma unroll
    for (int i = 0; i < kLaneTerms; i++)
        if (from + i < k) f.v[i] = row[from + i];
    return f;
}

static __device__ __forceinline__ void fetch_four(Four &f, const float *w, bool inside) {
    const uint4 words = load16_stream(w, inside);
    memcpy(f.v, &words, sizeof words);
}

template <int ROWS> static __global__ void __launch_bounds__(kThreads, 2) float_kernel(Product p) {
    const int lane = threadIdx.x % kWarp;
    const int output = (blockIdx.x * kWarps + threadIdx.x / kWarp) * kWarpOutputs;
    if (output >= p.n) return; // a whole warp: nothing below waits for another
    const float *w = static_cast<const float *>(p.w) + size_t(output) * p.ld;
    const bool whole = p.k % kLaneTerms == 0;
    const int first = lane * kLaneTerms;
    int at[kWarpOutputs]; // where outputs begin in w; those behind the last read what the last does
#pragma unroll
    for (int o = 0; o < kWarpOutputs; o++) at[o] = (output + o < p.n ? o : p.n - 1 - output) * p.ld;

    Four ring[kTurns][kWarpOutputs];
#pragma unroll
    for (int t = 0; t < kTurns; t++)
#pragma unroll
        for (int o = 0; o < kWarpOutputs; o++) {
            const int k = t * kTurn + first;
            fetch_four(ring[t][o], w + at[o] + k, k < p.ld);
        }
    float sums[kWarpOutputs][ROWS] = {};
    for (int start = first; start - first < p.ld; start += kTurns * kTurn) {
#pragma unroll
        for (int t = 0; t < kTurns; t++) {
            const int k = start + t * kTurn;
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                if (r >= p.rows) break;
                const Four x = four(p.x + size_t(r) * p.k, k, p.k, whole);
#pragma unroll
                for (int o = 0; o < kWarpOutputs; o++)
#pragma unroll
                    for (int i = 0; i < kLaneTerms; i++) sums[o][r] = fmaf(x.v[i], ring[t][o].v[i], sums[o][r]);
            }
#pragma unroll
            for (int o = 0; o < kWarpOutputs; o++) {
                const int later = k + kTurns * kTurn;
                fetch_four(ring[t][o], w + at[o] + later, later < p.ld);
            }
        }
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        if (r >= p.rows) break;
        float mine = 0;
#pragma unroll
        for (int o = 0; o < kWarpOutputs; o++) {
            const float sum = warp_sum(sums[o][r]);
            if (lane == o) mine = sum;
        }
        if (lane >= kWarpOutputs || output + lane >= p.n) continue;
        if (p.bias) mine += p.bias[output + lane];
        p.out[size_t(r) * p.n + output + lane] = mine;
    }
}

// Launchers.

template <typename T, int RT, int OT, bool WHOLE> static int tensor(sbc_context *c, const Product &p) {
    return SBC_LAUNCH(c, (tensor_kernel<T, RT, OT, WHOLE>), dim3(unsigned(ceil_div(p.n, kOutputs * OT))), dim3(kThreads), 0, p);
}

// fills tells whether blocks of so many outputs keep the GPU busy: three quarters of
// the multiprocessors with one block each have more loads under way than memory needs.
static bool fills(const sbc_context *c, int n, int outputs) { return 4 * int64_t(ceil_div(n, outputs)) >= 3 * int64_t(c->about.sms); }

template <typename T> static int tensor_product(sbc_context *c, const Product &p) {
    if (p.k % 8 != 0) return tensor<T, 2, 2, false>(c, p);
    if (p.rows <= 4) return tensor<T, 1, 2, true>(c, p);
    const bool wide = fills(c, p.n, 4 * kOutputs);
    if (p.rows <= kRows) return wide ? tensor<T, 1, 4, true>(c, p) : tensor<T, 1, 2, true>(c, p);
    if (fills(c, p.n, 8 * kOutputs)) return tensor<T, 2, 8, true>(c, p);
    return wide ? tensor<T, 2, 4, true>(c, p) : tensor<T, 2, 2, true>(c, p);
}

template <int ROWS> static int floats(sbc_context *c, const Product &p) {
    return SBC_LAUNCH(c, float_kernel<ROWS>, dim3(unsigned(ceil_div(p.n, kWarps * kWarpOutputs))), dim3(kThreads), 0, p);
}

static int float_product(sbc_context *c, const Product &p) {
    if (p.rows == 1) return floats<1>(c, p);
    if (p.rows == 2) return floats<2>(c, p);
    if (p.rows <= 4) return floats<4>(c, p);
    if (p.rows <= 8) return floats<8>(c, p);
    return floats<16>(c, p);
}

int matmul_small(sbc_context *c, float *out, const float *x, const sbc_weight *w, const float *bias, int rows) {
    static_assert(kSmallRows == 2 * kRows, "the largest kernels have room for 16 rows");
    const Product p = {out, x, reinterpret_cast<const void *>(w->data), bias, w->n, w->k, w->ld, rows};
    if (c->options.dtype == SBC_F32) return float_product(c, p);
    return c->options.dtype == SBC_BF16 ? tensor_product<__nv_bfloat16>(c, p) : tensor_product<__half>(c, p);
}

} // namespace sbc
