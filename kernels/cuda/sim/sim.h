// sim.h: what kernels are written in, for the host. It is platform.cuh's other
// half: the same names as under nvcc, each with the meaning that the CUDA
// programming guide and the PTX manual give it, on threads that are fibers.
// README.md tells how a launch is run and what is watched.
//
// Everything that one thread tells another takes the file and line it was called
// from as default arguments: a barrier that some threads do not reach can then be
// named as the source has it, however the compiler has copied the code around.
#ifndef SERVEBENCH_CUDA_SIM_H
#define SERVEBENCH_CUDA_SIM_H

#include <math.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

#include <cuda_runtime_api.h>

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

// The words of the language that say where a function runs.
#ifndef __global__
#define __global__
#endif
#ifndef __device__
#define __device__
#endif
#ifndef __host__
#define __host__
#endif
#ifndef __constant__
#define __constant__
#endif
#ifndef __forceinline__
#define __forceinline__ inline
#endif
#undef __launch_bounds__
#define __launch_bounds__(...)
#undef __shared__ // SBC_SHARED alone

#define SIM_HIDDEN __attribute__((visibility("hidden")))
// What runs unwatched although it is compiled with kernels.
#define SIM_UNWATCHED __attribute__((noinline, no_sanitize("thread")))
// Where a function was called from.
#define SIM_FROM int line = __builtin_LINE(), const char *file = __builtin_FILE()

namespace sim {

// Here is the thread that is running, as a kernel sees it.
struct Here {
    uint3 thread;
};
extern SIM_HIDDEN Here *here;
extern SIM_HIDDEN uint3 block_index;
extern SIM_HIDDEN dim3 block_size, grid_size;

// Slot is one declaration of shared memory; it gets its place in the first block
// of a launch that comes by.
struct Slot {
    uint64_t launch;
    void *at;
};
void *shared(Slot &slot, size_t bytes, size_t align, const char *name);
unsigned char *dynamic_shared();

// Op is what threads do together. All that take part have the same.
enum class Op : uint8_t {
    kNone,
    kThreads, kThreadsOr, kThreadsAnd, kThreadsCount, // of a block
    kWarp, // of a warp, as all that follow
    kShuffle, kShuffleUp, kShuffleDown, kShuffleXor,
    kAny, kAll, kBallot, kMatchAny,
    kAdd, kMin, kMax, kMinSigned, kMaxSigned, kAnd, kOr, kXor,
    kLoadMatrix, kLoadMatrixTrans, kMma,
};

int meet_block(Op op, int value, int line, const char *file);
uint64_t meet_warp(Op op, uint32_t mask, uint64_t value, int argument, int width, int line, const char *file);
void load_matrix(uint32_t *r, const void *row, bool transposed, int line, const char *file);
void multiply(float *d, const uint32_t *a, const uint32_t *b, bool half, int line, const char *file);

void copy_async(void *to, const void *from, bool valid);
void copy_commit();
void copy_wait(int groups);

// Says that an atomic operation is about to touch memory.
void touch_atomic(const void *p, size_t bytes);
// Says that so many bytes at p were asked for at once.
[[noreturn]] void misaligned(const void *p, size_t bytes);
inline void aligned(const void *p, size_t bytes) {
    if (reinterpret_cast<uintptr_t>(p) % bytes) misaligned(p, bytes);
}

// Kernel is a kernel with its arguments.
struct Kernel {
    size_t bytes; // of the whole object
    explicit Kernel(size_t bytes) : bytes(bytes) {}
    virtual ~Kernel() {}
    virtual void run() const = 0;
};
template <typename F> struct KernelOf final : Kernel {
    F f;
    explicit KernelOf(const F &f) : Kernel(sizeof(KernelOf)), f(f) {}
    void run() const override { f(); }
};

// start queues a launch, or refuses it as the runtime would.
cudaError_t start(const char *name, dim3 grid, dim3 block, size_t shared, cudaStream_t stream, std::shared_ptr<const Kernel> kernel);

// launch is <<<grid, block, shared, stream>>> of a callable, with its arguments in
// it. What CUDA wants of a kernel with more than 48 KB of dynamic shared memory is
// asked for by it.
template <typename F> cudaError_t launch(const char *name, dim3 grid, dim3 block, size_t shared, cudaStream_t stream, const F &f) {
    static_assert(sizeof(F) <= 4096 + sizeof(void *), "a kernel's parameters may take 4096 bytes");
    return start(name, grid, block, shared, stream, std::make_shared<KernelOf<F>>(f));
}

// What a shuffle carries: what CUDA has shuffles for.
template <typename V> constexpr bool can_shuffle() {
    if (std::is_same<V, __nv_bfloat16>::value || std::is_same<V, __half>::value) return true;
    if (std::is_same<V, __nv_bfloat162>::value || std::is_same<V, __half2>::value) return true;
    return std::is_arithmetic<V>::value && (sizeof(V) == 4 || sizeof(V) == 8);
}
template <typename V> inline uint64_t bits(V v) {
    uint64_t b = 0;
    memcpy(&b, &v, sizeof v);
    return b;
}
template <typename V> inline V shuffle(Op op, uint32_t mask, V v, int argument, int width, int line, const char *file) {
    static_assert(can_shuffle<V>(), "CUDA has no shuffle of this type");
    uint64_t b = meet_warp(op, mask, bits(v), argument, width, line, file);
    memcpy(&v, &b, sizeof v);
    return v;
}

// An atomic operation: no other thread runs between its reading and its writing.
template <typename V, typename F> SIM_UNWATCHED V atomic(V *p, F change) {
    aligned(p, sizeof *p);
    touch_atomic(p, sizeof *p);
    V old = *p;
    *p = change(old);
    return old;
}

} // namespace sim

