//go:build cgo && linux && amd64

// device.c: a device's memory and its copy of the step.

#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
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

// CHUNK is what smaller pieces are cut from. What is not used of it is not touched
// and so takes no memory.
#define CHUNK ((size_t)32 << 20)

// map returns zeroed memory that begins on a huge page and asks for them.
static void *map(cpu_device *d, size_t bytes) {
    const size_t size = ((bytes + 4095) & ~(size_t)4095) + HUGE_PAGE;
    block *b = malloc(sizeof *b);
    if (!b || size < bytes) {
        free(b);
        return NULL;
    }
    char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        free(b);
        return NULL;
    }
    *b = (block){d->blocks, p, size};
    d->blocks = b;
    p = (char *)(((uintptr_t)p + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
    madvise(p, size - HUGE_PAGE, MADV_HUGEPAGE); // a hint
    return p;
}

// Pieces smaller than a huge page lie side by side in one: SmolLM2's matrices are
// mostly below 2 MB, and one core reads pages of 4 KB at half the speed.
void *cpu_alloc(cpu_device *d, size_t bytes) {
    if (bytes >= HUGE_PAGE)
        return map(d, bytes);
    const size_t size = ((bytes ? bytes : 1) + 63) & ~(size_t)63;
    if (d->chunk_left < size) {
        char *p = map(d, CHUNK);
        if (!p)
            return NULL;
        d->chunk = p;
        d->chunk_left = CHUNK;
    }
    void *p = d->chunk;
    d->chunk += size;
    d->chunk_left -= size;
    return p;
}

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 // Linux 5.14
#endif

typedef struct {
    char *from;
    size_t bytes;
    int tasks;
    _Atomic int denied;
} populate_job;

static void populate_task(void *arg, int task, int worker) {
    (void)worker;
    populate_job *j = arg;
    const size_t pages = (j->bytes + HUGE_PAGE - 1) / HUGE_PAGE;
    const size_t from = pages * (size_t)task / (size_t)j->tasks * HUGE_PAGE;
    size_t to = pages * (size_t)(task + 1) / (size_t)j->tasks * HUGE_PAGE;
    to = to < j->bytes ? to : j->bytes;
    if (from < to && madvise(j->from + from, to - from, MADV_POPULATE_WRITE) && errno == ENOMEM)
        j->denied = 1;
}

int cpu_populate(cpu_device *d, void *data, size_t bytes) {
    populate_job j = {.from = (char *)((uintptr_t)data & ~(uintptr_t)4095)};
    j.bytes = (size_t)((char *)data + bytes - j.from);
    j.tasks = 4 * pool_threads(d->pool);
    pool_run(d->pool, populate_task, &j, j.tasks);
    return !j.denied;
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
    d->attention = d->bf16 && isa == CPU_AVX512BF16 ? &attention_avx512bf16 : &d->isa->attention;
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
