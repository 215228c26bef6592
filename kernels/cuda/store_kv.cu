// store_kv.cu: the rotation of queries and keys by their positions, and the way of
// keys and values into the paged cache.
//
// Equation   with c, s = cos, sin of the row's position (table [P, dims]: dims/2
//            cosines, then dims/2 sines), i < dims/2, of each query and key head:
//            (a[i], a[i+dims/2]) → (a[i]·c − a[i+dims/2]·s, a[i+dims/2]·c + a[i]·s)
// Inputs     qkv [T, (H+2G)·E] float32, dense: queries, keys, values side by side
// Outputs    qkv: rotated elements, in place; what is not rotated is not written.
//            cache [blocks, G, B, E'] of keys, and of values, in the context's dtype
//            (kernels.h), rounded to nearest, ties to even; E' − E zeros behind each head.
//            A row of slot −1 changes nothing, its queries neither.
// Grid       (T, ⌈items/256⌉), block 256. An item is what one thread does: kWide pairs
//            of a rotated head, or kWide elements that are copied:
//              H·(dims/2)/kWide              pairs of queries
//              G·((dims/2) + (E−dims))/kWide pairs and others of keys
//              G·E/kWide                     of values
// Shared     none
// Alignment  kWide is 4 (16 bytes of float32, 8 of the cache) where E, E−dims and dims/2
//            are multiples of 4, else 1. E' is one of 8.
// Arithmetic float32
//
// Roofline, Llama-2-7B (H = G = 32, E = dims = 128, bfloat16), bound by memory:
//   T     read      written             bytes     FLOPs    A100, 2.0 TB/s   H100, 3.35 TB/s
//   512   25.2 MB   16.8 MB + 8.4 MB    50.3 MB   12.6 M   25.2 µs          15.0 µs
//   1     48 KB     32 KB + 16 KB       96 KB     25 K     latency: one trip to memory and a launch, 2 µs
#include "internal.cuh"

#include <cstring>

