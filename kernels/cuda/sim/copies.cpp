// copies.cpp: taking and giving back memory, copies and fills.
//
// A copy from or to page-locked memory is done when its turn in the stream comes,
// from what is there then. One from pageable memory takes what is there at once,
// and one to it waits, as on a GPU.
#include "memory.h"
#include "report.h"
#include "runtime.h"
#include "stream.h"

#include <cstring>

using namespace sim;

namespace {

// range_ok tells whether bytes at p are one side of a copy that can be done, and
// reports it if they are not.
bool range_ok(const void *p, size_t bytes, bool device, const char *what) {
    if (device) {
        if (offset_of(p) >= kDeviceAt && valid(offset_of(p), bytes)) return true;
        report(cudaSuccess, "%s of %zu bytes at %p: %s", what, bytes, p, whereabouts(p).c_str());
        return false;
    }
    switch (pinned_state(p, bytes)) {
    case Pinned::kBeyond:
        report(cudaSuccess, "%s of %zu bytes at %p reaches behind the end of page-locked memory", what, bytes, p);
        return false;
    case Pinned::kFreed:
        report(cudaSuccess, "%s of %zu bytes at %p, page-locked memory that was given back", what, bytes, p);
        return false;
    default:
        return true;
    }
}

struct Copy final : Work {
    void *to;
    const void *from;
    size_t bytes;
    bool to_device, from_device;
    std::vector<unsigned char> taken; // from pageable memory
    cudaError_t run() override {
        int code = cudaErrorIllegalAddress;
        if (run_fails("copy", &code)) return cudaError_t(code);
        const void *source = taken.empty() ? from : taken.data();
        if (!range_ok(to, bytes, to_device, "copy") || (taken.empty() && !range_ok(source, bytes, from_device, "copy")))
            return cudaErrorIllegalAddress;
        memmove(to, source, bytes);
        return cudaSuccess;
    }
};

struct Fill final : Work {
    void *to;
    int value;
    size_t bytes;
    cudaError_t run() override {
        int code = cudaErrorIllegalAddress;
        if (run_fails("copy", &code)) return cudaError_t(code);
        if (!range_ok(to, bytes, true, "memset")) return cudaErrorIllegalAddress;
        device_fill(to, value, bytes);
        return cudaSuccess;
    }
};

// sides says which of a copy's sides is the device, and whether the kind fits them.
bool sides(const void *to, const void *from, cudaMemcpyKind kind, bool *to_device, bool *from_device) {
    *to_device = within_region(to), *from_device = within_region(from);
    switch (kind) {
    case cudaMemcpyHostToHost:
        return !*to_device && !*from_device;
    case cudaMemcpyHostToDevice:
        return *to_device && !*from_device;
    case cudaMemcpyDeviceToHost:
        return !*to_device && *from_device;
    case cudaMemcpyDeviceToDevice:
        return *to_device && *from_device;
    default:
        return kind == cudaMemcpyDefault;
    }
}

cudaError_t make_copy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, std::shared_ptr<Copy> *out) {
    auto c = std::make_shared<Copy>();
    if (!to || !from || !sides(to, from, kind, &c->to_device, &c->from_device)) return cudaErrorInvalidValue;
    if (!range_ok(to, bytes, c->to_device, "copy") || !range_ok(from, bytes, c->from_device, "copy")) return cudaErrorInvalidValue;
    c->to = to, c->from = from, c->bytes = bytes;
    *out = c;
    return cudaSuccess;
}

cudaError_t queue_copy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t handle) {
    CUstream_st *s = open_stream(handle);
    if (!s) return cudaErrorInvalidResourceHandle;
    if (bytes == 0) return cudaSuccess;
    std::shared_ptr<Copy> c;
    cudaError_t e = make_copy(to, from, bytes, kind, &c);
    if (e != cudaSuccess) return e;
    if (capture_of(s)) return put(s, c);
    if (!c->from_device && pinned_state(from, bytes) == Pinned::kNo)
        c->taken.assign(static_cast<const unsigned char *>(from), static_cast<const unsigned char *>(from) + bytes);
    const bool waits = !c->to_device && pinned_state(to, bytes) == Pinned::kNo;
    e = put(s, c);
    return e == cudaSuccess && waits ? drain(s) : e;
}

// now does a copy or a fill in the default stream, and waits for it.
cudaError_t now(WorkPointer work) {
    CUstream_st *s = open_stream(nullptr);
    cudaError_t e = put(s, std::move(work));
    return e == cudaSuccess ? drain(s) : e;
}

