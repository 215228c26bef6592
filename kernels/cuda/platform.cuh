// platform.cuh: what kernels are written in. Under nvcc it is CUDA with the tensor
// cores' instructions behind a name each; with SBC_SIM, sim/sim.h has the same
// names for the host. Nothing else tells the two apart: no kernel and no host code
// asks for SBC_SIM.
//
// Kernels keep to these rules, so that the simulated device can run and watch them:
//   - shared memory is declared by SBC_SHARED and SBC_DYNAMIC_SHARED
//   - a kernel is launched by launch() of internal.cuh, never by <<<>>>
//   - 16 bytes of global memory are read by load16, load16_stream and load16_own,
//     copied to shared memory by cp_async16, and written by store16
//   - warps are taken to be in step nowhere: what one lane tells another goes
//     through a shuffle, a vote or __syncwarp
#ifndef SERVEBENCH_CUDA_PLATFORM_CUH
#define SERVEBENCH_CUDA_PLATFORM_CUH

#ifdef SBC_SIM
#include "sim/sim.h"
namespace sbc {
constexpr bool kSimulated = true; // a device that is watched, not fast: what measures keeps it short
}
#else

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <cublasLt.h>

#include <cstdint>

// SBC_SHARED(float, partial, 32) is float partial[32] of the block, uninitialised.
#define SBC_SHARED(type, name, count) __shared__ type name[count]
// SBC_DYNAMIC_SHARED(bytes) is the shared memory of the launch, aligned to 16 bytes.
#define SBC_DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]

namespace sbc {

constexpr bool kSimulated = false;

// load16 reads 16 aligned bytes that no kernel running now writes.
static __device__ __forceinline__ uint4 load16(const void *p) { return __ldg(static_cast<const uint4 *>(p)); }

// load16_stream is load16 of what is read once: it leaves the first-level cache alone.
static __device__ __forceinline__ uint4 load16_stream(const void *p) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
}
// Unless valid it reads nothing and is zero, without a branch.
static __device__ __forceinline__ uint4 load16_stream(const void *p, bool valid) {
    uint4 v;
    asm volatile("{\n\t"
                 ".reg .pred valid;\n\t"
                 "setp.ne.s32 valid, %5, 0;\n\t"
                 "mov.b32 %0, 0;\n\t"
                 "mov.b32 %1, 0;\n\t"
                 "mov.b32 %2, 0;\n\t"
                 "mov.b32 %3, 0;\n\t"
                 "@valid ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];\n\t"
                 "}"
                 : "=&r"(v.x), "=&r"(v.y), "=&r"(v.z), "=&r"(v.w)
                 : "l"(p), "r"(int(valid)));
    return v;
}

// load16_own reads 16 aligned bytes that no thread but this one writes in the kernel.
static __device__ __forceinline__ uint4 load16_own(const void *p) { return *static_cast<const uint4 *>(p); }

// store16 writes 16 aligned bytes of global memory.
static __device__ __forceinline__ void store16(void *p, uint4 v) { *static_cast<uint4 *>(p) = v; }

static __device__ __forceinline__ uint32_t shared_address(const void *p) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// cp_async16 copies 16 aligned bytes from global to shared memory, or zeroes them
// there unless valid; they are there after cp_async_wait and a barrier.
static __device__ __forceinline__ void cp_async16(void *to, const void *from, bool valid) {
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes) : "memory");
}
// cp_async_commit ends a group of this thread's copies.
static __device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// cp_async_wait waits until at most so many of this thread's groups are under way.
template <int groups> static __device__ __forceinline__ void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory");
}

// ldmatrix_x4 loads four 8×8 matrices of 16-bit elements: lane i gives the address
// of row i%8 of matrix i/8, 16 aligned bytes of shared memory. r[m] of lane l holds
// elements 2·(l%4) and 2·(l%4)+1 of row l/4 of matrix m; transposed, of column l/4.
static __device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}
static __device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// mma_16816 is d += a·b on a warp: a is 16×16, b 16×8, d 16×8 in float32. With
// g = lane/4 and t = lane%4 (PTX ISA, "Matrix Fragments for mma.m16n8k16"):
//   a[0] (g, 2t..2t+1)   a[1] (g+8, 2t..)   a[2] (g, 2t+8..)   a[3] (g+8, 2t+8..)
//   b[0] (2t..2t+1, g)   b[1] (2t+8.., g)
//   d[0], d[1] (g, 2t..2t+1)                d[2], d[3] (g+8, 2t..2t+1)
template <typename T> static __device__ __forceinline__ void mma_16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
template <>
__device__ __forceinline__ void mma_16816<__nv_bfloat16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <>
__device__ __forceinline__ void mma_16816<__half>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

} // namespace sbc
#endif // SBC_SIM
#endif
