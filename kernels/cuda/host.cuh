// host.cuh: what a context keeps on the host, and what context.cu, load.cu, step.cu,
// graph.cu and limits.cu offer each other.
//
// Everything that the runtime gave is in one of Host's lists as long as it is held,
// so that sbc_close gives all of it back whatever came before, a sbc_open that
// failed half-way included.
#ifndef SERVEBENCH_CUDA_HOST_CUH
#define SERVEBENCH_CUDA_HOST_CUH

#include "internal.cuh"

#include <exception>
#include <vector>

namespace sbc {

constexpr int kSteps = 2; // steps that may be queued
constexpr int kPieces = 2; // pieces of a load that are under way

// Block is memory: of the device, or page-locked of the host.
struct Block {
    char *data;
    uint64_t bytes;
};

// Packed is one step's arrays on their way to the device.
struct Packed {
    int32_t *data;
    cudaEvent_t done; // recorded behind the step's operations, when the next step begins
    bool begun;       // the step has begun; its event is recorded unless it is the last one
};

// Drawn is a step's draws on their way to the device, and its tokens on their way back.
struct Drawn {
    sbc_draw *draws; // [max_seqs]
    int32_t *ids;    // [max_seqs]
    int32_t rows;
    cudaEvent_t done; // ids are there
};

// Piece is a part of a tensor on its way to the device.
struct Piece {
    char *host, *device; // SBC_STAGE bytes each
    cudaEvent_t done;    // both can be used again
    bool used;           // done was recorded
};

struct Graph {
    cudaGraphExec_t run;
    int32_t rows;
};

struct Host {
    // What sbc_close gives back.
    std::vector<Block> device, pinned;
    std::vector<cudaEvent_t> events;
    std::vector<Graph> graphs;

    // step.cu
    Packed steps[kSteps];
    int turn;           // of the next step
    int32_t *packed;    // the step in device memory as it was copied
    Drawn drawn[SBC_DRAWN];
    int oldest, waiting; // the first whose tokens were not asked for, and how many were not
    sbc_draw *draws;    // [max_seqs] of the step, on the device
    int32_t drawn_rows; // rows that a step's from can name

    Piece pieces[kPieces]; // load.cu; NULL unless a load is under way
    int piece;             // the next one

    float *read; // sbc_read's answer
    uint64_t read_bytes;

    int recorded; // first failure since sbc_graph_begin

    cudaEvent_t start, stop; // of sbc_time and sbc_limit
    bool timing;
};

// room sees to it that one more can be put into a list: before it is taken from the
// runtime, as it could not be kept track of otherwise.
template <typename T> bool room(std::vector<T> &list) {
    try {
        list.reserve(list.size() + 1);
    } catch (const std::exception &) {
        return false;
    }
    return true;
}

// status_of says which status an error of the runtime is.
int status_of(cudaError_t e);

// Memory and events that sbc_close gives back unless they were before. What they
// are for goes into the message. *out is unchanged unless they return SBC_OK; what
// was to be given back is gone whatever they return, or with the context.
int device_take(sbc_context *c, uint64_t bytes, const char *what, void **out);
int device_give(sbc_context *c, void *p); // waits for what is queued
int pinned_take(sbc_context *c, uint64_t bytes, const char *what, void **out);
int pinned_give(sbc_context *c, void *p); // what is queued must not use it
int event_take(sbc_context *c, unsigned flags, cudaEvent_t *out);

// owns tells whether bytes at p lie within one piece of the context's device memory.
bool owns(const sbc_context *c, sbc_ptr p, uint64_t bytes);

// finish waits until everything that is queued is done.
int finish(sbc_context *c);
// drain is finish where something else has failed, whose message is kept.
void drain(sbc_context *c);

// steps_open makes what a context keeps for its steps, and runs a first kernel.
int steps_open(sbc_context *c);

// step_check says whether a step is one that the context can take.
int step_check(sbc_context *c, const sbc_step *s);
// step_queue copies a step to the device, padded to so many rows: s->tokens_n, or,
// where each sequence has one row and wants it, more.
int step_queue(sbc_context *c, const sbc_step *s, int rows);

// record_end ends what graph.cu records and gives the graph, or NULL.
cudaError_t record_end(sbc_context *c, cudaGraph_t *graph);

} // namespace sbc
#endif
