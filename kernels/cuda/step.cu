// step.cu: a step's way to the device, and its tokens' way back.
//
// sbc_begin writes all arrays of a step one behind the other into page-locked
// memory, exactly as long as they are, copies them in one piece, and unpack_kernel
// puts each where StepView has it in every step, whatever its size: a graph finds
// its step at the addresses it was recorded with. On its way each row's token that
// the last draw drew (from) takes the place of what the caller gave.
//
// Two such pieces of memory take turns. What is in one is needed until its step has
// begun on the device, but it is kept until the step is done: that is what bounds
// the queue to two steps.
//
// unpack_kernel
//   Purpose   StepView's arrays from the packed step; tokens[t] = drawn[from[t]]
//   Inputs    packed [n] int32, drawn [max_seqs] int32
//   Outputs   each array as StepView says; blocks [S, max_blocks] with the stride of
//             the options. Behind what a step has, arrays keep what they had
//   Grid      (elements of the longest array / 128, at most 64, kArrays); block 128
//   Shared    none; no alignment is needed
//   Roofline  8 bytes an element. A decoding step of 16 sequences of 4096 tokens has
//             about 4,300: 34 KB, 20 ns at 2.0 TB/s and 10 ns at 3.35 TB/s, so that
//             it takes what a launch takes, 2 to 3 µs. The copy before it is 17 KB.

#include "host.cuh"

#include <algorithm>
#include <cstring>

namespace sbc {

// The arrays of StepView, in the order in which they are packed.
enum { kTokens, kFrom, kPositions, kSlots, kSeqs, kStarts, kLens, kOut, kSingle, kTiles, kBlocks, kArrays };

// Array is one of them: [rows, width], from packed + at to to, where rows are stride apart.
struct Array {
    int32_t *to;
    int32_t at, rows, width, stride;
};

struct Arrays {
    const int32_t *packed, *drawn;
    Array array[kArrays];
};

constexpr int kUnpackThreads = 128;
constexpr int kUnpackBlocks = 64;

static __global__ void __launch_bounds__(kUnpackThreads) unpack_kernel(Arrays step) {
    const int which = blockIdx.y;
    const Array a = step.array[which];
    const int32_t *from = step.packed + step.array[kFrom].at;
    const int n = a.rows * a.width;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        int32_t value = step.packed[a.at + i];
        // A row that drew no token has -1: its sequence is over, what this row computes is not used.
        if (which == kTokens && from[i] >= 0) {
            value = step.drawn[from[i]];
            if (value < 0) value = 0;
        }
        a.to[i / a.width * a.stride + i % a.width] = value;
    }
}

// none_kernel says that nothing was drawn: drawn [n] = -1.
static __global__ void __launch_bounds__(kUnpackThreads) none_kernel(int32_t *drawn, int n) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) drawn[i] = -1;
}

// most_tiles bounds the tiles of a step: each sequence of several rows has one that is not full.
static int most_tiles(const sbc_options &o) { return o.max_tokens / kPrefillRows + std::min(o.max_seqs, o.max_tokens / 2); }

// most_packed bounds the int32 of a packed step.
static size_t most_packed(const sbc_options &o) {
    size_t t = o.max_tokens, s = o.max_seqs;
    return 5 * t + (s + 1) + 3 * s + size_t(most_tiles(o)) * (sizeof(Tile) / sizeof(int32_t)) + s * o.max_blocks;
}

