// check_runtime.cpp: the runtime: what is queued and when it is done, graphs,
// memory, devices, failures on demand, cuBLASLt's product.
#include "check.h"

#include <cstring>

static const dim3 kOne(1);

static __global__ void add_kernel(float *x, float y) { x[blockIdx.x * 32 + threadIdx.x] += y; }

static cudaError_t queue_add(cudaStream_t s, float *x, float y) {
    return sim::launch("add_kernel", kOne, dim3(32), 0, s, [x, y]() { add_kernel(x, y); });
}

// Stream is a stream with 32 numbers on the device and two page-locked places for them.
struct Stream {
    cudaStream_t s = nullptr;
    Device<float> x;
    float *in = nullptr, *out = nullptr;
    Stream() : x(32) {
        EXPECT(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking) == cudaSuccess, "a stream");
        EXPECT(cudaMallocHost(&in, 128) == cudaSuccess && cudaHostAlloc(&out, 128, 0) == cudaSuccess, "page-locked memory");
    }
    ~Stream() {
        cudaStreamSynchronize(s);
        cudaFreeHost(in), cudaFreeHost(out), cudaStreamDestroy(s);
    }
    void put(float v) {
        for (int i = 0; i < 32; i++) in[i] = v;
        EXPECT(cudaMemcpyAsync(x.data, in, 128, cudaMemcpyHostToDevice, s) == cudaSuccess, "copying to the device");
    }
    void take() { EXPECT(cudaMemcpyAsync(out, x.data, 128, cudaMemcpyDeviceToHost, s) == cudaSuccess, "copying from the device"); }
};

static void waits_that_are_missing() {
    int overwritten = 0, early = 0;
    for_seeds([&] {
        Stream s;
        s.put(1);
        s.in[3] = 50; // too early
        s.take();
        early += s.out[0] != 1;
        RIGHT(cudaStreamSynchronize(s.s));
        EXPECT(s.out[0] == 1, "behind the wait there is %g", double(s.out[0]));
        overwritten += s.out[3] == 50;
        // With waits everything is right.
        for (int i = 0; i < 20; i++) {
            s.put(float(i));
            RIGHT(queue_add(s.s, s.x.data, 0.5f));
            s.take();
            RIGHT(cudaStreamSynchronize(s.s));
            for (int k = 0; k < 32; k++) EXPECT(s.out[k] == float(i) + 0.5f, "round %d has %g", i, double(s.out[k]));
        }
    });
    EXPECT(overwritten > 0 && early > 0, "a wait that was missing never showed: %d, %d", overwritten, early);
}

static void pageable_memory_is_taken_at_once() {
    for_seeds([] {
        Stream s;
        std::vector<float> host(32, 7), back(32);
        EXPECT(cudaMemcpyAsync(s.x.data, host.data(), 128, cudaMemcpyHostToDevice, s.s) == cudaSuccess, "copying");
        host[0] = 8;
        EXPECT(cudaMemcpyAsync(back.data(), s.x.data, 128, cudaMemcpyDeviceToHost, s.s) == cudaSuccess, "copying");
        EXPECT(back[0] == 7 && back[31] == 7, "it has %g and %g", double(back[0]), double(back[31]));
    });
}

static void events() {
    for_seeds([] {
        Stream a, b;
        cudaEvent_t start, stop, plain;
        EXPECT(cudaEventCreate(&start) == cudaSuccess && cudaEventCreate(&stop) == cudaSuccess, "events");
        EXPECT(cudaEventCreateWithFlags(&plain, cudaEventDisableTiming) == cudaSuccess, "an event without a time");
        EXPECT(cudaEventQuery(plain) == cudaSuccess, "an event that was never recorded has come");
        RIGHT(cudaEventRecord(start, a.s));
        a.put(1);
        RIGHT(queue_add(a.s, a.x.data, 1));
        RIGHT(cudaEventRecord(stop, a.s));
        // The other stream goes on where the first has got to.
        RIGHT(cudaStreamWaitEvent(b.s, stop, 0));
        RIGHT(queue_add(b.s, a.x.data, 10));
        EXPECT(cudaMemcpyAsync(b.out, a.x.data, 128, cudaMemcpyDeviceToHost, b.s) == cudaSuccess, "copying");
        RIGHT(cudaStreamSynchronize(b.s));
        EXPECT(b.out[5] == 12, "it has %g", double(b.out[5]));
        RIGHT(cudaEventSynchronize(stop));
        float ms = -1;
        RIGHT(cudaEventElapsedTime(&ms, start, stop));
        EXPECT(ms >= 0, "%g ms", double(ms));
        EXPECT(cudaEventElapsedTime(&ms, start, plain) == cudaErrorInvalidResourceHandle, "the time of an event without one");
        // Whoever asks over and over comes to an end.
        RIGHT(queue_add(a.s, a.x.data, 1));
        RIGHT(cudaEventRecord(plain, a.s));
        int asked = 0;
        while (cudaEventQuery(plain) == cudaErrorNotReady) asked++;
        EXPECT(asked < 10, "asked %d times", asked);
        cudaEventDestroy(start), cudaEventDestroy(stop), cudaEventDestroy(plain);
    });
}

