//go:build cgo && linux && amd64

// pool.c: the threads of a device.
//
// Purpose   run a job's tasks on all cores, a few microseconds apart, hundreds
//           of times a step.
// Threads   the caller is worker 0. The others spin for SPIN_NS after their last
//           task and then sleep on a futex, so that an idle device costs nothing.
// Tasks     are shared out evenly: each worker has a range of them, which it
//           claims one by one from the front, so that it reads what lies side by
//           side in memory; when it has none left it helps the others. A range's
//           ticket holds the job's number, the next task and the range's end in
//           one word: a claim can only succeed for the job that is running, and
//           a thread that the system keeps away delays the task it holds, not
//           the job. The job is over when all its tasks are done; a thread that
//           never woke is not waited for.
// Cost      measured here with empty tasks: BenchmarkPool in cpu_test.go.

#define _GNU_SOURCE
#include "pool.h"

#include <immintrin.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// SPIN_NS is longer than the serial work between two operations of a step and
// shorter than a scheduler's tick.
#define SPIN_NS 50000

typedef struct {
    pool *pool;
    int index;
} worker_arg;

// A worker's range of tasks, in a cache line of its own.
typedef struct {
    _Alignas(64) _Atomic uint64_t ticket; // job<<40 | end<<20 | next task
} range;

struct pool {
    int threads;      // the caller included
    int started;      // of the threads-1 others
    pthread_t *ids;   // [threads-1]
    worker_arg *args; // [threads-1]

    range *ranges;    // [threads]

    // The job. fn, arg and tasks change only while no task is unfinished.
    pool_task fn;
    void *arg;
    uint32_t tasks;
    uint64_t job; // its number, the caller's

    _Alignas(64) _Atomic uint32_t done; // tasks that have ended
    _Atomic uint32_t caller_sleeps;
    _Alignas(64) _Atomic uint32_t epoch; // futex: changes with every job and with stop
    _Atomic uint32_t sleepers;
    _Atomic int stop;
};

static void futex_wait(_Atomic uint32_t *word, uint32_t value) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int count) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint32_t ticket_end(uint64_t t) { return t >> 20 & POOL_MAX_TASKS; }
static uint32_t ticket_next(uint64_t t) { return t & POOL_MAX_TASKS; }

// finish counts a task that has ended; the last one wakes the caller.
static void finish(pool *p, int worker) {
    const uint32_t tasks = p->tasks; // before the count lets the caller go on
    if (atomic_fetch_add(&p->done, 1) + 1 == tasks && worker != 0 && atomic_load(&p->caller_sleeps))
        futex_wake(&p->done, 1);
}

// drain runs the tasks of a range until none is left to claim.
static void drain(pool *p, range *r, int worker) {
    uint64_t t = atomic_load_explicit(&r->ticket, memory_order_acquire);
    while (ticket_next(t) < ticket_end(t)) {
        if (!atomic_compare_exchange_weak_explicit(&r->ticket, &t, t + 1, memory_order_acquire,
                                                   memory_order_acquire))
            continue;
        p->fn(p->arg, (int)ticket_next(t), worker);
        finish(p, worker);
        t = atomic_load_explicit(&r->ticket, memory_order_acquire);
    }
}

// help runs the worker's own tasks, then those that others have left.
static void help(pool *p, int worker) {
    for (int i = 0, r = worker; i < p->threads; i++, r = r + 1 < p->threads ? r + 1 : 0)
        drain(p, &p->ranges[r], worker);
}

static int work_left(pool *p) {
    for (int i = 0; i < p->threads; i++) {
        uint64_t t = atomic_load_explicit(&p->ranges[i].ticket, memory_order_acquire);
        if (ticket_next(t) < ticket_end(t))
            return 1;
    }
    return 0;
}

// spin waits up to SPIN_NS for the condition; true when it came.
#define SPIN(condition)                                        \
    ({                                                         \
        int came = 0;                                          \
        for (int64_t until = now_ns() + SPIN_NS; !came;) {     \
            for (int i = 0; i < 64 && !(came = (condition)); i++) \
                _mm_pause();                                   \
            if (now_ns() > until)                              \
                break;                                         \
        }                                                      \
        came;                                                  \
    })