// lay_out takes the memory of StepView's arrays, each aligned to 256 bytes.
static int lay_out(sbc_context *c) {
    const sbc_options &o = c->options;
    StepView &v = c->step;
    const struct {
        int32_t **array;
        size_t n;
    } arrays[] = {
        {&v.tokens, size_t(o.max_tokens)},    {&v.from, size_t(o.max_tokens)},     {&v.positions, size_t(o.max_tokens)},
        {&v.slots, size_t(o.max_tokens)},     {&v.seqs, size_t(o.max_tokens)},     {&v.starts, size_t(o.max_seqs) + 1},
        {&v.lens, size_t(o.max_seqs)},        {&v.out, size_t(o.max_seqs)},        {&v.single, size_t(o.max_seqs)},
        {&v.blocks, size_t(o.max_seqs) * o.max_blocks}, {&c->drawn, size_t(o.max_seqs)}, {&c->host->packed, most_packed(o)},
    };
    const size_t unit = 256 / sizeof(int32_t);
    size_t total = 0;
    for (const auto &a : arrays) total += (a.n + unit - 1) / unit * unit;
    const size_t tiles = size_t(most_tiles(o)) * sizeof(Tile);
    void *block = nullptr;
    SBC_TRY(device_take(c, total * sizeof(int32_t) + tiles, "the arrays of a step", &block));
    auto *next = static_cast<int32_t *>(block);
    for (const auto &a : arrays) {
        *a.array = next;
        next += (a.n + unit - 1) / unit * unit;
    }
    v.tiles = reinterpret_cast<Tile *>(next);
    v.stride = o.max_blocks;
    return SBC_OK;
}

int steps_open(sbc_context *c) {
    Host *h = c->host;
    const size_t seqs = c->options.max_seqs;
    SBC_TRY(lay_out(c));
    void *p = nullptr;
    for (Packed &s : h->steps) {
        SBC_TRY(pinned_take(c, most_packed(c->options) * sizeof(int32_t), "the arrays of a step", &p));
        s.data = static_cast<int32_t *>(p);
        SBC_TRY(event_take(c, cudaEventDisableTiming, &s.done));
    }
    SBC_TRY(device_take(c, seqs * sizeof(sbc_draw), "a step's draws", &p));
    h->draws = static_cast<sbc_draw *>(p);
    for (Drawn &d : h->drawn) {
        SBC_TRY(pinned_take(c, seqs * (sizeof(sbc_draw) + sizeof(int32_t)), "a step's draws", &p));
        d.draws = static_cast<sbc_draw *>(p);
        d.ids = reinterpret_cast<int32_t *>(d.draws + seqs);
        SBC_TRY(event_take(c, cudaEventDisableTiming, &d.done));
    }
    const int blocks = std::min(ceil_div(int(seqs), kUnpackThreads), kUnpackBlocks);
    SBC_TRY(SBC_LAUNCH(c, none_kernel, dim3(blocks), dim3(kUnpackThreads), 0, c->drawn, int(seqs)));
    return finish(c);
}

// check_seq says whether the rows of sequence q are consecutive, and what its length says.
static int check_seq(sbc_context *c, const sbc_step *s, int q) {
    const int lo = s->starts[q], hi = s->starts[q + 1], len = s->lens[q];
    if (hi <= lo || hi > s->tokens_n)
        return fail(c, SBC_ARGUMENT, "starts[%d] is %d after %d, of %d rows: every sequence has at least one", q + 1, hi, lo, s->tokens_n);
    const bool nothing = len == 0 && hi == lo + 1 && s->slots[lo] == -1 && s->positions[lo] == 0;
    if (!nothing && int64_t(len) != int64_t(s->positions[hi - 1]) + 1)
        return fail(c, SBC_ARGUMENT, "lens[%d] is %d, the sequence's last position %d", q, len, s->positions[hi - 1]);
    for (int t = lo; t < hi; t++) {
        if (s->positions[t] < 0 || s->positions[t] - (t - lo) != s->positions[lo])
            return fail(c, SBC_ARGUMENT, "positions[%d] is %d: a sequence's are consecutive, from %d here", t, s->positions[t], s->positions[lo]);
        if (s->slots[t] < 0 && !nothing) return fail(c, SBC_ARGUMENT, "slots[%d] is %d", t, s->slots[t]);
        if (s->tokens[t] < 0) return fail(c, SBC_ARGUMENT, "tokens[%d] is %d", t, s->tokens[t]);
        if (s->from && (s->from[t] < -1 || s->from[t] >= c->host->drawn_rows))
            return fail(c, SBC_ARGUMENT, "from[%d] is %d, of %d rows that were drawn", t, s->from[t], c->host->drawn_rows);
    }
    return SBC_OK;
}

