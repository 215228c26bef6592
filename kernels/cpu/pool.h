// pool.h: a job of many tasks, run by all threads of a device.
#ifndef SERVEBENCH_POOL_H
#define SERVEBENCH_POOL_H

#include <stdint.h>

typedef struct pool pool;

// task runs one task on the thread `worker` (0 is the caller of pool_run).
typedef void (*pool_task)(void *arg, int task, int worker);

pool *pool_new(int threads, const int32_t *cpus);
void pool_free(pool *p);
int pool_threads(const pool *p);

// POOL_MAX_TASKS bounds the tasks of one job.
#define POOL_MAX_TASKS ((1 << 20) - 1)

// pool_run runs tasks 0 … tasks-1, in any order on any thread, and returns
// when all have ended. A single task runs on the caller alone.
void pool_run(pool *p, pool_task fn, void *arg, int tasks);

#endif
