// limits.cu: what the GPU does at most, for the kernels to be compared with, and
// the time that the GPU takes.
//
// read_kernel
//   Purpose   reads n·16 bytes once
//   Grid      8 a multiprocessor; block 256: all the threads that it holds, with
//             kReadAhead loads of 16 bytes each that wait for nothing. One load of each
//             is 32 KB a multiprocessor; 3.35 TB/s · 700 ns over 132 of them ask for 18 KB
//   Alignment 16 bytes
//   Roofline  bytes alone. 400 MiB (8 times an H100's second-level cache, of which the
//             end of one run may still be in it when the next begins) take 210 µs at
//             2.0 TB/s, 125 µs at 3.35 TB/s
//
// fma_kernel
//   Purpose   rounds · kChains multiply-adds a thread, out of registers
//   Grid      8 a multiprocessor; block 256. kChains independent ones cover a latency
//             of 4 cycles at one warp a scheduler, and there are 16
//   Roofline  FLOPs alone: 8,192 rounds are 29 GFLOP on an A100, 1.5 ms at 19.5 TF;
//             35 GFLOP on an H100, 0.5 ms at 67 TF
//
// dot_kernel
//   Purpose   rounds · kProducts products of 16×16 by 16×8 a warp, in float32, out of registers
//   Grid      4 a multiprocessor; block 256
//   Roofline  FLOPs alone: 2,048 rounds are 232 GFLOP on an A100, 0.74 ms at 312 TF;
//             283 GFLOP on an H100, 0.29 ms at 990 TF. mma.sync, which all the kernels
//             here use, cannot feed all of an H100's tensor cores: what is measured is
//             the limit of these kernels, not of the data sheet
//
// Each warp writes one number, so that what it has computed cannot be left out. The
// best of kRuns runs is the limit: what disturbs one only makes it slower.
#include "host.cuh"

#include <algorithm>
#include <cstring>

namespace sbc {

constexpr int kThreads = 256;
constexpr int kReadAhead = 8;
constexpr int kChains = 8;
constexpr int kProducts = 8;
constexpr int kRuns = 7;

// What a simulated device is asked for is only that it comes to an end.
constexpr int kFmaRounds = kSimulated ? 2 : 8192;
constexpr int kDotRounds = kSimulated ? 2 : 2048;
constexpr uint64_t kLeastRead = kSimulated ? 1 << 20 : 256 << 20;

static __global__ void __launch_bounds__(kThreads) read_kernel(const unsigned char *data, int64_t n, uint32_t *sums) {
    const int64_t step = int64_t(gridDim.x) * blockDim.x;
    int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    uint32_t sum = 0;
    for (; i + (kReadAhead - 1) * step < n; i += kReadAhead * step) {
        uint4 v[kReadAhead];
#pragma unroll
        for (int j = 0; j < kReadAhead; j++) v[j] = load16_stream(data + 16 * (i + j * step));
#pragma unroll
        for (int j = 0; j < kReadAhead; j++) sum ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
    }
    for (; i < n; i += step) {
        const uint4 v = load16_stream(data + 16 * i);
        sum ^= v.x ^ v.y ^ v.z ^ v.w;
    }
    for (int d = kWarp / 2; d > 0; d /= 2) sum ^= __shfl_xor_sync(0xffffffffu, sum, d);
    if (threadIdx.x % kWarp == 0) sums[(blockIdx.x * blockDim.x + threadIdx.x) / kWarp] = sum;
}

static __global__ void __launch_bounds__(kThreads) fma_kernel(float a, float b, int rounds, float *sums) {
    float x[kChains];
#pragma unroll
    for (int i = 0; i < kChains; i++) x[i] = float(threadIdx.x + i);
#pragma unroll 16
    for (int r = 0; r < rounds; r++)
#pragma unroll
        for (int i = 0; i < kChains; i++) x[i] = fmaf(x[i], a, b);
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kChains; i++) sum += x[i];
    sum = warp_sum(sum);
    if (threadIdx.x % kWarp == 0) sums[(blockIdx.x * blockDim.x + threadIdx.x) / kWarp] = sum;
}

// pair is two elements as a register of a fragment has them.
template <typename T> static __device__ __forceinline__ uint32_t pair(float x, float y) {
    const T two[2] = {from_float<T>(x), from_float<T>(y)};
    uint32_t bits;
    memcpy(&bits, two, sizeof bits);
    return bits;
}

template <typename T> static __global__ void __launch_bounds__(kThreads) dot_kernel(int rounds, float *sums) {
    // Numbers of both signs, none of them round: a product of zeros takes less power,
    // and a GPU that takes less power runs faster.
    uint32_t a[4], b[2];
    const float x = float(int(threadIdx.x * 37 % 61) - 30) / 31.0f;
#pragma unroll
    for (int i = 0; i < 4; i++) a[i] = pair<T>(x + i, 0.7f * x - i);
#pragma unroll
    for (int i = 0; i < 2; i++) b[i] = pair<T>(0.3f - x, 0.9f * x - i);
    float d[kProducts][4] = {};
#pragma unroll 4
    for (int r = 0; r < rounds; r++)
#pragma unroll
        for (int i = 0; i < kProducts; i++) mma_16816<T>(d[i], a, b);
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kProducts; i++) sum += d[i][0] + d[i][1] + d[i][2] + d[i][3];
    sum = warp_sum(sum);
    if (threadIdx.x % kWarp == 0) sums[(blockIdx.x * blockDim.x + threadIdx.x) / kWarp] = sum;
}

static int start_clock(sbc_context *c) { return check(c, cudaEventRecord(c->host->start, c->stream), "starting the clock"); }

