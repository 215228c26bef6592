// draw.cu: the drawing of tokens, so that only their ids leave the device. It draws
// what package sample draws, whose doc.go has the steps: finite, greedy, top_k,
// softmax with min_p, top_p, and the inverse of the cumulative weights, in order of
// ids, at a number of Philox4x32-10.
//
//   look   chunk of 256 ids → its largest logit, NaN where one is not finite
//   weigh  chunk of 256 ids → Σ exp((logit − largest)/temperature), for rows that are
//          not greedy and have no top_k
//   pick   row → id
//
// Equation   w(i) = exp((x(i) − largest)/temperature); kept are the ids with x(i) at
//            least the top_k-th largest, w(i) ≥ min_p, and of those the heaviest whose
//            share reaches top_p, of equals the lowest ids; the token is the first
//            kept id at which Σ w passes uniform·Σ
// Inputs     logits [rows, width] float32, of which ids below vocab count; draws [rows]
// Outputs    ids [rows]: an id, or −1 where a logit is not finite
// Grid       look, weigh: (rows, ⌈V/2048⌉), block 256: a warp has a chunk.
//            pick: rows; block 1024, 128 for vocabularies up to 4096
// Shared     weigh 1.2 KB; pick 42 KB: a histogram, and 3,072 candidates
// Alignment  of elements: lanes read neighbouring ones, V need not be a multiple of 4
// Arithmetic a weight is float64 arithmetic rounded to float32, as sample's exp has it;
//            sums are float64. Their order is fixed by V alone, and masses that
//            threads add in any order are 62-bit integers: a token never depends on
//            what else is in the step, nor on the run. It is sample's token unless
//            uniform·Σ is within the rounding of Σ, some 1e-15 of it, of a border.
//
// Why a block a row picks: what takes arithmetic, 15 operations of float64 a logit, is
// in weigh, which is spread over all multiprocessors (V = 32,000 is 16 blocks a row,
// 152,000 is 75). What is left is looked for by its logit, which is a comparison: no
// weight is computed that the cut surely leaves out. On a trained model's logits some
// hundreds are left; they are gathered in shared memory, and the cut and the drawing
// cost microseconds whatever V is. Where more than 3,072 are left, pick goes through
// the row again instead, and computes weights as often as it looks: no scratch grows
// with V but 12 bytes a chunk.
//
// Roofline, A100 (L2 5 TB/s, 90 GB/s a multiprocessor; float64 4.9 T instructions/s),
// H100 (5.5 TB/s, 110 GB/s; 17 T/s). The logits were just written: they are in L2.
// FLOPs are weigh's.
//
//   V, rows       bytes of a pass   FLOPs    look + weigh    pick, one pass a block
//   32,000, 1     128 KB            0.48 M   2 launches      1.4 µs,  1.2 µs
//   32,000, 64    8.2 MB            31 M     8.0 µs, 3.3 µs  the same (64 blocks)
//   50,257, 1     201 KB            0.75 M   2 launches      2.2 µs,  1.8 µs
//   50,257, 64    12.9 MB           48 M     12 µs,  5.2 µs  the same
//
// Expected of pick: greedy 3 µs (no pass over V at all), temperature alone 5 µs, top_p
// 2 passes and some 5 µs, top_k 5 passes and some 8 µs; a flat row with top_p, as of
// random weights, 4 passes with float64 arithmetic of one multiprocessor, V = 32,000:
// 15 µs each on A100, 7 µs on H100. Cards with few float64 units (sm_86, sm_89: 2 a
// clock) take 16 times A100's time there, and 9 µs for weigh of one row.
#include "draw_block.cuh"

#include <cfloat>
#include <cmath>

namespace sbc {

constexpr int kChunk = 256;        // ids that a warp of look and weigh has
constexpr int kChunkThreads = 256; // of their blocks
constexpr int kPickThreads = 1024;
constexpr int kPickFewThreads = 128; // for vocabularies up to
constexpr int kFew = 4096;           // so many ids
constexpr int kPowers = 128;         // steps of a factor 2

constexpr double kGreedyBelow = 1e-5;  // temperatures that are greedy (sample.greedyBelow)
constexpr double kLeastExponent = -60; // exponents below have no weight (sample.leastExponent)

static __device__ __forceinline__ bool greedy(const sbc_draw &d) { return !(d.temperature >= kGreedyBelow); }
static __device__ __forceinline__ bool ranked(const sbc_draw &d, int vocab) { return d.top_k > 0 && d.top_k < vocab; }

// Weighing turns a logit into its weight.
struct Weighing {
    const double *powers; // [kPowers] 2^(i/kPowers)
    double most, scale;   // largest logit, 1/temperature
    double floor;         // least exponent
    float low;            // logits below are left out, which saves their weights
    float negligible;     // weights up to it are left out

