// blas.cpp: the part of cuBLASLt that matmul_large.cu uses: D = α·op(A)·op(B) + β·C
// (+ bias along D's columns) of column-major float32 or 16-bit matrices, summed in
// float32 in an order of its own.
//
// It is as strict as the documentation: an algorithm runs only the product that it
// was named for, matrices have the alignment that the preference promised, and all
// that is read and written lies in live device memory. What it cannot do it refuses
// with CUBLAS_STATUS_NOT_SUPPORTED.
#include "memory.h"
#include "report.h"
#include "runtime.h"
#include "stream.h"

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstring>
#include <map>

using namespace sim;

namespace {

struct Product {
    cublasComputeType_t compute;
    cudaDataType_t scale;
    cublasOperation_t trans_a, trans_b;
    cublasLtEpilogue_t epilogue;
    const void *bias;
};
struct Matrix {
    cudaDataType_t type;
    uint64_t rows, columns;
    int64_t ld;
};
struct Preference {
    uint64_t workspace;
    uint32_t align[4]; // of A, B, C, D
};

// All objects that were made; what is in one is known from the handle's type.
std::map<const void *, std::shared_ptr<void>> held;

template <typename T> cublasStatus_t make(T value, void **out) {
    if (!out) return CUBLAS_STATUS_INVALID_VALUE;
    auto object = std::make_shared<T>(value);
    *out = object.get();
    held[*out] = object;
    blas_held = held.size();
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t unmake(const void *p) {
    const bool found = held.erase(p);
    blas_held = held.size();
    return found ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

template <typename T> T *get(const void *p) {
    auto it = held.find(p);
    return it == held.end() ? nullptr : static_cast<T *>(it->second.get());
}

// A call of cuBLASLt. Those that only fill in what the host has need no device.
struct BlasCall : Call {
    BlasCall(const char *name, cublasStatus_t natural, unsigned needs = kCounted) : Call(name, cudaError_t(natural), nullptr, needs) {}
    bool bad() const { return refused() != cudaSuccess; }
    cublasStatus_t status() const {
        if (sticky() != cudaSuccess) return CUBLAS_STATUS_EXECUTION_FAILED;
        return injected() ? cublasStatus_t(int(refused())) : CUBLAS_STATUS_NOT_INITIALIZED;
    }
};

size_t bytes_of(cudaDataType_t type) { return type == CUDA_R_32F ? 4 : 2; }

float element(const void *p, int64_t i, cudaDataType_t type) {
    if (type == CUDA_R_32F) return static_cast<const float *>(p)[i];
    if (type == CUDA_R_16F) return __half2float(static_cast<const __half *>(p)[i]);
    return __bfloat162float(static_cast<const __nv_bfloat16 *>(p)[i]);
}

// span is how many bytes a matrix reaches over.
size_t span(const Matrix &m) { return (size_t(m.columns - 1) * size_t(m.ld) + size_t(m.rows)) * bytes_of(m.type); }

// fits says whether this file can do a product.
cublasStatus_t fits(const Product &p, const Matrix &a, const Matrix &b, const Matrix &c, const Matrix &d) {
    for (const Matrix *m : {&a, &b, &c, &d}) {
        if (m->type != CUDA_R_32F && m->type != CUDA_R_16F && m->type != CUDA_R_16BF) return CUBLAS_STATUS_NOT_SUPPORTED;
        if (!m->rows || !m->columns || m->ld < int64_t(m->rows)) return CUBLAS_STATUS_INVALID_VALUE;
    }
    const bool ta = p.trans_a == CUBLAS_OP_T, tb = p.trans_b == CUBLAS_OP_T;
    const uint64_t m = ta ? a.columns : a.rows, k = ta ? a.rows : a.columns, n = tb ? b.rows : b.columns;
    if (k != (tb ? b.columns : b.rows) || d.rows != m || d.columns != n || c.rows != m || c.columns != n) return CUBLAS_STATUS_INVALID_VALUE;
    if (p.compute != CUBLAS_COMPUTE_32F || p.scale != CUDA_R_32F || a.type != b.type || c.type != CUDA_R_32F || d.type != CUDA_R_32F)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if (p.epilogue != CUBLASLT_EPILOGUE_DEFAULT && p.epilogue != CUBLASLT_EPILOGUE_BIAS) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (p.epilogue == CUBLASLT_EPILOGUE_BIAS && !p.bias) return CUBLAS_STATUS_INVALID_VALUE;
    return CUBLAS_STATUS_SUCCESS;
}

// A name of a product, for an algorithm to know it again.
uint64_t name_of(const Product &p, const Matrix &a, const Matrix &b, const Matrix &c, const Matrix &d) {
    uint64_t h = 0x51b1a5u;
    auto mix = [&h](uint64_t x) { h = (h ^ x) * 0x9e3779b97f4a7c15ull, h ^= h >> 29; };
    mix(uint64_t(p.trans_a) << 16 | uint64_t(p.trans_b) << 8 | uint64_t(p.epilogue));
    for (const Matrix *m : {&a, &b, &c, &d}) mix(uint64_t(m->type)), mix(m->rows), mix(m->columns), mix(uint64_t(m->ld));
    return h | 1;
}

bool in_memory(const void *p, size_t bytes, const char *what) {
    if (p && offset_of(p) >= kDeviceAt && valid(offset_of(p), bytes)) return true;
    report(cudaSuccess, "cublasLtMatmul: %s, %zu bytes at %p: %s", what, bytes, p, whereabouts(p).c_str());
    return false;
}

struct Multiply final : Work {
    Product p;
    Matrix ma, mb, mc, md;
    float alpha, beta;
    const void *a, *b, *c;
    void *d, *workspace;
    size_t workspace_bytes;

    bool reachable() const {
        return in_memory(a, span(ma), "A") && in_memory(b, span(mb), "B") && in_memory(d, span(md), "D") &&
               (beta == 0 || in_memory(c, span(mc), "C")) && (!workspace_bytes || in_memory(workspace, workspace_bytes, "the workspace")) &&
               (p.epilogue != CUBLASLT_EPILOGUE_BIAS || in_memory(p.bias, md.rows * sizeof(float), "the bias"));
    }

    // lines makes op(X)'s rows or columns of K terms contiguous.
    static std::vector<float> lines(const void *x, const Matrix &m, bool along, size_t count, size_t terms) {
        std::vector<float> out(count * terms);
        for (size_t i = 0; i < count; i++)
            for (size_t t = 0; t < terms; t++)
                out[i * terms + t] = element(x, along ? int64_t(i) * m.ld + int64_t(t) : int64_t(t) * m.ld + int64_t(i), m.type);
        return out;
    }

    cudaError_t run() override {
        int code = cudaErrorIllegalAddress;
        if (run_fails("blas", &code)) return cudaError_t(code);
        if (!reachable()) return cudaErrorIllegalAddress;
        const bool ta = p.trans_a == CUBLAS_OP_T, tb = p.trans_b == CUBLAS_OP_T;
        const size_t rows = md.rows, columns = md.columns, terms = ta ? ma.rows : ma.columns;
        const std::vector<float> left = lines(a, ma, ta, rows, terms), right = lines(b, mb, !tb, columns, terms);
        constexpr size_t kSums = 16;
        for (size_t n = 0; n < columns; n++)
            for (size_t m = 0; m < rows; m++) {
                const float *x = &left[m * terms], *y = &right[n * terms];
                float sums[kSums] = {}, sum = 0;
                size_t t = 0;
                for (; t + kSums <= terms; t += kSums)
                    for (size_t i = 0; i < kSums; i++) sums[i] += x[t + i] * y[t + i];
                for (; t < terms; t++) sum += x[t] * y[t];
                for (float s : sums) sum += s;
                sum *= alpha;
                if (beta != 0) sum += beta * static_cast<const float *>(c)[int64_t(n) * mc.ld + int64_t(m)];
                if (p.epilogue == CUBLASLT_EPILOGUE_BIAS) sum += static_cast<const float *>(p.bias)[m];
                static_cast<float *>(d)[int64_t(n) * md.ld + int64_t(m)] = sum;
            }
        return cudaSuccess;
    }
};

} // namespace

void sim::forget_blas() {
    held.clear();
    blas_held = 0;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *out) {
    BlasCall call("cublasLtCreate", CUBLAS_STATUS_ALLOC_FAILED, kUsual);
    if (call.bad()) return call.status();
    return make(Preference(), reinterpret_cast<void **>(out)); // it has nothing in it
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    BlasCall call("cublasLtDestroy", CUBLAS_STATUS_INTERNAL_ERROR);
    cublasStatus_t s = unmake(handle);
    return call.bad() ? call.status() : s;
}

size_t cublasLtGetVersion(void) { return CUBLAS_VERSION; }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *out, cublasComputeType_t compute, cudaDataType_t scale) {
    BlasCall call("cublasLtMatmulDescCreate", CUBLAS_STATUS_ALLOC_FAILED);
    if (call.bad()) return call.status();
    return make(Product{compute, scale, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, nullptr}, reinterpret_cast<void **>(out));
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
    BlasCall call("cublasLtMatmulDescDestroy", CUBLAS_STATUS_INTERNAL_ERROR);
    cublasStatus_t s = unmake(desc);
    return call.bad() ? call.status() : s;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t what, const void *value, size_t bytes) {
    BlasCall call("cublasLtMatmulDescSetAttribute", CUBLAS_STATUS_INTERNAL_ERROR);
    if (call.bad()) return call.status();
    Product *p = get<Product>(desc);
    if (!p || !value) return CUBLAS_STATUS_INVALID_VALUE;
    auto set = [&](auto *to) {
        if (bytes != sizeof *to) return CUBLAS_STATUS_INVALID_VALUE;
        memcpy(to, value, bytes);
        return CUBLAS_STATUS_SUCCESS;
    };
    switch (what) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
        return set(&p->trans_a);
    case CUBLASLT_MATMUL_DESC_TRANSB:
        return set(&p->trans_b);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        return set(&p->epilogue);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
        return set(&p->bias);
    default:
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *out, cudaDataType type, uint64_t rows, uint64_t columns, int64_t ld) {
    BlasCall call("cublasLtMatrixLayoutCreate", CUBLAS_STATUS_ALLOC_FAILED);
    if (call.bad()) return call.status();
    return make(Matrix{type, rows, columns, ld}, reinterpret_cast<void **>(out));
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    BlasCall call("cublasLtMatrixLayoutDestroy", CUBLAS_STATUS_INTERNAL_ERROR);
    cublasStatus_t s = unmake(layout);
    return call.bad() ? call.status() : s;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *out) {
    BlasCall call("cublasLtMatmulPreferenceCreate", CUBLAS_STATUS_ALLOC_FAILED);
    if (call.bad()) return call.status();
    return make(Preference{0, {256, 256, 256, 256}}, reinterpret_cast<void **>(out));
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    BlasCall call("cublasLtMatmulPreferenceDestroy", CUBLAS_STATUS_INTERNAL_ERROR);
    cublasStatus_t s = unmake(preference);
    return call.bad() ? call.status() : s;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t what,
                                                    const void *value, size_t bytes) {
    BlasCall call("cublasLtMatmulPreferenceSetAttribute", CUBLAS_STATUS_INTERNAL_ERROR);
    if (call.bad()) return call.status();
    Preference *p = get<Preference>(preference);
    if (!p || !value) return CUBLAS_STATUS_INVALID_VALUE;
    if (what == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) {
        if (bytes != sizeof p->workspace) return CUBLAS_STATUS_INVALID_VALUE;
        memcpy(&p->workspace, value, bytes);
        return CUBLAS_STATUS_SUCCESS;
    }
    const cublasLtMatmulPreferenceAttributes_t aligns[] = {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                                                           CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    for (int i = 0; i < 4; i++)
        if (what == aligns[i] && bytes == sizeof p->align[i]) {
            memcpy(&p->align[i], value, bytes);
            return p->align[i] ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
        }
    return CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t *results, int *found) {
    BlasCall call("cublasLtMatmulAlgoGetHeuristic", CUBLAS_STATUS_NOT_SUPPORTED);
    if (call.bad()) return call.status();
    const Product *p = get<Product>(desc);
    const Preference *pref = get<Preference>(preference);
    const Matrix *m[] = {get<Matrix>(a), get<Matrix>(b), get<Matrix>(c), get<Matrix>(d)};
    if (!get<Preference>(handle) || !p || !pref || !m[0] || !m[1] || !m[2] || !m[3] || wanted < 1 || !results || !found)
        return CUBLAS_STATUS_INVALID_VALUE;
    *found = 0;
    cublasStatus_t s = fits(*p, *m[0], *m[1], *m[2], *m[3]);
    if (s != CUBLAS_STATUS_SUCCESS) return s;
    results[0] = cublasLtMatmulHeuristicResult_t();
    results[0].algo.data[0] = name_of(*p, *m[0], *m[1], *m[2], *m[3]);
    results[0].algo.data[1] = uint64_t(pref->align[0]) | uint64_t(pref->align[1]) << 32;
    results[0].algo.data[2] = uint64_t(pref->align[2]) | uint64_t(pref->align[3]) << 32;
    results[0].algo.data[3] = results[0].workspaceSize = pref->workspace / 2; // as much as may be needed
    results[0].state = CUBLAS_STATUS_SUCCESS;
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha, const void *a, cublasLtMatrixLayout_t la,
                              const void *b, cublasLtMatrixLayout_t lb, const void *beta, const void *c, cublasLtMatrixLayout_t lc, void *d,
                              cublasLtMatrixLayout_t ld, const cublasLtMatmulAlgo_t *algo, void *workspace, size_t workspace_bytes,
                              cudaStream_t stream) {
    BlasCall call("cublasLtMatmul", CUBLAS_STATUS_EXECUTION_FAILED, kUsual);
    if (call.bad()) return call.status();
    const Product *p = get<Product>(desc);
    const Matrix *m[] = {get<Matrix>(la), get<Matrix>(lb), get<Matrix>(lc), get<Matrix>(ld)};
    CUstream_st *s = open_stream(stream);
    if (!get<Preference>(handle) || !p || !m[0] || !m[1] || !m[2] || !m[3] || !alpha || !beta || !s) return CUBLAS_STATUS_INVALID_VALUE;
    cublasStatus_t status = fits(*p, *m[0], *m[1], *m[2], *m[3]);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    if (algo) {
        const void *const at[] = {a, b, c, d};
        for (int i = 0; i < 4; i++) {
            const uint32_t align = uint32_t(algo->data[1 + i / 2] >> 32 * (i % 2));
            if (align && reinterpret_cast<uintptr_t>(at[i]) % align == 0) continue;
            report(cudaSuccess, "cublasLtMatmul: %c is at %p, which is no multiple of the %u bytes that the preference promised", "ABCD"[i], at[i], align);
            return CUBLAS_STATUS_INVALID_VALUE;
        }
        if (algo->data[0] != name_of(*p, *m[0], *m[1], *m[2], *m[3]) || workspace_bytes < algo->data[3]) {
            report(cudaSuccess, "cublasLtMatmul: the algorithm was named for another product, or a larger workspace");
            return CUBLAS_STATUS_INVALID_VALUE;
        }
    }
    if (workspace_bytes && reinterpret_cast<uintptr_t>(workspace) % 256) return CUBLAS_STATUS_INVALID_VALUE;
    auto w = std::make_shared<Multiply>();
    w->p = *p, w->ma = *m[0], w->mb = *m[1], w->mc = *m[2], w->md = *m[3];
    w->alpha = *static_cast<const float *>(alpha), w->beta = *static_cast<const float *>(beta);
    w->a = a, w->b = b, w->c = c, w->d = d, w->workspace = workspace, w->workspace_bytes = workspace_bytes;
    if (!capture_of(s) && !w->reachable()) return CUBLAS_STATUS_INVALID_VALUE;
    return put(s, w) == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

namespace {
struct StatusWords {
    cublasStatus_t status;
    const char *name, *text;
};
#define SIM_STATUS(name, text) {name, #name, text}
const StatusWords kStatusWords[] = {
    SIM_STATUS(CUBLAS_STATUS_SUCCESS, "success"),
    SIM_STATUS(CUBLAS_STATUS_NOT_INITIALIZED, "the library was not initialized"),
    SIM_STATUS(CUBLAS_STATUS_ALLOC_FAILED, "the resource allocation failed"),
    SIM_STATUS(CUBLAS_STATUS_INVALID_VALUE, "an invalid value was passed"),
    SIM_STATUS(CUBLAS_STATUS_ARCH_MISMATCH, "the device's architecture is not supported"),
    SIM_STATUS(CUBLAS_STATUS_EXECUTION_FAILED, "the product failed to execute"),
    SIM_STATUS(CUBLAS_STATUS_INTERNAL_ERROR, "an internal operation failed"),
    SIM_STATUS(CUBLAS_STATUS_NOT_SUPPORTED, "the product is not supported"),
};
#undef SIM_STATUS
} // namespace

const char *cublasLtGetStatusName(cublasStatus_t s) {
    for (const StatusWords &w : kStatusWords)
        if (w.status == s) return w.name;
    return "CUBLAS_STATUS_UNKNOWN";
}

const char *cublasLtGetStatusString(cublasStatus_t s) {
    for (const StatusWords &w : kStatusWords)
        if (w.status == s) return w.text;
    return "unknown status";
}
