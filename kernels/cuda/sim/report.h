// report.h: mistakes that were found, in words.
#ifndef SERVEBENCH_CUDA_SIM_REPORT_H
#define SERVEBENCH_CUDA_SIM_REPORT_H

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace sim {

// report writes a mistake to stderr and counts it. Unless sticky is cudaSuccess,
// every call of the runtime answers it from now on. It must not be called on a lane.
void report(cudaError_t sticky, const char *format, ...) __attribute__((format(printf, 2, 3)));

// source_of says what function, file and line an address of code is, innermost
// first, as far as addr2line and the library's symbols tell.
std::string source_of(uintptr_t pc);

// note_launch keeps what sim_shared tells.
void note_launch(const char *name, size_t shared);

} // namespace sim
#endif
