// check_faults.cpp: kernels with a mistake each, and beside each the same kernel
// without it.
#include "check.h"

static const dim3 kOne(1);

// Shared memory without a barrier.

template <bool barrier> static __global__ void exchange_kernel(int *out) {
    SBC_SHARED(int, box, 64);
    box[threadIdx.x] = int(threadIdx.x);
    if (barrier) __syncthreads();
    out[threadIdx.x] = box[63 - threadIdx.x];
}

static void race_read_after_write() {
    if (!kChecked) return;
    for_seeds([] {
        Device<int> out(64);
        RIGHT(run(exchange_kernel<true>, kOne, dim3(64), 0, out.data));
        EXPECT(out.get()[0] == 63, "thread 0 has %d", out.get()[0]);
        WRONG(run(exchange_kernel<false>, kOne, dim3(64), 0, out.data), cudaErrorLaunchFailure, "without a __sync");
    });
}

template <bool barrier> static __global__ void reuse_kernel(int *out) {
    SBC_SHARED(int, box, 64);
    box[threadIdx.x] = int(threadIdx.x);
    __syncthreads();
    int other = box[(threadIdx.x + 32) % 64];
    if (barrier) __syncthreads();
    box[threadIdx.x] = other;
    out[threadIdx.x] = other;
}

static void race_write_after_read() {
    if (!kChecked) return;
    for_seeds([] {
        Device<int> out(64);
        RIGHT(run(reuse_kernel<true>, kOne, dim3(64), 0, out.data));
        WRONG(run(reuse_kernel<false>, kOne, dim3(64), 0, out.data), cudaErrorLaunchFailure, "without a __sync");
    });
}

template <bool same> static __global__ void write_write_kernel(int *out) {
    SBC_SHARED(short, box, 64);
    box[same ? 5 : threadIdx.x] = 1; // neighbours in one word are nobody's business
    __syncthreads();
    out[threadIdx.x] = box[5];
}

static void race_write_after_write() {
    if (!kChecked) return;
    for_seeds([] {
        Device<int> out(64);
        RIGHT(run(write_write_kernel<false>, kOne, dim3(64), 0, out.data));
        WRONG(run(write_write_kernel<true>, kOne, dim3(64), 0, out.data), cudaErrorLaunchFailure, "writes byte 10 of box");
    });
}

// Within a warp only __syncwarp orders memory, and only for the lanes of its mask.
enum Between { kNone, kSyncwarp, kShuffle, kHalves, kWrongHalf };
template <int between> static __global__ void warp_kernel(int *out) {
    SBC_DYNAMIC_SHARED(bytes);
    int *box = reinterpret_cast<int *>(bytes);
    const int lane = int(threadIdx.x) % 32, half = lane & 16;
    box[threadIdx.x] = lane;
    if (between == kSyncwarp) __syncwarp();
    if (between == kShuffle) __shfl_sync(0xffffffffu, lane, 0);
    if (between == kHalves || between == kWrongHalf) __syncwarp(half ? 0xffff0000u : 0x0000ffffu);
    const int other = between == kHalves ? half | (15 - lane % 16) : 31 - lane;
    out[threadIdx.x] = box[(int(threadIdx.x) & ~31) + other];
}

static void race_in_a_warp() {
    if (!kChecked) return;
    for_seeds([] {
        Device<int> out(64);
        RIGHT(run(warp_kernel<kSyncwarp>, kOne, dim3(64), 256, out.data));
        RIGHT(run(warp_kernel<kHalves>, kOne, dim3(64), 256, out.data));
        WRONG(run(warp_kernel<kNone>, kOne, dim3(64), 256, out.data), cudaErrorLaunchFailure, "__syncwarp");
    });
    for_seeds([] {
        Device<int> out(64);
        WRONG(run(warp_kernel<kShuffle>, kOne, dim3(64), 256, out.data), cudaErrorLaunchFailure, "__syncwarp");
    });
    for_seeds([] {
        Device<int> out(64);
        WRONG(run(warp_kernel<kWrongHalf>, kOne, dim3(64), 256, out.data), cudaErrorLaunchFailure, "__syncwarp");
    });
}

