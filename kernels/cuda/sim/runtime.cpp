// runtime.cpp: calls, errors and devices.
#include "runtime.h"

#include "machine.h"
#include "memory.h"
#include "report.h"
#include "stream.h"

#include <cstdio>
#include <cstring>

namespace sim {

static cudaError_t stuck_error = cudaSuccess;
static thread_local cudaError_t last_error = cudaSuccess;

std::recursive_mutex &runtime_lock() {
    static std::recursive_mutex lock;
    return lock;
}

void set_sticky(cudaError_t e) {
    if (stuck_error == cudaSuccess) stuck_error = e;
}
cudaError_t sticky() { return stuck_error; }
void forget_errors() { stuck_error = last_error = cudaSuccess; }

cudaError_t remember(cudaError_t e) {
    if (e != cudaSuccess) last_error = e;
    return e;
}

Call::Call(const char *name, cudaError_t natural, const char *kind, unsigned needs)
    : lock_(runtime_lock()), refused_(cudaSuccess), injected_(false) {
    const Settings &s = settings();
    int code = natural;
    if ((needs & kDriver) && s.driver != cudaSuccess)
        refused_ = s.driver;
    else if ((needs & kDevice) && s.devices_n == 0)
        refused_ = cudaErrorNoDevice;
    else if ((needs & kHealthy) && stuck_error != cudaSuccess)
        refused_ = stuck_error;
    else if ((needs & kCounted) && fails(name, kind, &code))
        refused_ = cudaError_t(code), injected_ = true;
}

} // namespace sim

using namespace sim;

// Errors.

cudaError_t cudaGetLastError(void) {
    Call call("cudaGetLastError", cudaSuccess, nullptr, kNothing);
    cudaError_t e = sticky() != cudaSuccess ? sticky() : last_error;
    last_error = cudaSuccess;
    return e;
}

cudaError_t cudaPeekAtLastError(void) {
    Call call("cudaPeekAtLastError", cudaSuccess, nullptr, kNothing);
    return sticky() != cudaSuccess ? sticky() : last_error;
}

