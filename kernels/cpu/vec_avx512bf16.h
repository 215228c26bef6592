// vec_avx512bf16.h: the vector of vec_avx512.h for kernels that use BF16 dot
// products beside.
#define TARGET target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c")
#define FN static inline __attribute__((always_inline, TARGET))
#define KERNEL static __attribute__((noinline, TARGET))
#define ISA(name) name##_avx512bf16

#include "vec_avx512.h"
