// matmul.cu: sbc_matmul, a product of a step.
//
// Purpose   out[r, n] = Σₖ x[r, k]·W[n, k] (+ bias[n])
// Shapes    x [rows, K] and out [rows, N] float32, dense; W [N, ld] in the context's
//           dtype (kernels.h); bias [N] float32, or none
// Sums      float32, of inputs rounded to the dtype
//
// Up to kSmallRows rows the time is that of reading W once: matmul_small.cu. More
// are cuBLASLt's: matmul_large.cu. Among the rows of one of the two a row's result
// is the same bits whatever the other rows are; between them it may differ.
#include "internal.cuh"

namespace sbc {

// Sizes below which no index within a tile of outputs leaves an int32.
constexpr int kMostInputs = 1 << 24;
constexpr int kMostOutputs = 1 << 30;

// kAligned is what sbc_alloc aligns memory to. The algorithm that cuBLASLt names for a
// shape counts on it, of the bias too, and is kept for whatever has the shape.
constexpr uint64_t kAligned = 256;

static bool overlap(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes) { return a < b + b_bytes && b < a + a_bytes; }

static int check_product(sbc_context *c, sbc_ptr out, sbc_ptr x, const sbc_weight *w, sbc_ptr bias, int rows) {
    if (!w) return fail(c, SBC_ARGUMENT, "sbc_matmul needs a matrix");
    if (w->n < 1 || w->n > kMostOutputs || w->k < 1 || w->k > kMostInputs)
        return fail(c, SBC_ARGUMENT, "sbc_matmul: a matrix cannot be [%d, %d], at most [%d, %d]", w->n, w->k, kMostOutputs, kMostInputs);
    if (w->ld != round_up(w->k, kMatrixAlign))
        return fail(c, SBC_ARGUMENT, "sbc_matmul: the rows of a matrix of %d inputs are %d apart, not %d: a table is no matrix", w->k,
                    round_up(w->k, kMatrixAlign), w->ld);
    if (rows < 0 || rows > c->options.max_tokens)
        return fail(c, SBC_ARGUMENT, "sbc_matmul of %d rows: the context has room for %d", rows, c->options.max_tokens);
    if (!out || !x || !w->data) return fail(c, SBC_ARGUMENT, "sbc_matmul needs memory for out, x and the matrix");
    if ((out | x | w->data | bias) % kAligned != 0)
        return fail(c, SBC_ARGUMENT, "sbc_matmul: out, x, the matrix and the bias begin at multiples of %d bytes, as sbc_alloc gives them",
                    int(kAligned));
    const uint64_t row = uint64_t(rows) * sizeof(float);
    if (overlap(out, row * uint64_t(w->n), x, row * uint64_t(w->k))) return fail(c, SBC_ARGUMENT, "sbc_matmul: out overlaps x");
    return SBC_OK;
}

} // namespace sbc

using namespace sbc;

int sbc_matmul(sbc_context *c, sbc_ptr out, sbc_ptr x, const sbc_weight *w, sbc_ptr bias, int32_t rows) {
    SBC_TRY(enter(c, true));
    SBC_TRY(check_product(c, out, x, w, bias, rows));
    if (rows == 0) return SBC_OK;
    auto *product = rows <= kSmallRows ? matmul_small : matmul_large;
    return product(c, reinterpret_cast<float *>(out), reinterpret_cast<const float *>(x), w, reinterpret_cast<const float *>(bias), rows);
}