int step_check(sbc_context *c, const sbc_step *s) {
    const sbc_options &o = c->options;
    if (!s) return fail(c, SBC_ARGUMENT, "there is no step");
    if (s->tokens_n < 1 || s->tokens_n > o.max_tokens) return fail(c, SBC_ARGUMENT, "tokens_n is %d, 1 to %d can be", s->tokens_n, o.max_tokens);
    if (s->seqs < 1 || s->seqs > o.max_seqs) return fail(c, SBC_ARGUMENT, "seqs is %d, 1 to %d can be", s->seqs, o.max_seqs);
    if (s->max_blocks < 0 || s->max_blocks > o.max_blocks)
        return fail(c, SBC_ARGUMENT, "max_blocks is %d, 0 to %d can be", s->max_blocks, o.max_blocks);
    if (s->out_n < 0 || s->out_n > o.max_seqs) return fail(c, SBC_ARGUMENT, "out_n is %d, 0 to %d can be", s->out_n, o.max_seqs);
    if (s->window < 0) return fail(c, SBC_ARGUMENT, "window is %d", s->window);
    const struct {
        const char *name;
        const int32_t *array;
        int n;
    } arrays[] = {{"tokens", s->tokens, 1}, {"positions", s->positions, 1}, {"slots", s->slots, 1},
                  {"starts", s->starts, 1}, {"lens", s->lens, 1},           {"blocks", s->blocks, s->max_blocks},
                  {"out", s->out, s->out_n}};
    for (const auto &a : arrays)
        if (!a.array && a.n > 0) return fail(c, SBC_ARGUMENT, "%s is NULL", a.name);
    if (s->starts[0] != 0 || s->starts[s->seqs] != s->tokens_n)
        return fail(c, SBC_ARGUMENT, "starts goes from %d to %d, not from 0 to %d", s->starts[0], s->starts[s->seqs], s->tokens_n);
    for (int q = 0; q < s->seqs; q++) SBC_TRY(check_seq(c, s, q));
    for (int i = 0; i < s->out_n; i++)
        if (s->out[i] < 0 || s->out[i] >= s->tokens_n || (i > 0 && s->out[i] <= s->out[i - 1]))
            return fail(c, SBC_ARGUMENT, "out[%d] is %d: rows ascend and are below %d", i, s->out[i], s->tokens_n);
    return SBC_OK;
}

// Writer packs arrays one behind the other.
struct Writer {
    Arrays &arrays;
    int32_t *data;
    int32_t at;

    // add gives the room of an array of [rows, width].
    int32_t *add(int which, int32_t *to, int rows, int width, int stride) {
        arrays.array[which] = {to, at, rows, width, stride};
        int32_t *p = data + at;
        at += rows * width;
        return p;
    }
    // copy adds a vector of n, then more times value.
    void copy(int which, int32_t *to, const int32_t *from, int n, int more, int32_t value) {
        int32_t *p = add(which, to, 1, n + more, n + more);
        if (n > 0) memcpy(p, from, size_t(n) * sizeof(int32_t));
        std::fill_n(p + n, more, value);
    }
};