cudaError_t pinned_call(void **out, size_t bytes) {
    if (!out) return remember(cudaErrorInvalidValue);
    if (break_captures()) return remember(cudaErrorStreamCaptureUnsupported);
    return remember(bytes == 0 ? (*out = nullptr, cudaSuccess) : pinned_alloc(bytes, out));
}

} // namespace

cudaError_t cudaMalloc(void **out, size_t bytes) {
    SIM_CALL("cudaMalloc", cudaErrorMemoryAllocation, "alloc");
    if (!out) return remember(cudaErrorInvalidValue);
    if (break_captures()) return remember(cudaErrorStreamCaptureUnsupported);
    if (bytes == 0) return *out = nullptr, cudaSuccess;
    return remember(device_alloc(current_device(), bytes, out));
}

cudaError_t cudaMallocHost(void **out, size_t bytes) {
    SIM_CALL("cudaMallocHost", cudaErrorMemoryAllocation, "alloc");
    return pinned_call(out, bytes);
}

cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned) {
    SIM_CALL("cudaHostAlloc", cudaErrorMemoryAllocation, "alloc");
    return pinned_call(out, bytes);
}

// What is given back is gone whatever the call answers. cudaFree waits for all that
// is queued; cudaFreeHost is not documented to, so that it does not.
cudaError_t cudaFree(void *p) {
    Call call("cudaFree", cudaErrorOperatingSystem);
    if (p && break_captures()) return remember(cudaErrorStreamCaptureUnsupported);
    drain_all(false);
    cudaError_t e = device_release(p);
    if (call.refused() != cudaSuccess) return remember(call.refused());
    return remember(sticky() != cudaSuccess ? sticky() : e);
}

cudaError_t cudaFreeHost(void *p) {
    Call call("cudaFreeHost", cudaErrorOperatingSystem);
    cudaError_t e = pinned_release(p);
    return remember(call.refused() != cudaSuccess ? call.refused() : e);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    SIM_CALL("cudaMemcpyAsync", cudaErrorOperatingSystem);
    return remember(queue_copy(to, from, bytes, kind, stream));
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
    SIM_CALL("cudaMemcpy", cudaErrorOperatingSystem);
    if (break_captures()) return remember(cudaErrorStreamCaptureImplicit);
    if (bytes == 0) return cudaSuccess;
    std::shared_ptr<Copy> c;
    cudaError_t e = make_copy(to, from, bytes, kind, &c);
    return remember(e == cudaSuccess ? now(c) : e);
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height,
                              cudaMemcpyKind kind, cudaStream_t stream) {
    SIM_CALL("cudaMemcpy2DAsync", cudaErrorOperatingSystem);
    if (width > to_pitch || width > from_pitch) return remember(cudaErrorInvalidPitchValue);
    for (size_t row = 0; row < height; row++) {
        cudaError_t e = queue_copy(static_cast<char *>(to) + row * to_pitch, static_cast<const char *>(from) + row * from_pitch, width, kind, stream);
        if (e != cudaSuccess) return remember(e);
    }
    return cudaSuccess;
}

static cudaError_t make_fill(void *to, int value, size_t bytes, std::shared_ptr<Fill> *out) {
    if (!to || !range_ok(to, bytes, true, "memset")) return cudaErrorInvalidValue;
    *out = std::make_shared<Fill>();
    (*out)->to = to, (*out)->value = value, (*out)->bytes = bytes;
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
    SIM_CALL("cudaMemsetAsync", cudaErrorOperatingSystem);
    CUstream_st *s = open_stream(stream);
    if (!s) return remember(cudaErrorInvalidResourceHandle);
    if (bytes == 0) return cudaSuccess;
    std::shared_ptr<Fill> f;
    cudaError_t e = make_fill(to, value, bytes, &f);
    return remember(e == cudaSuccess ? put(s, f) : e);
}

cudaError_t cudaMemset(void *to, int value, size_t bytes) {
    SIM_CALL("cudaMemset", cudaErrorOperatingSystem);
    if (break_captures()) return remember(cudaErrorStreamCaptureImplicit);
    if (bytes == 0) return cudaSuccess;
    std::shared_ptr<Fill> f;
    cudaError_t e = make_fill(to, value, bytes, &f);
    return remember(e == cudaSuccess ? now(f) : e);
}
