//go:build cgo && linux && amd64

// pack.c: checkpoint tensors into the layouts that the kernels read.
//
// Purpose   matrices into panels of 16 outputs:
//             float32   [N/16][K][16]
//             bfloat16  [N/16][ceil(K/2)][16][2]
//           zero padded, so that each 64-byte line feeds one multiply-add (one
//           vdpbf16ps) for 16 outputs; other tensors to float32.
// Shapes    src [n, K], or [K, n] when transposed, float32, bfloat16 or float16, at
//           any alignment (files are mapped as they are).
// How       both layouts are [N/16][words][16] of 32-bit words, a float32 or a pair
//           of bfloat16 of neighbouring inputs. A row of src, converted, is a row
//           of words; 16 rows of words are transposed eight by eight.
// Threads   a task is a range of panels.
// Bound by  memory: a page that is written for the first time is zeroed by the
//           system first. BenchmarkPack has the figures.

#include <immintrin.h>
#include <string.h>

#include "internal.h"

#define VECTOR __attribute__((target("avx2,fma,f16c")))

// WORDS words of each lane are converted at a time: 16 lines of 256 bytes stay in L1.
#define WORDS 64

// take returns 8 elements of src, from element `from` on, as float32.
VECTOR static inline __m256 take(const void *src, int dtype, size_t from) {
    if (dtype == CPU_F32)
        return _mm256_loadu_ps((const float *)src + from);
    const __m128i h = _mm_loadu_si128((const __m128i *)((const uint16_t *)src + from));
    if (dtype == CPU_F16)
        return _mm256_cvtph_ps(h);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

// take_one is take for one element.
VECTOR static inline float take_one(const void *src, int dtype, size_t from) {
    if (dtype == CPU_F32) {
        float f;
        memcpy(&f, (const float *)src + from, sizeof f);
        return f;
    }
    uint16_t h;
    memcpy(&h, (const uint16_t *)src + from, sizeof h);
    return dtype == CPU_F16 ? _cvtsh_ss(h) : bf16_widen(h);
}

// round8 is bf16_round of 8 elements.
VECTOR static inline __m128i round8(__m256 f) {
    const __m256i u = _mm256_castps_si256(f), one = _mm256_set1_epi32(1);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), one);
    __m256i r = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
    const __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
    r = _mm256_blendv_epi8(r, quiet, _mm256_castps_si256(_mm256_cmp_ps(f, f, _CMP_UNORD_Q)));
    r = _mm256_srli_epi32(r, 16);
    r = _mm256_permute4x64_epi64(_mm256_packus_epi32(r, r), 0x08);
    return _mm256_castsi256_si128(r);
}

// widen converts n elements that start at element `from` of src.
VECTOR static void widen(float *dst, const void *src, int dtype, size_t from, int n) {
    int i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(dst + i, take(src, dtype, from + i));
    for (; i < n; i++)
        dst[i] = take_one(src, dtype, from + i);
}

// narrow is widen to bfloat16.
VECTOR static void narrow(uint16_t *dst, const void *src, int dtype, size_t from, int n) {
    int i = 0;
    if (dtype == CPU_BF16) {
        memcpy(dst, (const uint16_t *)src + from, (size_t)n * 2);
        return;
    }
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(dst + i), round8(take(src, dtype, from + i)));
    for (; i < n; i++)
        dst[i] = bf16_round(take_one(src, dtype, from + i));
}

typedef struct {
    const cpu_device *d;
    const cpu_weight *w;
    const void *src;
    int dtype, transposed;
    int32_t n0, n;
    int first_panel, panels, pieces;
} pack_job;

typedef uint32_t lines[PANEL][WORDS];

// fetch fills words [0, words) of lanes [a, b) from the terms that begin at k0,
// of which there are `terms`: all that the words have room for, or one less,
// whose place is then zero.
static void fetch(const pack_job *j, lines line, int32_t row, int a, int b, int k0, int terms) {
    const int bf16 = j->d->bf16;
    for (int lane = a; lane < b; lane++) {
        const size_t from = (size_t)(row + lane) * j->w->k + k0;
        if (!bf16) {
            widen((float *)line[lane], j->src, j->dtype, from, terms);
            continue;
        }
        uint16_t *to = (uint16_t *)line[lane];
        narrow(to, j->src, j->dtype, from, terms);
        if (terms % 2)
            to[terms] = 0;
    }
}

