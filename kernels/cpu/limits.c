//go:build cgo && linux && amd64

// limits.c: what the machine does at most, for the kernels to be compared with.
//
// Purpose   reads memory, and keeps the units of float32 multiply-adds and of
//           bfloat16 dot products busy out of registers, on all threads of a device.
// Read      the buffer once, front to back in each task, 256 bytes an iteration, added
//           up by the integer units so that no load can be left out.
// Peaks     enough independent accumulators (latency 4 to 6, up to 2 a cycle) and no
//           load in the loop.
// Threads   tasks are small against a measurement, so that a thread that another
//           program holds up leaves its share to the others.

#include <immintrin.h>

#include "internal.h"

#define AVX512 __attribute__((noinline, target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")))
#define AVX512BF16 __attribute__((noinline, target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma")))
#define AVX2 __attribute__((noinline, target("avx2,fma")))

// Accumulators: what the registers hold, and a divisor of LIMIT_STEP.
#define WIDE 24
#define NARROW 12

// ROUNDS is one task's iterations, some 10 µs.
#define ROUNDS 1536

typedef struct {
    int what, avx2;
    const char *data;
    size_t bytes;
    int tasks;
    volatile float *sink; // [tasks]: what was computed, so that it is
} limit_job;

AVX512BF16 static float dots(void) {
    __m512 acc[WIDE];
    __m512i a = _mm512_set1_epi32(0x3f803f80), b = a;
    __asm__("" : "+v"(a), "+v"(b)); // not known to the compiler
#pragma GCC unroll 24
    for (int i = 0; i < WIDE; i++)
        acc[i] = _mm512_setzero_ps();
    for (int n = 0; n < ROUNDS; n++)
#pragma GCC unroll 24
        for (int i = 0; i < WIDE; i++) {
            acc[i] = _mm512_dpbf16_ps(acc[i], (__m512bh)a, (__m512bh)b);
            __asm__("" : "+v"(acc[i])); // each in a register of its own
        }
#pragma GCC unroll 24
    for (int i = 1; i < WIDE; i++)
        acc[0] = _mm512_add_ps(acc[0], acc[i]);
    return _mm512_reduce_add_ps(acc[0]);
}

AVX512 static float wide(void) {
    __m512 acc[WIDE], a = _mm512_set1_ps(1), b = a;
    __asm__("" : "+v"(a), "+v"(b));
#pragma GCC unroll 24
    for (int i = 0; i < WIDE; i++)
        acc[i] = _mm512_setzero_ps();
    for (int n = 0; n < ROUNDS; n++)
#pragma GCC unroll 24
        for (int i = 0; i < WIDE; i++) {
            acc[i] = _mm512_fmadd_ps(a, b, acc[i]);
            __asm__("" : "+v"(acc[i]));
        }
#pragma GCC unroll 24
    for (int i = 1; i < WIDE; i++)
        acc[0] = _mm512_add_ps(acc[0], acc[i]);
    return _mm512_reduce_add_ps(acc[0]);
}

AVX2 static float narrow(void) {
    __m256 acc[NARROW], a = _mm256_set1_ps(1), b = a;
    __asm__("" : "+x"(a), "+x"(b));
#pragma GCC unroll 12
    for (int i = 0; i < NARROW; i++)
        acc[i] = _mm256_setzero_ps();
    for (int n = 0; n < ROUNDS; n++)
#pragma GCC unroll 12
        for (int i = 0; i < NARROW; i++) {
            acc[i] = _mm256_fmadd_ps(a, b, acc[i]);
            __asm__("" : "+x"(acc[i]));
        }
    float lanes[8], sum = 0;
    for (int i = 0; i < NARROW; i++) {
        _mm256_storeu_ps(lanes, acc[i]);
        for (int l = 0; l < 8; l++)
            sum += lanes[l];
    }
    return sum;
}

AVX512 static float read_wide(const char *from, const char *to) {
    __m512i sum[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
    for (; from < to; from += 256)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            sum[i] = _mm512_add_epi32(sum[i], _mm512_load_si512(from + 64 * i));
    return (float)_mm512_reduce_add_epi32(
        _mm512_add_epi32(_mm512_add_epi32(sum[0], sum[1]), _mm512_add_epi32(sum[2], sum[3])));
}

AVX2 static float read_narrow(const char *from, const char *to) {
    __m256i sum[8] = {0};
    for (; from < to; from += 256)
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++)
            sum[i] = _mm256_add_epi32(sum[i], _mm256_load_si256((const __m256i *)(from + 32 * i)));
    int32_t lanes[8], total = 0;
    for (int i = 1; i < 8; i++)
        sum[0] = _mm256_add_epi32(sum[0], sum[i]);
    _mm256_storeu_si256((__m256i *)lanes, sum[0]);
    for (int l = 0; l < 8; l++)
        total ^= lanes[l];
    return (float)total;
}

static void limit_task(void *arg, int task, int worker) {
    (void)worker;
    const limit_job *j = arg;
    float f = 0;
    switch (j->what) {
    case CPU_LIMIT_READ: {
        const size_t lines = j->bytes / 256;
        const char *from = j->data + lines * task / j->tasks * 256, *to = j->data + lines * (task + 1) / j->tasks * 256;
        f = j->avx2 ? read_narrow(from, to) : read_wide(from, to);
        break;
    }
    case CPU_LIMIT_DOT:
        f = dots();
        break;
    case CPU_LIMIT_FMA:
        f = j->avx2 ? narrow() : wide();
        break;
    }
    j->sink[task] = f;
}

double cpu_limit(cpu_device *d, int what, const void *data, size_t bytes, int tasks) {
    limit_job j = {.what = what, .avx2 = d->isa == &isa_avx2, .data = data, .bytes = bytes, .tasks = tasks};
    j.sink = scratch_take(&d->x, (size_t)tasks * sizeof(float));
    if (!j.sink)
        return 0;
    pool_run(d->pool, limit_task, &j, tasks);
    switch (what) {
    case CPU_LIMIT_READ:
        return (double)(bytes / 256 * 256);
    case CPU_LIMIT_DOT:
        return 64.0 * WIDE * ROUNDS * tasks;
    default:
        return (j.avx2 ? 16.0 * NARROW : 32.0 * WIDE) * ROUNDS * tasks;
    }
}
