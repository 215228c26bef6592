// cpu.h: what the Go side of this package calls. Every function but cpu_open,
// cpu_vexp and cpu_close belongs to a device; one thread uses a device at a time.
//
// Letters as in package kernels: T tokens, S sequences, R wanted rows, D model
// width, H/G query/KV heads, E head width, B block size, N/K matrix sizes.
// Activations are float32, row-major, dense.
#ifndef SERVEBENCH_CPU_H
#define SERVEBENCH_CPU_H

#include <stddef.h>
#include <stdint.h>

enum { CPU_F32, CPU_BF16, CPU_F16 };                   // kernels.DType
enum { CPU_AVX512BF16, CPU_AVX512, CPU_AVX2 };         // instruction sets, best first
enum { CPU_GELU_TANH, CPU_SILU };                      // kernels.Act
enum { CPU_LIMIT_READ, CPU_LIMIT_FMA, CPU_LIMIT_DOT }; // what cpu_limit does

typedef struct cpu_device cpu_device;

// Matrix: packed by pack.c. Vectors and tables: row-major float32.
typedef struct {
    void *data;
    int32_t n, k;   // matrix: outputs, inputs; else rows, columns
    int32_t packed; // 1: a matrix in the device's dtype
} cpu_weight;

// A paged cache; attention.h has the layout.
typedef struct {
    void *data;
    int32_t layers, blocks, block_size, kv_heads, head_dim;
} cpu_kv;

// One step, copied by cpu_begin. Sizes are those of kernels.Step.
typedef struct {
    int32_t tokens_n, seqs, max_blocks, out_n;
    int32_t *tokens, *positions, *slots; // [T]
    int32_t *starts;                     // [S+1]
    int32_t *lens;                       // [S]
    int32_t *blocks;                     // [S, max_blocks]
    int32_t *out;                        // [R]
} cpu_step;

typedef struct {
    int32_t heads, kv_heads, head_dim, window;
    float scale;
} cpu_attn;

// cpu_open starts threads-1 workers, bound to cpus[1…] unless cpus is NULL.
// NULL: out of memory or threads.
cpu_device *cpu_open(int isa, int dtype, int threads, const int32_t *cpus);
void cpu_close(cpu_device *d);

// cpu_alloc returns zeroed memory, 64-byte aligned, that lives until
// cpu_close; NULL: there is none.
void *cpu_alloc(cpu_device *d, size_t bytes);

// cpu_populate takes the memory of cpu_alloc from the system now, by all threads,
// where the kernel can (Linux 5.14); 0: the system has not so much.
int cpu_populate(cpu_device *d, void *data, size_t bytes);

// cpu_pack_bytes is the size of a packed matrix of the device's dtype.
size_t cpu_pack_bytes(const cpu_device *d, int32_t n, int32_t k);

// cpu_pack writes rows [n0, n0+n) of the matrix w from src [n, k], or [k, n]
// when transposed, of any dtype.
void cpu_pack(cpu_device *d, const cpu_weight *w, const void *src, int dtype, int transposed, int32_t n0, int32_t n);

// cpu_widen converts count elements of any dtype to float32.
void cpu_widen(cpu_device *d, float *dst, const void *src, int dtype, size_t count);

// cpu_kv_bytes is the size of a cache of the device's dtype.
size_t cpu_kv_bytes(const cpu_device *d, const cpu_kv *kv);

// cpu_begin copies the step; 0: out of memory. The operations below work on it.
int cpu_begin(cpu_device *d, const cpu_step *sizes, const int32_t *tokens, const int32_t *positions,
              const int32_t *slots, const int32_t *starts, const int32_t *lens, const int32_t *blocks,
              const int32_t *out);

// The operations: kernels/doc.go has the equations. Those that return int
// return 0 when scratch memory could not be had.
void cpu_embed(cpu_device *d, float *out, const cpu_weight *tokens, const cpu_weight *positions);
void cpu_norm(cpu_device *d, float *out, float *x, const float *delta, const float *weight, const float *bias,
              float eps, int mean, int rows, int width);
int cpu_matmul(cpu_device *d, float *out, const float *x, const cpu_weight *w, const float *bias, int rows);
void cpu_store_kv(cpu_device *d, float *qkv, const cpu_kv *kv, int layer, int rope_dims, const float *table,
                  cpu_attn a);
int cpu_attention(cpu_device *d, float *out, const float *qkv, const cpu_kv *kv, int layer, cpu_attn a);
void cpu_activate(cpu_device *d, float *out, const float *x, int act, int gated, int rows, int width);
void cpu_add(cpu_device *d, float *x, const float *y, int rows, int width);
void cpu_gather(cpu_device *d, float *out, const float *x, const float *delta, int width);

// cpu_limit keeps the device's threads at one thing, cut in tasks: reading data
// once, or multiplying out of registers (float32, or bfloat16 dot products,
// which the CPU must have). It returns the bytes or floating-point operations
// of it all; 0: out of memory.
double cpu_limit(cpu_device *d, int what, const void *data, size_t bytes, int tasks);

// cpu_small_pages takes huge pages away from memory of cpu_alloc that was not
// written to yet.
void cpu_small_pages(void *data, size_t bytes);

// cpu_vexp is the kernels' exponential of n floats, for its test.
void cpu_vexp(int isa, float *dst, const float *src, int n);

#endif