// fetch_transposed is fetch from rows of src that have one term of every lane.
static void fetch_transposed(const pack_job *j, lines line, int32_t row, int a, int b, int k0, int terms) {
    const int bf16 = j->d->bf16;
    if (bf16 && terms % 2)
        for (int lane = a; lane < b; lane++)
            line[lane][terms / 2] = 0;
    for (int i = 0; i < terms; i++) {
        const size_t from = (size_t)(k0 + i) * j->n + (size_t)(row + a);
        if (bf16) {
            uint16_t term[PANEL];
            narrow(term, j->src, j->dtype, from, b - a);
            for (int lane = a; lane < b; lane++)
                ((uint16_t *)line[lane])[i] = term[lane - a];
        } else {
            float term[PANEL];
            widen(term, j->src, j->dtype, from, b - a);
            for (int lane = a; lane < b; lane++)
                memcpy(&line[lane][i], &term[lane - a], 4);
        }
    }
}

// transpose8 writes word w+i of lanes [lane, lane+8) side by side to out + i·PANEL.
VECTOR static inline void transpose8(uint32_t *out, const lines line, int lane, int w) {
    __m256i r[8], t[8];
    for (int i = 0; i < 8; i++)
        r[i] = _mm256_loadu_si256((const __m256i *)&line[lane + i][w]);
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int q = 0; q < 2; q++) {
            r[i + 2 * q] = _mm256_unpacklo_epi64(t[i + q], t[i + q + 2]);
            r[i + 2 * q + 1] = _mm256_unpackhi_epi64(t[i + q], t[i + q + 2]);
        }
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_si256((__m256i *)(out + i * PANEL), _mm256_permute2x128_si256(r[i], r[i + 4], 0x20));
        _mm256_storeu_si256((__m256i *)(out + (i + 4) * PANEL), _mm256_permute2x128_si256(r[i], r[i + 4], 0x31));
    }
}

// place writes words [0, words) of lanes [a, b) to out [words][PANEL].
VECTOR static void place(uint32_t *out, const lines line, int a, int b, int words) {
    int w = 0;
    if (a == 0 && b == PANEL)
        for (; w + 8 <= words; w += 8) {
            transpose8(out + w * PANEL, line, 0, w);
            transpose8(out + w * PANEL + 8, line, 8, w);
        }
    for (; w < words; w++)
        for (int lane = a; lane < b; lane++)
            out[w * PANEL + lane] = line[lane][w];
}

static void pack_panel(const pack_job *j, int panel) {
    const int k = j->w->k, per_word = j->d->bf16 ? 2 : 1, k_words = ceil_div(k, per_word);
    const int a = max_int(j->n0 - panel * PANEL, 0), b = min_int(j->n0 + j->n - panel * PANEL, PANEL);
    const int32_t row = panel * PANEL - j->n0; // of src, for lane 0
    uint32_t *out = (uint32_t *)j->w->data + (size_t)panel * k_words * PANEL;
    lines line;
    for (int w0 = 0; w0 < k_words; w0 += WORDS) {
        const int words = min_int(WORDS, k_words - w0), k0 = w0 * per_word, terms = min_int(words * per_word, k - k0);
        (j->transposed ? fetch_transposed : fetch)(j, line, row, a, b, k0, terms);
        place(out + (size_t)w0 * PANEL, line, a, b, words);
    }
}

static void pack_task(void *arg, int task, int worker) {
    (void)worker;
    const pack_job *j = arg;
    for (int p = span(j->panels, task, j->pieces); p < span(j->panels, task + 1, j->pieces); p++)
        pack_panel(j, j->first_panel + p);
}

void cpu_pack(cpu_device *d, const cpu_weight *w, const void *src, int dtype, int transposed, int32_t n0, int32_t n) {
    pack_job j = {.d = d, .w = w, .src = src, .dtype = dtype, .transposed = transposed, .n0 = n0, .n = n};
    j.first_panel = n0 / PANEL;
    j.panels = ceil_div(n0 + n, PANEL) - j.first_panel;
    j.pieces = pieces(d, j.panels, (int64_t)n * w->k);
    pool_run(d->pool, pack_task, &j, j.pieces);
}

size_t cpu_pack_bytes(const cpu_device *d, int32_t n, int32_t k) {
    const size_t k_pad = (size_t)k + (d->bf16 ? k % 2 : 0);
    return (size_t)ceil_div(n, PANEL) * PANEL * k_pad * (d->bf16 ? 2 : 4);
}

void cpu_widen(cpu_device *d, float *dst, const void *src, int dtype, size_t count) {
    (void)d;
    for (size_t i = 0; i < count; i += 1 << 20)
        widen(dst + i, src, dtype, i, count - i < 1 << 20 ? (int)(count - i) : 1 << 20);
}
