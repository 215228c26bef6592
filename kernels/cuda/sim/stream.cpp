// stream.cpp: streams and events.
#include "stream.h"

#include "machine.h"
#include "report.h"
#include "runtime.h"

#include <algorithm>
#include <chrono>
#include <set>

namespace sim {

namespace {

std::set<CUstream_st *> streams;
std::set<CUevent_st *> events;
CUstream_st default_stream;

constexpr size_t kLongest = 512; // pieces of work that may be queued; a GPU takes about as many

} // namespace

uint64_t graphs_held, blas_held;

double now_seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

CUstream_st *open_stream(cudaStream_t s) {
    if (!s || s == cudaStreamLegacy) return &default_stream;
    return streams.count(s) ? s : nullptr;
}

Capture *capture_of(CUstream_st *s) { return s->capture; }

void leave_capture(const Capture *c) {
    for (CUstream_st *s : streams)
        if (s->capture == c) s->capture = nullptr;
    for (CUevent_st *e : events) {
        Moment &m = *e->moment;
        if (m.capture == c) m.capture = nullptr;
    }
}

bool break_captures() {
    bool any = false;
    for (CUstream_st *s : streams)
        if (s->capture) s->capture->broken = any = true;
    return any;
}

cudaError_t drain(CUstream_st *s, size_t pieces) {
    while (!s->queue.empty() && pieces-- > 0) {
        WorkPointer work = s->queue.front();
        s->queue.pop_front();
        if (sticky() != cudaSuccess) continue; // a GPU that is lost does nothing more
        cudaError_t e = work->run();
        if (e != cudaSuccess) set_sticky(e);
    }
    return sticky();
}

cudaError_t drain_all(bool blocking_only) {
    drain(&default_stream);
    for (CUstream_st *s : streams)
        if (!blocking_only || !s->non_blocking) drain(s);
    return sticky();
}

cudaError_t put(CUstream_st *s, WorkPointer work) {
    if (s->capture) {
        if (s->capture->broken) return cudaErrorStreamCaptureInvalidated;
        s->capture->work.push_back(std::move(work));
        return cudaSuccess;
    }
    if (!s->non_blocking) { // the default stream waits for the others, and they for it
        if (s == &default_stream)
            drain_all(true);
        else
            drain(&default_stream);
    }
    s->queue.push_back(std::move(work));
    // All of it, some of it, or, mostly, none.
    uint64_t chance = next_random() >> 20;
    if (settings().eager || chance % 8 == 0)
        drain(s);
    else if (chance % 8 == 1)
        drain(s, chance / 8 % s->queue.size() + 1);
    else if (s->queue.size() > kLongest)
        drain(s, 1);
    return cudaSuccess;
}

// The work of events.

namespace {

struct Record final : Work {
    std::shared_ptr<Moment> moment;
    uint64_t number;
    cudaError_t run() override {
        moment->done = std::max(moment->done, number);
        moment->seconds = now_seconds();
        return cudaSuccess;
    }
};

// reach does what has to be done until an event has been recorded so often.
void reach(const std::shared_ptr<Moment> &m, uint64_t number) {
    while (m->done < number && sticky() == cudaSuccess && streams.count(m->stream) && !m->stream->queue.empty()) drain(m->stream, 1);
    while (m->done < number && m->stream == &default_stream && !default_stream.queue.empty()) drain(&default_stream, 1);
}

struct Await final : Work {
    std::shared_ptr<Moment> moment;
    uint64_t number;
    cudaError_t run() override {
        reach(moment, number);
        return cudaSuccess;
    }
};

} // namespace

uint64_t streams_held() { return streams.size() + events.size() + graphs_held + blas_held; }

void release_streams() {
    for (CUstream_st *s : streams) {
        if (s->capture && s->capture->origin == s) delete s->capture;
        delete s;
    }
    for (CUevent_st *e : events) delete e;
    streams.clear();
    events.clear();
    default_stream.queue.clear();
    forget_graphs();
    forget_blas();
}

} // namespace sim

using namespace sim;

// Streams.

