// tsan.cpp: what g++ -fsanitize=thread calls before every load and store, and
// -fsanitize=alignment where an address does not fit its type. Neither's own
// library is linked: these are all there is, and they see to kernels.
//
// A thread of a kernel may touch device memory and its block's shared memory, its
// own stack, its arguments, and what the library's image has (constants). The
// host's code may touch anything but device memory, which it has cudaMemcpy for.
//
// Only built to be checked; the other builds do not call these.
#ifdef SBC_SIM_CHECKED
#include "machine.h"

#include "memory.h"
#include "report.h"

#include <link.h>

#include <algorithm>

namespace sim {

namespace {

struct Image {
    uintptr_t low, high;
};

// The image that this code is part of.
const Image &image() {
    static const Image found = [] {
        Image i = {};
        dl_iterate_phdr(
            [](dl_phdr_info *info, size_t, void *out) {
                auto here_pc = reinterpret_cast<uintptr_t>(&image);
                uintptr_t low = UINTPTR_MAX, high = 0;
                for (int k = 0; k < info->dlpi_phnum; k++) {
                    const auto &h = info->dlpi_phdr[k];
                    if (h.p_type != PT_LOAD) continue;
                    low = std::min(low, uintptr_t(info->dlpi_addr + h.p_vaddr));
                    high = std::max(high, uintptr_t(info->dlpi_addr + h.p_vaddr + h.p_memsz));
                }
                if (here_pc < low || here_pc >= high) return 0;
                *static_cast<Image *>(out) = {low, high};
                return 1;
            },
            &i);
        return i;
    }();
    return found;
}

[[noreturn]] void astray(const void *p, size_t bytes, Access how, uintptr_t pc) {
    fault(cudaErrorIllegalAddress, pc, 0, "%s %zu bytes at %p: host memory, or another thread's", how == Access::kRead ? "reads" : "writes", bytes, p);
}

// beyond looks at what is no device memory.
inline void beyond(const void *p, size_t bytes, Access how, uintptr_t pc) {
    if (!here || !on_lane()) return;
    const Lane &l = me();
    if (l.fiber.holds(p)) return;
    const uintptr_t a = reinterpret_cast<uintptr_t>(p);
    if (a - reinterpret_cast<uintptr_t>(machine.kernel) < machine.kernel->bytes) return;
    if (a - image().low < image().high - image().low) return;
    astray(p, bytes, how, pc);
}

__attribute__((noinline)) void device(const void *p, size_t bytes, Access how, uintptr_t pc) {
    if (here && on_lane()) {
        look(p, bytes, how, pc);
        return;
    }
    // It is told once a place, and goes on: the host's code has no other way back.
    static uintptr_t told;
    if (told == pc) return;
    told = pc;
    report(cudaErrorIllegalAddress, "the host's code %s %zu bytes of device memory at %p, %s\n    here:   %s",
           how == Access::kRead ? "reads" : "writes", bytes, p, whereabouts(p).c_str(), source_of(pc).c_str());
}

inline void seen(const void *p, size_t bytes, Access how, uintptr_t pc) {
    if (within_region(p))
        device(p, bytes, how, pc);
    else if (here)
        beyond(p, bytes, how, pc);
}

inline void seen_aligned(const void *p, size_t bytes, Access how, uintptr_t pc) {
    if (here && reinterpret_cast<uintptr_t>(p) % bytes && on_lane())
        fault(cudaErrorMisalignedAddress, pc, 0, "%zu bytes at %p, which is no multiple of that", bytes, p);
    seen(p, bytes, how, pc);
}

} // namespace
} // namespace sim

using sim::Access;