// stop_clock waits and gives the seconds since start_clock.
static int stop_clock(sbc_context *c, double *seconds) {
    float ms = 0;
    SBC_TRY(check(c, cudaEventRecord(c->host->stop, c->stream), "stopping the clock"));
    SBC_TRY(check(c, cudaEventSynchronize(c->host->stop), "waiting for the clock"));
    SBC_TRY(check(c, cudaEventElapsedTime(&ms, c->host->start, c->host->stop), "reading the clock"));
    *seconds = ms * 1e-3;
    return SBC_OK;
}

// fastest gives how much a second go does at most, when it does work.
template <typename Go> static int fastest(sbc_context *c, double work, Go go, double *rate) {
    double best = 0, seconds = 0;
    for (int run = 0; run <= kRuns; run++) {
        SBC_TRY(start_clock(c));
        SBC_TRY(go());
        SBC_TRY(stop_clock(c, &seconds));
        if (run > 0 && (best == 0 || seconds < best)) best = seconds; // the first one wakes the clocks
    }
    if (best <= 0) return fail(c, SBC_FAILED, "the GPU's clock stands still");
    *rate = work / best;
    return SBC_OK;
}

// blocks is a grid of so many blocks a multiprocessor.
static int blocks(const sbc_context *c, int each) { return kSimulated ? 2 : each * c->about.sms; }

static int read_limit(sbc_context *c, double *out) {
    size_t free = 0, total = 0;
    SBC_TRY(check(c, cudaMemGetInfo(&free, &total), "asking for the free memory"));
    const int grid = blocks(c, 8);
    const uint64_t sums = uint64_t(grid) * (kThreads / kWarp) * sizeof(uint32_t);
    uint64_t bytes = std::max<uint64_t>(kLeastRead, kSimulated ? 0 : 8 * uint64_t(c->about.l2_bytes));
    bytes = std::min<uint64_t>(bytes, free / 4) / 4096 * 4096;
    if (bytes == 0) return fail(c, SBC_MEMORY, "the GPU has no room for memory to read: %zu bytes are free", free);
    void *p = nullptr;
    SBC_TRY(device_take(c, bytes + sums, "memory to read", &p));
    int status = check(c, cudaMemsetAsync(p, 0x55, bytes, c->stream), "filling device memory");
    auto *data = static_cast<const unsigned char *>(p);
    auto *to = reinterpret_cast<uint32_t *>(static_cast<unsigned char *>(p) + bytes);
    if (status == SBC_OK)
        status = fastest(
            c, double(bytes), [&]() { return SBC_LAUNCH(c, read_kernel, dim3(grid), dim3(kThreads), 0, data, int64_t(bytes / 16), to); }, out);
    const int given = device_give(c, p);
    return status != SBC_OK ? status : given;
}

// compute_limit measures what goes on in registers, by go(grid, sums).
template <typename Go> static int compute_limit(sbc_context *c, int grid, double work, Go go, double *out) {
    void *p = nullptr;
    SBC_TRY(device_take(c, uint64_t(grid) * (kThreads / kWarp) * sizeof(float), "sums", &p));
    const int status = fastest(
        c, work, [&]() { return go(dim3(grid), static_cast<float *>(p)); }, out);
    const int given = device_give(c, p);
    return status != SBC_OK ? status : given;
}

static int fma_limit(sbc_context *c, double *out) {
    const int grid = blocks(c, 8);
    auto go = [c](dim3 g, float *sums) { return SBC_LAUNCH(c, fma_kernel, g, dim3(kThreads), 0, -0.75f, 1.0f, kFmaRounds, sums); };
    return compute_limit(c, grid, 2.0 * kChains * kFmaRounds * kThreads * grid, go, out);
}

template <typename T> static int dot_limit(sbc_context *c, double *out) {
    const int grid = blocks(c, 4);
    auto go = [c](dim3 g, float *sums) { return SBC_LAUNCH(c, dot_kernel<T>, g, dim3(kThreads), 0, kDotRounds, sums); };
    return compute_limit(c, grid, 2.0 * 16 * 8 * 16 * kProducts * kDotRounds * (kThreads / kWarp) * grid, go, out);
}

} // namespace sbc

using namespace sbc;

int sbc_limit(sbc_context *c, int32_t what, double *out) {
    SBC_TRY(enter(c, false));
    if (!out) return fail(c, SBC_ARGUMENT, "sbc_limit needs a place for the answer");
    *out = 0;
    if (c->host->timing) return fail(c, SBC_ARGUMENT, "sbc_time is measuring: end it first");
    switch (what) {
    case SBC_LIMIT_READ:
        return read_limit(c, out);
    case SBC_LIMIT_FMA:
        return fma_limit(c, out);
    case SBC_LIMIT_DOT:
        if (c->options.dtype == SBC_F32) return fma_limit(c, out);
        return c->options.dtype == SBC_BF16 ? dot_limit<__nv_bfloat16>(c, out) : dot_limit<__half>(c, out);
    default:
        return fail(c, SBC_ARGUMENT, "there is no limit %d", what);
    }
}

int sbc_time(sbc_context *c, int32_t start, double *seconds) {
    SBC_TRY(enter(c, false));
    Host *h = c->host;
    if (start) {
        SBC_TRY(start_clock(c));
        h->timing = true;
        return SBC_OK;
    }
    if (!seconds || !h->timing) return fail(c, SBC_ARGUMENT, "sbc_time needs a place for the seconds, and a start");
    h->timing = false;
    return stop_clock(c, seconds);
}