static void graphs() {
    for_seeds([] {
        Stream s;
        s.put(1);
        RIGHT(cudaStreamSynchronize(s.s));
        RIGHT(cudaStreamBeginCapture(s.s, cudaStreamCaptureModeThreadLocal));
        RIGHT(cudaMemcpyAsync(s.x.data, s.in, 64, cudaMemcpyHostToDevice, s.s));
        RIGHT(queue_add(s.s, s.x.data, 0.25f));
        cudaGraph_t graph = nullptr;
        RIGHT(cudaStreamEndCapture(s.s, &graph));
        cudaGraphExec_t run = nullptr;
        RIGHT(cudaGraphInstantiateWithFlags(&run, graph, 0));
        RIGHT(cudaGraphDestroy(graph));
        s.take();
        RIGHT(cudaStreamSynchronize(s.s));
        EXPECT(s.out[0] == 1 && s.out[31] == 1, "what was recorded was done: %g", double(s.out[0]));
        for (int i = 0; i < 3; i++) {
            s.in[0] = float(i);
            RIGHT(cudaGraphLaunch(run, s.s));
            s.take();
            RIGHT(cudaStreamSynchronize(s.s));
            EXPECT(s.out[0] == float(i) + 0.25f && s.out[31] == 1 + 0.25f * float(i + 1), "run %d has %g, %g", i, double(s.out[0]), double(s.out[31]));
        }
        RIGHT(cudaGraphExecDestroy(run));
        // What cannot be recorded spoils the recording.
        RIGHT(cudaStreamBeginCapture(s.s, cudaStreamCaptureModeThreadLocal));
        EXPECT(cudaStreamSynchronize(s.s) == cudaErrorStreamCaptureUnsupported, "a wait was recorded");
        EXPECT(cudaStreamEndCapture(s.s, &graph) == cudaErrorStreamCaptureInvalidated && !graph, "a spoilt recording is a graph");
        EXPECT(cudaGetLastError() == cudaErrorStreamCaptureInvalidated && cudaGetLastError() == cudaSuccess, "the last error");
    });
}

