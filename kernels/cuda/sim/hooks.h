// hooks.h: what the simulated library shows beside kernels.h, for tests: which
// device it is, failures on demand, and what is still held. A test that uses the
// library by dlopen finds them by name; the real library has none of them.
//
// They may be called from any thread, while nothing of the library runs.
#ifndef SERVEBENCH_CUDA_SIM_HOOKS_H
#define SERVEBENCH_CUDA_SIM_HOOKS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// sim_set changes a setting until sim_reset, and returns 0, or -1 for one that
// there is not. Settings of the environment are SBC_SIM_ with the name in capitals:
//
//   seed     order of blocks, warps and lanes, and when queued work is done (1)
//   device   none, or kinds separated by commas: h100 a100 a10 l4 b200, old (sm_75),
//            future (a GPU that the library has no code for) (h100)
//   driver   missing, or old (13 asked for, 11.4 there) (one that fits)
//   memory   bytes of a device, with K, M or G behind (8G)
//   eager    1: work is done when it is queued, which is easier to debug (0)
//   fail     failures on demand, as sim_fail has them (none)
//
// device, driver and memory may be changed while nothing is held.
int sim_set(const char *name, const char *value);

// sim_fail plans failures, and counts calls from 1 again. NULL or "" plans none.
// It returns 0, or -1 if it cannot read the plan, a list of NAME:N[+][=ERROR]
// separated by commas: the Nth of NAME fails, with + all that follow too, with that
// number of an error of the runtime (or status of cuBLAS) in place of the usual one.
// NAME is a function of the runtime or of cuBLASLt, or
//
//   any      any of them that can fail
//   alloc    cudaMalloc, cudaMallocHost, cudaHostAlloc
//   launch   a kernel is not started
//   sticky   any call, and all calls from then on
//   kernel   the Nth kernel fails while it runs, as sticky
//   copy     the Nth copy or memset fails while it runs, as sticky
//   blas     the Nth product of cuBLASLt fails while it runs, as sticky
//
// What is to be given back is given back even by a call that is made to fail.
int sim_fail(const char *plan);

// sim_calls is how many calls that can fail there were since sim_fail or sim_reset,
// and sim_injected how many failed by plan.
uint64_t sim_calls(void);
uint64_t sim_injected(void);

// What is held: bytes of device and page-locked memory; allocations, streams,
// events, graphs and cuBLASLt's objects.
uint64_t sim_live_bytes(void);
uint64_t sim_live_objects(void);

// sim_reports is how many mistakes were reported since sim_reset, and
// sim_last_report the latest, or "". Each was written to stderr too.
uint64_t sim_reports(void);
const char *sim_last_report(void);

// sim_kernels is how many kernels ran since sim_reset: 0 shows a test that tested nothing.
uint64_t sim_kernels(void);

// sim_shared is the most bytes of dynamic shared memory that a kernel with NAME in its
// name was launched with since sim_reset, or -1 if none was.
int64_t sim_shared(const char *name);

// sim_quiet keeps reports off stderr, for tests that provoke them.
void sim_quiet(int on);

// sim_reset takes the settings of the environment again, forgets reports and
// errors, sticky ones too, and gives back whatever is still held.
void sim_reset(void);

#ifdef __cplusplus
}
#endif
#endif
