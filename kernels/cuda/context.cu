// context.cu: a GPU's context, from sbc_open to sbc_close: what it takes from the
// runtime, which of the runtime's errors is which status, and memory.
//
// Errors that CUDA calls sticky, those of a kernel that went wrong, come again from
// every later call of the process: the context remembers that it is lost, and the
// message of the first. The runtime's own memory of an error is cleared whenever
// one is reported, so that no later call is blamed for it.
#include "host.cuh"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <new>

namespace sbc {

// opening is sbc_message(NULL).
static thread_local char opening[sizeof(sbc_context::message)];

static int refuse(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int refuse(int status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(opening, sizeof opening, format, args);
    va_end(args);
    return status;
}

int status_of(cudaError_t e) {
    switch (e) {
    case cudaSuccess:
        return SBC_OK;
    case cudaErrorMemoryAllocation:
        return SBC_MEMORY;
    case cudaErrorInsufficientDriver:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorCompatNotSupportedOnDevice:
    case cudaErrorCallRequiresNewerDriver:
    case cudaErrorStubLibrary:
    case cudaErrorSystemNotReady:
    case cudaErrorInitializationError:
        return SBC_NO_DRIVER;
    case cudaErrorNoDevice:
    case cudaErrorInvalidDevice:
    case cudaErrorDevicesUnavailable:
    case cudaErrorDeviceNotLicensed:
        return SBC_NO_DEVICE;
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorInvalidKernelImage:
    case cudaErrorInvalidPtx:
    case cudaErrorUnsupportedPtxVersion:
    case cudaErrorJitCompilerNotFound:
    case cudaErrorJitCompilationDisabled:
        return SBC_ARCHITECTURE;
    case cudaErrorCudartUnloading:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorContextIsDestroyed:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorUnknown:
        return SBC_LOST;
    default:
        // From 721 to 799 newer toolkits have more that a kernel can do wrong.
        return e > 720 && e < 800 ? SBC_LOST : SBC_FAILED;
    }
}

int fail(sbc_context *c, int status, const char *format, ...) {
    if (c->lost) return SBC_LOST;
    if (c->capturing && c->host->recorded != SBC_OK) return status;
    va_list args;
    va_start(args, format);
    vsnprintf(c->message, sizeof c->message, format, args);
    va_end(args);
    if (c->capturing) c->host->recorded = status;
    return status;
}

int check(sbc_context *c, cudaError_t e, const char *doing) {
    if (c->lost) return SBC_LOST;
    if (e == cudaSuccess) return SBC_OK;
    cudaGetLastError();
    int status = status_of(e);
    if (status != SBC_LOST) return fail(c, status, "%s: %s (%s)", doing, cudaGetErrorString(e), cudaGetErrorName(e));
    c->lost = true;
    snprintf(c->message, sizeof c->message, "%s: %s (%s); what was on the GPU is lost, the context can only be closed", doing,
             cudaGetErrorString(e), cudaGetErrorName(e));
    return SBC_LOST;
}

int check_blas(sbc_context *c, cublasStatus_t s, const char *doing) {
    if (c->lost) return SBC_LOST;
    if (s == CUBLAS_STATUS_SUCCESS) return SBC_OK;
    cudaError_t e = cudaGetLastError(); // where the runtime refused, it says more
    if (e != cudaSuccess) return check(c, e, doing);
    int status = s == CUBLAS_STATUS_ALLOC_FAILED       ? SBC_MEMORY
                 : s == CUBLAS_STATUS_ARCH_MISMATCH    ? SBC_ARCHITECTURE
                 : s == CUBLAS_STATUS_EXECUTION_FAILED ? SBC_FAILED
                                                       : SBC_LIBRARY;
    return fail(c, status, "%s: %s (%s)", doing, cublasLtGetStatusString(s), cublasLtGetStatusName(s));
}

// bind makes a GPU the calling thread's. The runtime is asked only where it changes:
// weights are loaded by one thread and steps begun by another, each for long.
static thread_local int bound = -1;
static cudaError_t bind(int device) {
    if (bound == device) return cudaSuccess;
    cudaError_t e = cudaSetDevice(device);
    if (e == cudaSuccess) bound = device;
    return e;
}

int enter(sbc_context *c, bool recorded) {
    if (!c) return refuse(SBC_ARGUMENT, "the context is NULL");
    if (c->lost) return SBC_LOST;
    SBC_TRY(check(c, bind(c->options.device), "taking the GPU"));
    if (c->capturing && !recorded) return fail(c, SBC_ARGUMENT, "a graph is being recorded, and only operations can be");
    return SBC_OK;
}

// Memory and events.

static double mebibytes(uint64_t bytes) { return double(bytes) / (1 << 20); }

int device_take(sbc_context *c, uint64_t bytes, const char *what, void **out) {
    if (!room(c->host->device)) return fail(c, SBC_MEMORY, "the host has no memory to keep track of %s", what);
    void *p = nullptr;
    cudaError_t e = cudaMalloc(&p, bytes);
    if (e == cudaErrorMemoryAllocation) {
        size_t free = 0, total = 0;
        if (cudaMemGetInfo(&free, &total) != cudaSuccess) free = 0, total = c->about.memory;
        cudaGetLastError();
        return fail(c, SBC_MEMORY, "the GPU has no room for %s of %.1f MiB: %.1f of its %.1f MiB are free", what, mebibytes(bytes),
                    mebibytes(free), mebibytes(total));
    }
    SBC_TRY(check(c, e, "taking device memory"));
    c->host->device.push_back({static_cast<char *>(p), bytes});
    *out = p;
    return SBC_OK;
}

int pinned_take(sbc_context *c, uint64_t bytes, const char *what, void **out) {
    if (!room(c->host->pinned)) return fail(c, SBC_MEMORY, "the host has no memory to keep track of %s", what);
    void *p = nullptr;
    cudaError_t e = cudaHostAlloc(&p, bytes, cudaHostAllocDefault);
    if (e == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        return fail(c, SBC_MEMORY, "the host has no page-locked memory for %s of %.1f MiB: is ulimit -l or the container's memory low?",
                    what, mebibytes(bytes));
    }
    SBC_TRY(check(c, e, "taking page-locked memory"));
    c->host->pinned.push_back({static_cast<char *>(p), bytes});
    *out = p;
    return SBC_OK;
}

// strike takes a block off its list and says whether it was there.
static bool strike(std::vector<Block> &list, const void *p) {
    auto at = std::find_if(list.begin(), list.end(), [p](const Block &b) { return b.data == p; });
    if (at == list.end()) return false;
    list.erase(at);
    return true;
}

int device_give(sbc_context *c, void *p) {
    int status = finish(c);
    if (c->lost) return status; // left to sbc_close
    if (!strike(c->host->device, p)) return fail(c, SBC_ARGUMENT, "%p is not the beginning of memory that sbc_alloc gave", p);
    int freed = check(c, cudaFree(p), "giving device memory back");
    return status != SBC_OK ? status : freed;
}

int pinned_give(sbc_context *c, void *p) {
    if (!strike(c->host->pinned, p)) return fail(c, SBC_ARGUMENT, "%p is not page-locked memory of the context", p);
    return check(c, cudaFreeHost(p), "giving page-locked memory back");
}

int event_take(sbc_context *c, unsigned flags, cudaEvent_t *out) {
    if (!room(c->host->events)) return fail(c, SBC_MEMORY, "the host has no memory to keep track of an event");
    cudaEvent_t e = nullptr;
    SBC_TRY(check(c, cudaEventCreateWithFlags(&e, flags), "making an event"));
    c->host->events.push_back(e);
    *out = e;
    return SBC_OK;
}

int grow(sbc_context *c, void **p, size_t *have, size_t bytes, const char *what) {
    if (bytes <= *have) return SBC_OK;
    if (c->capturing)
        return fail(c, SBC_ARGUMENT, "%s has to grow to %zu bytes while a graph is recorded: run a step of as many rows before", what, bytes);
    void *old = *p, *block = nullptr;
    if (old && c->host->graphs.empty()) {
        *p = nullptr, *have = 0; // before the larger one is taken: both need not fit
        SBC_TRY(device_give(c, old));
    }
    SBC_TRY(device_take(c, bytes, what, &block));
    *p = block, *have = bytes;
    return SBC_OK;
}

bool owns(const sbc_context *c, sbc_ptr p, uint64_t bytes) {
    return std::any_of(c->host->device.begin(), c->host->device.end(), [&](const Block &b) {
        auto from = reinterpret_cast<uintptr_t>(b.data);
        return p >= from && p - from <= b.bytes && bytes <= b.bytes - (p - from);
    });
}

int finish(sbc_context *c) { return check(c, cudaStreamSynchronize(c->stream), "waiting for the GPU"); }

void drain(sbc_context *c) {
    cudaStreamSynchronize(c->stream);
    cudaGetLastError();
}

// GPUs.

// count_devices gives the number of GPUs, at least 1.
static int count_devices(int *count) {
    *count = 0;
    cudaError_t e = cudaGetDeviceCount(count);
    if (e == cudaSuccess && *count > 0) return SBC_OK;
    *count = 0;
    int status = e == cudaSuccess ? int(SBC_NO_DEVICE) : status_of(e);
    if (status == SBC_NO_DEVICE) {
        cudaGetLastError();
        return refuse(status, "the NVIDIA driver has no GPU: is one there, and does CUDA_VISIBLE_DEVICES leave it?");
    }
    if (status == SBC_FAILED || status == SBC_LOST) status = SBC_NO_DRIVER; // nothing has run yet
    int driver = 0, runtime = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess || cudaRuntimeGetVersion(&runtime) != cudaSuccess) runtime = 0;
    cudaGetLastError();
    if (status != SBC_NO_DRIVER) return refuse(status, "counting GPUs: %s (%s)", cudaGetErrorString(e), cudaGetErrorName(e));
    if (runtime > 0 && driver == 0)
        return refuse(status, "there is no NVIDIA driver: its libcuda.so.1 is not installed, or not visible in this container");
    if (e == cudaErrorInsufficientDriver && runtime > 0)
        return refuse(status, "the NVIDIA driver is for CUDA %d.%d, this library is for %d.%d: update the driver or build the library with an older toolkit",
                      driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    return refuse(status, "the NVIDIA driver does not work: %s (%s)", cudaGetErrorString(e), cudaGetErrorName(e));
}

// describe fills in everything but the free memory, without a context of CUDA's.
static cudaError_t describe(int device, sbc_device *out) {
    *out = sbc_device();
    cudaDeviceProp p;
    cudaError_t e = cudaGetDeviceProperties(&p, device);
    if (e != cudaSuccess) return e;
    snprintf(out->name, sizeof out->name, "%.*s", int(sizeof out->name) - 1, p.name);
    snprintf(out->bus_id, sizeof out->bus_id, "%08X:%02X:%02X.0", unsigned(p.pciDomainID), unsigned(p.pciBusID), unsigned(p.pciDeviceID));
    out->major = p.major, out->minor = p.minor;
    out->sms = p.multiProcessorCount;
    out->shared_per_block = int32_t(p.sharedMemPerBlockOptin);
    out->l2_bytes = p.l2CacheSize;
    out->memory = p.totalGlobalMem;
    out->simulated = kSimulated;
    if ((e = cudaDriverGetVersion(&out->driver)) != cudaSuccess) return e;
    if ((e = cudaRuntimeGetVersion(&out->runtime)) != cudaSuccess) return e;
    // Attributes, as cudaDeviceProp of CUDA 13 has no clocks. Two transfers a clock.
    int clock = 0, width = 0; // kHz, bits
    if (cudaDeviceGetAttribute(&clock, cudaDevAttrMemoryClockRate, device) != cudaSuccess) clock = 0, cudaGetLastError();
    if (cudaDeviceGetAttribute(&width, cudaDevAttrGlobalMemoryBusWidth, device) != cudaSuccess) width = 0, cudaGetLastError();
    out->peak_read = clock * 1e3 * 2 * width / 8;
    return cudaSuccess;
}

// open_blas makes cuBLASLt's handle, with as much to work in as NVIDIA recommends.
static int open_blas(sbc_context *c) {
    cublasLtHandle_t blas = nullptr;
    SBC_TRY(check_blas(c, cublasLtCreate(&blas), "starting cuBLASLt"));
    c->blas = blas;
    return grow(c, &c->blas_workspace, &c->blas_workspace_bytes, size_t(c->about.major >= 9 ? 32 : 4) << 20, "cuBLASLt's workspace");
}

static int open_context(sbc_context *c) {
    Host *h = c->host;
    int device = c->options.device;
    SBC_TRY(check(c, describe(device, &c->about), "asking what the GPU is"));
    if (c->about.major < 8)
        return fail(c, SBC_ARCHITECTURE, "GPU %d, %s, has compute capability %d.%d: 8.0 (Ampere) is the least", device, c->about.name,
                    c->about.major, c->about.minor);
    bound = -1; // a GPU that cannot be taken says so here
    SBC_TRY(check(c, bind(device), "taking the GPU"));
    cudaStream_t stream = nullptr;
    SBC_TRY(check(c, cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream"));
    c->stream = stream;
    SBC_TRY(event_take(c, cudaEventDefault, &h->start));
    SBC_TRY(event_take(c, cudaEventDefault, &h->stop));
    int status = steps_open(c);
    if (status == SBC_ARCHITECTURE)
        return fail(c, status, "GPU %d, %s, has compute capability %d.%d, for which this library has no code: build it with CUDA_ARCHS=%d%d",
                    device, c->about.name, c->about.major, c->about.minor, c->about.major, c->about.minor);
    SBC_TRY(status);
    return open_blas(c);
}

// first keeps the first failure of giving back, and says in opening what it was.
static void first(int *status, cudaError_t e, const char *doing) {
    if (e == cudaSuccess) return;
    cudaGetLastError();
    if (*status == SBC_OK) *status = refuse(status_of(e), "%s: %s (%s)", doing, cudaGetErrorString(e), cudaGetErrorName(e));
}

// give_back ends a context that may be half made, or lost.
static int give_back(sbc_context *c) {
    Host *h = c->host;
    int status = SBC_OK;
    if (c->stream) first(&status, bind(c->options.device), "taking the GPU");
    if (c->capturing) {
        cudaGraph_t graph = nullptr;
        record_end(c, &graph);
        if (graph) first(&status, cudaGraphDestroy(graph), "giving a graph back");
        cudaGetLastError();
    }
    if (c->stream) first(&status, cudaStreamSynchronize(c->stream), "waiting for the GPU");
    for (const Graph &g : h->graphs) first(&status, cudaGraphExecDestroy(g.run), "giving a graph back");
    for (cudaEvent_t e : h->events) first(&status, cudaEventDestroy(e), "giving an event back");
    for (const Block &b : h->pinned) first(&status, cudaFreeHost(b.data), "giving page-locked memory back");
    matmul_close(c);
    if (c->blas && cublasLtDestroy(c->blas) != CUBLAS_STATUS_SUCCESS && status == SBC_OK)
        status = refuse(SBC_LIBRARY, "cuBLASLt's handle could not be given back");
    for (const Block &b : h->device) first(&status, cudaFree(b.data), "giving device memory back");
    if (c->stream) first(&status, cudaStreamDestroy(c->stream), "giving the stream back");
    delete h;
    delete c;
    return status;
}

} // namespace sbc

using namespace sbc;

uint32_t sbc_version(void) { return SBC_VERSION; }

const char *sbc_message(const sbc_context *c) { return c ? c->message : opening; }

int sbc_devices(sbc_device *out, int32_t most, int32_t *count) {
    if (!count || most < 0 || (most > 0 && !out)) return refuse(SBC_ARGUMENT, "sbc_devices needs room for devices and for their number");
    *count = 0;
    int there = 0;
    SBC_TRY(count_devices(&there));
    for (int i = 0; i < there && i < most; i++) {
        cudaError_t e = describe(i, &out[i]);
        if (e == cudaSuccess) continue;
        cudaGetLastError();
        return refuse(status_of(e), "asking what GPU %d is: %s (%s)", i, cudaGetErrorString(e), cudaGetErrorName(e));
    }
    *count = there;
    return SBC_OK;
}

// Sizes below which no count or offset of a step leaves an int32.
constexpr int kMostTokens = 1 << 24;
constexpr int64_t kMostTable = 1 << 28;

int sbc_open(const sbc_options *o, sbc_context **out) {
    if (!out) return refuse(SBC_ARGUMENT, "sbc_open needs a place for the context");
    *out = nullptr;
    if (!o) return refuse(SBC_ARGUMENT, "sbc_open needs options");
    if (o->dtype != SBC_F32 && o->dtype != SBC_BF16 && o->dtype != SBC_F16) return refuse(SBC_ARGUMENT, "dtype %d is unknown", o->dtype);
    if (o->max_tokens < 1 || o->max_tokens > kMostTokens) return refuse(SBC_ARGUMENT, "max_tokens is %d, 1 to %d can be", o->max_tokens, kMostTokens);
    if (o->max_seqs < 1 || o->max_seqs > kMostTokens) return refuse(SBC_ARGUMENT, "max_seqs is %d, 1 to %d can be", o->max_seqs, kMostTokens);
    if (o->max_blocks < 1 || int64_t(o->max_blocks) * o->max_seqs > kMostTable)
        return refuse(SBC_ARGUMENT, "max_blocks is %d: with max_seqs %d, 1 to %lld can be", o->max_blocks, o->max_seqs,
                      static_cast<long long>(kMostTable / o->max_seqs));
    int count = 0;
    SBC_TRY(count_devices(&count));
    if (o->device < 0 || o->device >= count)
        return refuse(SBC_NO_DEVICE, "there is no GPU %d: the driver has %d, counted from 0", o->device, count);

    auto *c = new (std::nothrow) sbc_context();
    auto *h = new (std::nothrow) Host();
    if (!c || !h) {
        delete c;
        delete h;
        return refuse(SBC_MEMORY, "the host has no memory for a context");
    }
    c->options = *o;
    c->host = h;
    int status = open_context(c);
    if (status == SBC_OK) {
        *out = c;
        return SBC_OK;
    }
    char why[sizeof c->message];
    memcpy(why, c->message, sizeof why);
    give_back(c);
    return refuse(status, "%s", why);
}

int sbc_close(sbc_context *c) { return c ? give_back(c) : int(SBC_OK); }

int sbc_about(sbc_context *c, sbc_device *out) {
    SBC_TRY(enter(c, false));
    if (!out) return fail(c, SBC_ARGUMENT, "sbc_about needs a place for the device");
    size_t free = 0, total = 0;
    SBC_TRY(check(c, cudaMemGetInfo(&free, &total), "asking for the free memory"));
    *out = c->about;
    out->free_memory = free;
    return SBC_OK;
}

int sbc_alloc(sbc_context *c, uint64_t bytes, sbc_ptr *out) {
    SBC_TRY(enter(c, false));
    if (!out || bytes == 0) return fail(c, SBC_ARGUMENT, "sbc_alloc needs a place for the memory, and at least 1 byte of it to give");
    *out = 0;
    void *p = nullptr;
    SBC_TRY(device_take(c, bytes, "memory", &p));
    int status = check(c, cudaMemsetAsync(p, 0, bytes, c->stream), "zeroing device memory");
    if (status != SBC_OK) {
        device_give(c, p);
        return status;
    }
    *out = reinterpret_cast<sbc_ptr>(p);
    return SBC_OK;
}

int sbc_free(sbc_context *c, sbc_ptr p) {
    SBC_TRY(enter(c, false));
    return p ? device_give(c, reinterpret_cast<void *>(p)) : int(SBC_OK);
}

int sbc_wait(sbc_context *c) {
    SBC_TRY(enter(c, false));
    return finish(c);
}

int sbc_read(sbc_context *c, sbc_ptr from, uint64_t n, float **out) {
    SBC_TRY(enter(c, false));
    if (!out) return fail(c, SBC_ARGUMENT, "sbc_read needs a place for the answer");
    *out = nullptr;
    if (n == 0 || n > UINT64_MAX / sizeof(float) || !owns(c, from, n * sizeof(float)))
        return fail(c, SBC_ARGUMENT, "sbc_read of %llu numbers, which are not within memory that sbc_alloc gave", static_cast<unsigned long long>(n));
    Host *h = c->host;
    uint64_t bytes = n * sizeof(float);
    if (bytes > h->read_bytes) {
        void *old = h->read, *block = nullptr;
        h->read = nullptr, h->read_bytes = 0;
        if (old) SBC_TRY(pinned_give(c, old));
        SBC_TRY(pinned_take(c, bytes, "what is read", &block));
        h->read = static_cast<float *>(block), h->read_bytes = bytes;
    }
    SBC_TRY(check(c, cudaMemcpyAsync(h->read, reinterpret_cast<const void *>(from), bytes, cudaMemcpyDeviceToHost, c->stream),
                  "copying from the GPU"));
    SBC_TRY(finish(c));
    *out = h->read;
    return SBC_OK;
}

uint64_t sbc_kv_bytes(int32_t dtype, const sbc_kv *kv) {
    if (!kv || dtype < SBC_F32 || dtype > SBC_F16 || kv->head_dim > INT32_MAX - kHeadAlign) return 0;
    uint64_t bytes = 2 * dtype_bytes(dtype);
    for (int32_t d : {kv->layers, kv->blocks, kv->block_size, kv->kv_heads, round_up(kv->head_dim, kHeadAlign)})
        if (d <= 0 || __builtin_mul_overflow(bytes, uint64_t(d), &bytes)) return 0;
    return bytes;
}