template <bool plain> static __global__ void count_kernel(int *out) {
    SBC_SHARED(int, counter, 1);
    if (threadIdx.x == 0) counter[0] = 0;
    __syncthreads();
    atomicAdd(&counter[0], 1);
    if (plain && threadIdx.x == 40) counter[0] = 7;
    __syncthreads();
    if (threadIdx.x == 0) *out = counter[0];
}

static void race_with_an_atomic() {
    for_seeds([] {
        Device<int> out(1);
        RIGHT(run(count_kernel<false>, kOne, dim3(96), 0, out.data));
        EXPECT(out.get()[0] == 96, "%d were counted", out.get()[0]);
        if (kChecked) WRONG(run(count_kernel<true>, kOne, dim3(96), 0, out.data), cudaErrorLaunchFailure, "without a __sync");
    });
}

// Barriers that not all threads reach.

static __global__ void return_kernel(int *out) {
    if (threadIdx.x >= 32) return;
    __syncthreads();
    out[threadIdx.x] = 1;
}

static __global__ void two_barriers_kernel(int *out) {
    if (threadIdx.x < 32) {
        out[threadIdx.x] = 1;
        __syncthreads();
    } else {
        __syncthreads();
    }
}

static __global__ void half_shuffle_kernel(int *out) {
    if (threadIdx.x < 16) out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, int(threadIdx.x), 1);
}

static __global__ void barrier_and_shuffle_kernel(int *out) {
    if (threadIdx.x % 2)
        __syncthreads();
    else
        out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, int(threadIdx.x), 2);
}

static __global__ void absent_lane_kernel(int *out) {
    if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0x0000ffffu, int(threadIdx.x), 20);
}

static __global__ void not_in_mask_kernel(int *out) {
    out[threadIdx.x] = __any_sync(0xfffffffeu, 1);
}

static void barriers_that_some_miss() {
    for_seeds([] {
        Device<int> out(64);
        WRONG(run(return_kernel, kOne, dim3(64), 0, out.data), cudaErrorLaunchFailure, "32 threads have returned");
    });
    for_seeds([] {
        Device<int> out(64);
        WRONG(run(two_barriers_kernel, kOne, dim3(64), 0, out.data), cudaErrorLaunchFailure, "all must reach the same barrier");
    });
    for_seeds([] {
        Device<int> out(64);
        WRONG(run(half_shuffle_kernel, kOne, dim3(32), 0, out.data), cudaErrorLaunchFailure, "__shfl_xor_sync");
    });
    for_seeds([] {
        Device<int> out(64);
        WRONG(run(barrier_and_shuffle_kernel, kOne, dim3(64), 0, out.data), cudaErrorLaunchFailure, "wait for each other in vain");
    });
    Device<int> out(64);
    WRONG(run(half_shuffle_kernel, kOne, dim3(16), 0, out.data), cudaErrorLaunchFailure, "lanes that the block has not");
    WRONG(run(absent_lane_kernel, kOne, dim3(32), 0, Device<int>(64).data), cudaErrorLaunchFailure, "which the mask");
    WRONG(run(not_in_mask_kernel, kOne, dim3(32), 0, Device<int>(64).data), cudaErrorLaunchFailure, "lacks the lane itself");
}

// Addresses.

static __global__ void write_kernel(int *out, int i) {
    if (threadIdx.x == 3 && blockIdx.x == 1) out[i] = 1;
}

static __global__ void read_kernel(int *out, const int *p) { *out = *p; }

static void addresses_outside() {
    if (!kChecked) return;
    {
        Device<int> out(10);
        RIGHT(run(write_kernel, dim3(2), dim3(8), 0, out.data, 9));
        WRONG(run(write_kernel, dim3(2), dim3(8), 0, out.data, 10), cudaErrorIllegalAddress, "0 bytes behind the end of allocation");
    }
    {
        Device<int> out(10);
        WRONG(run(write_kernel, dim3(2), dim3(8), 0, out.data, -1), cudaErrorIllegalAddress, "thread (3, 0, 0)");
    }
    {
        Device<int> out(1);
        int *freed = nullptr;
        EXPECT(cudaMalloc(&freed, 400) == cudaSuccess && cudaFree(freed) == cudaSuccess, "cudaMalloc and cudaFree");
        WRONG(run(read_kernel, kOne, kOne, 0, out.data, freed + 7), cudaErrorIllegalAddress, "given back before");
    }
    {
        Device<int> out(1);
        std::vector<int> host(100);
        WRONG(run(read_kernel, kOne, kOne, 0, out.data, host.data()), cudaErrorIllegalAddress, "host memory");
    }
    {
        Device<int> out(1);
        WRONG(run(read_kernel, kOne, kOne, 0, out.data, static_cast<int *>(nullptr)), cudaErrorIllegalAddress, "host memory");
    }
}

