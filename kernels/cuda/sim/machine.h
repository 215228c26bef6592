// machine.h: the state of the one block that is running: its threads, warps and
// barriers. block.cpp runs it, warp.cpp does what lanes do together, watch.cpp
// looks at what they touch.
//
// There is one machine, and one kernel runs at a time: whoever runs it holds the
// runtime's lock (runtime.h).
#ifndef SERVEBENCH_CUDA_SIM_MACHINE_H
#define SERVEBENCH_CUDA_SIM_MACHINE_H

#include "fiber.h"
#include "sim.h"

#include <string>
#include <vector>

namespace sim {

constexpr int kLanes = 32;
constexpr int kMostThreads = 1024;
constexpr int kMostWarps = kMostThreads / kLanes;
constexpr uint32_t kAllLanes = 0xffffffffu;

// Meeting is what a thread waits for.
struct Meeting {
    Op op;
    uint32_t mask;
    int line;
    const char *file;
    bool same(const Meeting &m) const { return op == m.op && mask == m.mask && line == m.line; }
};

// Deferred is a cp_async16 that was issued.
struct Deferred {
    unsigned char *to;
    const unsigned char *from;
    uint32_t group;
    bool valid;
    uint32_t pc;
};

struct Warp;

// Lane is a thread of the block.
struct Lane : Here {
    Fiber fiber;
    Warp *warp;
    int number; // within the block
    int lane;   // within the warp
    Meeting at;
    // What it brings to the meeting, and takes from it.
    uint64_t value, answer;
    int argument, width;
    const void *row;
    uint32_t *r;
    float *d;
    const uint32_t *a, *b;
    // Its copies from global to shared memory that have not been done.
    std::vector<Deferred> copies;
    uint32_t groups; // committed
    uint32_t bit() const { return 1u << lane; }
};

// Warp has a bit a lane in each of its sets.
struct Warp {
    Lane *lanes;
    uint32_t exist, ready, waiting, done; // waiting: for others of the warp
    // What each lane knows of the others. time counts __syncwarps; seen[a][b] is the
    // time of the last one after which a sees what b did before; so does full for all.
    uint32_t time, full;
    uint32_t seen[kLanes][kLanes];
    int number;
};

// Fault is what ended a launch.
struct Fault {
    cudaError_t error;
    std::string text;
    uintptr_t at, before; // where it happened, and the access that it conflicts with; 0: unknown
};

struct Machine {
    Lane lanes[kMostThreads];
    Warp warps[kMostWarps];
    Fiber host;
    Fiber *previous; // who switched last
    bool made;       // the lanes have stacks

    const char *name; // of the kernel
    const Kernel *kernel;
    uint64_t launch;  // counts launches
    uint64_t blocks;  // counts blocks
    size_t dynamic;   // bytes of shared memory that the launch has beside what is declared
    int threads, warps_n;
    uint32_t ready; // warps that have a lane that can run

    // The barrier of the block.
    int arrived, exited;
    int sum;            // threads so far that brought other than 0
    int answer;         // of the last barrier
    Meeting barrier;    // of those that wait
    uint32_t phase;     // counts barriers and blocks: what was touched in another phase is settled

    bool failed;
    Fault fault;
    uint64_t random;
};
extern SIM_HIDDEN Machine machine;

inline Lane &me() { return *static_cast<Lane *>(here); }

// on_lane tells whether the caller runs on a lane's stack: other threads of the
// process go on while a kernel runs.
inline bool on_lane() {
    Here *h = here;
    return h && static_cast<Lane *>(h)->fiber.holds(__builtin_frame_address(0));
}

inline uint64_t next_random() {
    uint64_t &x = machine.random;
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    return x;
}

// run_kernel runs all blocks of a launch and returns what the device makes of it.
// A fault has been reported then.
cudaError_t run_kernel(const char *name, dim3 grid, dim3 block, size_t shared, const Kernel &kernel);

// seed_machine sets the order of things.
void seed_machine(uint64_t seed);

// fault ends the launch: the thread that calls it, on a lane, never goes on.
[[noreturn]] void fault(cudaError_t error, uintptr_t at, uintptr_t before, const char *format, ...) __attribute__((format(printf, 4, 5)));

// wait_here lets others run until somebody has made this lane ready again.
void wait_here();
// yield lets others run, perhaps.
void yield();
// wake makes lanes of a warp ready.
void wake(Warp &w, uint32_t lanes);

// op_name is the name of what threads do together.
const char *op_name(Op op);

// What watch.cpp has of shared memory.
enum class Access : uint8_t { kRead, kWrite, kAtomic };
bool watch_launch(); // a launch begins; false if there is no memory for what is kept
void watch_block();  // a block begins
void watch_end();    // a launch ends
// look checks an access of the lane that runs to global or shared memory.
void look(const void *p, size_t bytes, Access how, uintptr_t pc);
// pend says that bytes are being written until settle.
void pend(const void *p, size_t bytes, uintptr_t pc);
void settle(const void *p, size_t bytes);

// Addresses of code take 4 bytes where many are kept.
extern SIM_HIDDEN uintptr_t code_base;
inline uint32_t short_pc(uintptr_t pc) { return uint32_t(pc - code_base); }
inline uintptr_t long_pc(uint32_t pc) { return pc ? code_base + pc : 0; }
#define SIM_PC reinterpret_cast<uintptr_t>(__builtin_return_address(0))

} // namespace sim
#endif
