// memory.h: where everything is that a kernel may touch. One range of addresses is
// reserved for shared memory and all devices' memory, so that one comparison tells
// whether an address is any of it:
//
//	base      guard │ static shared │ guard │ dynamic shared │ guard │ device memory …
//
// Beside it is a table of how many bytes of every 256 are valid. What the host
// touches directly, page-locked memory, is elsewhere.
#ifndef SERVEBENCH_CUDA_SIM_MEMORY_H
#define SERVEBENCH_CUDA_SIM_MEMORY_H

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <string>

#define SIM_HIDDEN_DATA __attribute__((visibility("hidden")))

namespace sim {

constexpr size_t kGranule = 256;
constexpr size_t kStaticAt = 64 << 10, kStaticMost = 192 << 10;
constexpr size_t kDynamicAt = 320 << 10, kDynamicMost = 256 << 10; // its end is a guard
constexpr size_t kSharedEnd = 704 << 10;
constexpr size_t kDeviceAt = 1 << 20;

// region_base and region_bytes are 0 until something is taken.
extern SIM_HIDDEN_DATA uintptr_t region_base;
extern SIM_HIDDEN_DATA size_t region_bytes;
extern SIM_HIDDEN_DATA uint16_t *region_valid; // [region_bytes / kGranule]

// offset_of is the offset within the region, or at least region_bytes.
inline size_t offset_of(const void *p) { return reinterpret_cast<uintptr_t>(p) - region_base; }
inline bool within_region(const void *p) { return offset_of(p) < region_bytes; }
inline void *at_offset(size_t offset) { return reinterpret_cast<void *>(region_base + offset); }

// valid tells whether bytes from an offset are within something that is live.
bool valid(size_t offset, size_t bytes);
// make_valid says so of the bytes of an aligned offset, and make_invalid the opposite.
void make_valid(size_t offset, size_t bytes);
void make_invalid(size_t offset, size_t bytes);

// region_reserve sees to it that the region exists.
bool region_reserve();

// device_alloc gives poisoned memory of a device, aligned to 256 bytes and to no
// more. It fails as cudaMalloc does.
cudaError_t device_alloc(int device, size_t bytes, void **out);
// device_release takes back what device_alloc gave, at p exactly.
cudaError_t device_release(void *p);
size_t device_used(int device);

// device_fill is memset, without touching what is as good as never touched.
void device_fill(void *p, int value, size_t bytes);

// Page-locked host memory, between pages that nobody may touch.
cudaError_t pinned_alloc(size_t bytes, void **out);
// pinned_release reports what was written behind the end.
cudaError_t pinned_release(void *p);
enum class Pinned { kNo, kYes, kBeyond, kFreed };
// pinned_state tells what bytes at p are: outside of any, within one, reaching
// beyond one, or within one that was given back.
Pinned pinned_state(const void *p, size_t bytes);

// whereabouts says what an address in the region is near to.
std::string whereabouts(const void *p);

struct Held {
    uint64_t bytes, objects;
};
Held memory_held();
// memory_release_all gives everything back.
void memory_release_all();

} // namespace sim
#endif