static void *worker_main(void *v) {
    worker_arg *w = v;
    pool *p = w->pool;
    while (!atomic_load(&p->stop)) {
        help(p, w->index);
        if (SPIN(work_left(p) || atomic_load_explicit(&p->stop, memory_order_relaxed)))
            continue;
        uint32_t seen = atomic_load(&p->epoch);
        atomic_fetch_add(&p->sleepers, 1);
        if (!work_left(p) && !atomic_load(&p->stop))
            futex_wait(&p->epoch, seen);
        atomic_fetch_sub(&p->sleepers, 1);
    }
    return NULL;
}

void pool_run(pool *p, pool_task fn, void *arg, int tasks) {
    if (tasks <= 1 || p->threads == 1) {
        for (int i = 0; i < tasks; i++)
            fn(arg, i, 0);
        return;
    }
    p->fn = fn;
    p->arg = arg;
    p->tasks = (uint32_t)tasks;
    p->job++;
    atomic_store(&p->done, 0);
    for (int i = 0; i < p->threads; i++) {
        const uint64_t from = (uint64_t)tasks * i / p->threads, to = (uint64_t)tasks * (i + 1) / p->threads;
        atomic_store_explicit(&p->ranges[i].ticket, p->job << 40 | to << 20 | from, memory_order_release);
    }
    atomic_fetch_add(&p->epoch, 1);
    uint32_t asleep = atomic_load(&p->sleepers);
    if (asleep)
        futex_wake(&p->epoch, tasks - 1 < (int)asleep ? tasks - 1 : (int)asleep);

    help(p, 0);
    if (SPIN(atomic_load_explicit(&p->done, memory_order_acquire) == (uint32_t)tasks))
        return;
    atomic_store(&p->caller_sleeps, 1);
    for (uint32_t d; (d = atomic_load(&p->done)) != (uint32_t)tasks;)
        futex_wait(&p->done, d);
    atomic_store(&p->caller_sleeps, 0);
}

// start creates worker i+1, with all signals blocked (Go's handlers must not
// run on threads it does not know), bound to its core if there is one.
static int start(pool *p, int i, const int32_t *cpus) {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    p->args[i] = (worker_arg){p, i + 1};
    int err = pthread_create(&p->ids[i], NULL, worker_main, &p->args[i]);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (err)
        return 0;
    char name[16];
    snprintf(name, sizeof name, "kernels-%hu", (unsigned short)(i + 1));
    pthread_setname_np(p->ids[i], name);
    if (cpus && cpus[i + 1] < CPU_SETSIZE) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(cpus[i + 1], &set);
        pthread_setaffinity_np(p->ids[i], sizeof set, &set); // a hint: failure changes no result
    }
    return 1;
}

pool *pool_new(int threads, const int32_t *cpus) {
    pool *p = aligned_alloc(64, (sizeof *p + 63) & ~(size_t)63);
    if (!p)
        return NULL;
    *p = (pool){.threads = threads};
    p->ids = calloc((size_t)threads, sizeof *p->ids);
    p->args = calloc((size_t)threads, sizeof *p->args);
    p->ranges = aligned_alloc(64, (size_t)threads * sizeof *p->ranges);
    int ok = p->ids && p->args && p->ranges;
    for (int i = 0; ok && i < threads; i++)
        atomic_init(&p->ranges[i].ticket, 0);
    for (int i = 0; ok && i < threads - 1; i++)
        if ((ok = start(p, i, cpus)))
            p->started++;
    if (!ok) {
        pool_free(p);
        return NULL;
    }
    return p;
}

void pool_free(pool *p) {
    atomic_store(&p->stop, 1);
    atomic_fetch_add(&p->epoch, 1);
    futex_wake(&p->epoch, INT_MAX);
    for (int i = 0; i < p->started; i++)
        pthread_join(p->ids[i], NULL);
    free(p->ids);
    free(p->args);
    free(p->ranges);
    free(p);
}

int pool_threads(const pool *p) { return p->threads; }
