// fiber.h: threads of a block as fibers: stacks of their own, and a switch from
// one to another in a dozen instructions.
#ifndef SERVEBENCH_CUDA_SIM_FIBER_H
#define SERVEBENCH_CUDA_SIM_FIBER_H

#include <cstddef>

#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace sim {

// Fiber is a stack and where its thread has got to. The host's own stack is one
// too, whose bounds are known once it has been switched from.
struct Fiber {
    void *top;       // stack pointer, while another runs
    char *low;       // of the stack
    size_t bytes;
    void *fake;      // AddressSanitizer's
    bool abandoned;  // it was left for good in the middle of something
#ifndef __x86_64__
    ucontext_t context;
#endif
    bool holds(const void *p) const { return static_cast<const char *>(p) - low < static_cast<std::ptrdiff_t>(bytes) && p >= low; }
};

// fiber_stacks gives count fibers a stack each, with a page behind it that nobody
// may touch. It returns false if there is no memory for them.
bool fiber_stacks(Fiber *const *fibers, int count);

// fiber_begin makes a fiber start in entry when it is switched to next. entry must
// begin with fiber_entered(), and never return.
void fiber_begin(Fiber *f, void (*entry)());

// fiber_switch goes on in another fiber. It returns when somebody switches back;
// never, if last is true.
void fiber_switch(Fiber *from, Fiber *to, bool last);

// fiber_entered is to be called first in an entry; from is the fiber that switched
// to it, whose bounds are set if it has none.
void fiber_entered(Fiber *from);

} // namespace sim
#endif
