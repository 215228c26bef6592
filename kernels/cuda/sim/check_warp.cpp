// check_warp.cpp: what kernels compute, against plain loops: the fragments of
// ldmatrix and mma, shuffles, votes, barriers, atomics, intrinsics.
#include "check.h"

static const dim3 kOne(1);

// A 16×8 tile of the product, as a kernel makes it that knows the manual.
template <typename T> static __global__ void product_kernel(const T *a, const T *b, float *d) {
    SBC_DYNAMIC_SHARED(bytes);
    T *sa = reinterpret_cast<T *>(bytes), *sb = sa + 16 * 16; // a [16, 16], b [16 of k, 8 of n], rows one behind the other
    const int lane = int(threadIdx.x);
    for (int i = lane; i < 256; i += 32) sa[i] = a[i];
    for (int i = lane; i < 128; i += 32) sb[i] = b[i];
    __syncwarp();
    uint32_t fa[4], fb[4];
    // Matrices of a: rows 0-7 and 8-15 of columns 0-7, then of columns 8-15.
    sbc::ldmatrix_x4(fa, sa + (lane % 16) * 16 + lane / 16 * 8);
    // b is [k, n], and a fragment wants pairs along k: transposed. Two of the four
    // matrices are enough; the others are read over.
    sbc::ldmatrix_x4_trans(fb, sb + (lane % 16) * 8);
    const uint32_t b2[2] = {fb[0], fb[1]};
    float sum[4] = {1, 2, 3, 4};
    sbc::mma_16816<T>(sum, fa, b2);
    const int g = lane / 4, t = lane % 4;
    d[g * 8 + 2 * t] = sum[0], d[g * 8 + 2 * t + 1] = sum[1];
    d[(g + 8) * 8 + 2 * t] = sum[2], d[(g + 8) * 8 + 2 * t + 1] = sum[3];
}

static float as_float(__nv_bfloat16 x) { return __bfloat162float(x); }
static float as_float(__half x) { return __half2float(x); }
static void from(float x, __nv_bfloat16 *to) { *to = __float2bfloat16_rn(x); }
static void from(float x, __half *to) { *to = __float2half_rn(x); }

template <typename T> static void product() {
    std::vector<T> a(256), b(128);
    for (size_t i = 0; i < a.size(); i++) from(float(int(i * 37 % 101) - 50) / 8, &a[i]);
    for (size_t i = 0; i < b.size(); i++) from(float(int(i * 53 % 97) - 48) / 16, &b[i]);
    for_seeds([&] {
        Device<T> da(a), db(b);
        Device<float> d(128);
        RIGHT(run(product_kernel<T>, kOne, dim3(32), 1024, da.data, db.data, d.data));
        const std::vector<float> got = d.get();
        for (int m = 0; m < 16; m++)
            for (int n = 0; n < 8; n++) {
                double want = n % 2 ? (m < 8 ? 2 : 4) : (m < 8 ? 1 : 3); // what the sums began with
                for (int k = 0; k < 16; k++) want += double(as_float(a[size_t(m * 16 + k)])) * double(as_float(b[size_t(k * 8 + n)]));
                const double g = double(got[size_t(m * 8 + n)]);
                EXPECT(fabs(g - want) <= 1e-3, "element (%d, %d) is %g, want %g", m, n, g, want);
            }
    });
}

static void products_of_bf16() { product<__nv_bfloat16>(); }
static void products_of_f16() { product<__half>(); }

// Each lane of ldmatrix gets what the manual's figure has, by the number of the element.
static __global__ void matrix_kernel(uint32_t *out, bool transposed) {
    SBC_DYNAMIC_SHARED(bytes);
    uint16_t *e = reinterpret_cast<uint16_t *>(bytes);
    const int lane = int(threadIdx.x);
    for (int i = lane; i < 256; i += 32) e[i] = uint16_t(i); // matrix·64 + row·8 + column
    __syncwarp();
    uint32_t r[4];
    if (transposed)
        sbc::ldmatrix_x4_trans(r, e + lane * 8);
    else
        sbc::ldmatrix_x4(r, e + lane * 8);
    for (int m = 0; m < 4; m++) out[lane * 4 + m] = r[m];
}

