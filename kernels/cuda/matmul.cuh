// matmul.cuh: inputs of a product, rounded to the context's 16-bit type, as
// matmul_small.cu and matmul_large.cu both take them.
#ifndef SERVEBENCH_CUDA_MATMUL_CUH
#define SERVEBENCH_CUDA_MATMUL_CUH

#include "internal.cuh"

#include <cstring>

namespace sbc {

// Eight are eight consecutive inputs of a row.
struct Eight {
    float v[8];
};

// eight reads inputs from … from+7 of a row of k, from a multiple of 8. Those behind
// k, and all of them unless live, are zero and not read. whole says that the row is
// aligned to 16 bytes, and that either all eight are there or none.
static __device__ __forceinline__ Eight eight(const float *row, bool live, int from, int k, bool whole) {
    Eight e = {};
    if (whole) {
        if (live && from < k) {
            const uint4 low = load16(row + from), high = load16(row + from + 4);
            memcpy(e.v, &low, sizeof low);
            memcpy(e.v + 4, &high, sizeof high);
        }
        return e;
    }
#pragma unroll
    for (int i = 0; i < 8; i++)
        if (live && from + i < k) e.v[i] = row[from + i];
    return e;
}

// pair rounds two numbers to T (nearest, ties to even), the first into the low half.
template <typename T> static __device__ __forceinline__ uint32_t pair(float low, float high);
template <> __device__ __forceinline__ uint32_t pair<__nv_bfloat16>(float low, float high) {
    const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    uint32_t word;
    memcpy(&word, &both, sizeof word);
    return word;
}
template <> __device__ __forceinline__ uint32_t pair<__half>(float low, float high) {
    const __half2 both = __floats2half2_rn(low, high);
    uint32_t word;
    memcpy(&word, &both, sizeof word);
    return word;
}

// packed is all eight rounded to T, the first in the low half of x.
template <typename T> static __device__ __forceinline__ uint4 packed(const Eight &e) {
    uint4 words;
    words.x = pair<T>(e.v[0], e.v[1]);
    words.y = pair<T>(e.v[2], e.v[3]);
    words.z = pair<T>(e.v[4], e.v[5]);
    words.w = pair<T>(e.v[6], e.v[7]);
    return words;
}

} // namespace sbc
#endif