static void memory() {
    size_t free = 0, total = 0;
    EXPECT(sim_set("memory", "64M") == 0, "the memory");
    RIGHT(cudaMemGetInfo(&free, &total));
    EXPECT(total == 64 << 20 && free == total, "%zu of %zu bytes are free", free, total);
    {
        std::vector<char *> taken;
        char *p = nullptr;
        while (cudaMalloc(&p, 1 << 20) == cudaSuccess) taken.push_back(p);
        EXPECT(taken.size() == 63, "%zu MiB could be taken", taken.size()); // what is between them counts
        EXPECT(cudaGetLastError() == cudaErrorMemoryAllocation && cudaGetLastError() == cudaSuccess, "the last error");
        for (size_t i = 0; i < taken.size(); i++) {
            EXPECT(reinterpret_cast<uintptr_t>(taken[i]) % 512 == 256, "%p is aligned to more than 256 bytes", static_cast<void *>(taken[i]));
            RIGHT(cudaMemset(taken[i], int(i), 1 << 20));
        }
        for (size_t i = 0; i < taken.size(); i++) {
            unsigned char ends[2] = {};
            RIGHT(cudaMemcpy(&ends[0], taken[i], 1, cudaMemcpyDeviceToHost));
            RIGHT(cudaMemcpy(&ends[1], taken[i] + (1 << 20) - 1, 1, cudaMemcpyDeviceToHost));
            EXPECT(ends[0] == i && ends[1] == i, "allocation %zu has %d, %d", i, ends[0], ends[1]);
        }
        RIGHT(cudaFree(taken[7]));
        RIGHT(cudaMalloc(&p, 1 << 20));
        EXPECT(p != taken[7], "memory was given again at once");
        EXPECT(cudaMalloc(&p, 1 << 20) == cudaErrorMemoryAllocation, "there is more memory than there is");
        EXPECT(sim_live_objects() == 63, "%llu are held", static_cast<unsigned long long>(sim_live_objects()));
        EXPECT(sim_reports() == 0, "%s", sim_last_report());
        WRONG(cudaFree(taken[7]), cudaErrorInvalidValue, "given back before"); // the device is new behind it
    }
    // What lives long leaves no holes that are too small for what comes later.
    {
        EXPECT(sim_set("memory", "64M") == 0, "the memory");
        std::vector<char *> small;
        char *p = nullptr, *q = nullptr;
        for (int i = 0; i < 2000; i++) {
            EXPECT(cudaMalloc(&p, 30 << 20) == cudaSuccess && cudaMalloc(&q, 100) == cudaSuccess, "round %d", i);
            small.push_back(q);
            cudaFree(p);
        }
        for (char *s : small) cudaFree(s);
        EXPECT(sim_live_objects() == 0, "%llu are held", static_cast<unsigned long long>(sim_live_objects()));
    }
    // Memory that is large costs nothing until it is touched, and is zeroed for nothing.
    EXPECT(sim_set("memory", "8G") == 0, "the memory");
    {
        Device<float> large(1 << 30);
        float x = 0;
        RIGHT(cudaMemcpy(&x, large.data + (1 << 29) + 1, 4, cudaMemcpyDeviceToHost));
        EXPECT(isnan(x), "fresh memory has %g", double(x));
        RIGHT(cudaMemset(large.data, 0, size_t(4) << 30));
        for (size_t at : {size_t(0), size_t(1) << 29, (size_t(1) << 30) - 1}) {
            RIGHT(cudaMemcpy(&x, large.data + at, 4, cudaMemcpyDeviceToHost));
            EXPECT(x == 0, "zeroed memory has %g", double(x));
        }
    }
    // Copies and fills are held to what was allocated.
    {
        Device<char> small(100);
        char host[200] = {};
        EXPECT(cudaMemcpy(small.data, host, 101, cudaMemcpyHostToDevice) == cudaErrorInvalidValue, "a copy beyond the end");
        EXPECT(cudaMemset(small.data + 50, 0, 51) == cudaErrorInvalidValue, "a fill beyond the end");
        EXPECT(cudaMemcpy(small.data, host, 10, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue, "a copy in the wrong direction");
        EXPECT(sim_reports() == 2, "%llu reports", static_cast<unsigned long long>(sim_reports()));
    }
}

static void page_locked_memory() {
    char *p = nullptr;
    EXPECT(cudaMallocHost(&p, 100) == cudaSuccess && p[99] == char(255), "page-locked memory is not poisoned");
    RIGHT(cudaFreeHost(p));
#ifndef __SANITIZE_ADDRESS__
    EXPECT(cudaMallocHost(&p, 100) == cudaSuccess, "page-locked memory");
    p[100] = 1;
    EXPECT(cudaFreeHost(p) == cudaSuccess && sim_reports() == 1 && strstr(sim_last_report(), "behind its end"), "%s", sim_last_report());
#endif
    Device<char> d(100);
    EXPECT(cudaMallocHost(&p, 100) == cudaSuccess, "page-locked memory");
    cudaStream_t s = nullptr;
    EXPECT(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking) == cudaSuccess, "a stream");
    const uint64_t before = sim_reports();
    EXPECT(cudaMemcpyAsync(d.data, p + 1, 100, cudaMemcpyHostToDevice, s) == cudaErrorInvalidValue, "a copy from beyond the end");
    EXPECT(sim_reports() == before + 1, "%s", sim_last_report());
    EXPECT(cudaStreamDestroy(s) == cudaSuccess && cudaFreeHost(p) == cudaSuccess, "giving back");
}

static void devices() {
    int count = 9, version = 0;
    EXPECT(sim_set("device", "none") == 0 && cudaGetDeviceCount(&count) == cudaErrorNoDevice && count == 0, "no device");
    EXPECT(sim_set("device", "a100,old") == 0 && cudaGetDeviceCount(&count) == cudaSuccess && count == 2, "two devices");
    cudaDeviceProp p;
    RIGHT(cudaGetDeviceProperties(&p, 0));
    EXPECT(p.major == 8 && p.minor == 0 && p.multiProcessorCount == 108, "%s", p.name);
    EXPECT(cudaGetDeviceProperties(&p, 2) == cudaErrorInvalidDevice, "a third device");
    EXPECT(cudaSetDevice(1) == cudaSuccess, "the second device");
    {
        Device<float> x(32);
        EXPECT(queue_add(nullptr, x.data, 1) == cudaErrorNoKernelImageForDevice, "there is code for an old device");
    }
    EXPECT(cudaSetDevice(0) == cudaSuccess && sim_set("driver", "missing") == 0, "the driver");
    EXPECT(cudaGetDeviceCount(&count) == cudaErrorInsufficientDriver, "there is a driver");
    EXPECT(cudaDriverGetVersion(&version) == cudaSuccess && version == 0, "version %d", version);
    EXPECT(sim_set("driver", "old") == 0 && cudaGetDeviceCount(&count) == cudaErrorInsufficientDriver, "an old driver will do");
    EXPECT(cudaDriverGetVersion(&version) == cudaSuccess && version > 0 && version < CUDART_VERSION, "version %d", version);
    EXPECT(sim_set("device", "h1000") == -1 && sim_set("colour", "red") == -1 && sim_set("memory", "1X") == -1, "nonsense was set");
}