static void matrices() {
    for (bool transposed : {false, true}) {
        Device<uint32_t> out(128);
        RIGHT(run(matrix_kernel, kOne, dim3(32), 512, out.data, transposed));
        const std::vector<uint32_t> got = out.get();
        for (uint32_t lane = 0; lane < 32; lane++)
            for (uint32_t m = 0; m < 4; m++) {
                const uint32_t at = lane / 4, pair = 2 * (lane % 4);
                const uint32_t lo = m * 64 + (transposed ? pair * 8 + at : at * 8 + pair), hi = lo + (transposed ? 8 : 1);
                EXPECT(got[lane * 4 + m] == (lo | hi << 16), "lane %u, matrix %u: %08x, want %08x", lane, m, got[lane * 4 + m], lo | hi << 16);
            }
    }
}

// Shuffles. Each result is written to its own column.
constexpr int kColumns = 16;
static __global__ void shuffle_kernel(int *out) {
    const int lane = int(threadIdx.x);
    int *o = out + lane * kColumns;
    const unsigned all = 0xffffffffu;
    o[0] = __shfl_sync(all, lane, 5);
    o[1] = __shfl_sync(all, lane, 5, 8);
    o[2] = __shfl_up_sync(all, lane, 3);
    o[3] = __shfl_up_sync(all, lane, 3, 8);
    o[4] = __shfl_down_sync(all, lane, 3);
    o[5] = __shfl_down_sync(all, lane, 3, 8);
    o[6] = __shfl_xor_sync(all, lane, 12);
    o[7] = __shfl_xor_sync(all, lane, 9, 8);
    o[8] = int(__shfl_xor_sync(all, double(lane) + 0.5, 1) * 2);
    o[9] = int(__shfl_sync(all, (1ll << 40) * lane, 7) >> 40);
    if (lane < 8) o[10] = __shfl_xor_sync(0xffu, lane, 1);
    if (lane >= 8) o[10] = __shfl_xor_sync(0xffffff00u, lane, 2);
    o[11] = int(__ballot_sync(all, lane % 3 == 0));
    o[12] = __any_sync(all, lane == 31) * 2 + __all_sync(all, lane < 31);
    o[13] = int(__match_any_sync(all, lane / 3));
    o[14] = int(__reduce_add_sync(all, unsigned(lane)));
    o[15] = __reduce_min_sync(all, 3 - lane);
}

static int shuffled(int lane, int column) {
    int ballot = 0, match = 0;
    for (int i = 0; i < 32; i++) {
        if (i % 3 == 0) ballot |= int(1u << i);
        if (i / 3 == lane / 3) match |= int(1u << i);
    }
    switch (column) {
    case 0:
        return 5;
    case 1:
        return lane / 8 * 8 + 5;
    case 2:
        return lane < 3 ? lane : lane - 3;
    case 3:
        return lane % 8 < 3 ? lane : lane - 3;
    case 4:
        return lane > 28 ? lane : lane + 3;
    case 5:
        return lane % 8 > 4 ? lane : lane + 3;
    case 6:
        return lane ^ 12;
    case 7: // 8 lanes up are out of reach, 8 lanes down are not
        return (lane ^ 9) >= lane / 8 * 8 + 8 ? lane : lane ^ 9;
    case 8:
        return 2 * (lane ^ 1) + 1;
    case 9:
        return 7;
    case 10:
        return lane < 8 ? lane ^ 1 : lane ^ 2;
    case 11:
        return ballot;
    case 12:
        return 2;
    case 13:
        return match;
    case 14:
        return 31 * 16;
    default:
        return 3 - 31;
    }
}

