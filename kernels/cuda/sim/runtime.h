// runtime.h: what the files that stand for the CUDA runtime share: one lock, how a
// call is counted, refused and answered, the settings, and the devices.
#ifndef SERVEBENCH_CUDA_SIM_RUNTIME_H
#define SERVEBENCH_CUDA_SIM_RUNTIME_H

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>

namespace sim {

constexpr int kMostDevices = 16;

// The lock that every call of the runtime holds, with all that it runs.
std::recursive_mutex &runtime_lock();

// Kind is what a GPU is.
struct Kind {
    const char *kind, *name;
    int major, minor, sms;
    int shared_block;     // bytes of shared memory that a block may ask for
    int shared_sm;        // bytes of shared memory of a multiprocessor
    int threads_sm;       // threads of a multiprocessor
    int l2_bytes;
    int clock, width;     // of memory: kHz, bits
    bool code;            // the library has code for it
};

// Settings are those of hooks.h.
struct Settings {
    uint64_t seed;
    const Kind *devices[kMostDevices];
    int devices_n;
    cudaError_t driver; // cudaSuccess, or why nothing can be done
    int driver_version;
    uint64_t memory;
    bool eager;
};
const Settings &settings();
// change_setting returns false for a setting that there is not. It does not look at
// what is held.
bool change_setting(const char *name, const char *value);
void read_environment();

size_t device_memory(int device);
size_t most_memory();
int current_device(); // of the calling thread
void set_device(int device);

// Errors. A sticky one is answered by every call from then on.
void set_sticky(cudaError_t e);
cudaError_t sticky();
void forget_errors();
void forget_reports();
// remember makes e what cudaGetLastError answers in this thread.
cudaError_t remember(cudaError_t e);

// Failures on demand.
bool plan_failures(const char *plan);
// fails counts a call and tells whether it is to fail; code gets the error that the
// plan names, or stays. kind is a second name that the plan may have for it, or NULL.
bool fails(const char *name, const char *kind, int *code);
// run_fails is the same for what the device does later; it is no call.
bool run_fails(const char *kind, int *code);
uint64_t calls_counted();
uint64_t failures_made();

// What a call needs before it does anything.
enum Need : unsigned {
    kNothing = 0,
    kDriver = 1,   // a driver that works
    kDevice = 2,   // and a device
    kHealthy = 4,  // and no sticky error
    kCounted = 8,  // it can be made to fail
    kUsual = kDriver | kDevice | kHealthy | kCounted,
};

// Call is a call of the runtime under way: it holds the lock.
class Call {
  public:
    // natural is how the function fails when it is made to.
    Call(const char *name, cudaError_t natural, const char *kind = nullptr, unsigned needs = kUsual);
    // refused is not cudaSuccess if the call must do nothing but answer it.
    cudaError_t refused() const { return refused_; }
    // injected tells whether it is refused because it was planned.
    bool injected() const { return injected_; }

  private:
    std::lock_guard<std::recursive_mutex> lock_;
    cudaError_t refused_;
    bool injected_;
};

// SIM_CALL begins a function of the runtime that does nothing when it is refused.
#define SIM_CALL(...)                                                                                                  \
    ::sim::Call call(__VA_ARGS__);                                                                                     \
    if (call.refused() != cudaSuccess) return ::sim::remember(call.refused())

} // namespace sim
#endif
