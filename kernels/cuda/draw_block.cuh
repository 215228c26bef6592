// draw_block.cuh: what a block of draw.cu does together with a set of numbers: sums,
// the cut at a rank or a mass, the gathering of those that are left, and the way down
// to the one at which a running sum passes a number.
//
// A set is a struct with load(e), which reads element e, and keeps(e, v), which says
// whether the element belongs, and may turn v, what load read, into its value. They
// are apart so that several loads are under way before the first is looked at.
//
// All threads of the block call these functions, with the same arguments, and get the
// same answer. Each ends with a barrier behind the last look at shared memory. What
// is summed in float64 is summed in an order that n and the block's size decide;
// masses that are added in any order are integers.
#ifndef SERVEBENCH_CUDA_DRAW_BLOCK_CUH
#define SERVEBENCH_CUDA_DRAW_BLOCK_CUH

#include "internal.cuh"

namespace sbc {

constexpr uint32_t kAllLanes = 0xffffffffu;
constexpr int kMostWarps = 32;
constexpr int kBins = 2048; // of a histogram: a digit of 11 bits
constexpr int kList = 3072; // elements that a block keeps
constexpr int kAhead = 8;   // loads of a thread that are under way

// Bench is the shared memory that a block works with.
struct Bench {
    uint32_t *low, *high; // [kBins] each: 64-bit masses of a histogram's bins
    uint64_t *masses;     // [kMostWarps] sums of warps
    double *sums;         // [kMostWarps] sums of warps
    int *counts;          // [kMostWarps] counts of warps
    uint64_t *bin;        // [3] that find has found: its number, what is above it, its own mass
    float *values;        // [kList] what gather has kept
    int *ids;             // [kList] their elements
};

static __device__ __forceinline__ int lane_of() { return threadIdx.x % kWarp; }
static __device__ __forceinline__ int warp_of() { return threadIdx.x / kWarp; }
static __device__ __forceinline__ int warps_of() { return blockDim.x / kWarp; }

// warp_sum of float64: every lane gets it, by the same tree always.
static __device__ __forceinline__ double warp_sum(double x) {
    for (int d = kWarp / 2; d > 0; d /= 2) x += __shfl_xor_sync(kAllLanes, x, d);
    return x;
}

// each calls use(e, value) for the elements lo+start, lo+start+step, … below hi that
// the set keeps, in this order.
template <typename S, typename F>
static __device__ __forceinline__ void each(const S &s, int lo, int hi, int start, int step, F use) {
    for (int at = lo + start; at < hi; at += kAhead * step) {
        decltype(s.load(0)) v[kAhead] = {};
#pragma unroll
        for (int j = 0; j < kAhead; j++)
            if (at + j * step < hi) v[j] = s.load(at + j * step);
#pragma unroll
        for (int j = 0; j < kAhead; j++) {
            const int e = at + j * step;
            if (e < hi && s.keeps(e, v[j])) use(e, v[j]);
        }
    }
}

// order maps a float32 that is not NaN to an integer of the same order, value_of back.
static __device__ __forceinline__ uint32_t order(float x) {
    const uint32_t b = __float_as_uint(x);
    return b >> 31 ? ~b : b | 1u << 31;
}
static __device__ __forceinline__ float value_of(uint32_t o) { return __uint_as_float(o >> 31 ? o & ~(1u << 31) : ~o); }

// before returns the sum of x over the threads before this one, and in total that
// over all of them.
static __device__ __forceinline__ uint64_t before(uint64_t x, uint64_t *masses, uint64_t &total) {
    uint64_t sum = x;
    for (int d = 1; d < kWarp; d *= 2) {
        const uint64_t y = __shfl_up_sync(kAllLanes, sum, d);
        if (lane_of() >= d) sum += y;
    }
    if (lane_of() == kWarp - 1) masses[warp_of()] = sum;
    __syncthreads();
    uint64_t others = 0;
    total = 0;
    for (int w = 0; w < warps_of(); w++) {
        if (w < warp_of()) others += masses[w];
        total += masses[w];
    }
    __syncthreads();
    return others + sum - x;
}

// add adds a mass to a bin. Shared memory has 32-bit additions: whoever makes the low
// half pass zero carries, so that the bin's mass is right whatever the order.
static __device__ __forceinline__ void add(const Bench &b, int bin, uint64_t mass) {
    const uint32_t low = uint32_t(mass), old = atomicAdd(&b.low[bin], low);
    const uint32_t high = uint32_t(mass >> 32) + (old + low < old);
    if (high) atomicAdd(&b.high[bin], high);
}

// bin_at finds the bin, from the highest down, at which the mass above and those of
// the bins reach wanted: where they never do, the lowest that has any. It sets above
// to what is above the bin and here to what is in it.
static __device__ int bin_at(const Bench &b, uint64_t wanted, uint64_t &above, uint64_t &here) {
    const int mine = kBins / blockDim.x, highest = kBins - 1 - threadIdx.x * mine;
    auto mass = [&](int bin) { return uint64_t(b.high[bin]) << 32 | b.low[bin]; };
    uint64_t sum = 0, total;
    for (int i = 0; i < mine; i++) sum += mass(highest - i);
    uint64_t at = before(sum, b.masses, total);
    const uint64_t reach = min(wanted - above, total);
    if (at < reach && reach <= at + sum) {
        int bin = highest;
        while (at + mass(bin) < reach) at += mass(bin--);
        b.bin[0] = bin, b.bin[1] = above + at, b.bin[2] = mass(bin);
    }
    __syncthreads();
    const int bin = int(b.bin[0]);
    above = b.bin[1], here = b.bin[2];
    __syncthreads();
    return bin;
}

// Found is where a set was cut.
struct Found {
    float value;
    uint64_t above, here; // masses of the elements larger than value, and of its equals
};

// find returns the largest value such that the elements as large or larger have at
// least the wanted mass, which is over 0; where all have less, the smallest one of
// those with a mass. One pass makes a histogram of the leading 11 bits of their order
// and finds the bin where wanted is reached, two more refine within that bin. The set
// has an element with a mass; mass(v) is positive or 0.
template <typename S, typename M> static __device__ Found find(const S &s, int n, uint64_t wanted, const Bench &b, M mass) {
    uint32_t prefix = 0;
    uint64_t above = 0, here = 0;
    // A digit is bits to … from−1 of the order; those above are known.
    for (int from = 32, to = 21; from > 0; from = to, to = to == 21 ? 10 : 0) {
        for (int i = threadIdx.x; i < kBins; i += blockDim.x) b.low[i] = b.high[i] = 0;
        __syncthreads();
        each(s, 0, n, threadIdx.x, blockDim.x, [&](int, float v) {
            const uint32_t o = order(v);
            if (uint64_t(o) >> from != uint64_t(prefix) >> from) return;
            add(b, int(o >> to) & ((1 << (from - to)) - 1), mass(v));
        });
        __syncthreads();
        prefix |= uint32_t(bin_at(b, wanted, above, here)) << to;
    }
    return {value_of(prefix), above, here};
}

// gather counts the elements that a set keeps and, where they have room, leaves their
// values and numbers in b, in order of the numbers. A warp looks through one part of
// the set, twice.
template <typename S> static __device__ int gather(const S &s, int n, const Bench &b) {
    const int part = round_up(ceil_div(n, warps_of()), kWarp);
    const int lo = min(n, warp_of() * part), hi = min(n, lo + part);
    int mine = 0, at = 0, total = 0;
    each(s, lo, hi, lane_of(), kWarp, [&](int, float) { mine++; });
    mine = __reduce_add_sync(kAllLanes, mine);
    if (lane_of() == 0) b.counts[warp_of()] = mine;
    __syncthreads();
    for (int w = 0; w < warps_of(); w++) {
        if (w < warp_of()) at += b.counts[w];
        total += b.counts[w];
    }
    for (int first = lo; total <= kList && first < hi; first += kAhead * kWarp) {
        float v[kAhead] = {};
#pragma unroll
        for (int j = 0; j < kAhead; j++)
            if (first + j * kWarp + lane_of() < hi) v[j] = s.load(first + j * kWarp + lane_of());
#pragma unroll
        for (int j = 0; j < kAhead; j++) {
            const int e = first + j * kWarp + lane_of();
            const bool kept = e < hi && s.keeps(e, v[j]);
            const uint32_t all = __ballot_sync(kAllLanes, kept);
            const int to = at + __popc(all & ((1u << lane_of()) - 1));
            if (kept) b.values[to] = v[j], b.ids[to] = e;
            at += __popc(all);
        }
    }
    __syncthreads();
    return total;
}

// first returns the first of the elements lo … hi−1 that a set keeps, hi where it
// keeps none.
template <typename S> static __device__ int first(const S &s, int lo, int hi, const Bench &b) {
    int least = hi;
    each(s, lo, hi, threadIdx.x, blockDim.x, [&](int e, float) { least = min(least, e); });
    least = __reduce_min_sync(kAllLanes, least);
    if (lane_of() == 0) b.counts[warp_of()] = least;
    __syncthreads();
    for (int w = 0; w < warps_of(); w++) least = min(least, b.counts[w]);
    __syncthreads();
    return least;
}

// sum returns Σ values of the elements below n that a set keeps.
template <typename S> static __device__ double sum(const S &s, int n, const Bench &b) {
    double mine = 0, total = 0;
    each(s, 0, n, threadIdx.x, blockDim.x, [&](int, double v) { mine += v; });
    mine = warp_sum(mine);
    if (lane_of() == 0) b.sums[warp_of()] = mine;
    __syncthreads();
    for (int w = 0; w < warps_of(); w++) total += b.sums[w];
    __syncthreads();
    return total;
}

// Way is how far a way down has come: the values before its range have the sum before,
// and the sum looked for is at, or share of all where at is negative.
struct Way {
    double share, at, before;
};

// descend returns the first element of [lo, hi) at which the running sum passes
// way.at, and in way.before the sum before it. Where rounding lets none pass, it is
// the last element that has a value. Every warp sums a part of the range, in order
// of the elements, and the part where the sum passes is the next range.
template <typename S> static __device__ int descend(const S &s, int lo, int hi, Way &way, const Bench &b) {
    for (;;) {
        const int part = ceil_div(hi - lo, warps_of());
        const int first = min(hi, lo + warp_of() * part), last = min(hi, first + part);
        double mine = 0;
        each(s, first, last, lane_of(), kWarp, [&](int, double v) { mine += v; });
        mine = warp_sum(mine);
        if (lane_of() == 0) b.sums[warp_of()] = mine;
        __syncthreads();
        if (way.at < 0) {
            double all = 0;
            for (int w = 0; w < warps_of(); w++) all += b.sums[w];
            way.at = way.share * all;
        }
        int chosen = 0;
        double running = way.before;
        for (int w = 0; w < warps_of(); w++) {
            const double of_warp = b.sums[w];
            if (of_warp == 0) continue;
            chosen = w, way.before = running;
            running += of_warp;
            if (running > way.at) break;
        }
        __syncthreads();
        lo = lo + chosen * part;
        hi = min(hi, lo + part);
        if (part == 1) return lo;
    }
}

} // namespace sbc
#endif
