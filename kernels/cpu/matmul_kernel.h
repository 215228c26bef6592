// matmul_kernel.h: matrix tiles in fused multiply-adds; included once a vector width.
//
// Purpose   out[r, n] = Σₖ x[r, k]·w[n, k] (+ bias[n]) for the rows r of a tile and
//           the outputs n of a group of panels, float32 or bfloat16 weights.
// Shapes    matmul_tile in internal.h; x is float32 (already rounded to bfloat16
//           where the device is), w a packed matrix.
// Layout    x [k][rows], w [panels][k][16]: two panels' lines are loaded once for all
//           rows, each x is broadcast. bfloat16 lines are widened in registers, by a
//           shift and a mask.
// Sums      float32. CHUNK terms are summed in order in one accumulator, chunks are
//           then added in order: the same for every tile shape, so a row's result
//           does not depend on how many rows there are. Chunks keep the rounding
//           error of K = 3072 near that of K = 256.
// Threads   none here; matmul.c gives each thread its own panels.
// Bound by  memory for up to about 8 rows, by the FMA units above. doc.go has the
//           measured shares.

#define CHUNK 256

// How many bytes ahead of the multiplication weights are asked for. Up to 8 rows
// the processor itself runs far enough ahead and only the borders of panels and
// pages are left; with more it is busy with one line for longer than its window
// reaches.
#define PREFETCH(rows) ((rows) <= 8 ? 256 : 2048)

FN void ISA(tile)(const matmul_tile *t, const int bf16, const int rows, const int panels) {
    const float *x = t->x;
    const char *w = t->w;
    for (int k0 = 0; k0 < t->k; k0 += CHUNK) {
        int left = min_int(t->k - k0, CHUNK);
        V acc[MAX_TILE][4 * NV];
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
            for (int j = 0; j < panels * NV; j++)
                acc[r][j] = v_set1(0);
        // One line of each panel: two terms of bfloat16, one of float32.
        for (; left > 0; left -= 1 + bf16, w += 64, x += rows * (1 + bf16)) {
            V first[4 * NV], second[4 * NV];
#pragma GCC unroll 4
            for (int p = 0; p < panels; p++) {
                const char *line = w + (size_t)p * t->panel_bytes;
                _mm_prefetch(line + PREFETCH(rows), _MM_HINT_T0);
                if (bf16) {
                    v_pair(line, 1, &first[p * NV], &second[p * NV]);
                    continue;
                }
#pragma GCC unroll 2
                for (int i = 0; i < NV; i++)
                    first[p * NV + i] = v_load((const float *)line + i * W);
            }
#pragma GCC unroll 16
            for (int r = 0; r < rows; r++) {
                V a = v_set1(x[r]);
#pragma GCC unroll 8
                for (int j = 0; j < panels * NV; j++)
                    acc[r][j] = v_fma(a, first[j], acc[r][j]);
            }
            if (!bf16)
                continue;
#pragma GCC unroll 16
            for (int r = 0; r < rows; r++) {
                V a = v_set1(x[rows + r]);
#pragma GCC unroll 8
                for (int j = 0; j < panels * NV; j++)
                    acc[r][j] = v_fma(a, second[j], acc[r][j]);
            }
        }
        const int last = k0 + CHUNK >= t->k;
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++) {
            float *out = t->out + (size_t)r * t->out_stride;
#pragma GCC unroll 8
            for (int j = 0; j < panels * NV; j++) {
                int n = t->cols - j * W;
                if (n <= 0)
                    break;
                V sum = acc[r][j];
                if (k0 > 0)
                    sum = v_add(n >= W ? v_load(out + j * W) : v_load_n(out + j * W, n), sum);
                if (last && t->bias)
                    sum = v_add(sum, n >= W ? v_load(t->bias + j * W) : v_load_n(t->bias + j * W, n));
                if (n >= W)
                    v_store(out + j * W, sum);
                else
                    v_store_n(out + j * W, sum, n);
            }
        }
    }
}

// Lays rows of x out as a tile, rounded when the matrix is bfloat16.
FN void ISA(pack)(float *tile, const float *x, int k, int k_pad, int rows, const int bf16) {
    float words[MAX_TILE][W];
    for (int k0 = 0; k0 < k_pad; k0 += W) {
        int n = k - k0;
        for (int r = 0; r < rows; r++) {
            const float *from = x + (size_t)r * k + k0;
            V v = n >= W ? v_load(from) : v_load_n(from, max_int(n, 0));
            v_store(words[r], bf16 ? v_bf16(v) : v);
        }
        for (int i = 0; i < min_int(W, k_pad - k0); i++)
            for (int r = 0; r < rows; r++)
                *tile++ = words[r][i];
    }
}

KERNEL void ISA(pack_f32)(void *tile, const float *x, int k, int k_pad, int rows) {
    ISA(pack)(tile, x, k, k_pad, rows, 0);
}

KERNEL void ISA(pack_bf16)(void *tile, const float *x, int k, int k_pad, int rows) {
    ISA(pack)(tile, x, k, k_pad, rows, 1);
}

// TILE makes the functions of one number of rows: a group of panels and one panel.
#define TILE(rows, panels)                                                                     \
    KERNEL void ISA(f32_##rows)(const matmul_tile *t) { ISA(tile)(t, 0, rows, panels); }       \
    KERNEL void ISA(f32_##rows##_one)(const matmul_tile *t) { ISA(tile)(t, 0, rows, 1); }      \
    KERNEL void ISA(bf16_##rows)(const matmul_tile *t) { ISA(tile)(t, 1, rows, panels); }      \
    KERNEL void ISA(bf16_##rows##_one)(const matmul_tile *t) { ISA(tile)(t, 1, rows, 1); }
