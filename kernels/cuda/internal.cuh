// internal.cuh: what the files of this library share: the context, the step on the
// device, launching, and elements of the three types.
#ifndef SERVEBENCH_CUDA_INTERNAL_CUH
#define SERVEBENCH_CUDA_INTERNAL_CUH

#include "kernels.h"
#include "platform.cuh"

#include <cstddef>
#include <cstdint>
#include <tuple>

namespace sbc {

// Sizes that kernels and host code agree on.
constexpr int kWarp = 32;
constexpr int kSmallRows = 16;     // rows up to which sbc_matmul is bound by reading the matrix (matmul_small.cu)
constexpr int kPrefillRows = 64;   // query rows of a tile of prefill attention (attention_prefill.cu)
constexpr int kMatrixAlign = 16;   // elements that a matrix' rows are padded to
constexpr int kHeadAlign = 8;      // elements that a head of the cache is padded to
constexpr int kMostSplits = 64;    // pieces that a context is cut in for decoding (attention_decode.cu)

inline __host__ __device__ int round_up(int n, int unit) { return (n + unit - 1) / unit * unit; }
inline __host__ __device__ int ceil_div(int n, int unit) { return (n + unit - 1) / unit; }

// Tile is kPrefillRows rows, or fewer, of one sequence that has more than one row
// in the step.
struct Tile {
    int32_t seq, row, rows, position; // first row, how many, position of the first
};

// StepView is the step in device memory, at the same addresses in every step, so
// that a graph can be run again. Rows that pad a graph's step have slot -1 and
// belong to sequences of length 0: nothing of them is stored or read.
struct StepView {
    int32_t *tokens;    // [T]
    int32_t *from;      // [T] -1, or the row of the last draw
    int32_t *positions; // [T]
    int32_t *slots;     // [T]
    int32_t *seqs;      // [T] sequence of each row
    int32_t *starts;    // [S+1]
    int32_t *lens;      // [S]
    int32_t *blocks;    // [S, stride]
    int32_t *out;       // [R]
    int32_t *single;    // sequences with one row in the step; single_n of them
    Tile *tiles;        // of the others; tiles_n of them
    int32_t stride;     // of blocks: sbc_options.max_blocks, always
    // Known on the host; in a graph's step those of its bucket.
    int32_t tokens_n, seqs_n, out_n, single_n, tiles_n;
    int32_t longest;    // largest of lens; 0 in a graph, where it is not known
};

struct Host;  // host.cuh
struct Plans; // matmul_large.cu

} // namespace sbc

// sbc_context is one GPU's: its stream, what was allocated, the step.
struct sbc_context {
    sbc_device about;
    sbc_options options;
    cudaStream_t stream;
    sbc::StepView step;      // of the step begun last
    int32_t *drawn;          // [max_seqs] ids of the last sbc_draw_tokens, on the device
    bool capturing;          // between sbc_graph_begin and sbc_graph_end
    bool lost;               // SBC_LOST was answered, as everything is from then on
    cublasLtHandle_t blas;
    void *blas_workspace;    // blas_workspace_bytes, on the device
    size_t blas_workspace_bytes;
    void *rounded;           // [max_tokens, widest ld] inputs of a large product in the context's dtype
    size_t rounded_bytes;
    sbc::Plans *plans;       // how large products of shapes met of late are made
    float *partial;          // what decode attention keeps of each piece of a context (attention_decode.cu)
    size_t partial_bytes;
    void *drawing;           // what draw_kernels works in (draw.cu)
    size_t drawing_bytes;
    sbc::Host *host;         // what context.cu, load.cu, step.cu and graph.cu keep on the host
    char message[512];
};

