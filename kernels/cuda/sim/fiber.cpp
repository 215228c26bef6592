// fiber.cpp: stacks and switches. On x86-64 a switch keeps the six registers that
// a function must keep; elsewhere it is swapcontext, with a system call each time.
#include "fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define SIM_ASAN(...) __VA_ARGS__
constexpr size_t kStack = 512 << 10; // its frames are several times as large
#else
#define SIM_ASAN(...)
constexpr size_t kStack = 128 << 10;
#endif

#ifdef __x86_64__
extern "C" void sim_switch_stack(void **from, void *to);
asm(R"(
    .text
    .p2align 4
    .globl sim_switch_stack
    .hidden sim_switch_stack
    .type sim_switch_stack, @function
sim_switch_stack:
    .cfi_startproc
    endbr64
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .cfi_endproc
    .size sim_switch_stack, .-sim_switch_stack
)");
#endif

namespace sim {

bool fiber_stacks(Fiber *const *fibers, int count) {
    const size_t page = size_t(sysconf(_SC_PAGESIZE));
    const size_t each = kStack + page;
    void *all = mmap(nullptr, each * size_t(count), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) return false;
    for (int i = 0; i < count; i++) {
        char *low = static_cast<char *>(all) + each * size_t(i);
        if (mprotect(low, page, PROT_NONE) != 0) {
            munmap(all, each * size_t(count));
            return false;
        }
        fibers[i]->low = low + page;
        fibers[i]->bytes = kStack;
    }
    return true;
}

void fiber_begin(Fiber *f, void (*entry)()) {
    if (f->abandoned) {
        SIM_ASAN(__asan_unpoison_memory_region(f->low, f->bytes));
        f->abandoned = false;
    }
    f->fake = nullptr;
#ifdef __x86_64__
    // Stacks are as far apart as the cache is wide: without an offset of its own
    // each would fight for the same lines.
    uintptr_t colour = reinterpret_cast<uintptr_t>(f->low) / (kStack + 4096) % 61 * 64;
    auto top = reinterpret_cast<void **>((reinterpret_cast<uintptr_t>(f->low) + f->bytes - colour) & ~uintptr_t(15));
    *--top = nullptr; // as if entry had been called: the stack pointer is 8 below a multiple of 16
    *--top = reinterpret_cast<void *>(entry);
    for (int i = 0; i < 6; i++) *--top = nullptr;
    f->top = top;
#else
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->low;
    f->context.uc_stack.ss_size = f->bytes;
    f->context.uc_link = nullptr;
    makecontext(&f->context, entry, 0);
#endif
}

void fiber_switch(Fiber *from, Fiber *to, bool last) {
    SIM_ASAN(__sanitizer_start_switch_fiber(last ? nullptr : &from->fake, to->low, to->bytes));
    (void)last;
#ifdef __x86_64__
    sim_switch_stack(&from->top, to->top);
#else
    swapcontext(&from->context, &to->context);
#endif
    SIM_ASAN(__sanitizer_finish_switch_fiber(from->fake, nullptr, nullptr));
}

void fiber_entered(Fiber *from) {
    (void)from;
#ifdef __SANITIZE_ADDRESS__
    const void *low = nullptr;
    size_t bytes = 0;
    __sanitizer_finish_switch_fiber(nullptr, &low, &bytes);
    if (!from->low) from->low = static_cast<char *>(const_cast<void *>(low)), from->bytes = bytes;
#endif
}

} // namespace sim