static cudaError_t make_stream(cudaStream_t *out, unsigned flags) {
    if (!out || (flags & ~unsigned(cudaStreamNonBlocking))) return remember(cudaErrorInvalidValue);
    auto *s = new CUstream_st();
    s->non_blocking = flags & cudaStreamNonBlocking;
    streams.insert(s);
    *out = s;
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *out) {
    SIM_CALL("cudaStreamCreate", cudaErrorMemoryAllocation);
    return make_stream(out, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags) {
    SIM_CALL("cudaStreamCreateWithFlags", cudaErrorMemoryAllocation);
    return make_stream(out, flags);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *out, unsigned flags, int) {
    SIM_CALL("cudaStreamCreateWithPriority", cudaErrorMemoryAllocation);
    return make_stream(out, flags);
}

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
    Call call("cudaStreamDestroy", cudaErrorOperatingSystem);
    if (!streams.count(handle)) return remember(cudaErrorInvalidResourceHandle);
    drain(handle);
    if (Capture *c = handle->capture) {
        leave_capture(c);
        delete c;
    }
    streams.erase(handle);
    delete handle;
    return remember(call.refused());
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
    SIM_CALL("cudaStreamSynchronize", cudaErrorOperatingSystem);
    CUstream_st *s = open_stream(handle);
    if (!s) return remember(cudaErrorInvalidResourceHandle);
    if (s->capture) {
        s->capture->broken = true;
        return remember(cudaErrorStreamCaptureUnsupported);
    }
    if (s == &default_stream) return remember(drain_all(true));
    return remember(drain(s));
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
    SIM_CALL("cudaStreamQuery", cudaErrorOperatingSystem);
    CUstream_st *s = open_stream(handle);
    if (!s) return remember(cudaErrorInvalidResourceHandle);
    drain(s, 1); // whoever asks over and over comes to an end
    if (sticky() != cudaSuccess) return remember(sticky());
    return s->queue.empty() ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaDeviceSynchronize(void) {
    SIM_CALL("cudaDeviceSynchronize", cudaErrorOperatingSystem);
    if (break_captures()) return remember(cudaErrorStreamCaptureUnsupported);
    return remember(drain_all(false));
}

// Events.

static cudaError_t make_event(cudaEvent_t *out, unsigned flags) {
    if (!out) return remember(cudaErrorInvalidValue);
    auto *e = new CUevent_st();
    e->moment = std::make_shared<Moment>();
    e->timing = !(flags & cudaEventDisableTiming);
    events.insert(e);
    *out = e;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *out) {
    SIM_CALL("cudaEventCreate", cudaErrorMemoryAllocation);
    return make_event(out, cudaEventDefault);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned flags) {
    SIM_CALL("cudaEventCreateWithFlags", cudaErrorMemoryAllocation);
    return make_event(out, flags);
}

cudaError_t cudaEventDestroy(cudaEvent_t e) {
    Call call("cudaEventDestroy", cudaErrorOperatingSystem);
    if (!events.count(e)) return remember(cudaErrorInvalidResourceHandle);
    events.erase(e);
    delete e;
    return remember(call.refused());
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t handle) {
    SIM_CALL("cudaEventRecord", cudaErrorOperatingSystem);
    CUstream_st *s = open_stream(handle);
    if (!s || !events.count(e)) return remember(cudaErrorInvalidResourceHandle);
    Moment &m = *e->moment;
    m.stream = s;
    m.capture = s->capture;
    if (s->capture) return cudaSuccess; // it says what other streams of the recording wait for
    auto work = std::make_shared<Record>();
    work->moment = e->moment, work->number = ++m.recorded;
    return remember(put(s, work));
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t e, cudaStream_t handle, unsigned) { return cudaEventRecord(e, handle); }

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t e, unsigned) {
    SIM_CALL("cudaStreamWaitEvent", cudaErrorOperatingSystem);
    CUstream_st *s = open_stream(handle);
    if (!s || !events.count(e)) return remember(cudaErrorInvalidResourceHandle);
    const Moment &m = *e->moment;
    if (m.capture) { // the stream joins the recording, which keeps the order of the calls
        if (s->capture && s->capture != m.capture) return remember(cudaErrorStreamCaptureMerge);
        s->capture = m.stream->capture;
        return cudaSuccess;
    }
    if (s->capture) {
        s->capture->broken = true;
        return remember(cudaErrorStreamCaptureIsolation);
    }
    auto work = std::make_shared<Await>();
    work->moment = e->moment, work->number = m.recorded;
    return remember(put(s, work));
}

cudaError_t cudaEventSynchronize(cudaEvent_t e) {
    SIM_CALL("cudaEventSynchronize", cudaErrorOperatingSystem);
    if (!events.count(e)) return remember(cudaErrorInvalidResourceHandle);
    if (e->moment->capture) return remember(cudaErrorCapturedEvent);
    reach(e->moment, e->moment->recorded);
    return remember(sticky());
}

cudaError_t cudaEventQuery(cudaEvent_t e) {
    SIM_CALL("cudaEventQuery", cudaErrorOperatingSystem);
    if (!events.count(e)) return remember(cudaErrorInvalidResourceHandle);
    Moment &m = *e->moment;
    if (m.capture) return remember(cudaErrorCapturedEvent);
    if (m.done < m.recorded && (m.stream == &default_stream || streams.count(m.stream))) drain(m.stream, 1);
    if (sticky() != cudaSuccess) return remember(sticky());
    return m.done >= m.recorded ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t stop) {
    SIM_CALL("cudaEventElapsedTime", cudaErrorOperatingSystem);
    if (!ms) return remember(cudaErrorInvalidValue);
    if (!events.count(start) || !events.count(stop) || !start->timing || !stop->timing) return remember(cudaErrorInvalidResourceHandle);
    const Moment &a = *start->moment, &b = *stop->moment;
    if (!a.recorded || !b.recorded) return remember(cudaErrorInvalidResourceHandle);
    if (a.done < a.recorded || b.done < b.recorded) return remember(cudaErrorNotReady);
    *ms = float((b.seconds - a.seconds) * 1e3);
    return cudaSuccess;
}
