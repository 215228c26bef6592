// matmul_large.cu: products of more than kSmallRows rows, by cuBLASLt.
//
// Purpose   out[r, n] = Σₖ x[r, k]·W[n, k] (+ bias[n])
// Shapes    x [rows, K], out [rows, N], bias [N]: float32, dense. W [N, ld] in the
//           context's dtype, ld is K rounded up to 16, zero behind K.
// Layout    cuBLAS counts along columns, so that what it is told is outᵀ = W·xᵀ: W is
//           an ld×N matrix to be transposed (A), x an ld×rows matrix (B), out an
//           N×rows matrix (C and D), leading dimensions ld, ld and N. The terms
//           behind K are zero times zero; with them all leading dimensions of 16-bit
//           matrices are multiples of 32 bytes, which the fast kernels need. In
//           float32 x is taken where it is: K terms, and K is its leading dimension.
// Sums      float32 (CUBLAS_COMPUTE_32F: no TF32, no sums in 16 bits). The bias is
//           float32, as D is, and added by the epilogue along D's columns.
// Rounding  x is rounded to sbc_context.rounded [rows, ld] first, by round_kernel:
//             grid    a block a row, 256 threads; 8 elements a thread and turn: two
//                     16-byte loads, one 16-byte store
//             bound   by memory: rows·K·(4 + 2) bytes. 512 rows of 4096: 12.6 MB,
//                     6.3 µs on an A100 (2.0 TB/s), 3.8 µs on an H100 (3.35 TB/s),
//                     or less, as both ends may lie in the L2 cache
// Roofline  2·rows·N·K FLOP against 2·N·K bytes: bound by arithmetic from 156 rows on
//           an A100 (312 TFLOP/s), from 296 on an H100 (990). Llama-2-7B's 22016×4096:
//             rows    GFLOP   A100      H100
//               64     11.5    90 µs     54 µs   (180 MB of W)
//              512     92.3   296 µs     93 µs
//             2048    369.4  1184 µs    373 µs
//
// What is called of cuBLASLt, besides its handle (context.cu):
//   cublasLtMatmulDescCreate, -SetAttribute (TRANSA, EPILOGUE, BIAS_POINTER), -Destroy
//   cublasLtMatrixLayoutCreate, -Destroy
//   cublasLtMatmulPreferenceCreate, -SetAttribute (MAX_WORKSPACE_BYTES), -Destroy
//   cublasLtMatmulAlgoGetHeuristic, for one result
//   cublasLtMatmul
//
// A plan is what cuBLASLt is told of a shape and the algorithm that it names for it.
// To ask for one takes longer than to start a kernel, and a step has four or five
// shapes in all its layers: the kPlans plans made last are kept. The number of rows is part
// of a shape as it is, and not rounded: an algorithm is run for the shape only that
// it was named for.
#include "matmul.cuh"

#include <cstdio>
#include <new>

namespace sbc {

// Shape is what a plan depends on. rows 0: there is none.
struct Shape {
    int32_t n, k, rows, bias;
};

static bool operator==(const Shape &a, const Shape &b) { return a.n == b.n && a.k == b.k && a.rows == b.rows && a.bias == b.bias; }

struct Plan {
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t w, x, out;
    cublasLtMatmulAlgo_t algo;
};

// kPlans are five shapes of 51 numbers of rows.
constexpr int kPlans = 256;

// Plans are kept in a ring: the oldest makes room. Shapes lie apart from their
// plans, so that looking through all of them touches 4 KB.
struct Plans {
    Shape shapes[kPlans];
    Plan plans[kPlans];
    int next;
};

constexpr int kRoundThreads = 256;

// round_kernel writes to [rows, ld], one row a block.
template <typename T> static __global__ void __launch_bounds__(kRoundThreads) round_kernel(T *to, const float *x, int k, int ld) {
    const float *row = x + size_t(blockIdx.x) * k;
    T *into = to + size_t(blockIdx.x) * ld;
    for (int i = 8 * threadIdx.x; i < ld; i += 8 * kRoundThreads)
        // Rows of a multiple of 4 are aligned; eight that are not all there are read one by one.
        store16(into + i, packed<T>(eight(row, true, i, k, k % 4 == 0 && i + 8 <= k)));
}

// round_inputs makes c->rounded of x. It is made large enough for any step, so that
// matrices of one width make it grow once.
static int round_inputs(sbc_context *c, const float *x, const sbc_weight *w, int rows) {
    SBC_TRY(grow(c, &c->rounded, &c->rounded_bytes, size_t(c->options.max_tokens) * size_t(w->ld) * dtype_bytes(c->options.dtype),
                 "the rounded inputs of products"));
    if (c->options.dtype == SBC_BF16)
        return SBC_LAUNCH(c, round_kernel<__nv_bfloat16>, dim3(unsigned(rows)), dim3(kRoundThreads), 0,
                          static_cast<__nv_bfloat16 *>(c->rounded), x, w->k, w->ld);
    return SBC_LAUNCH(c, round_kernel<__half>, dim3(unsigned(rows)), dim3(kRoundThreads), 0, static_cast<__half *>(c->rounded), x, w->k,
                      w->ld);
}

// drop gives a plan's descriptors back, as many as there are. They are host memory:
// their giving back has no failure that anything could follow from.
static void drop(Plan *p) {
    if (p->product) cublasLtMatmulDescDestroy(p->product);
    for (cublasLtMatrixLayout_t layout : {p->w, p->x, p->out})
        if (layout) cublasLtMatrixLayoutDestroy(layout);
    *p = Plan();
}

static cudaDataType_t element(const sbc_context *c) {
    return c->options.dtype == SBC_F32 ? CUDA_R_32F : c->options.dtype == SBC_BF16 ? CUDA_R_16BF : CUDA_R_16F;
}

// set_bias tells where the bias lies.
static int set_bias(sbc_context *c, Plan *p, const float *bias) {
    return check_blas(c, cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias),
                      "telling cuBLASLt of a bias");
}