static void launches_that_cannot_be() {
    Device<float> x(32);
    auto start = [&x](dim3 grid, dim3 block, size_t shared) {
        float *p = x.data;
        return sim::launch("add_kernel", grid, block, shared, nullptr, [p]() { add_kernel(p, 1); });
    };
    EXPECT(start(dim3(0), kOne, 0) == cudaErrorInvalidConfiguration, "no blocks");
    EXPECT(start(dim3(1, 65536), kOne, 0) == cudaErrorInvalidConfiguration, "too many blocks");
    EXPECT(start(kOne, dim3(1025), 0) == cudaErrorInvalidConfiguration, "too many threads");
    EXPECT(start(kOne, dim3(32, 32, 2), 0) == cudaErrorInvalidConfiguration, "too many threads in all");
    EXPECT(start(kOne, dim3(32), 228 << 10) == cudaErrorInvalidValue, "too much shared memory");
    EXPECT(sim_shared("no_kernel") == -1, "%lld bytes of a kernel that did not run", static_cast<long long>(sim_shared("no_kernel")));
    RIGHT(start(kOne, dim3(32), 227 << 10));
    RIGHT(start(kOne, dim3(32), 64));
    RIGHT(cudaDeviceSynchronize());
    EXPECT(sim_shared("add") == 227 << 10, "%lld bytes of shared memory", static_cast<long long>(sim_shared("add")));
}

static void failures() {
    for (const char *plan : {"cudaMalloc", "cudaMalloc:", ":3", "cudaMalloc:0", "cudaMalloc:x", "cudaMalloc:1=", "cudaMalloc:1*"})
        EXPECT(sim_fail(plan) == -1, "%s was understood", plan);
    char *p = nullptr;
    int n = 0;
    auto mallocs = [&] {
        cudaError_t e = cudaMalloc(&p, 10);
        n = e == cudaSuccess ? n + 1 : -100 * int(e);
        if (e == cudaSuccess) cudaFree(p);
        return e;
    };
    EXPECT(sim_fail("cudaMalloc:3") == 0, "a plan");
    EXPECT(mallocs() == 0 && mallocs() == 0 && mallocs() == cudaErrorMemoryAllocation && mallocs() == 0, "the third fails");
    EXPECT(sim_calls() == 7 && sim_injected() == 1, "%llu calls", static_cast<unsigned long long>(sim_calls()));
    EXPECT(sim_fail("alloc:2+=46") == 0, "a plan");
    EXPECT(mallocs() == 0 && mallocs() == cudaErrorDevicesUnavailable && mallocs() == cudaErrorDevicesUnavailable, "from the second on they fail");
    EXPECT(sim_fail("any:2") == 0, "a plan");
    EXPECT(cudaMalloc(&p, 10) == cudaSuccess && cudaFree(p) == cudaErrorOperatingSystem && sim_live_objects() == 0, "what cudaFree is given back is");
    EXPECT(sim_fail(nullptr) == 0, "no plan");
    {
        Device<float> x(32);
        EXPECT(sim_fail("launch:1") == 0 && queue_add(nullptr, x.data, 1) == cudaErrorLaunchOutOfResources, "a launch");
        RIGHT(queue_add(nullptr, x.data, 1));
        EXPECT(sim_fail("kernel:1") == 0 && queue_add(nullptr, x.data, 1) == cudaSuccess, "a launch whose kernel fails");
        EXPECT(cudaDeviceSynchronize() == cudaErrorIllegalAddress && cudaMalloc(&p, 1) == cudaErrorIllegalAddress, "a kernel's failure");
        EXPECT(sim_reports() == 0, "what was planned is no mistake: %s", sim_last_report());
    }
    EXPECT(sim_live_objects() == 0, "giving back works still");
    sim_reset();
    EXPECT(sim_fail("sticky:2") == 0 && mallocs() == cudaSuccess && mallocs() == cudaErrorIllegalAddress, "sticky");
    EXPECT(cudaGetLastError() == cudaErrorIllegalAddress && cudaGetLastError() == cudaErrorIllegalAddress, "it sticks");
    sim_reset();
    EXPECT(mallocs() == cudaSuccess, "the device is new");
}