namespace sbc {

// enter is what a function of kernels.h begins with: SBC_OK when c can be used, and
// while a graph is being recorded only if recorded, which operations are.
int enter(sbc_context *c, bool recorded);
// fail writes the context's message, by printf's format, and returns the status.
// The message of what broke a context, or a recording, is not written over.
int fail(sbc_context *c, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
// check turns a runtime's answer into a status, with a message that says what was
// being done. Errors that CUDA calls sticky are SBC_LOST.
int check(sbc_context *c, cudaError_t e, const char *doing);
int check_blas(sbc_context *c, cublasStatus_t s, const char *doing);

// grow sees to it that *p has that many bytes of device memory, of no particular
// content, aligned to 256. In a graph's recording nothing can grow, so that what
// is recorded must have been run before; what a graph was recorded with stays
// where it is until the context is closed.
int grow(sbc_context *c, void **p, size_t *have, size_t bytes, const char *what);

#define SBC_TRY(call)                                                                                                  \
    do {                                                                                                               \
        int sbc_status_ = (call);                                                                                      \
        if (sbc_status_ != SBC_OK) return sbc_status_;                                                                 \
    } while (0)

// SBC_LAUNCH queues kernel<<<grid, block, shared>>>(args...) and returns a status
// that says so if it cannot. Arguments are evaluated at once, as the kernel's
// parameters. Shared memory above 48 KB is allowed for by it. A template with more
// than one argument is put in parentheses.
#define SBC_LAUNCH(c, kernel, grid, block, shared, ...)                                                                \
    ::sbc::launch((c), "starting " #kernel, (kernel), (grid), (block), (shared), __VA_ARGS__)

#ifdef SBC_SIM
template <typename... P, typename... A>
int launch(sbc_context *c, const char *doing, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, A... args) {
    if (c->lost) return SBC_LOST;
    std::tuple<P...> kept(static_cast<P>(args)...); // a graph runs the kernel again with these
    return check(c, ::sim::launch(doing, grid, block, shared, c->stream, [kernel, kept]() { std::apply(kernel, kept); }), doing);
}
#else
template <typename... P, typename... A>
int launch(sbc_context *c, const char *doing, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, A... args) {
    if (c->lost) return SBC_LOST;
    if (shared > (48u << 10))
        SBC_TRY(check(c, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared)), doing));
    kernel<<<grid, block, shared, c->stream>>>(static_cast<P>(args)...);
    return check(c, cudaGetLastError(), doing);
}
#endif

// Elements.
template <typename T> __device__ __forceinline__ float to_float(T x);
template <> __device__ __forceinline__ float to_float(float x) { return x; }
template <> __device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
template <> __device__ __forceinline__ float to_float(__half x) { return __half2float(x); }

// from_float rounds to nearest, ties to even.
template <typename T> __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ float from_float(float x) { return x; }
template <> __device__ __forceinline__ __nv_bfloat16 from_float(float x) { return __float2bfloat16_rn(x); }
template <> __device__ __forceinline__ __half from_float(float x) { return __float2half_rn(x); }

// rounded is x as a context of T sees it.
template <typename T> __device__ __forceinline__ float rounded(float x) { return to_float(from_float<T>(x)); }

// Sums and maxima over a warp: every lane gets them, by the same tree always.
__device__ __forceinline__ float warp_sum(float x) {
    for (int d = kWarp / 2; d > 0; d /= 2) x += __shfl_xor_sync(0xffffffffu, x, d);
    return x;
}
__device__ __forceinline__ float warp_max(float x) {
    for (int d = kWarp / 2; d > 0; d /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, d));
    return x;
}

// SBC_BY_DTYPE runs a statement with T as the element type of a dtype.
#define SBC_BY_DTYPE(dtype, ...)                                                                                       \
    do {                                                                                                               \
        switch (dtype) {                                                                                               \
        case SBC_F32: {                                                                                                \
            using T = float;                                                                                           \
            __VA_ARGS__;                                                                                               \
        } break;                                                                                                       \
        case SBC_BF16: {                                                                                               \
            using T = __nv_bfloat16;                                                                                   \
            __VA_ARGS__;                                                                                               \
        } break;                                                                                                       \
        default: {                                                                                                     \
            using T = __half;                                                                                          \
            __VA_ARGS__;                                                                                               \
        } break;                                                                                                       \
        }                                                                                                              \
    } while (0)

inline size_t dtype_bytes(int dtype) { return dtype == SBC_F32 ? 4 : 2; }

// Layout of the cache (kernels.h).
struct CacheView {
    void *keys, *values; // of a layer
    int32_t block_size, kv_heads, head_dim, padded; // B, G, E, E'
    int64_t block;       // elements of a block: G·B·E'
};
inline CacheView cache_view(int dtype, const sbc_kv *kv, int layer) {
    CacheView v;
    v.block_size = kv->block_size, v.kv_heads = kv->kv_heads, v.head_dim = kv->head_dim;
    v.padded = round_up(kv->head_dim, kHeadAlign);
    v.block = int64_t(kv->kv_heads) * kv->block_size * v.padded;
    int64_t half = v.block * kv->blocks * int64_t(dtype_bytes(dtype));
    v.keys = reinterpret_cast<char *>(kv->data) + 2 * half * layer;
    v.values = static_cast<char *>(v.keys) + half;
    return v;
}

// What one file offers the others. All queue on c->stream.
int matmul_small(sbc_context *c, float *out, const float *x, const sbc_weight *w, const float *bias, int rows); // rows ≤ kSmallRows
int matmul_large(sbc_context *c, float *out, const float *x, const sbc_weight *w, const float *bias, int rows); // cuBLASLt
void matmul_close(sbc_context *c); // gives c->plans back; before c->blas
int attention_decode(sbc_context *c, float *out, const float *qkv, const CacheView &kv, const sbc_attn &a);      // sequences with one row
int attention_prefill(sbc_context *c, float *out, const float *qkv, const CacheView &kv, const sbc_attn &a);     // the tiles
int attention_simple(sbc_context *c, float *out, const float *qkv, const CacheView &kv, const sbc_attn &a);      // all rows, any dtype and head
// draw_kernels draws a token for each of rows rows of logits [rows, width], ids below
// vocab, into ids [rows]; draws [rows] and ids are on the device.
int draw_kernels(sbc_context *c, const float *logits, int width, int vocab, int rows, const sbc_draw *draws, int32_t *ids);

} // namespace sbc
#endif