namespace {
struct Words {
    cudaError_t error;
    const char *name, *text;
};
// In the runtime's names; the words are the simulator's.
#define SIM_ERROR(name, text) {name, #name, text}
const Words kWords[] = {
    SIM_ERROR(cudaSuccess, "no error"),
    SIM_ERROR(cudaErrorInvalidValue, "invalid argument"),
    SIM_ERROR(cudaErrorMemoryAllocation, "out of memory"),
    SIM_ERROR(cudaErrorInitializationError, "initialization error"),
    SIM_ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    SIM_ERROR(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version"),
    SIM_ERROR(cudaErrorInvalidDeviceFunction, "invalid device function"),
    SIM_ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    SIM_ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
    SIM_ERROR(cudaErrorNoKernelImageForDevice, "no kernel image is available for execution on the device"),
    SIM_ERROR(cudaErrorECCUncorrectable, "uncorrectable ECC error encountered"),
    SIM_ERROR(cudaErrorOperatingSystem, "OS call failed or operation not supported on this OS"),
    SIM_ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    SIM_ERROR(cudaErrorIllegalState, "the operation cannot be performed in the present state"),
    SIM_ERROR(cudaErrorNotReady, "device not ready"),
    SIM_ERROR(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    SIM_ERROR(cudaErrorLaunchOutOfResources, "too many resources requested for launch"),
    SIM_ERROR(cudaErrorLaunchTimeout, "the launch timed out and was terminated"),
    SIM_ERROR(cudaErrorMisalignedAddress, "misaligned address"),
    SIM_ERROR(cudaErrorLaunchFailure, "unspecified launch failure"),
    SIM_ERROR(cudaErrorNotPermitted, "operation not permitted"),
    SIM_ERROR(cudaErrorNotSupported, "operation not supported"),
    SIM_ERROR(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    SIM_ERROR(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture"),
    SIM_ERROR(cudaErrorStreamCaptureMerge, "operation would result in a merge of separate capture sequences"),
    SIM_ERROR(cudaErrorStreamCaptureUnmatched, "capture was not ended in the same stream as it began"),
    SIM_ERROR(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream"),
    SIM_ERROR(cudaErrorCapturedEvent, "operation not permitted on an event last recorded in a capturing stream"),
    SIM_ERROR(cudaErrorUnknown, "unknown error"),
};
#undef SIM_ERROR
} // namespace

const char *cudaGetErrorName(cudaError_t e) {
    for (const Words &w : kWords)
        if (w.error == e) return w.name;
    return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t e) {
    for (const Words &w : kWords)
        if (w.error == e) return w.text;
    return "unrecognized error code";
}

// Devices.

cudaError_t cudaDriverGetVersion(int *version) {
    SIM_CALL("cudaDriverGetVersion", cudaErrorOperatingSystem, nullptr, kCounted);
    if (!version) return remember(cudaErrorInvalidValue);
    *version = settings().driver_version;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
    SIM_CALL("cudaRuntimeGetVersion", cudaErrorOperatingSystem, nullptr, kCounted);
    if (!version) return remember(cudaErrorInvalidValue);
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count) {
    if (count) *count = 0;
    SIM_CALL("cudaGetDeviceCount", cudaErrorInitializationError, nullptr, kDriver | kDevice | kCounted);
    if (!count) return remember(cudaErrorInvalidValue);
    *count = settings().devices_n;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
    SIM_CALL("cudaSetDevice", cudaErrorDevicesUnavailable);
    if (device < 0 || device >= settings().devices_n) return remember(cudaErrorInvalidDevice);
    set_device(device);
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device) {
    SIM_CALL("cudaGetDevice", cudaErrorOperatingSystem);
    if (!device) return remember(cudaErrorInvalidValue);
    *device = current_device();
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device) {
    SIM_CALL("cudaGetDeviceProperties", cudaErrorOperatingSystem);
    if (!p || device < 0 || device >= settings().devices_n) return remember(p ? cudaErrorInvalidDevice : cudaErrorInvalidValue);
    const Kind &k = *settings().devices[device];
    *p = cudaDeviceProp();
    snprintf(p->name, sizeof p->name, "%s", k.name);
    p->totalGlobalMem = device_memory(device);
    p->major = k.major, p->minor = k.minor;
    p->multiProcessorCount = k.sms;
    p->sharedMemPerBlock = 48 << 10;
    p->sharedMemPerBlockOptin = size_t(k.shared_block);
    p->sharedMemPerMultiprocessor = size_t(k.shared_sm);
    p->reservedSharedMemPerBlock = 1 << 10;
    p->regsPerBlock = p->regsPerMultiprocessor = 64 << 10;
    p->warpSize = 32;
    p->maxThreadsPerBlock = kMostThreads;
    p->maxThreadsPerMultiProcessor = k.threads_sm;
    p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024, p->maxThreadsDim[2] = 64;
    p->maxGridSize[0] = 0x7fffffff, p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->l2CacheSize = k.l2_bytes;
    p->memoryBusWidth = k.width;
    p->pciBusID = device + 1;
    p->concurrentKernels = p->unifiedAddressing = 1;
    p->asyncEngineCount = 2;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr what, int device) {
    SIM_CALL("cudaDeviceGetAttribute", cudaErrorOperatingSystem);
    if (!value || device < 0 || device >= settings().devices_n) return remember(value ? cudaErrorInvalidDevice : cudaErrorInvalidValue);
    const Kind &k = *settings().devices[device];
    switch (what) {
    case cudaDevAttrMaxThreadsPerBlock:
        return *value = kMostThreads, cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock:
        return *value = 48 << 10, cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        return *value = k.shared_block, cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
        return *value = k.shared_sm, cudaSuccess;
    case cudaDevAttrReservedSharedMemoryPerBlock:
        return *value = 1 << 10, cudaSuccess;
    case cudaDevAttrWarpSize:
        return *value = kLanes, cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
        return *value = k.sms, cudaSuccess;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
        return *value = k.threads_sm, cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
        return *value = k.major, cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
        return *value = k.minor, cudaSuccess;
    case cudaDevAttrL2CacheSize:
        return *value = k.l2_bytes, cudaSuccess;
    case cudaDevAttrMemoryClockRate:
        return *value = k.clock, cudaSuccess;
    case cudaDevAttrGlobalMemoryBusWidth:
        return *value = k.width, cudaSuccess;
    case cudaDevAttrClockRate:
        return *value = 1500000, cudaSuccess;
    case cudaDevAttrIntegrated:
        return *value = 0, cudaSuccess;
    case cudaDevAttrUnifiedAddressing:
        return *value = 1, cudaSuccess;
    default:
        fprintf(stderr, "simulated device: cudaDeviceGetAttribute: attribute %d is not known here\n", int(what));
        return remember(cudaErrorInvalidValue);
    }
}

cudaError_t cudaDeviceGetPCIBusId(char *id, int length, int device) {
    SIM_CALL("cudaDeviceGetPCIBusId", cudaErrorOperatingSystem);
    if (!id || length < 13 || device < 0 || device >= settings().devices_n) return remember(cudaErrorInvalidValue);
    snprintf(id, size_t(length), "0000:%02x:00.0", unsigned(device + 1) & 255);
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free, size_t *total) {
    SIM_CALL("cudaMemGetInfo", cudaErrorOperatingSystem);
    if (!free || !total) return remember(cudaErrorInvalidValue);
    *total = device_memory(current_device());
    *free = *total - device_used(current_device());
    return cudaSuccess;
}

cudaError_t cudaDeviceReset(void) {
    SIM_CALL("cudaDeviceReset", cudaErrorOperatingSystem, nullptr, kDriver | kDevice | kCounted);
    return remember(drain_all(false));
}

// Kernels: starting them, and what they are.

namespace {

struct Launch final : Work {
    const char *name;
    dim3 grid, block;
    size_t shared;
    std::shared_ptr<const Kernel> kernel;
    cudaError_t run() override {
        int code = cudaErrorIllegalAddress;
        if (run_fails("kernel", &code)) return cudaError_t(code);
        return run_kernel(name, grid, block, shared, *kernel);
    }
};

cudaError_t fits(dim3 grid, dim3 block, size_t shared) {
    const Kind &k = *settings().devices[current_device()];
    if (!k.code) return cudaErrorNoKernelImageForDevice;
    if (!grid.x || !grid.y || !grid.z || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535) return cudaErrorInvalidConfiguration;
    if (!block.x || !block.y || !block.z || block.x > 1024 || block.y > 1024 || block.z > 64) return cudaErrorInvalidConfiguration;
    if (uint64_t(block.x) * block.y * block.z > kMostThreads) return cudaErrorInvalidConfiguration;
    if (shared > size_t(k.shared_block)) return cudaErrorInvalidValue;
    return cudaSuccess;
}

} // namespace

cudaError_t sim::start(const char *name, dim3 grid, dim3 block, size_t shared, cudaStream_t stream, std::shared_ptr<const Kernel> kernel) {
    if (shared > 48 << 10) {
        cudaError_t e = cudaFuncSetAttribute(static_cast<const void *>(name), cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared));
        if (e != cudaSuccess) return e;
    }
    SIM_CALL("launch", cudaErrorLaunchOutOfResources);
    CUstream_st *s = open_stream(stream);
    if (!s) return remember(cudaErrorInvalidResourceHandle);
    cudaError_t e = fits(grid, block, shared);
    if (e != cudaSuccess) return remember(e);
    if (strncmp(name, "starting ", 9) == 0) name += 9;
    auto work = std::make_shared<Launch>();
    work->name = name, work->grid = grid, work->block = block, work->shared = shared, work->kernel = std::move(kernel);
    return remember(put(s, work));
}

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute what, int value) {
    SIM_CALL("cudaFuncSetAttribute", cudaErrorInvalidDeviceFunction);
    const Kind &k = *settings().devices[current_device()];
    if (!kernel) return remember(cudaErrorInvalidDeviceFunction);
    if (!k.code) return remember(cudaErrorNoKernelImageForDevice);
    if (what == cudaFuncAttributeMaxDynamicSharedMemorySize && (value < 0 || value > k.shared_block)) return remember(cudaErrorInvalidValue);
    return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *out, const void *kernel) {
    SIM_CALL("cudaFuncGetAttributes", cudaErrorInvalidDeviceFunction);
    const Kind &k = *settings().devices[current_device()];
    if (!out || !kernel) return remember(cudaErrorInvalidValue);
    if (!k.code) return remember(cudaErrorNoKernelImageForDevice);
    *out = cudaFuncAttributes();
    out->maxThreadsPerBlock = kMostThreads;
    out->numRegs = 64;
    out->binaryVersion = out->ptxVersion = k.major * 10 + k.minor;
    out->maxDynamicSharedSizeBytes = k.shared_block;
    return cudaSuccess;
}

// By threads and shared memory; how many registers a kernel takes is not known here.
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *kernel, int threads, size_t shared) {
    SIM_CALL("cudaOccupancyMaxActiveBlocksPerMultiprocessor", cudaErrorInvalidDeviceFunction);
    const Kind &k = *settings().devices[current_device()];
    if (!blocks || !kernel || threads < 1 || threads > kMostThreads) return remember(cudaErrorInvalidValue);
    int by_threads = k.threads_sm / threads, by_shared = k.shared_sm / int(shared + 1024);
    *blocks = by_threads < by_shared ? by_threads : by_shared;
    return cudaSuccess;
}
