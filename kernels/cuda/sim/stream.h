// stream.h: what is queued. Work that is put on a stream is done when somebody
// waits for it, or earlier, by chance: so that a wait which is missing shows.
#ifndef SERVEBENCH_CUDA_SIM_STREAM_H
#define SERVEBENCH_CUDA_SIM_STREAM_H

#include <cuda_runtime_api.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

namespace sim {

// Work is something that a stream does. A graph does it again and again.
struct Work {
    virtual ~Work() {}
    // run returns an error that is to stick, or cudaSuccess.
    virtual cudaError_t run() = 0;
};
using WorkPointer = std::shared_ptr<Work>;

// Capture is what streams record in place of doing it.
struct Capture {
    CUstream_st *origin;
    std::vector<WorkPointer> work;
    bool broken; // something was asked for that cannot be recorded
};

// Moment is what is known of an event; work that sets it may outlive the event.
struct Moment {
    uint64_t recorded, done; // how often
    double seconds;          // when it was done last
    CUstream_st *stream;     // where it was recorded last
    const Capture *capture;  // in which it was recorded last
};

// open_stream finds a stream by its handle, the default one for 0; NULL for one
// that there is not.
CUstream_st *open_stream(cudaStream_t s);
// put queues work, or records it.
cudaError_t put(CUstream_st *s, WorkPointer work);
// drain does all that is queued on a stream, or as much as a number of pieces.
cudaError_t drain(CUstream_st *s, size_t pieces = SIZE_MAX);
// drain_all does all that is queued anywhere, or on streams that the default stream waits for.
cudaError_t drain_all(bool blocking_only);
// capture_of is what a stream records to, or NULL.
Capture *capture_of(CUstream_st *s);
// leave_capture makes all streams forget a recording.
void leave_capture(const Capture *c);
// break_captures is called by what must not be called while anything is recorded:
// it spoils the recordings, and returns whether there were any.
bool break_captures();

uint64_t streams_held(); // streams, events, graphs and cuBLASLt's objects
void release_streams();  // gives all of them back, and drops what is queued

double now_seconds();

// Counts of objects whose handles other files give out.
extern uint64_t graphs_held, blas_held;
void forget_graphs();
void forget_blas();

} // namespace sim

struct CUstream_st {
    std::deque<sim::WorkPointer> queue;
    sim::Capture *capture;
    bool non_blocking;
};

struct CUevent_st {
    std::shared_ptr<sim::Moment> moment;
    bool timing;
};
#endif