static void shuffles_and_votes() {
    for_seeds([] {
        Device<int> out(32 * kColumns);
        RIGHT(run(shuffle_kernel, kOne, dim3(32), 0, out.data));
        const std::vector<int> got = out.get();
        for (int lane = 0; lane < 32; lane++)
            for (int i = 0; i < kColumns; i++) {
                const int g = got[size_t(lane * kColumns + i)];
                EXPECT(g == shuffled(lane, i), "lane %d, column %d: %d, want %d", lane, i, g, shuffled(lane, i));
            }
    });
}

// A sum over a grid of three dimensions, by every way there is of putting threads together.
static __global__ void grid_kernel(int *sums, double *total) {
    SBC_SHARED(int, partial, 8);
    const int t = int(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
    const int b = int(blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z));
    int x = t + 1000 * b;
    for (int d = 16; d > 0; d /= 2) x += __shfl_xor_sync(0xffffffffu, x, d);
    if (t % 32 == 0) partial[t / 32] = x;
    const int odd = __syncthreads_count(t % 2);
    if (t == 0) {
        int sum = 0;
        for (int i = 0; i < 6; i++) sum += partial[i];
        sums[b] = sum + odd;
        atomicAdd(total, double(sum));
    }
    const int any = __syncthreads_or(t == 77), all = __syncthreads_and(t < 191);
    if (t == 1) atomicMax(&sums[b], any && !all ? INT32_MIN : INT32_MAX);
}

static void grids() {
    for_seeds([] {
        Device<int> sums(24);
        Device<double> total(std::vector<double>{0.5});
        RIGHT(run(grid_kernel, dim3(2, 3, 4), dim3(8, 4, 6), 0, sums.data, total.data));
        const std::vector<int> got = sums.get();
        double want = 0.5;
        for (int b = 0; b < 24; b++) {
            const int sum = 192 * 191 / 2 + 192 * 1000 * b;
            want += sum;
            EXPECT(got[size_t(b)] == sum + 96, "block %d has %d, want %d", b, got[size_t(b)], sum + 96);
        }
        EXPECT(total.get()[0] == want, "the total is %g, want %g", total.get()[0], want);
    });
}

static __global__ void atomics_kernel(unsigned *u, int *i, float *f, unsigned long long *l) {
    const int t = int(threadIdx.x);
    atomicAdd(&u[0], 2u);
    atomicMin(&i[0], t - 20);
    atomicMax(&i[1], t);
    atomicOr(&u[1], 1u << (t % 32));
    atomicXor(&u[2], unsigned(t));
    atomicAnd(&u[3], ~(1u << (t % 8)));
    atomicAdd(&f[0], 0.5f);
    atomicAdd(&l[0], 1ull << 33);
    atomicInc(&u[4], 9u);
    unsigned old = u[5], seen;
    do {
        seen = old;
        old = atomicCAS(&u[5], seen, seen + unsigned(t));
    } while (old != seen);
    if (atomicExch(&u[6], 1u) == 0u) u[7] = unsigned(t);
}

static void atomics() {
    Device<unsigned> u(std::vector<unsigned>{0, 0, 0, ~0u, 0, 0, 0, 99});
    Device<int> i(std::vector<int>{5, -5});
    Device<float> f(std::vector<float>{0});
    Device<unsigned long long> l(std::vector<unsigned long long>{1});
    RIGHT(run(atomics_kernel, kOne, dim3(64), 0, u.data, i.data, f.data, l.data));
    const std::vector<unsigned> got = u.get();
    const unsigned want[] = {128, ~0u, 0, ~255u, 4, 2016, 1};
    for (int k = 0; k < 7; k++) EXPECT(got[size_t(k)] == want[k], "atomic %d has %u, want %u", k, got[size_t(k)], want[k]);
    EXPECT(got[7] < 64, "nobody was first");
    EXPECT(i.get()[0] == -20 && i.get()[1] == 63, "atomicMin %d, atomicMax %d", i.get()[0], i.get()[1]);
    EXPECT(f.get()[0] == 32 && l.get()[0] == (64ull << 33) + 1, "atomicAdd %g", double(f.get()[0]));
}