// A product as matmul_large.cu has it: rows of x by rows of w, and a bias.
static void product_of_cublas() {
    const int n = 5, k = 19, ld = 32, rows = 3;
    std::vector<__nv_bfloat16> w(size_t(n * ld)), x(size_t(rows * ld));
    std::vector<float> bias(n);
    for (int i = 0; i < n * ld; i++) w[size_t(i)] = __float2bfloat16_rn(i % ld < k ? float(i * 31 % 67 - 33) / 16 : 0);
    for (int i = 0; i < rows * ld; i++) x[size_t(i)] = __float2bfloat16_rn(i % ld < k ? float(i * 17 % 59 - 29) / 8 : 0);
    for (int i = 0; i < n; i++) bias[size_t(i)] = float(i);
    Device<__nv_bfloat16> dw(w), dx(x);
    Device<float> db(bias), out(size_t(n * rows));
    cublasLtHandle_t blas;
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t lw, lx, lo, wider;
    cublasLtMatmulPreference_t preference;
    const cublasOperation_t transposed = CUBLAS_OP_T;
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    const float *b = db.data, one = 1, zero = 0;
    EXPECT(!cublasLtCreate(&blas) && !cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F), "making objects");
    EXPECT(!cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed), "transposing");
    EXPECT(!cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue), "the epilogue");
    EXPECT(!cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &b, sizeof b), "the bias");
    EXPECT(!cublasLtMatrixLayoutCreate(&lw, CUDA_R_16BF, ld, n, ld) && !cublasLtMatrixLayoutCreate(&lx, CUDA_R_16BF, ld, rows, ld), "layouts");
    EXPECT(!cublasLtMatrixLayoutCreate(&lo, CUDA_R_32F, n, rows, n) && !cublasLtMatrixLayoutCreate(&wider, CUDA_R_32F, n, rows, n + 1), "layouts");
    EXPECT(!cublasLtMatmulPreferenceCreate(&preference), "a preference");
    cublasLtMatmulHeuristicResult_t found;
    int count = 0;
    EXPECT(!cublasLtMatmulAlgoGetHeuristic(blas, product, lw, lx, lo, lo, preference, 1, &found, &count) && count == 1, "an algorithm");
    auto multiply = [&](cublasLtMatrixLayout_t layout, float *to) {
        return cublasLtMatmul(blas, product, &one, dw.data, lw, dx.data, lx, &zero, to, layout, to, layout, &found.algo, nullptr, 0, nullptr);
    };
    EXPECT(multiply(lo, out.data) == CUBLAS_STATUS_SUCCESS, "the product");
    const std::vector<float> got = out.get();
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < n; i++) {
            double want = i;
            for (int t = 0; t < k; t++) want += double(__bfloat162float(x[size_t(r * ld + t)])) * double(__bfloat162float(w[size_t(i * ld + t)]));
            EXPECT(fabs(double(got[size_t(r * n + i)]) - want) < 1e-4, "row %d, column %d: %g, want %g", r, i, double(got[size_t(r * n + i)]), want);
        }
    EXPECT(sim_reports() == 0, "%s", sim_last_report());
    EXPECT(multiply(wider, out.data) == CUBLAS_STATUS_INVALID_VALUE && strstr(sim_last_report(), "another product"), "%s", sim_last_report());
    EXPECT(multiply(lo, out.data + 1) == CUBLAS_STATUS_INVALID_VALUE && strstr(sim_last_report(), "no multiple"), "%s", sim_last_report());
    EXPECT(!cublasLtMatmulPreferenceDestroy(preference) && !cublasLtMatmulDescDestroy(product) && !cublasLtDestroy(blas), "giving back");
    for (cublasLtMatrixLayout_t l : {lw, lx, lo, wider}) EXPECT(!cublasLtMatrixLayoutDestroy(l), "giving a layout back");
}

const std::vector<Case> runtime_cases = {
    {"waits that are missing", waits_that_are_missing},
    {"pageable memory is taken at once", pageable_memory_is_taken_at_once},
    {"events", events},
    {"graphs", graphs},
    {"memory", memory},
    {"page-locked memory", page_locked_memory},
    {"devices", devices},
    {"launches that cannot be", launches_that_cannot_be},
    {"failures", failures},
    {"product of cuBLASLt", product_of_cublas},
};