    // of says whether a logit has a weight that counts. It is 2^(k/kPowers)·eʳ, with
    // k from the sum's low bits and eʳ as 1 + r + r²/2, |r| ≤ ln2/256.
    __device__ __forceinline__ bool of(float x, float &weight) const {
        if (!(x >= low)) return false;
        const double y = (double(x) - most) * scale;
        if (!(y >= floor)) return false;
        constexpr double kToInteger = 6755399441055744.0; // 1.5·2⁵²
        constexpr double kLog2E = 1.4426950408889634, kLn2 = 0.6931471805599453;
        const double t = y * (kPowers * kLog2E) + kToInteger;
        const uint64_t k = uint64_t(__double_as_longlong(t));
        const double r = y - (t - kToInteger) * (kLn2 / kPowers);
        const uint64_t power = uint64_t(__double_as_longlong(powers[k % kPowers])) + (k / kPowers << 52);
        weight = float((1 + r * (1 + r * 0.5)) * __longlong_as_double((long long)power));
        return weight > negligible;
    }
};

// below is a logit that every logit of a smaller exponent is smaller than.
static __device__ __forceinline__ float below(double most, double exponent, double temperature) {
    return nextafterf(float(most + exponent * temperature), -INFINITY);
}

static __device__ Weighing weighing(const sbc_draw &d, float most, const double *powers) {
    const double floor = fmin(0., fmax(kLeastExponent, log(d.min_p)));
    return {powers, most, 1 / d.temperature, floor, below(most, floor, d.temperature), 0};
}

// leave_out leaves out what has, as much as there is of it, less than 1−p of total:
// the others reach p without it. The margin covers the rounding of sums.
static __device__ void leave_out(Weighing &w, double p, double total, int vocab, double temperature) {
    w.negligible = float((1 - p) * total / vocab * (1 - 1e-6));
    if (w.negligible > 0) w.low = fmaxf(w.low, below(w.most, log(double(w.negligible)) - 1e-6, temperature));
}

// Sets (draw_block.cuh).

// Logits are those that are at least least.
struct Logits {
    const float *x;
    float least;
    __device__ __forceinline__ float load(int e) const { return __ldg(x + e); }
    __device__ __forceinline__ bool keeps(int, float &v) const { return v >= least; }
};

// Weights are those of a row that count.
struct Weights {
    const float *x;
    Weighing w;
    __device__ __forceinline__ float load(int e) const { return __ldg(x + e); }
    __device__ __forceinline__ bool keeps(int, float &v) const { return w.of(v, v); }
};

// Gathered is what gather has left.
struct Gathered {
    const float *values;
    __device__ __forceinline__ float load(int e) const { return values[e]; }
    __device__ __forceinline__ bool keeps(int, float &) const { return true; }
};

// Sums are those of a row's chunks.
struct Sums {
    const double *x;
    __device__ __forceinline__ double load(int e) const { return __ldg(x + e); }
    __device__ __forceinline__ bool keeps(int, double &) const { return true; }
};

// Equals are the elements of s with one value; each has the value 1.
template <typename S> struct Equals {
    S s;
    float value;
    __device__ __forceinline__ float load(int e) const { return s.load(e); }
    __device__ __forceinline__ bool keeps(int e, float &v) const {
        const bool kept = s.keeps(e, v) && v == value;
        v = 1;
        return kept;
    }
};

// Heaviest are the elements of s over least, and of those equal to it the ones up to
// the last.
template <typename S> struct Heaviest {
    S s;
    float least;
    int last;
    __device__ __forceinline__ float load(int e) const { return s.load(e); }
    __device__ __forceinline__ bool keeps(int e, float &v) const { return s.keeps(e, v) && (v > least || (v == least && e <= last)); }
};

// heaviest cuts s at p of total.
template <typename S> static __device__ Heaviest<S> heaviest(const S &s, int n, double p, double total, const Bench &b) {
    const double unit = ldexp(1., 61 - ilogb(total)); // all masses together are less than 2⁶²
    auto mass = [unit](float v) { return uint64_t(double(v) * unit); };
    uint64_t wanted = uint64_t(ceil(p * total * unit));
    wanted = wanted ? wanted : 1;
    const Found f = find(s, n, wanted, b, mass);
    const uint64_t one = mass(f.value), most = (wanted - f.above + one - 1) / one;
    int last = n;
    if (f.here / one > most) { // more of equal weights than it takes
        Way way = {0, double(most - 1), 0};
        last = descend(Equals<S>{s, f.value}, 0, n, way, b);
    }
    return {s, f.value, last};
}

// draw draws an element of s.
template <typename S> static __device__ int draw(const S &s, int n, double p, double total, double share, const Bench &b) {
    Way way = {share, -1, 0};
    if (p < 1) return descend(heaviest(s, n, p, total, b), 0, n, way, b);
    return descend(s, 0, n, way, b);
}

// philox is Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2,
// 3", SC 2011), uniform the number in [0, 1) that a seed has for an index, a multiple
// of 2⁻⁵³.
static __device__ uint4 philox(uint4 counter, uint2 key) {
    for (int round = 0; round < 10; round++) {
        const uint64_t a = uint64_t(0xD2511F53u) * counter.x, b = uint64_t(0xCD9E8D57u) * counter.z;
        counter = make_uint4(uint32_t(b >> 32) ^ counter.y ^ key.x, uint32_t(b), uint32_t(a >> 32) ^ counter.w ^ key.y, uint32_t(a));
        key.x += 0x9E3779B9u, key.y += 0xBB67AE85u;
    }
    return counter;
}
static __device__ double uniform(uint64_t seed, uint64_t index) {
    const uint4 r = philox(make_uint4(uint32_t(index), uint32_t(index >> 32), 0, 0), make_uint2(uint32_t(seed), uint32_t(seed >> 32)));
    return double((uint64_t(r.x) << 32 | r.y) >> 11) * 0x1p-53;
}

// Row is a row of logits with what look and weigh have found.
struct Row {
    const float *logits, *largest; // [vocab], [chunks]
    const double *sums;            // [chunks]
    int vocab, chunks;
    float most;
};

// ranked_at returns the k-th largest logit. The k-th largest of the chunks' largest
// logits is no larger, and few logits are as large: they are gathered.
static __device__ float ranked_at(const Row &r, int k, const Bench &b) {
    auto one = [](float) { return uint64_t(1); };
    Logits all = {r.logits, -INFINITY};
    if (k <= r.chunks) all.least = find(Logits{r.largest, -INFINITY}, r.chunks, uint64_t(k), b, one).value;
    const int n = gather(all, r.vocab, b);
    if (n <= kList) return find(Gathered{b.values}, n, uint64_t(k), b, one).value;
    return find(all, r.vocab, uint64_t(k), b, one).value;
}

// likeliest returns the first id of the largest logit.
static __device__ int likeliest(const Row &r, const Bench &b) {
    const int chunk = first(Equals<Logits>{{r.largest, -INFINITY}, r.most}, 0, r.chunks, b);
    return first(Equals<Logits>{{r.logits, -INFINITY}, r.most}, chunk * kChunk, min(r.vocab, (chunk + 1) * kChunk), b);
}

// drawn returns the id of a row that is not greedy.
static __device__ int drawn(const Row &r, const sbc_draw &d, const double *powers, const Bench &b) {
    Weights s = {r.logits, weighing(d, r.most, powers)};
    const bool by_rank = ranked(d, r.vocab);
    const double share = uniform(d.seed, d.index), p = fmax(0., d.top_p);
    if (!by_rank && p >= 1) { // to a chunk, then to an id of it
        Way way = {share, -1, 0};
        const int chunk = descend(Sums{r.sums}, 0, r.chunks, way, b);
        return descend(s, chunk * kChunk, min(r.vocab, (chunk + 1) * kChunk), way, b);
    }
    if (by_rank) s.w.low = fmaxf(s.w.low, ranked_at(r, d.top_k, b));
    double total = 0;
    if (p < 1) {
        total = by_rank ? sum(s, r.vocab, b) : sum(Sums{r.sums}, r.chunks, b);
        leave_out(s.w, p, total, r.vocab, d.temperature);
    }
    const int n = gather(s, r.vocab, b);
    if (n <= kList) return b.ids[draw(Gathered{b.values}, n, p, total, share, b)];
    return draw(s, r.vocab, p, total, share, b);
}

// largest returns the largest of a row's chunks' largest logits, or NaN. of_warps is
// kMostWarps floats that nobody else uses.
static __device__ float largest(const float *of_chunks, int chunks, float *of_warps) {
    float most = -INFINITY;
    bool finite = true;
    for (int i = threadIdx.x; i < chunks; i += blockDim.x) {
        const float x = __ldg(of_chunks + i);
        finite = finite && x == x;
        most = fmaxf(most, x);
    }
    most = warp_max(most);
    if (__any_sync(kAllLanes, !finite)) most = NAN;
    if (lane_of() == 0) of_warps[warp_of()] = most;
    __syncthreads();
    for (int w = 0; w < warps_of(); w++) {
        finite = finite && of_warps[w] == of_warps[w];
        most = fmaxf(most, of_warps[w]);
    }
    return finite ? most : NAN;
}

static __global__ void __launch_bounds__(kChunkThreads) look_kernel(const float *logits, int width, int vocab, int chunks, float *of_chunks) {
    const int chunk = blockIdx.y * warps_of() + warp_of();
    if (chunk >= chunks) return;
    const float *x = logits + int64_t(blockIdx.x) * width;
    float most = -INFINITY;
    bool finite = true;
#pragma unroll
    for (int j = 0; j < kChunk; j += kWarp) {
        const int e = chunk * kChunk + j + lane_of();
        if (e >= vocab) continue;
        const float v = __ldg(x + e);
        finite = finite && fabsf(v) <= FLT_MAX;
        most = fmaxf(most, v);
    }
    most = warp_max(most);
    if (__any_sync(kAllLanes, !finite)) most = NAN;
    if (lane_of() == 0) of_chunks[int64_t(blockIdx.x) * chunks + chunk] = most;
}

// fill_powers needs a barrier behind it.
static __device__ void fill_powers(double *powers) {
    for (int i = threadIdx.x; i < kPowers; i += blockDim.x) powers[i] = exp2(double(i) / kPowers);
}

static __global__ void __launch_bounds__(kChunkThreads) weigh_kernel(const float *logits, int width, int vocab, int chunks,
                                                                     const float *of_chunks, const sbc_draw *draws, double *sums) {
    SBC_SHARED(double, powers, kPowers);
    SBC_SHARED(float, of_warps, kMostWarps);
    const sbc_draw d = draws[blockIdx.x];
    if (greedy(d) || ranked(d, vocab)) return;
    fill_powers(powers);
    const float most = largest(of_chunks + int64_t(blockIdx.x) * chunks, chunks, of_warps);
    const int chunk = blockIdx.y * warps_of() + warp_of();
    if (!(most == most) || chunk >= chunks) return;
    const Weights s = {logits + int64_t(blockIdx.x) * width, weighing(d, most, powers)};
    double sum = 0;
    each(s, chunk * kChunk, min(vocab, (chunk + 1) * kChunk), lane_of(), kWarp, [&](int, double v) { sum += v; });
    sum = warp_sum(sum);
    if (lane_of() == 0) sums[int64_t(blockIdx.x) * chunks + chunk] = sum;
}

static __global__ void __launch_bounds__(kPickThreads) pick_kernel(const float *logits, int width, int vocab, int chunks,
                                                                   const float *of_chunks, const double *sums, const sbc_draw *draws,
                                                                   int32_t *ids) {
    SBC_SHARED(double, powers, kPowers);
    SBC_SHARED(float, of_warps, kMostWarps);
    SBC_SHARED(uint32_t, low, kBins);
    SBC_SHARED(uint32_t, high, kBins);
    SBC_SHARED(uint64_t, masses, kMostWarps);
    SBC_SHARED(double, warp_sums, kMostWarps);
    SBC_SHARED(int, counts, kMostWarps);
    SBC_SHARED(uint64_t, bin, 3);
    SBC_SHARED(float, values, kList);
    SBC_SHARED(int, elements, kList);
    const Bench b = {low, high, masses, warp_sums, counts, bin, values, elements};
    const int64_t row = blockIdx.x;
    const sbc_draw d = draws[row];
    Row r = {logits + row * width, of_chunks + row * chunks, sums + row * chunks, vocab, chunks, 0};
    fill_powers(powers);
    r.most = largest(r.largest, chunks, of_warps); // its barrier is fill_powers', too
    int id = -1;
    if (r.most == r.most) id = greedy(d) ? likeliest(r, b) : drawn(r, d, powers, b);
    if (threadIdx.x == 0) ids[row] = id;
}

int draw_kernels(sbc_context *c, const float *logits, int width, int vocab, int rows, const sbc_draw *draws, int32_t *ids) {
    if (!logits || !draws || !ids || rows < 1 || rows > c->options.max_seqs || vocab < 1 || vocab > width)
        return fail(c, SBC_ARGUMENT, "drawing from %d rows of %d logits, %d of them in use", rows, width, vocab);
    const int chunks = ceil_div(vocab, kChunk);
    const size_t most = size_t(c->options.max_seqs) * chunks; // at once for any number of rows
    SBC_TRY(grow(c, &c->drawing, &c->drawing_bytes, most * (sizeof(double) + sizeof(float)), "the chunks of a draw"));
    double *sums = static_cast<double *>(c->drawing);
    float *of_chunks = reinterpret_cast<float *>(sums + most);
    const dim3 grid(rows, ceil_div(chunks, kChunkThreads / kWarp)), block(kChunkThreads);
    SBC_TRY(SBC_LAUNCH(c, look_kernel, grid, block, 0, logits, width, vocab, chunks, of_chunks));
    SBC_TRY(SBC_LAUNCH(c, weigh_kernel, grid, block, 0, logits, width, vocab, chunks, of_chunks, draws, sums));
    return SBC_LAUNCH(c, pick_kernel, dim3(rows), dim3(vocab <= kFew ? kPickFewThreads : kPickThreads), 0, logits, width, vocab, chunks,
                      of_chunks, sums, draws, ids);
}

} // namespace sbc
