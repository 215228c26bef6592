// block.cpp: runs the blocks of a launch one after another, each with its threads
// as fibers that take turns in an order of chance; barriers of the block; and what
// becomes of threads that wait for each other in vain.
#include "machine.h"

#include "memory.h"
#include "report.h"

#include <dlfcn.h>

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <numeric>

namespace sim {

Here *here;
uint3 block_index;
dim3 block_size, grid_size;
Machine machine;

const char *op_name(Op op) {
    switch (op) {
    case Op::kNone:
        return "nothing";
    case Op::kThreads:
        return "__syncthreads";
    case Op::kThreadsOr:
        return "__syncthreads_or";
    case Op::kThreadsAnd:
        return "__syncthreads_and";
    case Op::kThreadsCount:
        return "__syncthreads_count";
    case Op::kWarp:
        return "__syncwarp";
    case Op::kShuffle:
        return "__shfl_sync";
    case Op::kShuffleUp:
        return "__shfl_up_sync";
    case Op::kShuffleDown:
        return "__shfl_down_sync";
    case Op::kShuffleXor:
        return "__shfl_xor_sync";
    case Op::kAny:
        return "__any_sync";
    case Op::kAll:
        return "__all_sync";
    case Op::kBallot:
        return "__ballot_sync";
    case Op::kMatchAny:
        return "__match_any_sync";
    case Op::kAdd:
    case Op::kMin:
    case Op::kMax:
    case Op::kMinSigned:
    case Op::kMaxSigned:
    case Op::kAnd:
    case Op::kOr:
    case Op::kXor:
        return "a __reduce_sync";
    case Op::kLoadMatrix:
        return "ldmatrix_x4";
    case Op::kLoadMatrixTrans:
        return "ldmatrix_x4_trans";
    case Op::kMma:
        return "mma_16816";
    }
    return "?";
}

// Place is where a thread waits, in words. What a thread that is given up has on its
// stack is never destroyed, so nothing here allocates.
struct Place {
    char text[160];
    explicit Place(const Meeting &m) {
        const char *file = m.file ? m.file : "?";
        if (const char *slash = strrchr(file, '/')) file = slash + 1;
        if (m.op >= Op::kWarp)
            snprintf(text, sizeof text, "%s with mask %08x at %s:%d", op_name(m.op), m.mask, file, m.line);
        else
            snprintf(text, sizeof text, "%s at %s:%d", op_name(m.op), file, m.line);
    }
};

void fault(cudaError_t error, uintptr_t at, uintptr_t before, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char head[256];
    Lane &l = me();
    snprintf(head, sizeof head, "block (%u, %u, %u), thread (%u, %u, %u): ", block_index.x, block_index.y, block_index.z, l.thread.x,
             l.thread.y, l.thread.z);
    machine.failed = true;
    machine.fault.error = error;
    machine.fault.text = head;
    machine.fault.text += text;
    machine.fault.at = at, machine.fault.before = before;
    machine.previous = &l.fiber;
    fiber_switch(&l.fiber, &machine.host, false);
    __builtin_unreachable();
}

// Turns.

static int pick(uint32_t set, uint64_t random) {
    int turn = int(random & 31);
    uint32_t turned = set >> turn | (turn ? set << (32 - turn) : 0);
    return (__builtin_ctz(turned) + turn) & 31;
}

// next picks who runs: mostly of the same warp, as long as one of it can.
static Lane *next(Warp *w) {
    if (!machine.ready) return nullptr;
    uint64_t random = next_random() >> 16;
    if (!w->ready || (random & 15) == 0) w = &machine.warps[pick(machine.ready, random >> 4)];
    return &w->lanes[pick(w->ready, random >> 9)];
}

// stuck says who waits for what, when nobody can run.
[[noreturn]] static void stuck() {
    char text[800] = "";
    size_t n = 0;
    auto say = [&](const char *format, auto... args) {
        if (n < sizeof text) n += size_t(snprintf(text + n, sizeof text - n, format, args...));
    };
    int told = 0, returned = -1;
    Meeting last = {};
    for (int i = 0; i < machine.threads; i++) {
        Lane &l = machine.lanes[i];
        if (l.warp->done & l.bit()) {
            if (returned < 0) returned = i;
            continue;
        }
        if (told > 0 && (told == 4 || l.at.same(last))) continue;
        last = l.at;
        told++;
        say("; thread %d waits in %s", i, Place(l.at).text);
    }
    if (returned >= 0) say("; %d threads have returned, the first is %d", machine.exited, returned);
    fault(cudaErrorLaunchFailure, 0, 0, "threads wait for each other in vain%s", text);
}

static void go(Lane &from, Lane *to) {
    if (!to) stuck();
    if (to == &from) return;
    here = to;
    machine.previous = &from.fiber;
    fiber_switch(&from.fiber, &to->fiber, false);
}

void wait_here() {
    Lane &l = me();
    Warp &w = *l.warp;
    w.ready &= ~l.bit();
    if (!w.ready) machine.ready &= ~(1u << w.number);
    go(l, next(&w));
}

void yield() {
    Lane &l = me();
    go(l, next(l.warp));
}

void wake(Warp &w, uint32_t lanes) {
    w.ready |= lanes;
    machine.ready |= 1u << w.number;
}

int meet_block(Op op, int value, int line, const char *file) {
    Lane &l = me();
    l.at = {op, 0, line, file};
    if (machine.arrived == 0) {
        machine.barrier = l.at;
        machine.sum = 0;
    } else if (!machine.barrier.same(l.at)) {
        fault(cudaErrorLaunchFailure, SIM_PC, 0, "%s, while other threads of the block wait in %s: all must reach the same barrier",
              Place(l.at).text, Place(machine.barrier).text);
    }
    machine.sum += value != 0;
    if (++machine.arrived < machine.threads) {
        wait_here();
    } else {
        machine.answer = op == Op::kThreadsCount ? machine.sum : op == Op::kThreadsAnd ? machine.sum == machine.threads : machine.sum > 0;
        machine.arrived = 0;
        machine.phase++;
        for (int i = 0; i < machine.warps_n; i++) wake(machine.warps[i], machine.warps[i].exist);
        yield();
    }
    return machine.answer;
}

// Blocks.

// A thread's life. Its frame is never left, so nothing may be kept in it.
__attribute__((no_sanitize("address", "undefined"))) static void live() {
    fiber_entered(machine.previous);
    machine.kernel->run();
    Lane &l = me();
    Warp &w = *l.warp;
    l.copies.clear();
    w.done |= l.bit();
    w.ready &= ~l.bit();
    if (!w.ready) machine.ready &= ~(1u << w.number);
    machine.previous = &l.fiber;
    if (++machine.exited == machine.threads) {
        fiber_switch(&l.fiber, &machine.host, true);
    } else {
        Lane *to = next(&w);
        if (!to) stuck();
        here = to;
        fiber_switch(&l.fiber, &to->fiber, true);
    }
    __builtin_unreachable();
}

static bool make_stacks() {
    Dl_info info = {};
    if (dladdr(reinterpret_cast<void *>(&make_stacks), &info)) code_base = reinterpret_cast<uintptr_t>(info.dli_fbase);
    static Fiber *fibers[kMostThreads];
    for (int i = 0; i < kMostThreads; i++) fibers[i] = &machine.lanes[i].fiber;
    return fiber_stacks(fibers, kMostThreads);
}

static void begin_block() {
    machine.blocks++;
    machine.phase++;
    machine.arrived = machine.exited = 0;
    machine.ready = 0;
    watch_block();
    unsigned i = 0;
    for (unsigned z = 0; z < block_size.z; z++)
        for (unsigned y = 0; y < block_size.y; y++)
            for (unsigned x = 0; x < block_size.x; x++, i++) {
                Lane &l = machine.lanes[i];
                l.thread = {x, y, z};
                l.at = {};
                l.groups = 0;
                l.copies.clear();
                fiber_begin(&l.fiber, live);
            }
    for (int n = 0; n < machine.warps_n; n++) {
        Warp &w = machine.warps[n];
        int lanes = machine.threads - n * kLanes;
        w.exist = lanes >= kLanes ? kAllLanes : (1u << lanes) - 1;
        w.waiting = w.done = w.ready = 0; // time goes on from block to block, so that seen need not be cleared
        wake(w, w.exist);
    }
}

// run_block returns whether all threads came to their end.
static bool run_block() {
    begin_block();
    Lane *first = next(&machine.warps[0]);
    here = first;
    machine.host.low = nullptr;
    machine.previous = &machine.host;
    fiber_switch(&machine.host, &first->fiber, false);
    here = nullptr;
    if (!machine.failed) return true;
    for (int i = 0; i < machine.threads; i++) machine.lanes[i].fiber.abandoned = true;
    return false;
}

static void prepare(const char *name, dim3 grid, dim3 block, size_t shared, const Kernel &kernel) {
    machine.name = name;
    machine.kernel = &kernel;
    machine.launch++;
    machine.dynamic = shared;
    machine.threads = int(block.x * block.y * block.z);
    machine.warps_n = (machine.threads + kLanes - 1) / kLanes;
    machine.failed = false;
    machine.fault = Fault();
    block_size = block, grid_size = grid;
    for (int i = 0; i < kMostWarps; i++) {
        machine.warps[i].number = i;
        machine.warps[i].lanes = &machine.lanes[i * kLanes];
        if (machine.warps[i].time > 1u << 31) {
            machine.warps[i].time = machine.warps[i].full = 0;
            memset(machine.warps[i].seen, 0, sizeof machine.warps[i].seen);
        }
    }
    for (int i = 0; i < machine.threads; i++) {
        machine.lanes[i].number = i;
        machine.lanes[i].lane = i % kLanes;
        machine.lanes[i].warp = &machine.warps[i / kLanes];
    }
}

cudaError_t run_kernel(const char *name, dim3 grid, dim3 block, size_t shared, const Kernel &kernel) {
    if (!machine.made && !(machine.made = make_stacks())) {
        report(cudaErrorLaunchFailure, "the host has no memory for the stacks of a block's threads");
        return cudaErrorLaunchFailure;
    }
    prepare(name, grid, block, shared, kernel);
    note_launch(name, shared);
    if (!watch_launch()) {
        report(cudaErrorLaunchFailure, "the host has no memory for a block's shared memory");
        return cudaErrorLaunchFailure;
    }
    // Blocks come in steps that share no factor with their number: each once.
    const uint64_t count = uint64_t(grid.x) * grid.y * grid.z;
    uint64_t at = next_random() % count, step = next_random() % count | 1;
    while (std::gcd(step, count) != 1) step++;
    for (uint64_t i = 0; i < count; i++, at = (at + step) % count) {
        block_index = {unsigned(at % grid.x), unsigned(at / grid.x % grid.y), unsigned(at / grid.x / grid.y)};
        if (!run_block()) break;
    }
    watch_end();
    machine.kernel = nullptr;
    if (!machine.failed) return cudaSuccess;
    const Fault &f = machine.fault;
    std::string text = std::string("kernel ") + name + ", " + f.text;
    if (f.at) text += "\n    here:   " + source_of(f.at);
    if (f.before) text += "\n    before: " + source_of(f.before);
    report(f.error, "%s", text.c_str());
    return f.error;
}

void seed_machine(uint64_t seed) {
    // Seeds that differ in a bit have to give orders that have nothing in common.
    uint64_t x = seed + 0x9e3779b97f4a7c15ull;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    machine.random = (x ^ x >> 31) | 1;
}

} // namespace sim