static __global__ void beyond_shared_kernel(float *out, int i) {
    SBC_DYNAMIC_SHARED(bytes);
    SBC_SHARED(float, fixed, 8);
    float *box = reinterpret_cast<float *>(bytes);
    if (i < 0) {
        fixed[-i] = 1;
        *out = fixed[-i];
    } else {
        box[i] = 1;
        *out = box[i];
    }
}

static void shared_memory_outside() {
    if (!kChecked) return;
    for (int i : {25, 30, 50000, -8}) {
        Device<float> out(1);
        RIGHT(run(beyond_shared_kernel, kOne, kOne, 100, out.data, 24));
        RIGHT(run(beyond_shared_kernel, kOne, kOne, 100, out.data, -7));
        WRONG(run(beyond_shared_kernel, kOne, kOne, 100, out.data, i), cudaErrorIllegalAddress, "shared memory that the launch does not have");
    }
}

static __global__ void large_kernel(float *out) {
    SBC_SHARED(float, most, 12 * 1024);
    SBC_SHARED(float, more, 1);
    *out = most[0] + more[0];
}

static void shared_memory_of_more_than_48_kb() {
    Device<float> out(1);
    WRONG(run(large_kernel, kOne, kOne, 0, out.data), cudaErrorLaunchFailure, "the rest is to be dynamic");
}

static __global__ void four_kernel(float *out, const float *p) {
    const float4 v = *reinterpret_cast<const float4 *>(p);
    *out = v.x + v.y + v.z + v.w;
}
static __global__ void load16_kernel(float *out, const float *p) { *out = __uint_as_float(sbc::load16(p).x); }
static __global__ void store16_kernel(float *out, const float *) { sbc::store16(out + 1, uint4()); }
static __global__ void shared_float4_kernel(float *out, const float *) {
    SBC_SHARED(float, box, 8); // aligned to 4 bytes, as it says
    *reinterpret_cast<float4 *>(box) = float4();
    *out = box[0];
}

static void misaligned_addresses() {
    {
        Device<float> out(8), in(std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8});
        RIGHT(run(four_kernel, kOne, kOne, 0, out.data, in.data + 4));
        EXPECT(out.get()[0] == 26, "the sum is %g", double(out.get()[0]));
        RIGHT(run(load16_kernel, kOne, kOne, 0, out.data, in.data));
        WRONG(run(load16_kernel, kOne, kOne, 0, out.data, in.data + 1), cudaErrorMisalignedAddress, "no multiple");
    }
    {
        Device<float> out(8);
        WRONG(run(store16_kernel, kOne, kOne, 0, out.data, out.data), cudaErrorMisalignedAddress, "no multiple");
    }
    if (!kChecked) return;
    {
        Device<float> out(8), in(8);
        WRONG(run(four_kernel, kOne, kOne, 0, out.data, in.data + 2), cudaErrorMisalignedAddress, "check_faults.cpp");
    }
    {
        Device<float> out(8);
        WRONG(run(shared_float4_kernel, kOne, kOne, 0, out.data, out.data), cudaErrorMisalignedAddress, "check_faults.cpp");
    }
}

// Copies to shared memory that are under way.

enum Missing { kNothing, kWait, kCommit, kBarrier, kGroup, kReuse };
template <int missing> static __global__ void copy_kernel(const float *in, float *out) {
    SBC_DYNAMIC_SHARED(bytes);
    float *box = reinterpret_cast<float *>(bytes);
    const int t = int(threadIdx.x);
    sbc::cp_async16(box + 4 * t, in + 4 * t, true);
    if (missing != kCommit) sbc::cp_async_commit();
    sbc::cp_async16(box + 256 + 4 * t, in + 4 * t, t % 2 == 0);
    sbc::cp_async_commit();
    if (missing == kGroup) sbc::cp_async_wait<2>();
    if (missing != kWait && missing != kGroup) sbc::cp_async_wait<1>();
    if (missing != kBarrier) __syncthreads();
    const float first = box[255 - 4 * t];
    if (missing != kReuse) __syncthreads();
    sbc::cp_async_wait<0>();
    if (missing == kReuse) sbc::cp_async16(box + 4 * t, in + 4 * t, true);
    __syncthreads();
    out[t] = first;
    out[64 + t] = box[256 + (255 - 4 * t)];
}

