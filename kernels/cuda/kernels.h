// kernels.h: the C ABI of libservebench_cuda.so, which package cuda loads at run
// time. The same ABI is built twice: by nvcc for GPUs (make cuda) and by g++ for
// the simulated device (make cuda-sim).
//
// Letters as in package kernels: T tokens, S sequences, R wanted rows, D model
// width, H/G query/KV heads, E head width, B block size, N/K matrix sizes, V
// vocabulary. Activations are float32, row-major, dense.
//
// A context belongs to no thread, but no two of its functions run at a time: each
// makes the context's GPU the calling thread's, as cudaSetDevice does. Every function
// returns a status; what went wrong is told by sbc_message. A context that has
// answered SBC_LOST can be closed, nothing else.
//
// Work is queued on the context's stream. A function that is not said to wait
// returns before the device has done what it asked for; an error that comes of it
// is returned by the function that waits next.
#ifndef SERVEBENCH_CUDA_KERNELS_H
#define SERVEBENCH_CUDA_KERNELS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// SBC_VERSION changes with every change of this file that a caller would notice.
#define SBC_VERSION 1u

enum { SBC_F32, SBC_BF16, SBC_F16 }; // kernels.DType
enum { SBC_GELU_TANH, SBC_SILU };    // kernels.Act

// Statuses.
enum {
    SBC_OK,
    SBC_ARGUMENT,    // the caller's mistake
    SBC_NO_DRIVER,   // no NVIDIA driver, or one too old for this library
    SBC_NO_DEVICE,   // the driver has no such GPU
    SBC_ARCHITECTURE,// the GPU is older than sm_80, or newer than what the library can be compiled for
    SBC_MEMORY,      // the device, or page-locked host memory, has no room; nothing has changed
    SBC_LIBRARY,     // cuBLASLt cannot do what was asked for
    SBC_FAILED,      // the runtime refused; the context can be used further
    SBC_LOST,        // the device's context is broken: close it
};

typedef struct sbc_context sbc_context;
typedef uint64_t sbc_ptr; // device memory; 0 is none

uint32_t sbc_version(void);

// sbc_message returns what the last function that did not return SBC_OK has to
// say: of a context, or with NULL of sbc_devices, sbc_open and sbc_close in the
// calling thread. It is valid until the next call.
const char *sbc_message(const sbc_context *c);

// What a GPU is.
typedef struct {
    char name[128];
    char bus_id[32];           // PCI, as nvidia-smi has it
    int32_t major, minor;      // compute capability
    int32_t sms;               // multiprocessors
    int32_t driver, runtime;   // CUDA versions, 1000·major + 10·minor
    int32_t shared_per_block;  // bytes of shared memory that a block can ask for
    int32_t l2_bytes;
    int32_t simulated;         // 1: the simulated device
    uint64_t memory;           // bytes in all
    uint64_t free_memory;      // bytes that nobody has; 0 from sbc_devices
    double peak_read;          // bytes/s of the memory's data sheet clock; 0: unknown
} sbc_device;

// sbc_devices writes up to most devices, and to count how many there are.
int sbc_devices(sbc_device *out, int32_t most, int32_t *count);

typedef struct {
    int32_t device;      // index as sbc_devices has them
    int32_t dtype;       // of matrices and caches
    int32_t max_tokens;  // T of the largest step
    int32_t max_seqs;    // S and R of the largest step
    int32_t max_blocks;  // of a sequence
    int32_t reserved;
} sbc_options;

// sbc_open makes a context with room for steps of those sizes. *out is NULL
// unless it returns SBC_OK.
int sbc_open(const sbc_options *o, sbc_context **out);

// sbc_close waits for what is queued and gives everything back, whatever state
// the context is in. It returns the status of the giving back.
int sbc_close(sbc_context *c);

// sbc_about describes the context's GPU, with the memory that is free now.
int sbc_about(sbc_context *c, sbc_device *out);

// sbc_alloc gives zeroed memory, aligned to 256 bytes; sbc_free takes it back
// once what is queued is done.
int sbc_alloc(sbc_context *c, uint64_t bytes, sbc_ptr *out);
int sbc_free(sbc_context *c, sbc_ptr p);

// A matrix on the device is [n, ld] in the context's dtype: row-major, ld is k
// rounded up to a multiple of 16 elements, what is behind k is zero. A table is
// dense float32 [n, k].
typedef struct {
    sbc_ptr data;
    int32_t n, k;
    int32_t ld;     // of a matrix; 0: a float32 table
    int32_t reserved;
} sbc_weight;

// sbc_weight_bytes is what a weight of n by k takes, 0 where there is no such
// weight. It needs no context.
uint64_t sbc_weight_bytes(int32_t dtype, int32_t n, int32_t k, int32_t table);

// sbc_load converts rows [n0, n0+n) of a weight from src, in host memory: [n, k],
// or [k, n] when transposed. src may be changed or unmapped once it returns. What
// it takes of page-locked memory, 2 pieces of SBC_STAGE bytes, is kept until
// sbc_load_done, which waits until all is on the device.
#define SBC_STAGE (16u << 20)
int sbc_load(sbc_context *c, const sbc_weight *w, const void *src, int32_t dtype, int32_t transposed, int32_t n0, int32_t n);
int sbc_load_done(sbc_context *c);

// A paged cache: keys and values of a layer are each [blocks, G, B, E'] in the
// context's dtype, E' is E rounded up to a multiple of 8, what is behind E is
// zero. Layer l begins at data + l·2·half, its values half bytes later, with half
// = blocks·G·B·E'·(bytes of an element).
typedef struct {
    sbc_ptr data;
    int32_t layers, blocks, block_size, kv_heads, head_dim, reserved;
} sbc_kv;

