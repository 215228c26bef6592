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
// Threads   a task is a range of panels.
// Bound by  reading the file; the conversion runs at several GB/s a core.

#include <immintrin.h>
#include <string.h>

#include "internal.h"

// BLOCK terms of a panel are converted at a time: 64 rows of 16 stay in L1.
#define BLOCK 64

// widen converts n elements that start at element `from` of src.
__attribute__((target("avx2,fma,f16c"))) static void widen(float *dst, const void *src, int dtype, size_t from,
                                                            int n) {
    int i = 0;
    if (dtype == CPU_F32) {
        memcpy(dst, (const char *)src + 4 * from, (size_t)n * 4);
        return;
    }
    const char *at = (const char *)src + 2 * from;
    if (dtype == CPU_F16) {
        for (; i + 8 <= n; i += 8)
            _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(at + 2 * i))));
        for (; i < n; i++) {
            uint16_t h;
            memcpy(&h, at + 2 * i, 2);
            dst[i] = _cvtsh_ss(h);
        }
        return;
    }
    for (; i < n; i++) {
        uint16_t h;
        memcpy(&h, at + 2 * i, 2);
        dst[i] = bf16_widen(h);
    }
}

typedef struct {
    const cpu_device *d;
    const cpu_weight *w;
    const void *src;
    int dtype, transposed;
    int32_t n0, n;
    int first_panel, panels, pieces;
} pack_job;

// fetch reads terms [k0, k0+terms) of the outputs lanes [a, b) of a panel into
// block[term][lane].
static void fetch(const pack_job *j, float block[BLOCK][PANEL], int panel, int a, int b, int k0, int terms) {
    const int32_t row = panel * PANEL - j->n0; // of src, for lane 0
    if (j->transposed) {
        for (int i = 0; i < terms; i++)
            widen(block[i] + a, j->src, j->dtype, (size_t)(k0 + i) * j->n + (size_t)(row + a), b - a);
        return;
    }
    float line[BLOCK];
    for (int lane = a; lane < b; lane++) {
        widen(line, j->src, j->dtype, (size_t)(row + lane) * j->w->k + k0, terms);
        for (int i = 0; i < terms; i++)
            block[i][lane] = line[i];
    }
}

static void pack_panel(const pack_job *j, int panel) {
    const int k = j->w->k, bf16 = j->d->bf16, k_pad = bf16 ? k + k % 2 : k;
    const int a = max_int(j->n0 - panel * PANEL, 0), b = min_int(j->n0 + j->n - panel * PANEL, PANEL);
    const size_t first = (size_t)panel * k_pad * PANEL;
    float block[BLOCK][PANEL];
    for (int k0 = 0; k0 < k; k0 += BLOCK) {
        const int terms = min_int(BLOCK, k - k0);
        fetch(j, block, panel, a, b, k0, terms);
        for (int i = 0; i < terms; i++) {
            const size_t term = (size_t)(k0 + i);
            if (bf16) {
                uint16_t *to = (uint16_t *)j->w->data + first + term / 2 * 2 * PANEL + term % 2;
                for (int lane = a; lane < b; lane++)
                    to[2 * lane] = bf16_round(block[i][lane]);
            } else {
                float *to = (float *)j->w->data + first + term * PANEL;
                for (int lane = a; lane < b; lane++)
                    to[lane] = block[i][lane];
            }
        }
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
    for (size_t i = 0; i < count; i += BLOCK)
        widen(dst + i, src, dtype, i, count - i < BLOCK ? (int)(count - i) : BLOCK);
}
