// graph.cu: the operations of a decoding step, recorded once and run again as one.
//
// A step of a few rows is some hundred kernels of a few microseconds each: started
// one by one they take the host longer than the GPU. Recorded, they are one call.
//
// What is recorded are kernels with their arguments, so nothing in them may change
// from one step to the next but what lies in StepView's arrays, and in memory that
// is never moved: grow leaves what a graph may have been recorded with where it is.
// A graph is recorded for a number of rows; a step of fewer is filled up with rows
// that stand for nothing.
#include "host.cuh"

namespace sbc {

cudaError_t record_end(sbc_context *c, cudaGraph_t *graph) {
    *graph = nullptr;
    c->capturing = false;
    cudaError_t e = cudaStreamEndCapture(c->stream, graph);
    if (e != cudaSuccess) cudaGetLastError();
    return e;
}

// check_rows says whether a step is one of single rows that are wanted, as graphs are.
static int check_rows(sbc_context *c, const sbc_step *s, int rows) {
    if (s->tokens_n > rows) return fail(c, SBC_ARGUMENT, "tokens_n is %d, the graph is of %d rows", s->tokens_n, rows);
    if (s->seqs != s->tokens_n || s->out_n != s->tokens_n)
        return fail(c, SBC_ARGUMENT, "%d rows of %d sequences, %d of them wanted: in a graph each is alone and wanted", s->tokens_n, s->seqs, s->out_n);
    return SBC_OK; // sequences have at least one row, and wanted rows ascend: there is no other way
}

// make turns what was recorded into what can be run.
static int make(sbc_context *c, cudaGraph_t graph, int32_t *index) {
    Host *h = c->host;
    if (!room(h->graphs)) return fail(c, SBC_MEMORY, "the host has no memory to keep track of a graph");
    cudaGraphExec_t run = nullptr;
    SBC_TRY(check(c, cudaGraphInstantiateWithFlags(&run, graph, 0), "making a graph"));
    *index = int32_t(h->graphs.size());
    h->graphs.push_back({run, c->step.tokens_n});
    return SBC_OK;
}

} // namespace sbc

using namespace sbc;

int sbc_graph_begin(sbc_context *c, int32_t rows) {
    SBC_TRY(enter(c, false));
    const sbc_options &o = c->options;
    if (rows < 1 || rows > o.max_seqs || rows > o.max_tokens)
        return fail(c, SBC_ARGUMENT, "a graph of %d rows, 1 to %d can be", rows, o.max_seqs < o.max_tokens ? o.max_seqs : o.max_tokens);
    // Other modes bind a recording to a thread, and refuse what enter refuses too.
    SBC_TRY(check(c, cudaStreamBeginCapture(c->stream, cudaStreamCaptureModeRelaxed), "recording a graph"));
    c->capturing = true;
    c->host->recorded = SBC_OK;
    StepView &v = c->step;
    v.tokens_n = v.seqs_n = v.out_n = v.single_n = rows;
    v.tiles_n = v.longest = 0;
    return SBC_OK;
}

int sbc_graph_end(sbc_context *c, int32_t *graph) {
    if (!c || !c->capturing) {
        SBC_TRY(enter(c, false));
        return fail(c, SBC_ARGUMENT, "no graph is being recorded");
    }
    if (graph) *graph = -1;
    cudaGraph_t recorded = nullptr;
    cudaError_t e = record_end(c, &recorded);
    int status = c->lost ? int(SBC_LOST) : c->host->recorded;
    if (status == SBC_OK) status = check(c, e, "ending a graph's recording");
    if (status == SBC_OK && (!graph || !recorded)) status = fail(c, SBC_ARGUMENT, "sbc_graph_end needs a place for the graph, and operations to keep");
    if (status == SBC_OK) status = make(c, recorded, graph);
    if (recorded) {
        e = cudaGraphDestroy(recorded);
        if (status == SBC_OK) status = check(c, e, "giving back what was recorded");
        cudaGetLastError();
    }
    return status;
}

int sbc_graph_run(sbc_context *c, int32_t graph, const sbc_step *s) {
    SBC_TRY(enter(c, false));
    Host *h = c->host;
    if (graph < 0 || size_t(graph) >= h->graphs.size())
        return fail(c, SBC_ARGUMENT, "there is no graph %d, of %zu that were recorded", graph, h->graphs.size());
    const Graph &g = h->graphs[size_t(graph)];
    SBC_TRY(step_check(c, s));
    SBC_TRY(check_rows(c, s, g.rows));
    SBC_TRY(step_queue(c, s, g.rows));
    c->step.longest = 0; // as it was recorded
    return check(c, cudaGraphLaunch(g.run, c->stream), "running a graph");
}