// write_seqs adds which sequence each row is of, and lists sequences of one row
// and tiles of the others. pad sequences of one row each follow the step's.
static void write_seqs(Writer &w, StepView &v, const sbc_step *s, int pad) {
    const int seqs = s->seqs + pad;
    int32_t *of = w.add(kSeqs, v.seqs, 1, s->tokens_n + pad, 0);
    int32_t *starts = w.add(kStarts, v.starts, 1, seqs + 1, 0);
    int32_t *single = w.add(kSingle, v.single, 1, seqs, 0);
    auto *tiles = reinterpret_cast<Tile *>(w.data + w.at); // 4 int32 each
    v.single_n = v.tiles_n = 0;
    for (int q = 0; q < seqs; q++) {
        const int lo = q < s->seqs ? s->starts[q] : s->tokens_n + q - s->seqs;
        const int hi = q < s->seqs ? s->starts[q + 1] : lo + 1;
        starts[q] = lo, starts[q + 1] = hi;
        std::fill(of + lo, of + hi, q);
        if (hi == lo + 1) {
            single[v.single_n++] = q;
            continue;
        }
        for (int row = lo; row < hi; row += kPrefillRows)
            tiles[v.tiles_n++] = {q, row, std::min(kPrefillRows, hi - row), s->positions[row]};
    }
    w.arrays.array[kSingle].width = v.single_n;
    w.add(kTiles, reinterpret_cast<int32_t *>(v.tiles), 1, v.tiles_n * int(sizeof(Tile) / sizeof(int32_t)), 0);
}

// pack writes a step, padded to so many rows, to where data is, and what it is to
// c->step. It returns how many int32 it took.
static int pack(sbc_context *c, const sbc_step *s, int rows, int32_t *data, Arrays *arrays) {
    StepView &v = c->step;
    const int t = s->tokens_n, pad = rows - t, seqs = s->seqs + pad;
    Writer w{*arrays, data, 0};
    w.copy(kTokens, v.tokens, s->tokens, t, pad, 0);
    if (s->from)
        w.copy(kFrom, v.from, s->from, t, pad, -1);
    else
        w.copy(kFrom, v.from, nullptr, 0, rows, -1);
    w.copy(kPositions, v.positions, s->positions, t, pad, 0);
    w.copy(kSlots, v.slots, s->slots, t, pad, -1);
    w.copy(kLens, v.lens, s->lens, s->seqs, pad, 0);
    int32_t *out = w.add(kOut, v.out, 1, s->out_n + pad, 0);
    if (s->out_n > 0) memcpy(out, s->out, size_t(s->out_n) * sizeof(int32_t));
    for (int i = 0; i < pad; i++) out[s->out_n + i] = t + i;
    // A sequence of length 0 has no blocks.
    int32_t *blocks = w.add(kBlocks, v.blocks, s->seqs, s->max_blocks, v.stride);
    if (s->max_blocks > 0) memcpy(blocks, s->blocks, size_t(s->seqs) * s->max_blocks * sizeof(int32_t));
    write_seqs(w, v, s, pad);
    v.tokens_n = rows, v.seqs_n = seqs, v.out_n = s->out_n + pad;
    v.longest = *std::max_element(s->lens, s->lens + s->seqs);
    return w.at;
}

int step_queue(sbc_context *c, const sbc_step *s, int rows) {
    Host *h = c->host;
    Packed &mine = h->steps[h->turn], &before = h->steps[(h->turn + kSteps - 1) % kSteps];
    if (before.begun) SBC_TRY(check(c, cudaEventRecord(before.done, c->stream), "marking the end of a step"));
    if (mine.begun) SBC_TRY(check(c, cudaEventSynchronize(mine.done), "waiting for the step before the last"));
    mine.begun = false;

    Arrays arrays = {};
    arrays.packed = h->packed, arrays.drawn = c->drawn;
    const int n = pack(c, s, rows, mine.data, &arrays);
    SBC_TRY(check(c, cudaMemcpyAsync(h->packed, mine.data, size_t(n) * sizeof(int32_t), cudaMemcpyHostToDevice, c->stream), "copying a step"));
    int longest = 0;
    for (const Array &a : arrays.array) longest = std::max(longest, a.rows * a.width);
    const dim3 grid(std::min(ceil_div(longest, kUnpackThreads), kUnpackBlocks), kArrays);
    int status = SBC_LAUNCH(c, unpack_kernel, grid, dim3(kUnpackThreads), 0, arrays);
    if (status != SBC_OK) {
        drain(c); // the copy reads what the next step is written over
        return status;
    }
    mine.begun = true;
    h->turn = (h->turn + 1) % kSteps;
    return SBC_OK;
}

} // namespace sbc

