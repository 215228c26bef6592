// check.h: what the files of the simulator's test of itself share.
#ifndef SERVEBENCH_CUDA_SIM_CHECK_H
#define SERVEBENCH_CUDA_SIM_CHECK_H

#include "hooks.h"
#include "sim.h"

#include <vector>

// Case is a test. It starts with a device on which nothing has happened.
struct Case {
    const char *name;
    void (*run)();
};
extern const std::vector<Case> warp_cases, fault_cases, runtime_cases;

// say tells of an expectation that did not hold; EXPECT counts all of them.
void say(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
extern int checks;

#define EXPECT(holds, ...)                                                                                             \
    do {                                                                                                               \
        checks++;                                                                                                      \
        if (!(holds)) say(__FILE__, __LINE__, __VA_ARGS__);                                                            \
    } while (0)

// CHECKED tells whether every access of a kernel is watched; what depends on it is
// tested in that build alone.
#ifdef SBC_SIM_CHECKED
constexpr bool kChecked = true;
#else
constexpr bool kChecked = false;
#endif

// run starts a kernel on the default stream and waits for it.
template <typename... P, typename... A> cudaError_t run(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, A... args) {
    std::tuple<P...> kept(static_cast<P>(args)...);
    cudaError_t e = sim::launch("test_kernel", grid, block, shared, nullptr, [kernel, kept]() { std::apply(kernel, kept); });
    return e == cudaSuccess ? cudaDeviceSynchronize() : e;
}

// Counts how often the device was reset.
extern int resets;

// Device is an array on the device, given back with the object unless it was before.
template <typename T> struct Device {
    T *data = nullptr;
    size_t n;
    int reset = resets;
    explicit Device(size_t n) : n(n) { EXPECT(cudaMalloc(&data, n * sizeof(T)) == cudaSuccess, "no room for %zu elements", n); }
    explicit Device(const std::vector<T> &v) : Device(v.size()) {
        EXPECT(cudaMemcpy(data, v.data(), n * sizeof(T), cudaMemcpyHostToDevice) == cudaSuccess, "cudaMemcpy to the device");
    }
    ~Device() {
        if (reset == resets) cudaFree(data);
    }
    Device(const Device &) = delete;
    std::vector<T> get() const {
        std::vector<T> v(n);
        EXPECT(cudaMemcpy(v.data(), data, n * sizeof(T), cudaMemcpyDeviceToHost) == cudaSuccess, "cudaMemcpy from the device");
        return v;
    }
};

// right expects that a kernel did nothing wrong, wrong that it was found out with a
// message that has a word in it. Both leave the device as new.
void right(const char *file, int line, cudaError_t e);
void wrong(const char *file, int line, cudaError_t e, cudaError_t want, const char *word);
#define RIGHT(e) right(__FILE__, __LINE__, e)
#define WRONG(e, want, word) wrong(__FILE__, __LINE__, e, want, word)

// for_seeds calls f for several orders of things.
template <typename F> void for_seeds(F f) {
    for (const char *seed : {"1", "2", "3", "4", "5", "6", "7"}) {
        EXPECT(sim_set("seed", seed) == 0, "the seed");
        f();
    }
}

#endif
