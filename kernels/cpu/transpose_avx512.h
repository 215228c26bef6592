// transpose_avx512.h: sixteen lines of sixteen 32-bit words, transposed in registers.
#ifndef SERVEBENCH_TRANSPOSE_AVX512_H
#define SERVEBENCH_TRANSPOSE_AVX512_H

#include <immintrin.h>

// transpose16 makes word r of line i word i of line r.
static inline __attribute__((always_inline, target("avx512f"))) void transpose16(__m512i v[16]) {
    __m512i t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) { // pairs of words of two lines
        t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) // words 4q+j of four lines, q the quarter, in v[i+j]
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            v[i + 2 * h] = _mm512_unpacklo_epi64(t[i + h], t[i + h + 2]);
            v[i + 2 * h + 1] = _mm512_unpackhi_epi64(t[i + h], t[i + h + 2]);
        }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) { // quarters 0 and 2, 1 and 3, of eight lines
        t[j] = _mm512_shuffle_i32x4(v[j], v[j + 4], 0x88);
        t[j + 4] = _mm512_shuffle_i32x4(v[j], v[j + 4], 0xdd);
        t[j + 8] = _mm512_shuffle_i32x4(v[j + 8], v[j + 12], 0x88);
        t[j + 12] = _mm512_shuffle_i32x4(v[j + 8], v[j + 12], 0xdd);
    }
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        v[j] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0x88);
        v[j + 8] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0xdd);
    }
}

#endif
