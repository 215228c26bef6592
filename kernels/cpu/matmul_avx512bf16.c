//go:build cgo && linux && amd64

// matmul_avx512bf16.c: matrix tiles in bfloat16 dot products.
//
// Purpose   out[r, n] = Σₖ x[r, k]·w[n, k] (+ bias[n]) for the rows r of a tile and
//           the outputs n of a group of panels.
// Shapes    matmul_tile in internal.h; x [k/2][rows][2] bfloat16, w a packed bfloat16
//           matrix [panels][k/2][16][2]. One 64-byte line of w feeds one vdpbf16ps a
//           row against the row's broadcast pair.
// Layout    64-byte aligned lines; the weights of a group of panels are read side by
//           side, each in one pass, for all rows of the tile.
// Sums      float32, vdpbf16ps's own: pair after pair in one accumulator, whatever the
//           tile; subnormals count as zero. A row's result does not depend on how
//           many rows there are.
// Threads   none here; matmul.c gives each thread its own panels.
// Bound by  memory up to about 8 rows, then the dot-product unit. doc.go has the
//           measured shares.

#include <immintrin.h>

#include "internal.h"
#include "transpose_avx512.h"

#define TARGET target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c")
#define FN static inline __attribute__((always_inline, TARGET))
#define KERNEL static __attribute__((noinline, TARGET))

// How many bytes ahead of the multiplication weights are asked for, across the
// borders of panels and pages. Up to 4 rows the processor itself runs far enough
// ahead. With more it is busy with one line for longer than its window reaches:
// a tile then asks the second-level cache for the next group of panels as well
// (matmul_tile.ahead), and several tiles share that out, so that memory is busy
// while they multiply what they have.
#define PREFETCH 256

FN __mmask16 first(int n) { return n >= 16 ? 0xffff : n <= 0 ? 0 : (__mmask16)((1u << n) - 1); }

FN void tile(const matmul_tile *t, const int rows, const int panels) {
    __m512 acc[MAX_TILE][4];
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int p = 0; p < panels; p++)
            acc[r][p] = _mm512_setzero_ps();
    const int32_t *x = t->x;
    const char *w = t->w, *ahead = t->ahead_step ? t->ahead : w;
    const int step = t->ahead_step;
    for (int k = 0; k < t->k; k += 2, w += 64, x += rows, ahead += step) {
        __m512i line[4];
        if (rows >= 5) {
            _mm_prefetch(ahead, _MM_HINT_T1);
            _mm_prefetch(ahead + 64, _MM_HINT_T1);
        }
#pragma GCC unroll 4
        for (int p = 0; p < panels; p++) {
            const char *at = w + (size_t)p * t->panel_bytes;
            _mm_prefetch(at + PREFETCH, _MM_HINT_T0);
            line[p] = _mm512_load_si512(at);
        }
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++) {
            __m512i a = _mm512_set1_epi32(x[r]);
#pragma GCC unroll 4
            for (int p = 0; p < panels; p++)
                acc[r][p] = _mm512_dpbf16_ps(acc[r][p], (__m512bh)line[p], (__m512bh)a);
        }
    }
#pragma GCC unroll 4
    for (int p = 0; p < panels; p++) {
        __mmask16 m = first(t->cols - 16 * p);
        __m512 bias = t->bias ? _mm512_maskz_loadu_ps(m, t->bias + 16 * p) : _mm512_setzero_ps();
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
            _mm512_mask_storeu_ps(t->out + (size_t)r * t->out_stride + 16 * p, m, _mm512_add_ps(acc[r][p], bias));
    }
}

// words is elements [k0, k0+32) of a row, rounded: 16 pairs, zero past its end.
FN __m512i words(const float *x, int k, int k0) {
    __m512 low = _mm512_maskz_loadu_ps(first(k - k0), x + k0);
    __m512 high = _mm512_maskz_loadu_ps(first(k - k0 - 16), x + k0 + 16);
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

// Lays rows of x, rounded to bfloat16, out as a tile.
KERNEL void pack(void *to, const float *x, int k, int k_pad, int rows) {
    int32_t *pairs = to;
    const int all = k_pad / 2;
    for (int i0 = 0; i0 < all; i0 += 16) {
        const int n = min_int(16, all - i0);
        if (rows < 4) { // a transposition takes longer
            int32_t few[3][16];
            for (int r = 0; r < rows; r++)
                _mm512_storeu_si512(few[r], words(x + (size_t)r * k, k, 2 * i0));
            for (int i = 0; i < n; i++)
                for (int r = 0; r < rows; r++)
                    *pairs++ = few[r][i];
            continue;
        }
        __m512i v[16];
#pragma GCC unroll 16
        for (int r = 0; r < 16; r++)
            v[r] = r < rows ? words(x + (size_t)r * k, k, 2 * i0) : _mm512_setzero_si512();
        transpose16(v);
        // Line i has a word of every row. Stores that overlap, or lie across two
        // lines of the cache, take several times as long as those that do not.
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            if (i >= n)
                break;
            if (rows == 8)
                _mm256_storeu_si256((__m256i *)pairs, _mm512_castsi512_si256(v[i]));
            else if (rows == 4)
                _mm_storeu_si128((__m128i *)pairs, _mm512_castsi512_si128(v[i]));
            else
                _mm512_mask_storeu_epi32(pairs, first(rows), v[i]);
            pairs += rows;
        }
    }
}

// TILE makes the functions of one number of rows: a group of panels and one panel.
#define TILE(rows, panels)                                                        \
    KERNEL void group_##rows(const matmul_tile *t) { tile(t, rows, panels); }     \
    KERNEL void one_##rows(const matmul_tile *t) { tile(t, rows, 1); }

// Rows × panels accumulators, a line a panel and one input in 32 registers. All
// matrices of GPT-2 from memory, one core of an EPYC 9004 (236 GFLOP/s, 25 GB/s):
//   1 row     8.2 ms with one panel (a single stream of memory), 10 with four
//   8 rows    11.6 ms with three panels, 14 with one or two (the bound: 8.4)
//   12 rows   14.6 ms in one tile (the bound: 12.6)
//   16 rows   18.9 ms in two tiles of 8 (the bound: 16.8); 20.6 where only a group's
//             own weights are asked for
TILE(1, 1) TILE(2, 1) TILE(3, 1) TILE(4, 1) TILE(5, 3) TILE(6, 3) TILE(7, 3) TILE(8, 3)
TILE(9, 2) TILE(10, 2) TILE(11, 2) TILE(12, 2) TILE(13, 2) TILE(14, 2)

#define ALL(name)                                                                                  \
    {0, name##1, name##2, name##3, name##4, name##5, name##6, name##7, name##8, name##9, name##10, \
     name##11, name##12, name##13, name##14}

const matmul_kind matmul_avx512bf16 = {
    2, 14, 8, {0, 1, 1, 1, 1, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2}, ALL(group_), ALL(one_), pack,
};