// describe makes the descriptors of a plan.
static int describe(sbc_context *c, const Shape &s, const float *bias, Plan *p) {
    const char *doing = "describing a product to cuBLASLt";
    SBC_TRY(check_blas(c, cublasLtMatmulDescCreate(&p->product, CUBLAS_COMPUTE_32F, CUDA_R_32F), doing));
    const cublasOperation_t transposed = CUBLAS_OP_T;
    SBC_TRY(check_blas(c, cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed), doing));
    if (s.bias) {
        const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
        SBC_TRY(check_blas(c, cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue), doing));
        SBC_TRY(set_bias(c, p, bias));
    }
    const int ld = round_up(s.k, kMatrixAlign);
    const int terms = c->options.dtype == SBC_F32 ? s.k : ld; // as x has them
    SBC_TRY(check_blas(c, cublasLtMatrixLayoutCreate(&p->w, element(c), uint64_t(terms), uint64_t(s.n), ld), doing));
    SBC_TRY(check_blas(c, cublasLtMatrixLayoutCreate(&p->x, element(c), uint64_t(terms), uint64_t(s.rows), terms), doing));
    return check_blas(c, cublasLtMatrixLayoutCreate(&p->out, CUDA_R_32F, uint64_t(s.n), uint64_t(s.rows), s.n), doing);
}

// choose asks which algorithm a plan is to be run by.
static int choose(sbc_context *c, const Shape &s, Plan *p) {
    char doing[128];
    snprintf(doing, sizeof doing, "asking cuBLASLt how to multiply [%d, %d] by a matrix [%d, %d]", s.rows, s.k, s.n, s.k);
    cublasLtMatmulPreference_t preference = nullptr;
    SBC_TRY(check_blas(c, cublasLtMatmulPreferenceCreate(&preference), doing));
    cublasLtMatmulHeuristicResult_t found = {};
    int count = 0;
    cublasStatus_t status = cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                                 &c->blas_workspace_bytes, sizeof c->blas_workspace_bytes);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatmulAlgoGetHeuristic(c->blas, p->product, p->w, p->x, p->out, p->out, preference, 1, &found, &count);
    if (status == CUBLAS_STATUS_SUCCESS) status = count > 0 ? found.state : CUBLAS_STATUS_NOT_SUPPORTED;
    const cublasStatus_t gone = cublasLtMatmulPreferenceDestroy(preference);
    if (status == CUBLAS_STATUS_SUCCESS) status = gone;
    p->algo = found.algo;
    return check_blas(c, status, doing);
}

// plan gives the plan of a shape, from those that are kept or a new one.
static int plan(sbc_context *c, const Shape &s, const float *bias, Plan **out) {
    if (!c->plans) c->plans = new (std::nothrow) Plans();
    Plans *kept = c->plans;
    if (!kept) return fail(c, SBC_MEMORY, "the host has no memory for how products are made");
    for (int i = 0; i < kPlans; i++) {
        if (!(kept->shapes[i] == s)) continue;
        *out = &kept->plans[i];
        return s.bias ? set_bias(c, *out, bias) : int(SBC_OK);
    }
    const int i = kept->next;
    Plan *p = &kept->plans[i];
    drop(p);
    kept->shapes[i] = Shape();
    int status = describe(c, s, bias, p);
    if (status == SBC_OK) status = choose(c, s, p);
    if (status != SBC_OK) {
        drop(p);
        return status;
    }
    kept->shapes[i] = s;
    kept->next = (i + 1) % kPlans;
    *out = p;
    return SBC_OK;
}

int matmul_large(sbc_context *c, float *out, const float *x, const sbc_weight *w, const float *bias, int rows) {
    Plan *p = nullptr;
    SBC_TRY(plan(c, Shape{w->n, w->k, rows, bias != nullptr}, bias, &p));
    const void *inputs = x;
    if (c->options.dtype != SBC_F32) {
        SBC_TRY(round_inputs(c, x, w, rows));
        inputs = c->rounded;
    }
    const float one = 1, zero = 0;
    return check_blas(c,
                      cublasLtMatmul(c->blas, p->product, &one, reinterpret_cast<const void *>(w->data), p->w, inputs, p->x, &zero, out,
                                     p->out, out, p->out, &p->algo, c->blas_workspace, c->blas_workspace_bytes, c->stream),
                      "multiplying");
}

void matmul_close(sbc_context *c) {
    if (!c->plans) return;
    for (Plan &p : c->plans->plans) drop(&p);
    delete c->plans;
    c->plans = nullptr;
}

} // namespace sbc
