// watch.cpp: looks at what kernels touch. Built to be checked (SBC_SIM_CHECKED),
// every load and store of a kernel comes by (tsan.cpp); otherwise only those of
// the primitives, and nothing is kept of who touched what.
//
// Two accesses of the same byte of shared memory by different threads, one of them
// a store, must have a barrier between them: __syncthreads, or within a warp a
// __syncwarp that both took part in. Two atomic ones need none. For each byte the
// last stores and the loads since are kept: those of one warp by a set of its
// lanes, of other warps just one.
#include "machine.h"

#include "memory.h"

#include <sys/mman.h>

#include <cstring>

namespace sim {

uintptr_t code_base;

namespace {

// Group is who touched a byte in a phase, in one way.
struct Group {
    uint32_t phase;
    uint32_t lanes; // of the warp
    uint32_t time;  // the warp's, at the latest of these
    uint32_t pc, other_pc;
    uint16_t warp;
    uint16_t other; // a thread of another warp, from 1; 0: none
};

struct Cell {
    Group loads, stores;
    uint64_t pending; // block whose cp_async16 is under way to it
    uint32_t pending_pc;
    bool atomic; // stores are all atomic
};

Cell *cells; // [kSharedEnd - kStaticAt]

#ifdef SBC_SIM_CHECKED
constexpr bool kWatched = true;
#else
constexpr bool kWatched = false;
#endif

constexpr uint32_t kLastPhase = 3u << 30; // no launch goes through a quarter of all
constexpr size_t kStaticLimit = 48 << 10; // that a kernel may declare

// What the kernel has declared so far.
struct Declared {
    size_t offset, bytes;
    const char *name;
};
std::vector<Declared> declared;
size_t declared_bytes, declared_end;

bool make_cells() {
    if (cells) return true;
    void *p = mmap(nullptr, sizeof(Cell) * (kSharedEnd - kStaticAt), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    cells = p == MAP_FAILED ? nullptr : static_cast<Cell *>(p);
    return cells;
}

// A thread that touched the byte before and that the lane knows nothing of since,
// or -1. pc gets where it did.
int unordered(const Group &g, const Lane &l, uint32_t *pc) {
    const Warp &w = *l.warp;
    *pc = g.pc;
    if (g.warp != w.number) return g.warp * kLanes + __builtin_ctz(g.lanes);
    if (g.other) {
        *pc = g.other_pc;
        return g.other - 1;
    }
    if (w.full > g.time) return -1;
    for (uint32_t others = g.lanes & ~l.bit(); others; others &= others - 1) {
        int k = __builtin_ctz(others);
        if (w.seen[l.lane][k] <= g.time) return g.warp * kLanes + k;
    }
    return -1;
}

void begin_group(Group &g, const Lane &l, uint32_t pc) {
    g = {machine.phase, l.bit(), l.warp->time, pc, 0, uint16_t(l.warp->number), 0};
}

void join(Group &g, const Lane &l, uint32_t pc) {
    const Warp &w = *l.warp;
    if (g.phase != machine.phase) {
        begin_group(g, l, pc);
    } else if (g.warp == w.number) {
        g.lanes = w.full > g.time ? l.bit() : g.lanes | l.bit();
        g.time = w.time, g.pc = pc;
    } else if (!g.other) {
        g.other = uint16_t(l.number + 1), g.other_pc = pc;
    }
}

const char *doing(Access how) { return how == Access::kRead ? "reads" : how == Access::kWrite ? "writes" : "atomically changes"; }

[[noreturn]] void conflict(size_t offset, Access how, const char *before, int who, uintptr_t pc, uint32_t pc_before) {
    const Lane &l = me();
    const char *of = "the dynamic shared memory", *missing = who / kLanes == l.number / kLanes ? "__syncwarp or __syncthreads" : "__syncthreads";
    size_t from = kDynamicAt + 16;
    for (const Declared &d : declared)
        if (offset >= d.offset && offset < d.offset + d.bytes) of = d.name, from = d.offset;
    fault(cudaErrorLaunchFailure, pc, long_pc(pc_before), "thread %d %s byte %zu of %s, which thread %d has %s, without a %s between them", l.number,
          doing(how), offset - from, of, who, before, missing);
}

void look_shared(size_t offset, size_t bytes, Access how, uintptr_t pc) {
    const Lane &l = me();
    const uint32_t small = short_pc(pc);
    for (size_t i = 0; i < bytes; i++) {
        Cell &c = cells[offset + i - kStaticAt];
        uint32_t then = 0;
        int who;
        if (c.pending == machine.blocks)
            fault(cudaErrorLaunchFailure, pc, long_pc(c.pending_pc), "thread %d %s shared memory that a cp_async16 under way writes: no cp_async_wait",
                  l.number, doing(how));
        if (c.stores.phase == machine.phase && !(how == Access::kAtomic && c.atomic) && (who = unordered(c.stores, l, &then)) >= 0)
            conflict(offset + i, how, c.atomic ? "atomically changed" : "written", who, pc, then);
        if (how != Access::kRead && c.loads.phase == machine.phase && (who = unordered(c.loads, l, &then)) >= 0)
            conflict(offset + i, how, "read", who, pc, then);
        if (how == Access::kRead) {
            join(c.loads, l, small);
        } else if (how == Access::kAtomic && c.stores.phase == machine.phase && c.atomic) {
            join(c.stores, l, small);
        } else {
            begin_group(c.stores, l, small);
            c.atomic = how == Access::kAtomic;
        }
    }
}

} // namespace

bool watch_launch() {
    declared.clear();
    declared_bytes = 0, declared_end = kStaticAt;
    if (!region_reserve() || (kWatched && !make_cells())) return false;
    if (machine.phase > kLastPhase) {
        if (kWatched) memset(cells, 0, sizeof(Cell) * (kSharedEnd - kStaticAt));
        machine.phase = 0;
    }
    if (machine.dynamic) make_valid(kDynamicAt, 16 + machine.dynamic);
    return true;
}

void watch_block() {
    if (machine.dynamic) memset(at_offset(kDynamicAt), 255, 16 + machine.dynamic);
    for (const Declared &d : declared) memset(at_offset(d.offset), 255, d.bytes);
}

void watch_end() {
    if (machine.dynamic) make_invalid(kDynamicAt, 16 + machine.dynamic);
    if (declared_end > kStaticAt) make_invalid(kStaticAt, declared_end - kStaticAt);
}

void look(const void *p, size_t bytes, Access how, uintptr_t pc) {
    const size_t offset = offset_of(p);
    if (offset >= region_bytes)
        fault(cudaErrorIllegalAddress, pc, 0, "%s %zu bytes at %p: neither device nor shared memory", doing(how), bytes, p);
    if (!valid(offset, bytes))
        fault(cudaErrorIllegalAddress, pc, 0, "%s %zu bytes at %p: %s", doing(how), bytes, p, whereabouts(p).c_str());
    if (kWatched && offset < kSharedEnd) look_shared(offset, bytes, how, pc);
}

void touch_atomic(const void *p, size_t bytes) {
    if (here && on_lane()) look(p, bytes, Access::kAtomic, SIM_PC);
}

void pend(const void *p, size_t bytes, uintptr_t pc) {
    const size_t offset = offset_of(p);
    if (offset >= kSharedEnd) fault(cudaErrorIllegalAddress, pc, 0, "cp_async16 to %p, which is no shared memory", p);
    for (size_t i = 0; kWatched && i < bytes; i++) {
        Cell &c = cells[offset + i - kStaticAt];
        c.pending = machine.blocks, c.pending_pc = short_pc(pc);
    }
}

void settle(const void *p, size_t bytes) {
    for (size_t i = 0; kWatched && i < bytes; i++) cells[offset_of(p) + i - kStaticAt].pending = 0;
}

// Where shared memory is.

void *shared(Slot &slot, size_t bytes, size_t align, const char *name) {
    if (slot.launch == machine.launch) return slot.at;
    declared_bytes = (declared_bytes + align - 1) / align * align + bytes;
    if (declared_bytes > kStaticLimit)
        fault(cudaErrorLaunchFailure, SIM_PC, 0, "%s: with it the kernel declares %zu bytes of shared memory, %zu can be: the rest is to be dynamic", name,
              declared_bytes, kStaticLimit);
    // Aligned to what its type promises and to no more, with room to its neighbours.
    size_t offset = declared_end + (align < kGranule / 2 ? align : 0);
    if (offset + bytes + kGranule > kStaticAt + kStaticMost)
        fault(cudaErrorLaunchFailure, SIM_PC, 0, "%s: the kernel has more declarations of shared memory than the simulator has room for", name);
    make_valid(offset, bytes);
    memset(at_offset(offset), 255, bytes);
    declared.push_back({offset, bytes, name});
    declared_end = (offset + bytes + 2 * kGranule - 1) / kGranule * kGranule;
    slot.launch = machine.launch;
    slot.at = at_offset(offset);
    return slot.at;
}

unsigned char *dynamic_shared() {
    // Aligned to the 16 bytes that are promised, and to no more.
    return static_cast<unsigned char *>(at_offset(kDynamicAt + 16));
}

} // namespace sim
