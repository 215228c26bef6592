// vec_avx2.h: the vector of vec_avx512.h for AVX2, FMA and F16C; the names are
// explained there.
#include <immintrin.h>
#include <stdint.h>

#define FN static inline __attribute__((always_inline, target("avx2,fma,f16c")))
#define KERNEL static __attribute__((noinline, target("avx2,fma,f16c")))
#define ISA(name) name##_avx2

#define W 8
#define NV 2
typedef __m256 V;

FN V v_set1(float x) { return _mm256_set1_ps(x); }
FN V v_load(const float *p) { return _mm256_loadu_ps(p); }
FN void v_store(float *p, V v) { _mm256_storeu_ps(p, v); }
FN V v_add(V a, V b) { return _mm256_add_ps(a, b); }
FN V v_sub(V a, V b) { return _mm256_sub_ps(a, b); }
FN V v_mul(V a, V b) { return _mm256_mul_ps(a, b); }
FN V v_sqrt(V a) { return _mm256_sqrt_ps(a); }
FN V v_div(V a, V b) { return _mm256_div_ps(a, b); }
FN V v_fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
FN V v_fnma(V a, V b, V c) { return _mm256_fnmadd_ps(a, b, c); }
FN V v_max(V a, V b) { return _mm256_max_ps(a, b); }

// v_first is all ones in the first n lanes.
FN __m256i v_first(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

FN V v_load_n(const float *p, int n) { return _mm256_maskload_ps(p, v_first(n)); }
FN void v_store_n(float *p, V v, int n) { _mm256_maskstore_ps(p, v_first(n), v); }

FN V v_keep(V v, V fill, int lo, int hi) {
    return _mm256_blendv_ps(fill, v, _mm256_castsi256_ps(_mm256_andnot_si256(v_first(lo), v_first(hi))));
}

FN float v_sum(V v) {
    __m128 h = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    h = _mm_add_ps(h, _mm_movehl_ps(h, h));
    return _mm_cvtss_f32(_mm_add_ss(h, _mm_movehdup_ps(h)));
}

FN float v_top(V v) {
    __m128 h = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    h = _mm_max_ps(h, _mm_movehl_ps(h, h));
    return _mm_cvtss_f32(_mm_max_ss(h, _mm_movehdup_ps(h)));
}

FN V v_round(V v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

FN V v_pow2(V n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}

FN V v_clip(V v, V x, float lo, float hi) {
    v = _mm256_blendv_ps(v, _mm256_setzero_ps(), _mm256_cmp_ps(x, _mm256_set1_ps(lo), _CMP_LT_OQ));
    return _mm256_blendv_ps(v, _mm256_set1_ps(__builtin_inff()), _mm256_cmp_ps(x, _mm256_set1_ps(hi), _CMP_GT_OQ));
}

FN V v_bf16(V v) {
    __m256i u = _mm256_castps_si256(v);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i up = _mm256_add_epi32(_mm256_add_epi32(u, odd), _mm256_set1_epi32(0x7fff));
    __m256i nan = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
    up = _mm256_blendv_epi8(up, nan, _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
    return _mm256_castsi256_ps(_mm256_and_si256(up, _mm256_set1_epi32((int)0xffff0000)));
}

FN void v_pair(const void *p, int bf16, V first[NV], V second[NV]) {
    for (int i = 0; i < NV; i++) {
        if (bf16) {
            __m256i w = _mm256_load_si256((const __m256i *)p + i);
            first[i] = _mm256_castsi256_ps(_mm256_slli_epi32(w, 16));
            second[i] = _mm256_castsi256_ps(_mm256_and_si256(w, _mm256_set1_epi32((int)0xffff0000)));
        } else {
            first[i] = _mm256_load_ps((const float *)p + 8 * i);
            second[i] = _mm256_load_ps((const float *)p + 16 + 8 * i);
        }
    }
}
