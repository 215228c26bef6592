//go:build cgo && linux && amd64

// isa_avx512.c: the kernels for AVX-512 F, BW, VL, DQ. Each header included
// below is one group of kernels and explains it.

#include "attention.h"
#include "transpose_avx512.h"
#include "vec_avx512.h"
#include "vec_exp.h"

#include "rows_kernel.h"

#include "attention_fma.h"
#include "attention_kernel.h"
#include "matmul_kernel.h"
#include "store_kernel.h"

// Rows × panels accumulators, two lines a panel and one input in 32 registers;
// matmul_avx512bf16.c has the figures behind the choice.
TILE(1, 1) TILE(2, 1) TILE(3, 4) TILE(4, 4) TILE(5, 3) TILE(6, 3) TILE(7, 3) TILE(8, 3)
TILE(9, 2) TILE(10, 2) TILE(11, 2) TILE(12, 2)

#define ALL(name, one)                                                                                   \
    {0, name##1##one, name##2##one, name##3##one, name##4##one, name##5##one, name##6##one, name##7##one, \
     name##8##one, name##9##one, name##10##one, name##11##one, name##12##one}
#define PANELS {0, 1, 1, 4, 4, 3, 3, 3, 3, 2, 2, 2, 2}

const isa isa_avx512 = {
    .f32 = {4, 12, 8, PANELS, ALL(f32_, _avx512), ALL(f32_, _one_avx512), pack_f32_avx512},
    .bf16 = {4, 12, 8, PANELS, ALL(bf16_, _avx512), ALL(bf16_, _one_avx512), pack_bf16_avx512},
    .attention = {QUERIES, attend_avx512},
    .norm = norm_avx512,
    .activate = activate_avx512,
    .add = add_avx512,
    .store_kv = store_kv_avx512,
    .vexp = vexp_avx512,
};