static void copies_under_way() {
    std::vector<float> in(256);
    for (int i = 0; i < 256; i++) in[size_t(i)] = float(i);
    for_seeds([&] {
        Device<float> from(in), out(128);
        RIGHT(run(copy_kernel<kNothing>, kOne, dim3(64), 2048, from.data, out.data));
        const std::vector<float> got = out.get();
        for (int t = 0; t < 64; t++) {
            const float second = t % 2 ? float(255 - 4 * t) : 0; // thread 63 - t copied it
            EXPECT(got[size_t(t)] == float(255 - 4 * t), "thread %d has %g", t, double(got[size_t(t)]));
            EXPECT(got[size_t(64 + t)] == second, "thread %d has %g of the second", t, double(got[size_t(64 + t)]));
        }
    });
    {
        // Without the wait there is what was there: nothing.
        Device<float> from(in), out(128);
        const cudaError_t e = run(copy_kernel<kWait>, kOne, dim3(64), 2048, from.data, out.data);
        if (kChecked)
            WRONG(e, cudaErrorLaunchFailure, "no cp_async_wait");
        else
            EXPECT(isnan(out.get()[0]), "a copy that nobody waited for is there: %g", double(out.get()[0]));
    }
    if (!kChecked) return;
    auto fails = [&](void (*kernel)(const float *, float *), const char *word) {
        Device<float> from(in), out(128);
        WRONG(run(kernel, kOne, dim3(64), 2048, from.data, out.data), cudaErrorLaunchFailure, word);
    };
    fails(copy_kernel<kGroup>, "no cp_async_wait");
    fails(copy_kernel<kCommit>, "no cp_async_wait");
    fails(copy_kernel<kBarrier>, "shared memory"); // another's copy is under way, or done without a barrier
    fails(copy_kernel<kReuse>, "shared memory");  // likewise
}

// The host's code.

__attribute__((noinline)) static float peek(const float *p) { return *p; }

static void host_touches_device_memory() {
    if (!kChecked) return;
    Device<float> out(4);
    EXPECT(isnan(peek(out.data)), "fresh device memory is not NaN");
    WRONG(cudaDeviceSynchronize(), cudaErrorIllegalAddress, "the host's code reads 4 bytes of device memory");
}

// Poison.

static __global__ void uninitialised_kernel(float *out) {
    SBC_SHARED(float, fixed, 32);
    SBC_DYNAMIC_SHARED(bytes);
    float *box = reinterpret_cast<float *>(bytes);
    out[blockIdx.x * 64 + threadIdx.x] = fixed[threadIdx.x];
    out[blockIdx.x * 64 + 32 + threadIdx.x] = box[threadIdx.x];
    fixed[threadIdx.x] = box[threadIdx.x] = 1;
}

static void shared_memory_is_poisoned_for_every_block() {
    Device<float> out(64 * 20);
    RIGHT(run(uninitialised_kernel, dim3(20), dim3(32), 128, out.data));
    for (float x : out.get()) EXPECT(isnan(x), "%g is what the block before left", double(x));
}

const std::vector<Case> fault_cases = {
    {"race: read after write", race_read_after_write},
    {"race: write after read", race_write_after_read},
    {"race: write after write", race_write_after_write},
    {"race: in a warp", race_in_a_warp},
    {"race: with an atomic", race_with_an_atomic},
    {"barriers that some miss", barriers_that_some_miss},
    {"addresses outside", addresses_outside},
    {"shared memory outside", shared_memory_outside},
    {"shared memory of more than 48 KB", shared_memory_of_more_than_48_kb},
    {"misaligned addresses", misaligned_addresses},
    {"copies under way", copies_under_way},
    {"host touches device memory", host_touches_device_memory},
    {"shared memory is poisoned for every block", shared_memory_is_poisoned_for_every_block},
};