// sbc_kv_bytes is what a cache takes, 0 where there is no such cache.
uint64_t sbc_kv_bytes(int32_t dtype, const sbc_kv *kv);

// A step, as kernels.Step has it, copied by sbc_begin.
typedef struct {
    int32_t tokens_n, seqs, max_blocks, out_n, window, reserved;
    const int32_t *tokens;    // [T]
    const int32_t *from;      // [T] or NULL: the row of the last sbc_draw that drew the token, -1: tokens has it
    const int32_t *positions; // [T]
    const int32_t *slots;     // [T]
    const int32_t *starts;    // [S+1]
    const int32_t *lens;      // [S]
    const int32_t *blocks;    // [S, max_blocks]
    const int32_t *out;       // [R]
} sbc_step;

// sbc_begin starts a step. It does not wait for the one before it: up to two steps
// may be queued, a third waits for the first. Counts and offsets are checked;
// whether tokens, slots and blocks are the weights' and the caches' is the
// caller's to know. A row of slot -1, alone in a sequence of length 0 at position
// 0, stands for nothing: nothing of it is stored, and what it attends to is zero.
int sbc_begin(sbc_context *c, const sbc_step *s);

// sbc_wait waits until everything that is queued is done.
int sbc_wait(sbc_context *c);

// sbc_read waits, then copies n float32 to page-locked host memory, which is valid
// until the next sbc_read or sbc_close.
int sbc_read(sbc_context *c, sbc_ptr from, uint64_t n, float **out);

// The operations of a step; kernels/doc.go has the equations. Rows are counted
// from 0, buffers are dense.
typedef struct {
    int32_t heads, kv_heads, head_dim, window;
    float scale;
    int32_t reserved;
} sbc_attn;

int sbc_embed(sbc_context *c, sbc_ptr out, const sbc_weight *tokens, const sbc_weight *positions);
typedef struct {
    sbc_ptr out, x, delta, weight, bias; // delta and bias may be 0
    float eps;
    int32_t mean, rows, width;
} sbc_norm_args;
int sbc_norm(sbc_context *c, const sbc_norm_args *a);
int sbc_matmul(sbc_context *c, sbc_ptr out, sbc_ptr x, const sbc_weight *w, sbc_ptr bias, int32_t rows);
int sbc_store_kv(sbc_context *c, sbc_ptr qkv, const sbc_kv *kv, int32_t layer, int32_t rope_dims, sbc_ptr table, const sbc_attn *a);
int sbc_attention(sbc_context *c, sbc_ptr out, sbc_ptr qkv, const sbc_kv *kv, int32_t layer, const sbc_attn *a);
int sbc_activate(sbc_context *c, sbc_ptr out, sbc_ptr x, int32_t act, int32_t gated, int32_t rows, int32_t width);
int sbc_add(sbc_context *c, sbc_ptr x, sbc_ptr y, int32_t rows, int32_t width);
int sbc_gather(sbc_context *c, sbc_ptr out, sbc_ptr x, sbc_ptr delta, int32_t width);

// How a row's token is drawn; serving/sample/doc.go has the steps.
typedef struct {
    double temperature;  // 0: the largest logit, of equals the lowest id
    double top_p, min_p; // 1 and 0 keep all
    uint64_t seed, index;// of Philox' number
    int32_t top_k;       // 0 keeps all
    int32_t reserved;
} sbc_draw;

// sbc_draw_tokens draws one token for each of rows rows of logits [rows, width],
// of which ids below vocab may be drawn. Their ids stay on the device for the next
// step's from, and go to the host behind them. SBC_DRAWN steps may wait for
// sbc_drawn, another is SBC_ARGUMENT.
#define SBC_DRAWN 4
int sbc_draw_tokens(sbc_context *c, sbc_ptr logits, int32_t width, int32_t vocab, int32_t rows, const sbc_draw *draws);

// sbc_drawn waits for the oldest step with sbc_draw_tokens whose tokens were not
// asked for yet and writes them: an id, or -1 where a logit was not finite.
int sbc_drawn(sbc_context *c, int32_t *ids, int32_t rows);

// A graph is the operations of one kind of step, kept by the device: those of
// sequences that have one row each and want it. sbc_graph_begin stands in place
// of sbc_begin for a step of rows rows; nothing that follows is run, and what needs
// memory for it must have been run once, as a step of as many rows. sbc_graph_end
// ends it, whatever has happened, and returns the first failure since. sbc_graph_run
// is sbc_begin with all the operations of the graph: its step has at most as many
// rows, padded by the library with rows that stand for nothing.
int sbc_graph_begin(sbc_context *c, int32_t rows);
int sbc_graph_end(sbc_context *c, int32_t *graph);
int sbc_graph_run(sbc_context *c, int32_t graph, const sbc_step *s);

// sbc_limit measures what the device does at most, by kernels of its own: bytes/s
// of reading memory, FLOP/s of float32 multiply-adds (2 each), or FLOP/s of dense
// tensor-core products of the context's dtype; float32 has none of these, its
// products are multiply-adds. It waits.
enum { SBC_LIMIT_READ, SBC_LIMIT_FMA, SBC_LIMIT_DOT };
int sbc_limit(sbc_context *c, int32_t what, double *out);

// sbc_time brackets what is queued between its calls with 1 and 0; with 0 it waits
// and gives the seconds that the device took.
int sbc_time(sbc_context *c, int32_t start, double *seconds);

#ifdef __cplusplus
}
#endif
#endif
