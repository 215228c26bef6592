// Package cpu implements kernels.Device with C kernels for x86-64, reached
// through cgo and picked by what the CPU can do: AVX-512 with BF16 dot products,
// AVX-512, or AVX2 with FMA. A plain go build compiles all of them; without cgo,
// off Linux or off amd64, New returns ErrUnavailable and kernels/ref does the work.
//
//  1. New (device.go) picks an instruction set and starts the threads (pool.c).
//  2. Load packs matrices in panels of 16 outputs (pack.c), so that one 64-byte
//     line feeds one instruction; the device's memory is C memory (device.c).
//  3. Begin copies the step to C memory. The operations (ops.go) check shapes and
//     make one C call each.
//  4. The C side of an operation cuts the work in tasks and hands them to the
//     pool: matmul.c, attention.c, rows.c. Each thread has its share of them side
//     by side, and helps the others when it is through; that is the operation's
//     only barrier (a large MatMul has a second one, behind the rounding of its
//     input).
//  5. The arithmetic is in templates over a vector type: matmul_kernel.h,
//     attention_kernel.h with attention_fma.h, rows_kernel.h and store_kernel.h.
//     isa_avx512.c and isa_avx2.c include them with vec_avx512.h and vec_avx2.h;
//     matmul_avx512bf16.c and attention_avx512bf16.c have the bfloat16 dot products.
//
// Every result is summed in an order that depends on shapes and positions
// alone, not on the tile, the task or the thread: rows of a step do not see
// each other. Once scratch memory has grown to a step's size nothing is
// allocated any more, on either side.
//
// A Probe (probe.go, limits.c) measures what the machine does at most. The
// benchmarks print their share of it; command limits prints the limits themselves.
//
// # Measured
//
// On two cores of an EPYC 9004 (Zen 4, virtual; registers only: 236 GFLOP/s a core
// in bfloat16 dot products, 118 in float32 FMA; memory 30 GB/s one core, 45 to 49
// both, half of that in pages of 4 KB), best of many iterations. All matrices of
// GPT-2 124M, from memory:
//
//	rows            1      4      8      16   of a bound of
//	bf16, 2 cores   5.0    6.6    7.1    11.7 ms   5.1 (memory), 8.4 at 16 (arithmetic)
//	bf16, 1 core    8.2    9.2    11.6   18.9 ms   8.3 (memory), 16.8 at 16 (arithmetic)
//	avx512 bf16     9.0    11.4   19.9   41.8 ms   one core; 33.6 at 16
//	avx512 f32      16.9   18.3   22.5   39.8 ms   one core; 33.6 at 16
//	avx2 bf16       11.2   15.4   26.8   57.5 ms   one core; 33.6 at 16
//	avx2 f32        18.0   24.1   33.3   49.9 ms   one core; 33.6 at 16
//
// A bfloat16 product of 16 to 405 rows, its matrix in memory, reaches 92 to 97% of a
// core's dot products. Attention of GPT-2 over a bfloat16 cache, one core, in dot
// products: decoding reads the cache at 24 to 31 GB/s, a prefill of 405 tokens runs
// at 150 GFLOP/s (64% of the dot products, whose units the exponentials share). In
// float32 multiply-adds, without BF16: 19 to 26 GB/s and 79 GFLOP/s (67% of FMA).
package cpu
