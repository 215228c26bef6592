//go:build cgo && linux && amd64

// isa_avx2.c: the kernels for AVX2, FMA and F16C. Each header included below
// is one group of kernels and explains it.

#include "attention.h"
#include "vec_avx2.h"
#include "vec_exp.h"

#include "rows_kernel.h"

#include "attention_fma.h"
#include "attention_kernel.h"
#include "matmul_kernel.h"
#include "store_kernel.h"

// A panel is two vectors here; 16 registers hold 6 rows of float32 and 5 of
// bfloat16, whose lines need two more.
TILE(1, 2) TILE(2, 1) TILE(3, 1) TILE(4, 1) TILE(5, 1) TILE(6, 1)

#define ALL(name, one) {0, name##1##one, name##2##one, name##3##one, name##4##one, name##5##one, name##6##one}
#define PANELS {0, 2, 1, 1, 1, 1, 1}

const isa isa_avx2 = {
    .f32 = {4, 6, 6, PANELS, ALL(f32_, _avx2), ALL(f32_, _one_avx2), pack_f32_avx2},
    .bf16 = {4, 5, 5, PANELS, ALL(bf16_, _avx2), ALL(bf16_, _one_avx2), pack_bf16_avx2},
    .attention = {QUERIES, attend_avx2},
    .norm = norm_avx2,
    .activate = activate_avx2,
    .add = add_avx2,
    .store_kv = store_kv_avx2,
    .vexp = vexp_avx2,
};