namespace sbc {

constexpr int kStoreThreads = 256;

struct StoreRows {
    float *qkv;
    const float *table;
    const int32_t *positions, *slots;
    CacheView kv;
    int32_t heads, half; // H, dims/2
};

template <int kWide> static __device__ __forceinline__ void take(float (&v)[kWide], const float *p) {
    if constexpr (kWide == 4) {
        uint4 u = load16_own(p);
        memcpy(v, &u, sizeof u);
    } else {
        v[0] = *p;
    }
}
template <int kWide> static __device__ __forceinline__ void look_up(float (&v)[kWide], const float *p) {
    if constexpr (kWide == 4) {
        uint4 u = load16(p);
        memcpy(v, &u, sizeof u);
    } else {
        v[0] = __ldg(p);
    }
}
static __device__ __forceinline__ void put(float *p, const float (&v)[4]) {
    uint4 u;
    memcpy(&u, v, sizeof u);
    store16(p, u);
}
static __device__ __forceinline__ void put(float *p, const float (&v)[1]) { *p = v[0]; }

// cache_put rounds to the cache's type.
template <int kWide> static __device__ __forceinline__ void cache_put(float *p, const float (&v)[kWide]) { put(p, v); }
template <int kWide, typename T> static __device__ __forceinline__ void cache_put(T *p, const float (&v)[kWide]) {
    if constexpr (kWide == 4) {
        T e[4] = {from_float<T>(v[0]), from_float<T>(v[1]), from_float<T>(v[2]), from_float<T>(v[3])};
        uint2 u;
        memcpy(&u, e, sizeof u);
        *reinterpret_cast<uint2 *>(p) = u;
    } else {
        *p = from_float<T>(v[0]);
    }
}

// turn rotates kWide pairs of a head, whose first elements are at a.
template <int kWide>
static __device__ __forceinline__ void turn(float *a, const float *angle, int half, float (&x)[kWide], float (&y)[kWide]) {
    float c[kWide], s[kWide];
    take<kWide>(x, a);
    take<kWide>(y, a + half);
    look_up<kWide>(c, angle);
    look_up<kWide>(s, angle + half);
    for (int j = 0; j < kWide; j++) {
        const float first = x[j] * c[j] - y[j] * s[j];
        y[j] = y[j] * c[j] + x[j] * s[j];
        x[j] = first;
    }
    put(a, x);
    put(a + half, y);
}

// head_of is where the cache has a head of a slot.
template <typename T> static __device__ __forceinline__ T *head_of(void *cache, const CacheView &kv, int slot, int head) {
    const int64_t block = slot / kv.block_size, at = slot % kv.block_size;
    return static_cast<T *>(cache) + block * kv.block + (int64_t(head) * kv.block_size + at) * kv.padded;
}

// clear_tail zeroes what is behind a head in the cache.
template <typename T> static __device__ __forceinline__ void clear_tail(T *head, const CacheView &kv) {
    for (int i = kv.head_dim; i < kv.padded; i++) head[i] = from_float<T>(0.f);
}

template <typename T, int kWide> static __global__ void __launch_bounds__(kStoreThreads) store_kv_kernel(StoreRows a) {
    const int slot = a.slots[blockIdx.x];
    if (slot < 0) return;
    const CacheView &kv = a.kv;
    const int pairs = a.half / kWide, each = pairs + (kv.head_dim - 2 * a.half) / kWide; // items of a key head
    const int values = kv.head_dim / kWide;                                             // of a value head
    float *row = a.qkv + int64_t(blockIdx.x) * (a.heads + 2 * kv.kv_heads) * kv.head_dim;
    const float *angles = a.half ? a.table + int64_t(a.positions[blockIdx.x]) * 2 * a.half : nullptr;
    int item = blockIdx.y * blockDim.x + threadIdx.x;
    float x[kWide], y[kWide];

    if (item < a.heads * pairs) {
        const int i = item % pairs * kWide;
        turn<kWide>(row + item / pairs * kv.head_dim + i, angles + i, a.half, x, y);
        return;
    }
    item -= a.heads * pairs;
    row += a.heads * kv.head_dim;
    if (item < kv.kv_heads * each) {
        const int head = item / each, i = item % each;
        float *from = row + head * kv.head_dim;
        T *to = head_of<T>(kv.keys, kv, slot, head);
        if (i == 0) clear_tail(to, kv);
        if (i < pairs) {
            turn<kWide>(from + i * kWide, angles + i * kWide, a.half, x, y);
            cache_put<kWide>(to + i * kWide, x);
            cache_put<kWide>(to + i * kWide + a.half, y);
        } else {
            const int at = 2 * a.half + (i - pairs) * kWide;
            take<kWide>(x, from + at);
            cache_put<kWide>(to + at, x);
        }
        return;
    }
    item -= kv.kv_heads * each;
    row += kv.kv_heads * kv.head_dim;
    if (item < kv.kv_heads * values) {
        const int head = item / values, i = item % values;
        T *to = head_of<T>(kv.values, kv, slot, head);
        if (i == 0) clear_tail(to, kv);
        take<kWide>(x, row + head * kv.head_dim + i * kWide);
        cache_put<kWide>(to + i * kWide, x);
    }
}

template <int kWide> static int store(sbc_context *c, const StoreRows &a) {
    const CacheView &kv = a.kv;
    const int key_items = (kv.head_dim - a.half) / kWide, value_items = kv.head_dim / kWide;
    const int items = a.heads * (a.half / kWide) + kv.kv_heads * (key_items + value_items);
    const dim3 grid(c->step.tokens_n, ceil_div(items, kStoreThreads)), block(kStoreThreads);
    int status = SBC_OK;
    SBC_BY_DTYPE(c->options.dtype, status = SBC_LAUNCH(c, (store_kv_kernel<T, kWide>), grid, block, 0, a));
    return status;
}

} // namespace sbc

using namespace sbc;

int sbc_store_kv(sbc_context *c, sbc_ptr qkv, const sbc_kv *kv, int32_t layer, int32_t rope_dims, sbc_ptr table, const sbc_attn *a) {
    SBC_TRY(enter(c, true));
    if (!qkv || !kv || !kv->data || !a || layer < 0 || layer >= kv->layers || a->heads <= 0 || a->kv_heads != kv->kv_heads ||
        a->head_dim != kv->head_dim)
        return fail(c, SBC_ARGUMENT, "storing keys and values: the heads and the layer must be those of the cache");
    if (rope_dims < 0 || rope_dims % 2 || rope_dims > a->head_dim || (rope_dims && !table))
        return fail(c, SBC_ARGUMENT, "storing keys and values: %d elements of a head of %d cannot be rotated", int(rope_dims),
                    int(a->head_dim));
    if (c->step.tokens_n == 0) return SBC_OK;
    StoreRows rows;
    rows.qkv = reinterpret_cast<float *>(qkv);
    rows.table = reinterpret_cast<const float *>(table);
    rows.positions = c->step.positions, rows.slots = c->step.slots;
    rows.kv = cache_view(c->options.dtype, kv, layer);
    rows.heads = a->heads, rows.half = rope_dims / 2;
    const bool aligned = (qkv & 15) == 0 && (table & 15) == 0 && (kv->data & 15) == 0;
    if (aligned && a->head_dim % 4 == 0 && rows.half % 4 == 0) return store<4>(c, rows);
    return store<1>(c, rows);
}