#define threadIdx (::sim::here->thread)
#define blockIdx (::sim::block_index)
#define blockDim (::sim::block_size)
#define gridDim (::sim::grid_size)
constexpr int warpSize = 32;

// SBC_SHARED(float, partial, 32) is float partial[32] of the block, uninitialised.
#define SBC_SHARED(type, name, count)                                                                                  \
    static ::sim::Slot name##_slot_;                                                                                   \
    type(&name)[count] = *static_cast<type(*)[count]>(::sim::shared(name##_slot_, sizeof(type) * (count), alignof(type), #name))
// SBC_DYNAMIC_SHARED(bytes) is the shared memory of the launch, aligned to 16 bytes.
#define SBC_DYNAMIC_SHARED(name) unsigned char *const name = ::sim::dynamic_shared()

// Barriers, shuffles and votes.

inline void __syncthreads(SIM_FROM) { ::sim::meet_block(::sim::Op::kThreads, 0, line, file); }
inline int __syncthreads_or(int v, SIM_FROM) { return ::sim::meet_block(::sim::Op::kThreadsOr, v, line, file); }
inline int __syncthreads_and(int v, SIM_FROM) { return ::sim::meet_block(::sim::Op::kThreadsAnd, v, line, file); }
inline int __syncthreads_count(int v, SIM_FROM) { return ::sim::meet_block(::sim::Op::kThreadsCount, v, line, file); }

inline void __syncwarp(unsigned mask = 0xffffffffu, SIM_FROM) { ::sim::meet_warp(::sim::Op::kWarp, mask, 0, 0, 32, line, file); }

template <typename V> inline V __shfl_sync(unsigned mask, V v, int lane, int width = 32, SIM_FROM) {
    return ::sim::shuffle(::sim::Op::kShuffle, mask, v, lane, width, line, file);
}
template <typename V> inline V __shfl_up_sync(unsigned mask, V v, unsigned delta, int width = 32, SIM_FROM) {
    return ::sim::shuffle(::sim::Op::kShuffleUp, mask, v, int(delta), width, line, file);
}
template <typename V> inline V __shfl_down_sync(unsigned mask, V v, unsigned delta, int width = 32, SIM_FROM) {
    return ::sim::shuffle(::sim::Op::kShuffleDown, mask, v, int(delta), width, line, file);
}
template <typename V> inline V __shfl_xor_sync(unsigned mask, V v, int lanes, int width = 32, SIM_FROM) {
    return ::sim::shuffle(::sim::Op::kShuffleXor, mask, v, lanes, width, line, file);
}

inline int __any_sync(unsigned mask, int v, SIM_FROM) {
    return int(::sim::meet_warp(::sim::Op::kAny, mask, v != 0, 0, 32, line, file));
}
inline int __all_sync(unsigned mask, int v, SIM_FROM) {
    return int(::sim::meet_warp(::sim::Op::kAll, mask, v != 0, 0, 32, line, file));
}
inline unsigned __ballot_sync(unsigned mask, int v, SIM_FROM) {
    return unsigned(::sim::meet_warp(::sim::Op::kBallot, mask, v != 0, 0, 32, line, file));
}
template <typename V> inline unsigned __match_any_sync(unsigned mask, V v, SIM_FROM) {
    static_assert(::sim::can_shuffle<V>() && sizeof(V) >= 4, "CUDA has no match of this type");
    return unsigned(::sim::meet_warp(::sim::Op::kMatchAny, mask, ::sim::bits(v), 0, 32, line, file));
}
inline unsigned __reduce_add_sync(unsigned mask, unsigned v, SIM_FROM) {
    return unsigned(::sim::meet_warp(::sim::Op::kAdd, mask, v, 0, 32, line, file));
}
inline unsigned __reduce_min_sync(unsigned mask, unsigned v, SIM_FROM) {
    return unsigned(::sim::meet_warp(::sim::Op::kMin, mask, v, 0, 32, line, file));
}
inline unsigned __reduce_max_sync(unsigned mask, unsigned v, SIM_FROM) {
    return unsigned(::sim::meet_warp(::sim::Op::kMax, mask, v, 0, 32, line, file));
}
inline int __reduce_add_sync(unsigned mask, int v, SIM_FROM) {
    return int(::sim::meet_warp(::sim::Op::kAdd, mask, uint32_t(v), 0, 32, line, file));
}
inline int __reduce_min_sync(unsigned mask, int v, SIM_FROM) {
    return int(::sim::meet_warp(::sim::Op::kMinSigned, mask, uint32_t(v), 0, 32, line, file));
}
inline int __reduce_max_sync(unsigned mask, int v, SIM_FROM) {
    return int(::sim::meet_warp(::sim::Op::kMaxSigned, mask, uint32_t(v), 0, 32, line, file));
}
inline unsigned __reduce_and_sync(unsigned mask, unsigned v, SIM_FROM) {
    return unsigned(::sim::meet_warp(::sim::Op::kAnd, mask, v, 0, 32, line, file));
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned v, SIM_FROM) {
    return unsigned(::sim::meet_warp(::sim::Op::kOr, mask, v, 0, 32, line, file));
}
inline unsigned __reduce_xor_sync(unsigned mask, unsigned v, SIM_FROM) {
    return unsigned(::sim::meet_warp(::sim::Op::kXor, mask, v, 0, 32, line, file));
}

// Memory is in the order of the program: one thread runs at a time.
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}

#include "intrinsics.h"

namespace sbc {

inline uint4 load16(const void *p) {
    ::sim::aligned(p, 16);
    return *static_cast<const uint4 *>(p);
}
inline uint4 load16_stream(const void *p) {
    ::sim::aligned(p, 16);
    return *static_cast<const uint4 *>(p);
}
inline uint4 load16_stream(const void *p, bool valid) { return valid ? load16_stream(p) : uint4{0, 0, 0, 0}; }
inline uint4 load16_own(const void *p) {
    ::sim::aligned(p, 16);
    return *static_cast<const uint4 *>(p);
}
inline void store16(void *p, uint4 v) {
    ::sim::aligned(p, 16);
    *static_cast<uint4 *>(p) = v;
}

inline void cp_async16(void *to, const void *from, bool valid) { ::sim::copy_async(to, from, valid); }
inline void cp_async_commit() { ::sim::copy_commit(); }
template <int groups> inline void cp_async_wait() {
    static_assert(groups >= 0, "a number of groups");
    ::sim::copy_wait(groups);
}

inline void ldmatrix_x4(uint32_t (&r)[4], const void *row, SIM_FROM) { ::sim::load_matrix(r, row, false, line, file); }
inline void ldmatrix_x4_trans(uint32_t (&r)[4], const void *row, SIM_FROM) { ::sim::load_matrix(r, row, true, line, file); }

template <typename T> inline void mma_16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], SIM_FROM) {
    static_assert(std::is_same<T, __nv_bfloat16>::value || std::is_same<T, __half>::value, "mma_16816 is of 16-bit types");
    ::sim::multiply(d, a, b, std::is_same<T, __half>::value, line, file);
}

} // namespace sbc
#endif