static __global__ void intrinsics_kernel(int *bad) {
    auto hold = [bad](int n, bool holds) {
        if (!holds) bad[n] = 1;
    };
    hold(0, __popc(0xf0f00001u) == 9 && __clz(1) == 31 && __clz(0) == 32 && __ffs(8) == 4 && __ffs(0) == 0 && __brev(1u) == 1u << 31);
    hold(1, __umulhi(0xffffffffu, 4u) == 3 && __umul64hi(1ull << 63, 6) == 3 && __mulhi(-1, 2) == -1);
    hold(2, __byte_perm(0x33221100u, 0x77665544u, 0x7410u) == 0x77441100u && __byte_perm(0x80u, 0, 0x8u) == 0x808080ffu);
    hold(3, __funnelshift_l(0x80000000u, 1u, 1) == 3u && __funnelshift_r(0u, 1u, 4) == 0x10000000u);
    hold(4, __float2int_rn(2.5f) == 2 && __float2int_rz(-2.9f) == -2 && __float2int_rd(-2.1f) == -3 && __float2int_ru(2.1f) == 3);
    hold(5, __float2int_rz(1e20f) == INT32_MAX && __float2int_rz(-1e20f) == INT32_MIN && __float2int_rz(NAN) == 0 && __float2uint_rz(-1.f) == 0);
    hold(6, __saturatef(-1.f) == 0 && __saturatef(2.f) == 1 && __saturatef(NAN) == 0 && __saturatef(.25f) == .25f);
    hold(7, fabsf(__expf(3.f) / expf(3.f) - 1) < 1e-6f && fabsf(rsqrtf(4.f) - .5f) < 1e-7f && fabsf(__fdividef(1.f, 3.f) * 3 - 1) < 1e-6f);
    hold(8, __fdividef(1.f, 0x1p127f) == 0 && __uint_as_float(__float_as_uint(1.5f)) == 1.5f && fabsf(__logf(10.f) - 2.302585f) < 1e-5f);
    hold(9, min(3, -4) == -4 && max(3u, 4u) == 4u && min(1.f, NAN) == 1.f && max(2.0, 1.0) == 2.0 && max(-1, 1u) == 0xffffffffu);
    hold(10, __double_as_longlong(1.0) == 0x3ff0000000000000ll && __hiloint2double(0x3ff00000, 0) == 1.0 && __double2hiint(1.0) == 0x3ff00000);
    hold(11, __ldg(bad + 12) == 0);
    bad[12] = 2; // the last one: it was here
}

static void intrinsics() {
    Device<int> bad(std::vector<int>(13, 0));
    RIGHT(run(intrinsics_kernel, kOne, kOne, 0, bad.data));
    const std::vector<int> got = bad.get();
    for (int i = 0; i < 12; i++) EXPECT(got[size_t(i)] == 0, "line %d of intrinsics_kernel does not hold", i);
    EXPECT(got[12] == 2, "the kernel did not come to its end");
}

// A hundred blocks of 1024 threads, with frames of some size: stacks are used again.
static __global__ void deep_kernel(int *out, int depth) {
    volatile int frame[1000];
    for (int i = 0; i < 1000; i++) frame[i] = i;
    const int sum = __syncthreads_count(frame[depth] == depth);
    if (threadIdx.x == 0) atomicAdd(out, sum);
}

static void many_blocks() {
    Device<int> out(std::vector<int>{0});
    RIGHT(run(deep_kernel, dim3(20, 5), dim3(1024), 0, out.data, 999));
    EXPECT(out.get()[0] == 100 * 1024, "%d threads ran", out.get()[0]);
}

const std::vector<Case> warp_cases = {
    {"products of bf16", products_of_bf16},
    {"products of f16", products_of_f16},
    {"matrices", matrices},
    {"shuffles and votes", shuffles_and_votes},
    {"grids", grids},
    {"atomics", atomics},
    {"intrinsics", intrinsics},
    {"many blocks", many_blocks},
};
