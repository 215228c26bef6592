// warp.cpp: what lanes of a warp do together: __syncwarp, shuffles, votes,
// ldmatrix, mma; and the copies to shared memory that a thread lets run on.
//
// The lane that arrives last does it for all. A lane is let go only when every lane
// that its mask names has arrived with the same operation, mask and line.
#include "machine.h"

#include <cstring>

namespace sim {

// arrive waits until all lanes of the mask are there. done is called once, by the
// last of them, with their warp.
template <typename F> static void arrive(Op op, uint32_t mask, int line, const char *file, uintptr_t pc, F done) {
    Lane &l = me();
    Warp &w = *l.warp;
    l.at = {op, mask, line, file};
    if (!(mask & l.bit())) fault(cudaErrorLaunchFailure, pc, 0, "%s: its mask, %08x, lacks the lane itself, %d", op_name(op), mask, l.lane);
    if (mask & ~w.exist)
        fault(cudaErrorLaunchFailure, pc, 0, "%s: its mask, %08x, has lanes that the block has not: %08x", op_name(op), mask, mask & ~w.exist);
    if (mask & w.done)
        fault(cudaErrorLaunchFailure, pc, 0, "%s: its mask, %08x, has lanes that have returned: %08x", op_name(op), mask, mask & w.done);
    w.waiting |= l.bit();
    bool all = (w.waiting & mask) == mask;
    for (uint32_t set = all ? mask : 0; set && all; set &= set - 1) all = w.lanes[__builtin_ctz(set)].at.same(l.at);
    if (!all) {
        wait_here();
        return;
    }
    done(w);
    w.waiting &= ~mask;
    wake(w, mask);
    yield();
}

template <typename F> static void each(uint32_t mask, F f) {
    for (; mask; mask &= mask - 1) f(__builtin_ctz(mask));
}

// order_memory is __syncwarp: what any lane of the mask did or knew of before, all
// of them know of now. It is the only one that orders memory: the programming
// guide says of shuffles and votes that they do not.
static void order_memory(Warp &w, uint32_t mask) {
    const uint32_t now = ++w.time;
    if (mask == w.exist) {
        w.full = now;
        return;
    }
    uint32_t known[kLanes] = {};
    each(mask, [&](int l) {
        for (int k = 0; k < kLanes; k++) known[k] = w.seen[l][k] > known[k] ? w.seen[l][k] : known[k];
    });
    each(mask, [&](int l) { known[l] = now; });
    each(mask, [&](int l) { memcpy(w.seen[l], known, sizeof known); });
}

// source is the lane that a shuffle reads, or the lane itself where it is out of range.
static int source(Op op, int lane, int argument, int width) {
    int from = lane & ~(width - 1), s = lane;
    switch (op) {
    case Op::kShuffle:
        return from | (argument & (width - 1));
    case Op::kShuffleUp:
        s = unsigned(argument) > unsigned(lane - from) ? lane : lane - argument;
        break;
    case Op::kShuffleDown:
        s = unsigned(argument) > unsigned(from + width - 1 - lane) ? lane : lane + argument;
        break;
    default:
        s = lane ^ argument;
        if (s < 0 || s >= from + width) s = lane;
    }
    return s;
}

static void shuffle_all(Warp &w, Op op, uint32_t mask, uintptr_t pc) {
    each(mask, [&](int i) {
        Lane &l = w.lanes[i];
        if (l.width < 1 || l.width > kLanes || (l.width & (l.width - 1)))
            fault(cudaErrorLaunchFailure, pc, 0, "%s: lane %d has width %d, a power of 2 up to 32 can be", op_name(op), i, l.width);
        int s = source(op, i, l.argument, l.width);
        if (!(mask >> s & 1))
            fault(cudaErrorLaunchFailure, pc, 0, "%s: lane %d reads lane %d, which the mask, %08x, lacks", op_name(op), i, s, mask);
        l.answer = w.lanes[s].value;
    });
}

static uint64_t reduce(Op op, uint64_t x, uint64_t y) {
    const uint32_t a = uint32_t(x), b = uint32_t(y);
    switch (op) {
    case Op::kAdd:
        return a + b;
    case Op::kMin:
        return a < b ? a : b;
    case Op::kMax:
        return a > b ? a : b;
    case Op::kMinSigned:
        return int32_t(a) < int32_t(b) ? a : b;
    case Op::kMaxSigned:
        return int32_t(a) > int32_t(b) ? a : b;
    case Op::kAnd:
        return a & b;
    case Op::kOr:
        return a | b;
    default:
        return a ^ b;
    }
}

static void vote_all(Warp &w, Op op, uint32_t mask) {
    if (op == Op::kMatchAny) {
        each(mask, [&](int i) {
            uint32_t equal = 0;
            each(mask, [&](int k) { equal |= uint32_t(w.lanes[k].value == w.lanes[i].value) << k; });
            w.lanes[i].answer = equal;
        });
        return;
    }
    uint64_t answer = 0;
    if (op == Op::kAny || op == Op::kAll || op == Op::kBallot) {
        uint32_t ballot = 0;
        each(mask, [&](int i) { ballot |= uint32_t(w.lanes[i].value != 0) << i; });
        answer = op == Op::kBallot ? ballot : op == Op::kAny ? ballot != 0 : ballot == mask;
    } else {
        bool first = true;
        each(mask, [&](int i) {
            answer = first ? w.lanes[i].value : reduce(op, answer, w.lanes[i].value);
            first = false;
        });
    }
    each(mask, [&](int i) { w.lanes[i].answer = answer; });
}

uint64_t meet_warp(Op op, uint32_t mask, uint64_t value, int argument, int width, int line, const char *file) {
    Lane &l = me();
    l.value = value, l.argument = argument, l.width = width;
    const uintptr_t pc = SIM_PC;
    arrive(op, mask, line, file, pc, [&](Warp &w) {
        if (op == Op::kWarp)
            order_memory(w, mask);
        else if (op <= Op::kShuffleXor)
            shuffle_all(w, op, mask, pc);
        else
            vote_all(w, op, mask);
    });
    return l.answer;
}

// load_all reads all lanes' elements when the last lane has given its row. Each is
// read as by the lane that gets it: what was written there it must know of.
static void load_all(Warp &w, bool transposed, uintptr_t pc) {
    Here *const self = here;
    for (int i = 0; i < kLanes; i++) {
        here = &w.lanes[i];
        for (int m = 0; m < 4; m++) {
            uint16_t e[2];
            for (int k = 0; k < 2; k++) {
                const int row = transposed ? i % 4 * 2 + k : i / 4, column = transposed ? i / 4 : i % 4 * 2 + k;
                const char *p = static_cast<const char *>(w.lanes[m * 8 + row].row) + column * 2;
                look(p, 2, Access::kRead, pc);
                memcpy(&e[k], p, 2);
            }
            w.lanes[i].r[m] = uint32_t(e[0]) | uint32_t(e[1]) << 16;
        }
    }
    here = self;
}

void load_matrix(uint32_t *r, const void *row, bool transposed, int line, const char *file) {
    Lane &l = me();
    const uintptr_t pc = SIM_PC;
    if (reinterpret_cast<uintptr_t>(row) % 16) fault(cudaErrorMisalignedAddress, pc, 0, "ldmatrix_x4 of a row at %p: 16 aligned bytes are wanted", row);
    l.row = row, l.r = r;
    arrive(transposed ? Op::kLoadMatrixTrans : Op::kLoadMatrix, kAllLanes, line, file, pc,
           [transposed, pc](Warp &w) { load_all(w, transposed, pc); });
}

static float element(uint32_t pair, int i, bool half) {
    const uint16_t bits = uint16_t(pair >> 16 * i);
    if (half) {
        __half h;
        memcpy(&h, &bits, 2);
        return __half2float(h);
    }
    const uint32_t wide = uint32_t(bits) << 16;
    float f;
    memcpy(&f, &wide, 4);
    return f;
}

// One warp's d += a·b, with the fragments of the PTX manual's m16n8k16. Products
// of two 16-bit elements are exact in float32; so is no sum.
static void multiply_all(Warp &w, bool half) {
    float a[16][16], b[16][8], d[16][8];
    for (int i = 0; i < kLanes; i++) {
        const Lane &l = w.lanes[i];
        const int g = i / 4, t = i % 4 * 2;
        for (int e = 0; e < 2; e++) {
            a[g][t + e] = element(l.a[0], e, half), a[g + 8][t + e] = element(l.a[1], e, half);
            a[g][t + 8 + e] = element(l.a[2], e, half), a[g + 8][t + 8 + e] = element(l.a[3], e, half);
            b[t + e][g] = element(l.b[0], e, half), b[t + 8 + e][g] = element(l.b[1], e, half);
            d[g][t + e] = l.d[e], d[g + 8][t + e] = l.d[2 + e];
        }
    }
    for (int m = 0; m < 16; m++)
        for (int k = 0; k < 16; k++)
            for (int n = 0; n < 8; n++) d[m][n] += a[m][k] * b[k][n];
    for (int i = 0; i < kLanes; i++) {
        Lane &l = w.lanes[i];
        const int g = i / 4, t = i % 4 * 2;
        for (int e = 0; e < 2; e++) l.d[e] = d[g][t + e], l.d[2 + e] = d[g + 8][t + e];
    }
}

void multiply(float *d, const uint32_t *a, const uint32_t *b, bool half, int line, const char *file) {
    Lane &l = me();
    l.d = d, l.a = a, l.b = b;
    arrive(Op::kMma, kAllLanes, line, file, SIM_PC, [half](Warp &w) { multiply_all(w, half); });
}

// Copies that a thread lets run on: done when it waits for them, and not before,
// so that what is read too early is what was there.

void copy_async(void *to, const void *from, bool valid) {
    const uintptr_t pc = SIM_PC;
    if (reinterpret_cast<uintptr_t>(to) % 16 || (valid && reinterpret_cast<uintptr_t>(from) % 16))
        fault(cudaErrorMisalignedAddress, pc, 0, "cp_async16 from %p to %p: 16 aligned bytes are wanted", from, to);
    if (valid) look(from, 16, Access::kRead, pc);
    look(to, 16, Access::kWrite, pc); // it may be written from now on
    pend(to, 16, pc);
    Lane &l = me();
    l.copies.push_back({static_cast<unsigned char *>(to), static_cast<const unsigned char *>(from), l.groups, valid, short_pc(pc)});
}

void copy_commit() { me().groups++; }

void copy_wait(int groups) {
    Lane &l = me();
    size_t kept = 0;
    for (const Deferred &c : l.copies) {
        // Groups are counted from 0; l.groups are complete, the last so many may go on.
        if (c.group >= l.groups || l.groups - c.group <= uint32_t(groups)) {
            l.copies[kept++] = c;
            continue;
        }
        if (c.valid)
            memcpy(c.to, c.from, 16);
        else
            memset(c.to, 0, 16);
        settle(c.to, 16);
        look(c.to, 16, Access::kWrite, long_pc(c.pc)); // others know of it behind a barrier
    }
    l.copies.resize(kept);
}

void misaligned(const void *p, size_t bytes) {
    const uintptr_t pc = SIM_PC;
    if (on_lane()) fault(cudaErrorMisalignedAddress, pc, 0, "%zu bytes at %p, which is no multiple of that", bytes, p);
    __builtin_trap(); // the host's code has no reason to come here
}

} // namespace sim
