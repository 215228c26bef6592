//go:build cgo && linux && amd64

// device.c: a device's memory and its copy of the step.

#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "attention.h"

// PIECE is the work, in multiply-adds or so, that is worth a barrier (about a
// microsecond): a task has at least so much.
#define PIECE 16384

int pieces(const cpu_device *d, int64_t n, int64_t work) {
    const int threads = pool_threads(d->pool);
    int64_t p = work / PIECE;
    // More pieces than threads even out what other programs take away from a core.
    if (p > 16 * (int64_t)threads)
        p = 16 * (int64_t)threads;
    if (p > n)
        p = n;
    return threads == 1 || p < 1 ? 1 : (int)p;
}

#define HUGE_PAGE ((size_t)2 << 20)

// map returns zeroed memory; large pieces begin on a huge page and ask for them.
static void *map(size_t bytes, block *b) {
    size_t size = (bytes + 4095) & ~(size_t)4095;
    if (bytes >= HUGE_PAGE)
        size += HUGE_PAGE;
    if (size < bytes)
        return NULL;
    char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    *b = (block){NULL, p, size};
    if (bytes < HUGE_PAGE)
        return p;
    p = (char *)(((uintptr_t)p + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
    madvise(p, size - HUGE_PAGE, MADV_HUGEPAGE); // a hint
    return p;
}

void *cpu_alloc(cpu_device *d, size_t bytes) {
    block *b = malloc(sizeof *b);
    if (!b)
        return NULL;
    void *p = map(bytes ? bytes : 1, b);
    if (!p) {
        free(b);
        return NULL;
    }
    b->next = d->blocks;
    d->blocks = b;
    return p;
}

void cpu_small_pages(void *data, size_t bytes) { madvise(data, bytes, MADV_NOHUGEPAGE); }

void *scratch_take(scratch *s, size_t bytes) {
    if (s->bytes >= bytes)
        return s->data;
    // Grown by half at least, so that growing prompts do not mean growing each step.
    size_t size = s->bytes + s->bytes / 2;
    size = ((size > bytes ? size : bytes) + 4095) & ~(size_t)4095;
    void *p = aligned_alloc(64, size);
    if (!p)
        return NULL;
    free(s->data);
    *s = (scratch){p, size};
    return p;
}

cpu_device *cpu_open(int isa, int dtype, int threads, const int32_t *cpus) {
    cpu_device *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->isa = isa == CPU_AVX2 ? &isa_avx2 : &isa_avx512;
    d->bf16 = dtype == CPU_BF16;
    d->matmul = !d->bf16 ? &d->isa->f32 : isa == CPU_AVX512BF16 ? &matmul_avx512bf16 : &d->isa->bf16;
    d->pool = pool_new(threads, cpus);
    if (!d->pool) {
        free(d);
        return NULL;
    }
    return d;
}

void cpu_close(cpu_device *d) {
    pool_free(d->pool);
    for (block *b = d->blocks, *next; b; b = next) {
        next = b->next;
        munmap(b->data, b->bytes);
        free(b);
    }
    free(d->step_mem.data);
    free(d->x.data);
    free(d->tiles.data);
    free(d->partials.data);
    free(d);
}

size_t cpu_kv_bytes(const cpu_device *d, const cpu_kv *kv) {
    return (size_t)kv->layers * layer_bytes(d->bf16, kv);
}

// keep copies n values to *at and moves it on.
static int32_t *keep(int32_t **at, const int32_t *from, size_t n) {
    int32_t *to = *at;
    if (n)
        memcpy(to, from, n * sizeof *to);
    *at += n;
    return to;
}

int cpu_begin(cpu_device *d, const cpu_step *sizes, const int32_t *tokens, const int32_t *positions,
              const int32_t *slots, const int32_t *starts, const int32_t *lens, const int32_t *blocks,
              const int32_t *out) {
    const size_t t = (size_t)sizes->tokens_n, s = (size_t)sizes->seqs, b = s * (size_t)sizes->max_blocks,
                 r = (size_t)sizes->out_n;
    int32_t *at = scratch_take(&d->step_mem, (3 * t + 2 * s + 1 + b + r) * sizeof *at);
    if (!at)
        return 0;
    d->step = *sizes;
    d->step.tokens = keep(&at, tokens, t);
    d->step.positions = keep(&at, positions, t);
    d->step.slots = keep(&at, slots, t);
    d->step.starts = keep(&at, starts, s + 1);
    d->step.lens = keep(&at, lens, s);
    d->step.blocks = keep(&at, blocks, b);
    d->step.out = keep(&at, out, r);
    d->tiles_group = 0;
    return 1;
}

void cpu_vexp(int isa, float *dst, const float *src, int n) {
    (isa == CPU_AVX2 ? &isa_avx2 : &isa_avx512)->vexp(dst, src, n);
}
