// memory.cpp: device memory and page-locked memory. Device memory is address space
// that costs the host memory only where it is touched. What is given back is not
// given again before all the rest was, and what is given is poisoned with ones:
// NaN in each of the three floating-point types, -1 in integers.
#include "memory.h"

#include "report.h"
#include "runtime.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define SIM_ASAN(...) __VA_ARGS__
#else
#define SIM_ASAN(...)
#endif

namespace sim {

uintptr_t region_base;
size_t region_bytes;
uint16_t *region_valid;

namespace {

constexpr size_t kAlign = 512;        // addresses are 256 behind a multiple of it
constexpr size_t kCheap = 1 << 20;    // from it on poison is mapped, not written
constexpr size_t kPoisonPage = 4 << 20;
constexpr size_t kSpare = 256ull << 30; // addresses
constexpr size_t kGraves = 4096;      // of what was given back so many are remembered

struct Allocation {
    size_t bytes;
    int device;
    bool live;
    uint64_t serial;
};
std::map<size_t, Allocation> allocations; // by offset; those given back stay a while, to be named
std::deque<size_t> graves;                // offsets of those given back, the oldest first
size_t cursor;                            // offset where the next may go
uint64_t serial;
size_t used[kMostDevices];

struct PinnedBlock {
    size_t bytes, mapped;
    bool live;
};
std::map<uintptr_t, PinnedBlock> pinned; // by address
constexpr unsigned char kTail = 0xa5;    // behind the end of page-locked memory

size_t round_to(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }
size_t page() {
    static const size_t bytes = size_t(sysconf(_SC_PAGESIZE));
    return bytes;
}

// footprint is what an allocation takes, with at least 256 bytes between any two.
size_t footprint(size_t bytes) { return round_to(bytes + kGranule, kAlign); }

void *reserve(size_t bytes) {
    void *p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? nullptr : p;
}

// poison_file is a file of ones that can be mapped over and over.
int poison_file() {
    static int file = [] {
        int f = memfd_create("sim-poison", MFD_CLOEXEC);
        if (f < 0) return -1;
        std::string ones(kPoisonPage, '\xff');
        if (write(f, ones.data(), ones.size()) != ssize_t(ones.size())) {
            close(f);
            return -1;
        }
        return f;
    }();
    return file;
}

// remap puts fresh pages, of zeros or of poison, in place of all whole pages, and
// returns false if it cannot.
bool remap(char *from, char *to, bool ones) {
    const int file = ones ? poison_file() : -1;
    if (ones && file < 0) return false;
    for (char *p = from; p < to; p += kPoisonPage) {
        size_t n = std::min(size_t(to - p), kPoisonPage);
        int flags = MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE | (ones ? 0 : MAP_ANONYMOUS);
        if (!ones) n = size_t(to - p);
        if (mmap(p, n, PROT_READ | PROT_WRITE, flags, file, 0) == MAP_FAILED) return false;
        if (!ones) break;
    }
    return true;
}

// place finds room behind the cursor, or from the beginning on, and forgets what
// was there.
bool place(size_t need, size_t *out) {
    for (int round = 0; round < 2; round++, cursor = kDeviceAt) {
        size_t at = std::max(cursor, kDeviceAt);
        for (auto it = allocations.lower_bound(at); it != allocations.end() && it->first < at + need + kAlign; ++it)
            if (it->second.live) at = it->first - it->first % kAlign + footprint(it->second.bytes) + kAlign;
        at = round_to(at, kAlign);
        if (at + need + kAlign > region_bytes) continue;
        allocations.erase(allocations.lower_bound(at), allocations.lower_bound(at + need)); // all given back
        cursor = at + need;
        *out = at + kGranule;
        return true;
    }
    return false;
}

#ifdef __SANITIZE_ADDRESS__
// hide makes bytes known to AddressSanitizer as none that may be touched, show as
// such. Its account of them is an eighth of their size, and written: of what is
// large the ends have to do, and what was never hidden needs no showing.
size_t hidden_end; // offset behind all that was ever hidden
constexpr size_t kHidden = 1 << 20;
void hide(size_t offset, size_t bytes) {
    hidden_end = std::max(hidden_end, offset + bytes);
    if (bytes > 2 * kHidden) {
        __asan_poison_memory_region(at_offset(offset), kHidden);
        offset += bytes - kHidden, bytes = kHidden;
    }
    __asan_poison_memory_region(at_offset(offset), bytes);
}
void show(size_t offset, size_t bytes) {
    if (offset < hidden_end) __asan_unpoison_memory_region(at_offset(offset), std::min(bytes, hidden_end - offset));
}
// leave lets a range of addresses go. It stays taken: its account is not in order.
void leave(void *p, size_t bytes) {
    mmap(p, bytes, PROT_NONE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    hidden_end = 0;
}
#else
void hide(size_t, size_t) {}
void show(size_t, size_t) {}
void leave(void *p, size_t bytes) { munmap(p, bytes); }
#endif

void region_release() {
    if (!region_base) return;
    munmap(region_valid, region_bytes / kGranule * sizeof *region_valid);
    leave(reinterpret_cast<void *>(region_base), region_bytes);
    region_base = 0, region_bytes = 0, region_valid = nullptr;
}

} // namespace

bool region_reserve() {
    // Many times the memory that there is: it takes long until what was given back is
    // given again, and what lives long does not leave only small holes.
    const size_t bytes = kDeviceAt + 64 * most_memory() + kSpare;
    if (region_base && (region_bytes == bytes || !allocations.empty())) return true;
    region_release();
    void *p = reserve(bytes), *valid = p ? reserve(bytes / kGranule * sizeof *region_valid) : nullptr;
    if (!valid) {
        if (p) munmap(p, bytes);
        return false;
    }
    region_valid = static_cast<uint16_t *>(valid);
    region_base = reinterpret_cast<uintptr_t>(p);
    region_bytes = bytes;
    cursor = kDeviceAt;
    hide(0, kDeviceAt);
    return true;
}

bool valid(size_t offset, size_t bytes) {
    while (bytes > 0) {
        if (offset >= region_bytes) return false;
        size_t in = offset % kGranule, n = std::min(bytes, kGranule - in);
        if (in + n > region_valid[offset / kGranule]) return false;
        offset += n, bytes -= n;
    }
    return true;
}

void make_valid(size_t offset, size_t bytes) {
    show(offset, bytes);
    size_t g = offset / kGranule;
    for (bytes += offset % kGranule; bytes >= kGranule; bytes -= kGranule) region_valid[g++] = kGranule;
    if (bytes) region_valid[g] = uint16_t(bytes);
}

void make_invalid(size_t offset, size_t bytes) {
    hide(offset, bytes);
    size_t first = offset / kGranule, last = (offset + bytes + kGranule - 1) / kGranule;
    memset(region_valid + first, 0, (last - first) * sizeof *region_valid);
}

// fill is memset, without touching what is as good as never touched.
static void fill(void *p, int value, size_t bytes) {
    char *low = static_cast<char *>(p), *high = low + bytes;
    value &= 255;
    if (bytes >= kCheap && (value == 0 || value == 255)) {
        char *from = reinterpret_cast<char *>(round_to(reinterpret_cast<uintptr_t>(low), page()));
        char *to = high - reinterpret_cast<uintptr_t>(high) % page();
        if (remap(from, to, value == 255)) {
            memset(low, value, size_t(from - low));
            memset(to, value, size_t(high - to));
            return;
        }
    }
    memset(p, value, bytes);
}

void device_fill(void *p, int value, size_t bytes) { fill(p, value, bytes); }

cudaError_t device_alloc(int device, size_t bytes, void **out) {
    if (bytes > device_memory(device) || used[device] + footprint(bytes) > device_memory(device)) return cudaErrorMemoryAllocation;
    size_t offset = 0;
    if (!region_reserve() || !place(footprint(bytes), &offset)) return cudaErrorMemoryAllocation;
    allocations[offset] = {bytes, device, true, ++serial};
    used[device] += footprint(bytes);
    hide(offset - kGranule, kGranule);
    make_valid(offset, bytes);
    size_t behind = offset - kGranule + footprint(bytes) - (offset + bytes);
    hide(offset + bytes, behind);
    *out = at_offset(offset);
    device_fill(*out, 255, bytes);
    return cudaSuccess;
}

cudaError_t device_release(void *p) {
    if (!p) return cudaSuccess;
    auto it = allocations.find(offset_of(p));
    if (it == allocations.end() || !it->second.live) {
        report(cudaSuccess, "cudaFree of %p, which is not the beginning of live memory: %s", p, whereabouts(p).c_str());
        return cudaErrorInvalidValue;
    }
    Allocation &a = it->second;
    a.live = false;
    used[a.device] -= footprint(a.bytes);
    fill(p, a.bytes < kCheap ? 255 : 0, a.bytes); // pages of zeros join what is free, and cost nothing
    make_invalid(it->first, a.bytes);
    graves.push_back(it->first);
    if (graves.size() > kGraves) {
        auto oldest = allocations.find(graves.front());
        if (oldest != allocations.end() && !oldest->second.live) allocations.erase(oldest);
        graves.pop_front();
    }
    return cudaSuccess;
}

size_t device_used(int device) { return used[device]; }

std::string whereabouts(const void *p) {
    const size_t offset = offset_of(p);
    if (offset >= region_bytes) return "no device memory";
    if (offset < kSharedEnd) return "shared memory that the launch does not have";
    auto it = allocations.upper_bound(offset);
    if (it == allocations.begin()) return "in front of all that was allocated";
    const auto &[begin, a] = *--it;
    std::string what = "allocation " + std::to_string(a.serial) + " of " + std::to_string(a.bytes) + " bytes";
    if (!a.live) what += ", given back before";
    if (offset < begin + a.bytes) return "offset " + std::to_string(offset - begin) + " of " + what;
    return std::to_string(offset - begin - a.bytes) + " bytes behind the end of " + what;
}

// Page-locked memory.

cudaError_t pinned_alloc(size_t bytes, void **out) {
    const size_t mapped = round_to(std::max(bytes, size_t(1)), page()) + 2 * page();
    char *p = static_cast<char *>(reserve(mapped));
    if (!p) return cudaErrorMemoryAllocation;
    mprotect(p, page(), PROT_NONE);
    mprotect(p + mapped - page(), page(), PROT_NONE);
    char *data = p + page();
    fill(data, 255, bytes);
    memset(data + bytes, kTail, mapped - 2 * page() - bytes);
    SIM_ASAN(__asan_poison_memory_region(data + bytes, mapped - 2 * page() - bytes));
    pinned[reinterpret_cast<uintptr_t>(data)] = {bytes, mapped, true};
    *out = data;
    return cudaSuccess;
}

cudaError_t pinned_release(void *p) {
    if (!p) return cudaSuccess;
    auto it = pinned.find(reinterpret_cast<uintptr_t>(p));
    if (it == pinned.end() || !it->second.live) {
        report(cudaSuccess, "cudaFreeHost of %p, which is not the beginning of live page-locked memory", p);
        return cudaErrorInvalidValue;
    }
    PinnedBlock &b = it->second;
    unsigned char *data = static_cast<unsigned char *>(p), *end = data + b.mapped - 2 * page();
    SIM_ASAN(__asan_unpoison_memory_region(data, b.mapped - 2 * page()));
    if (std::any_of(data + b.bytes, end, [](unsigned char c) { return c != kTail; }))
        report(cudaSuccess, "page-locked memory of %zu bytes was written behind its end", b.bytes);
    b.live = false;
    // The addresses stay taken: nobody else's memory is mistaken for it.
    mmap(data - page(), b.mapped, PROT_NONE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return cudaSuccess;
}

Pinned pinned_state(const void *p, size_t bytes) {
    const uintptr_t a = reinterpret_cast<uintptr_t>(p);
    auto it = pinned.upper_bound(a);
    if (it == pinned.begin()) return Pinned::kNo;
    const auto &[begin, b] = *--it;
    if (a >= begin + std::max(b.bytes, size_t(1))) return Pinned::kNo;
    if (!b.live) return Pinned::kFreed;
    return a + bytes <= begin + b.bytes ? Pinned::kYes : Pinned::kBeyond;
}

Held memory_held() {
    Held h = {};
    for (const auto &[at, a] : allocations)
        if (a.live) h.bytes += a.bytes, h.objects++;
    for (const auto &[at, b] : pinned)
        if (b.live) h.bytes += b.bytes, h.objects++;
    return h;
}

void memory_release_all() {
    for (const auto &[at, a] : allocations)
        if (a.live) device_release(at_offset(at));
    for (const auto &[at, b] : pinned)
        if (b.live) pinned_release(reinterpret_cast<void *>(at));
    allocations.clear();
    graves.clear();
    cursor = kDeviceAt;
}

} // namespace sim