extern "C" {
void __tsan_init();
void __tsan_init() {}
void __tsan_func_entry(void *);
void __tsan_func_entry(void *) {}
void __tsan_func_exit();
void __tsan_func_exit() {}
void __tsan_vptr_update(void **, void *);
void __tsan_vptr_update(void **, void *) {}
void __tsan_vptr_read(void **);
void __tsan_vptr_read(void **) {}

#define SIM_ACCESS(bytes)                                                                                              \
    void __tsan_read##bytes(void *p);                                                                                  \
    void __tsan_read##bytes(void *p) { sim::seen_aligned(p, bytes, Access::kRead, SIM_PC); }                           \
    void __tsan_write##bytes(void *p);                                                                                 \
    void __tsan_write##bytes(void *p) { sim::seen_aligned(p, bytes, Access::kWrite, SIM_PC); }
#define SIM_UNALIGNED(bytes)                                                                                           \
    void __tsan_unaligned_read##bytes(void *p);                                                                        \
    void __tsan_unaligned_read##bytes(void *p) { sim::seen(p, bytes, Access::kRead, SIM_PC); }                         \
    void __tsan_unaligned_write##bytes(void *p);                                                                       \
    void __tsan_unaligned_write##bytes(void *p) { sim::seen(p, bytes, Access::kWrite, SIM_PC); }
SIM_ACCESS(1)
SIM_ACCESS(2)
SIM_ACCESS(4)
SIM_ACCESS(8)
SIM_ACCESS(16)
SIM_UNALIGNED(2)
SIM_UNALIGNED(4)
SIM_UNALIGNED(8)
SIM_UNALIGNED(16)

void __tsan_read_range(void *p, size_t bytes);
void __tsan_read_range(void *p, size_t bytes) { sim::seen(p, bytes, Access::kRead, SIM_PC); }
void __tsan_write_range(void *p, size_t bytes);
void __tsan_write_range(void *p, size_t bytes) { sim::seen(p, bytes, Access::kWrite, SIM_PC); }

// Atomic operations of the host's code: shared_ptr, statics. Kernels have CUDA's.
#define SIM_ATOMIC_OP(bits, type, name, builtin)                                                                       \
    type __tsan_atomic##bits##_##name(volatile type *p, type v, int);                                                  \
    type __tsan_atomic##bits##_##name(volatile type *p, type v, int) { return builtin(p, v, __ATOMIC_SEQ_CST); }
#define SIM_ATOMICS(bits, type)                                                                                        \
    type __tsan_atomic##bits##_load(const volatile type *p, int);                                                      \
    type __tsan_atomic##bits##_load(const volatile type *p, int) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }      \
    void __tsan_atomic##bits##_store(volatile type *p, type v, int);                                                   \
    void __tsan_atomic##bits##_store(volatile type *p, type v, int) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); }      \
    SIM_ATOMIC_OP(bits, type, exchange, __atomic_exchange_n)                                                           \
    SIM_ATOMIC_OP(bits, type, fetch_add, __atomic_fetch_add)                                                           \
    SIM_ATOMIC_OP(bits, type, fetch_sub, __atomic_fetch_sub)                                                           \
    SIM_ATOMIC_OP(bits, type, fetch_and, __atomic_fetch_and)                                                           \
    SIM_ATOMIC_OP(bits, type, fetch_or, __atomic_fetch_or)                                                             \
    SIM_ATOMIC_OP(bits, type, fetch_xor, __atomic_fetch_xor)                                                           \
    SIM_ATOMIC_OP(bits, type, fetch_nand, __atomic_fetch_nand)                                                         \
    bool __tsan_atomic##bits##_compare_exchange_strong(volatile type *p, type *e, type v, int, int);                   \
    bool __tsan_atomic##bits##_compare_exchange_strong(volatile type *p, type *e, type v, int, int) {                  \
        return __atomic_compare_exchange_n(p, e, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                        \
    }                                                                                                                  \
    bool __tsan_atomic##bits##_compare_exchange_weak(volatile type *p, type *e, type v, int, int);                     \
    bool __tsan_atomic##bits##_compare_exchange_weak(volatile type *p, type *e, type v, int, int) {                    \
        return __atomic_compare_exchange_n(p, e, v, true, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                         \
    }
SIM_ATOMICS(8, unsigned char)
SIM_ATOMICS(16, unsigned short)
SIM_ATOMICS(32, unsigned int)
SIM_ATOMICS(64, unsigned long)
void __tsan_atomic_thread_fence(int);
void __tsan_atomic_thread_fence(int) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
void __tsan_atomic_signal_fence(int);
void __tsan_atomic_signal_fence(int) { __atomic_signal_fence(__ATOMIC_SEQ_CST); }

// What -fsanitize=alignment tells of the place and the type.
struct SimPlace {
    const char *file;
    uint32_t line, column;
};
struct SimType {
    uint16_t kind, info;
    char name[1];
};
struct SimMismatch {
    SimPlace place;
    const SimType *type;
    unsigned char log_align, kind;
};
void __ubsan_handle_type_mismatch_v1(SimMismatch *m, uintptr_t p);
void __ubsan_handle_type_mismatch_v1(SimMismatch *m, uintptr_t p) {
    if (!sim::here || !sim::on_lane()) return; // the host may: UndefinedBehaviorSanitizer's build looks after it
    sim::fault(cudaErrorMisalignedAddress, SIM_PC, 0, "%s at %p, which is no multiple of %u: %s:%u", m->type->name, reinterpret_cast<void *>(p),
               1u << m->log_align, m->place.file, m->place.line);
}
} // extern "C"
#endif
