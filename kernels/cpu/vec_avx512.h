// vec_avx512.h: the vector that the kernel templates (*_kernel.h) are written
// in, for AVX-512 F, BW, VL and DQ. vec_avx2.h has the same names.
//
// A "pair" is what packed matrices and caches are made of: 16 lanes (outputs,
// keys or head elements) of two consecutive terms, NV vectors of each.
//   bfloat16  one 32-bit word a lane, the first term in its low half
//   float32   16 first terms, then 16 second ones
#include <immintrin.h>
#include <stdint.h>

#ifndef ISA // else vec_avx512bf16.h has them
#define FN static inline __attribute__((always_inline, target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")))
#define KERNEL static __attribute__((noinline, target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")))
#define ISA(name) name##_avx512
#endif

#define W 16  // lanes
#define NV 1  // vectors in 16 lanes
typedef __m512 V;

FN V v_set1(float x) { return _mm512_set1_ps(x); }
FN V v_load(const float *p) { return _mm512_loadu_ps(p); }
FN void v_store(float *p, V v) { _mm512_storeu_ps(p, v); }
FN V v_add(V a, V b) { return _mm512_add_ps(a, b); }
FN V v_sub(V a, V b) { return _mm512_sub_ps(a, b); }
FN V v_mul(V a, V b) { return _mm512_mul_ps(a, b); }
FN V v_sqrt(V a) { return _mm512_sqrt_ps(a); }
FN V v_div(V a, V b) { return _mm512_div_ps(a, b); }
FN V v_fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }   // a·b + c
FN V v_fnma(V a, V b, V c) { return _mm512_fnmadd_ps(a, b, c); } // c − a·b
FN V v_max(V a, V b) { return _mm512_max_ps(a, b); }

FN __mmask16 v_first(int n) { return n >= W ? 0xffff : (__mmask16)((1u << n) - 1); }

// v_load_n reads n < W lanes, the rest is 0; v_store_n writes n.
FN V v_load_n(const float *p, int n) { return _mm512_maskz_loadu_ps(v_first(n), p); }
FN void v_store_n(float *p, V v, int n) { _mm512_mask_storeu_ps(p, v_first(n), v); }

// v_keep keeps lanes lo … hi-1 of v and takes the others from fill.
FN V v_keep(V v, V fill, int lo, int hi) {
    return _mm512_mask_mov_ps(fill, (__mmask16)(v_first(hi < 0 ? 0 : hi) & ~v_first(lo < 0 ? 0 : lo)), v);
}

// v_sum and v_top reduce the lanes, always in the same order.
FN float v_sum(V v) { return _mm512_reduce_add_ps(v); }
FN float v_top(V v) { return _mm512_reduce_max_ps(v); }

// v_round is the nearest integer.
FN V v_round(V v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

// v_pow2 is 2ⁿ of an integral n in [-126, 127].
FN V v_pow2(V n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}

// v_clip is 0 where x < lo, infinite where x > hi, else v.
FN V v_clip(V v, V x, float lo, float hi) {
    v = _mm512_mask_mov_ps(v, _mm512_cmp_ps_mask(x, _mm512_set1_ps(lo), _CMP_LT_OQ), _mm512_setzero_ps());
    return _mm512_mask_mov_ps(v, _mm512_cmp_ps_mask(x, _mm512_set1_ps(hi), _CMP_GT_OQ),
                              _mm512_set1_ps(__builtin_inff()));
}

// v_bf16 rounds to what bfloat16 holds: nearest, ties to even, NaN stays quiet NaN.
FN V v_bf16(V v) {
    __m512i u = _mm512_castps_si512(v);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i up = _mm512_add_epi32(_mm512_add_epi32(u, odd), _mm512_set1_epi32(0x7fff));
    __m512i nan = _mm512_or_si512(u, _mm512_set1_epi32(0x400000));
    up = _mm512_mask_mov_epi32(up, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), nan);
    return _mm512_castsi512_ps(_mm512_and_si512(up, _mm512_set1_epi32((int)0xffff0000)));
}

// v_pair loads a pair of bfloat16, or of float32.
FN void v_pair(const void *p, int bf16, V first[NV], V second[NV]) {
    if (bf16) {
        __m512i w = _mm512_load_si512(p);
        first[0] = _mm512_castsi512_ps(_mm512_slli_epi32(w, 16));
        second[0] = _mm512_castsi512_ps(_mm512_and_si512(w, _mm512_set1_epi32((int)0xffff0000)));
    } else {
        first[0] = _mm512_load_ps(p);
        second[0] = _mm512_load_ps((const float *)p + 16);
    }
}