using namespace sbc;

int sbc_begin(sbc_context *c, const sbc_step *s) {
    SBC_TRY(enter(c, false));
    SBC_TRY(step_check(c, s));
    return step_queue(c, s, s->tokens_n);
}

// draw queues the copies of a step's draws and tokens, and the draw between them.
static int draw(sbc_context *c, Drawn &d, const float *logits, int32_t width, int32_t vocab) {
    const size_t rows = d.rows;
    SBC_TRY(check(c, cudaMemcpyAsync(c->host->draws, d.draws, rows * sizeof(sbc_draw), cudaMemcpyHostToDevice, c->stream), "copying draws"));
    SBC_TRY(draw_kernels(c, logits, width, vocab, d.rows, c->host->draws, c->drawn));
    SBC_TRY(check(c, cudaMemcpyAsync(d.ids, c->drawn, rows * sizeof(int32_t), cudaMemcpyDeviceToHost, c->stream), "copying tokens"));
    return check(c, cudaEventRecord(d.done, c->stream), "marking the end of a draw");
}

int sbc_draw_tokens(sbc_context *c, sbc_ptr logits, int32_t width, int32_t vocab, int32_t rows, const sbc_draw *draws) {
    SBC_TRY(enter(c, false));
    Host *h = c->host;
    if (rows < 1 || rows > c->options.max_seqs || !draws)
        return fail(c, SBC_ARGUMENT, "draws of %d rows, 1 to %d can be", draws ? rows : 0, c->options.max_seqs);
    if (vocab < 1 || vocab > width) return fail(c, SBC_ARGUMENT, "a vocabulary of %d in rows of %d logits", vocab, width);
    if (!owns(c, logits, uint64_t(rows) * width * sizeof(float)))
        return fail(c, SBC_ARGUMENT, "logits [%d, %d] are not within memory that sbc_alloc gave", rows, width);
    if (h->waiting == SBC_DRAWN) return fail(c, SBC_ARGUMENT, "the tokens of %d steps were not asked for: sbc_drawn gives them", h->waiting);
    Drawn &d = h->drawn[(h->oldest + h->waiting) % SBC_DRAWN];
    memcpy(d.draws, draws, size_t(rows) * sizeof(sbc_draw));
    d.rows = rows;
    h->drawn_rows = 0; // whatever was drawn before may be written over from here on
    int status = draw(c, d, reinterpret_cast<const float *>(logits), width, vocab);
    if (status != SBC_OK) {
        drain(c); // the copies use what the next draw is written over
        return status;
    }
    h->drawn_rows = rows;
    h->waiting++;
    return SBC_OK;
}

int sbc_drawn(sbc_context *c, int32_t *ids, int32_t rows) {
    SBC_TRY(enter(c, false));
    Host *h = c->host;
    if (h->waiting == 0) return fail(c, SBC_ARGUMENT, "no step has drawn tokens that were not asked for yet");
    Drawn &d = h->drawn[h->oldest];
    if (!ids || rows != d.rows) return fail(c, SBC_ARGUMENT, "tokens of %d rows are asked for, %d were drawn", ids ? rows : 0, d.rows);
    SBC_TRY(check(c, cudaEventSynchronize(d.done), "waiting for a step's tokens"));
    memcpy(ids, d.ids, size_t(rows) * sizeof(int32_t));
    h->oldest = (h->oldest + 1) % SBC_DRAWN;
    h->waiting--;
    return SBC_OK;
}
