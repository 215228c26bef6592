// graph.cpp: graphs. One is the list of what was put on its streams, with the
// arguments of then; running it queues the same work again, so that whatever
// changes from run to run has to be in memory.
#include "report.h"
#include "runtime.h"
#include "stream.h"

#include <set>

struct CUgraph_st {
    std::vector<sim::WorkPointer> work;
};
struct CUgraphExec_st {
    std::vector<sim::WorkPointer> work;
};

namespace sim {

static std::set<CUgraph_st *> graphs;
static std::set<CUgraphExec_st *> runnable;

static void count() { graphs_held = graphs.size() + runnable.size(); }

void forget_graphs() {
    for (auto *g : graphs) delete g;
    for (auto *g : runnable) delete g;
    graphs.clear();
    runnable.clear();
    count();
}

} // namespace sim

using namespace sim;

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode) {
    SIM_CALL("cudaStreamBeginCapture", cudaErrorOperatingSystem);
    CUstream_st *s = open_stream(handle);
    if (!s) return remember(cudaErrorInvalidResourceHandle);
    if (!handle || handle == cudaStreamLegacy) return remember(cudaErrorStreamCaptureUnsupported);
    if (s->capture) return remember(cudaErrorIllegalState);
    s->capture = new Capture{s, {}, false};
    return cudaSuccess;
}

// All streams that joined a recording leave it when it ends. What went wrong within
// makes it end without a graph.
cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t *out) {
    Call call("cudaStreamEndCapture", cudaErrorOperatingSystem);
    CUstream_st *s = open_stream(handle);
    if (out) *out = nullptr;
    if (!s || !out) return remember(s ? cudaErrorInvalidValue : cudaErrorInvalidResourceHandle);
    Capture *c = s->capture;
    if (!c) return remember(call.refused() != cudaSuccess ? call.refused() : cudaErrorIllegalState);
    if (c->origin != s) return remember(cudaErrorStreamCaptureUnmatched);
    leave_capture(c);
    const bool broken = c->broken;
    auto *g = new CUgraph_st{std::move(c->work)};
    delete c;
    if (broken || call.refused() != cudaSuccess) {
        delete g;
        return remember(call.refused() != cudaSuccess ? call.refused() : cudaErrorStreamCaptureInvalidated);
    }
    graphs.insert(g);
    count();
    *out = g;
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus *out) {
    SIM_CALL("cudaStreamIsCapturing", cudaErrorOperatingSystem);
    CUstream_st *s = open_stream(handle);
    if (!s || !out) return remember(s ? cudaErrorInvalidValue : cudaErrorInvalidResourceHandle);
    *out = !s->capture            ? cudaStreamCaptureStatusNone
           : s->capture->broken ? cudaStreamCaptureStatusInvalidated
                                  : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long) {
    SIM_CALL("cudaGraphInstantiate", cudaErrorMemoryAllocation);
    if (!out || !graphs.count(graph)) return remember(cudaErrorInvalidValue);
    auto *g = new CUgraphExec_st{graph->work};
    runnable.insert(g);
    count();
    *out = g;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long flags) {
    return cudaGraphInstantiate(out, graph, flags);
}

cudaError_t cudaGraphUpload(cudaGraphExec_t graph, cudaStream_t handle) {
    SIM_CALL("cudaGraphUpload", cudaErrorMemoryAllocation);
    if (!runnable.count(graph)) return remember(cudaErrorInvalidValue);
    return remember(open_stream(handle) ? cudaSuccess : cudaErrorInvalidResourceHandle);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t handle) {
    SIM_CALL("cudaGraphLaunch", cudaErrorLaunchOutOfResources, "launch");
    CUstream_st *s = open_stream(handle);
    if (!s) return remember(cudaErrorInvalidResourceHandle);
    if (!runnable.count(graph)) return remember(cudaErrorInvalidValue);
    for (const WorkPointer &work : graph->work) {
        cudaError_t e = put(s, work);
        if (e != cudaSuccess) return remember(e);
    }
    return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count_out) {
    SIM_CALL("cudaGraphGetNodes", cudaErrorOperatingSystem);
    if (!graphs.count(graph) || !count_out) return remember(cudaErrorInvalidValue);
    if (nodes) return remember(cudaErrorNotSupported); // their number is all that there is
    *count_out = graph->work.size();
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    Call call("cudaGraphDestroy", cudaErrorOperatingSystem);
    if (!graphs.erase(graph)) return remember(cudaErrorInvalidValue);
    delete graph;
    count();
    return remember(call.refused());
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
    Call call("cudaGraphExecDestroy", cudaErrorOperatingSystem);
    if (!runnable.erase(graph)) return remember(cudaErrorInvalidValue);
    delete graph;
    count();
    return remember(call.refused());
}
