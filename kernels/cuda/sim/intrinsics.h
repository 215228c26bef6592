// intrinsics.h: the functions of CUDA's device library that kernels use and C++
// does not have. sim.h includes it.
//
// Those that are fast and inexact on a GPU are computed here as the hardware does
// it (a scaled exp2, a product with a reciprocal), so that their errors grow where
// theirs do; the last bits differ.
#ifndef SERVEBENCH_CUDA_SIM_INTRINSICS_H
#define SERVEBENCH_CUDA_SIM_INTRINSICS_H

namespace sim {

inline float fast_exp(float x) { return exp2f(x * 1.4426950408889634f); }
inline float fast_exp10(float x) { return exp2f(x * 3.3219280948873623f); }
inline float fast_log(float x) { return log2f(x) * 0.6931471805599453f; }
inline float fast_log2(float x) { return log2f(x); }
inline float fast_log10(float x) { return log2f(x) * 0.3010299956639812f; }
inline float fast_pow(float x, float y) { return exp2f(y * log2f(x)); }
inline float fast_sin(float x) { return sinf(x); }
inline float fast_cos(float x) { return cosf(x); }
inline float fast_tan(float x) { return sinf(x) / cosf(x); }
inline void fast_sincos(float x, float *s, float *c) { *s = sinf(x), *c = cosf(x); }

template <typename To, typename From> inline To as(From x) {
    static_assert(sizeof(To) == sizeof(From), "the same bits");
    To to;
    memcpy(&to, &x, sizeof to);
    return to;
}

// A float is turned into an integer with saturation; NaN becomes 0.
template <typename I> inline I to_integer(double x) {
    if (x != x) return 0;
    constexpr double most = double(I(~I(0)) < 0 ? I((~0ull) >> (65 - 8 * sizeof(I))) : I(~I(0)));
    constexpr double least = I(~I(0)) < 0 ? -most - 1 : 0;
    if (x >= most) return I(~I(0)) < 0 ? I((~0ull) >> (65 - 8 * sizeof(I))) : I(~I(0));
    if (x <= least) return I(~I(0)) < 0 ? I(1ull << (8 * sizeof(I) - 1)) : I(0);
    return I(x);
}

} // namespace sim

// glibc declares some of these names for itself.
#define __expf ::sim::fast_exp
#define __exp10f ::sim::fast_exp10
#define __logf ::sim::fast_log
#define __log2f ::sim::fast_log2
#define __log10f ::sim::fast_log10
#define __powf ::sim::fast_pow
#define __sinf ::sim::fast_sin
#define __cosf ::sim::fast_cos
#define __tanf ::sim::fast_tan
#define __sincosf ::sim::fast_sincos

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float fdividef(float x, float y) { return x / y; }
inline float __fdividef(float x, float y) {
    float a = fabsf(y);
    if (a > 0x1p126f && !isinf(a)) return isinf(x) ? NAN : 0.0f * x;
    return x * (1.0f / y);
}
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; } // NaN becomes 0
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frsqrt_rn(float x) { return float(1.0 / sqrt(double(x))); }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fsub_rn(float x, float y) { return x - y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline double __dadd_rn(double x, double y) { return x + y; }
inline double __dsub_rn(double x, double y) { return x - y; }
inline double __dmul_rn(double x, double y) { return x * y; }
inline double __ddiv_rn(double x, double y) { return x / y; }
inline double __fma_rn(double x, double y, double z) { return fma(x, y, z); }

inline unsigned __float_as_uint(float x) { return ::sim::as<unsigned>(x); }
inline int __float_as_int(float x) { return ::sim::as<int>(x); }
inline float __uint_as_float(unsigned x) { return ::sim::as<float>(x); }
inline float __int_as_float(int x) { return ::sim::as<float>(x); }
inline long long __double_as_longlong(double x) { return ::sim::as<long long>(x); }
inline double __longlong_as_double(long long x) { return ::sim::as<double>(x); }
inline int __double2hiint(double x) { return int(::sim::as<unsigned long long>(x) >> 32); }
inline int __double2loint(double x) { return int(unsigned(::sim::as<unsigned long long>(x))); }
inline double __hiloint2double(int hi, int lo) {
    return ::sim::as<double>((unsigned long long)(unsigned)hi << 32 | (unsigned)lo);
}

inline int __float2int_rn(float x) { return ::sim::to_integer<int>(nearbyintf(x)); }
inline int __float2int_rz(float x) { return ::sim::to_integer<int>(truncf(x)); }
inline int __float2int_rd(float x) { return ::sim::to_integer<int>(floorf(x)); }
inline int __float2int_ru(float x) { return ::sim::to_integer<int>(ceilf(x)); }
inline unsigned __float2uint_rn(float x) { return ::sim::to_integer<unsigned>(nearbyintf(x)); }
inline unsigned __float2uint_rz(float x) { return ::sim::to_integer<unsigned>(truncf(x)); }
inline int __double2int_rn(double x) { return ::sim::to_integer<int>(nearbyint(x)); }
inline int __double2int_rz(double x) { return ::sim::to_integer<int>(trunc(x)); }
inline long long __double2ll_rn(double x) { return ::sim::to_integer<long long>(nearbyint(x)); }
inline long long __double2ll_rz(double x) { return ::sim::to_integer<long long>(trunc(x)); }
inline unsigned long long __double2ull_rz(double x) { return ::sim::to_integer<unsigned long long>(trunc(x)); }
inline float __double2float_rn(double x) { return float(x); }
inline float __int2float_rn(int x) { return float(x); }
inline float __uint2float_rn(unsigned x) { return float(x); }
inline double __int2double_rn(int x) { return double(x); }
inline double __uint2double_rn(unsigned x) { return double(x); }
inline float __ll2float_rn(long long x) { return float(x); }
inline double __ll2double_rn(long long x) { return double(x); }
inline float __ull2float_rn(unsigned long long x) { return float(x); }
inline double __ull2double_rn(unsigned long long x) { return double(x); }

inline int __mulhi(int x, int y) { return int((long long)x * y >> 32); }
inline unsigned __umulhi(unsigned x, unsigned y) { return unsigned((unsigned long long)x * y >> 32); }
__extension__ typedef __int128 sim_int128;
__extension__ typedef unsigned __int128 sim_uint128;
inline long long __mul64hi(long long x, long long y) { return (long long)((sim_int128)x * y >> 64); }
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) { return (unsigned long long)((sim_uint128)x * y >> 64); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __brev(unsigned x) {
    unsigned r = 0;
    for (int i = 0; i < 32; i++) r |= (x >> i & 1) << (31 - i);
    return r;
}
// Selector s of four takes a byte of y:x, or with bit 3 its sign in every bit.
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned s) {
    unsigned long long both = (unsigned long long)y << 32 | x;
    unsigned r = 0;
    for (int i = 0; i < 4; i++) {
        unsigned selector = s >> 4 * i & 15, byte = unsigned(both >> 8 * (selector & 7)) & 255;
        if (selector & 8) byte = byte & 128 ? 255 : 0;
        r |= byte << 8 * i;
    }
    return r;
}
inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned by) {
    return unsigned(((unsigned long long)hi << 32 | lo) << (by & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned by) {
    return unsigned(((unsigned long long)hi << 32 | lo) >> (by & 31));
}

// min and max as CUDA overloads them; of floats the one that is no NaN.
#define SIM_MIN_MAX(type)                                                                                              \
    inline type min(type x, type y) { return y < x ? y : x; }                                                         \
    inline type max(type x, type y) { return x < y ? y : x; }
SIM_MIN_MAX(int)
SIM_MIN_MAX(unsigned)
SIM_MIN_MAX(long)
SIM_MIN_MAX(unsigned long)
SIM_MIN_MAX(long long)
SIM_MIN_MAX(unsigned long long)
#undef SIM_MIN_MAX
inline unsigned min(int x, unsigned y) { return min(unsigned(x), y); }
inline unsigned min(unsigned x, int y) { return min(x, unsigned(y)); }
inline unsigned max(int x, unsigned y) { return max(unsigned(x), y); }
inline unsigned max(unsigned x, int y) { return max(x, unsigned(y)); }
inline float min(float x, float y) { return fminf(x, y); }
inline float max(float x, float y) { return fmaxf(x, y); }
inline double min(double x, double y) { return fmin(x, y); }
inline double max(double x, double y) { return fmax(x, y); }
inline double min(float x, double y) { return fmin(x, y); }
inline double min(double x, float y) { return fmin(x, y); }
inline double max(float x, double y) { return fmax(x, y); }
inline double max(double x, float y) { return fmax(x, y); }

// Loads and stores with a hint to the caches.
template <typename V> inline V __ldg(const V *p) { return *p; }
template <typename V> inline V __ldcg(const V *p) { return *p; }
template <typename V> inline V __ldca(const V *p) { return *p; }
template <typename V> inline V __ldcs(const V *p) { return *p; }
template <typename V> inline V __ldlu(const V *p) { return *p; }
template <typename V> inline V __ldcv(const V *p) { return *p; }
template <typename V> inline void __stwb(V *p, V v) { *p = v; }
template <typename V> inline void __stcg(V *p, V v) { *p = v; }
template <typename V> inline void __stcs(V *p, V v) { *p = v; }
template <typename V> inline void __stwt(V *p, V v) { *p = v; }

// Atomics, of the types that CUDA has them for.
#define SIM_ATOMIC(name, type, expression)                                                                             \
    inline type name(type *p, type v) {                                                                                \
        return ::sim::atomic(p, [v](type old) { return static_cast<type>(expression); });                                           \
    }
#define SIM_ATOMIC_INTEGER(type)                                                                                       \
    SIM_ATOMIC(atomicAdd, type, old + v)                                                                               \
    SIM_ATOMIC(atomicExch, type, ((void)old, v))                                                                       \
    SIM_ATOMIC(atomicMin, type, old < v ? old : v)                                                                     \
    SIM_ATOMIC(atomicMax, type, old < v ? v : old)                                                                     \
    SIM_ATOMIC(atomicAnd, type, old & v)                                                                               \
    SIM_ATOMIC(atomicOr, type, old | v)                                                                                \
    SIM_ATOMIC(atomicXor, type, old ^ v)                                                                               \
    inline type atomicCAS(type *p, type expected, type v) {                                                            \
        return ::sim::atomic(p, [expected, v](type old) { return old == expected ? v : old; });                        \
    }
SIM_ATOMIC_INTEGER(int)
SIM_ATOMIC_INTEGER(unsigned)
SIM_ATOMIC_INTEGER(unsigned long long)
SIM_ATOMIC(atomicMin, long long, old < v ? old : v)
SIM_ATOMIC(atomicMax, long long, old < v ? v : old)
SIM_ATOMIC(atomicAdd, float, old + v)
SIM_ATOMIC(atomicExch, float, ((void)old, v))
SIM_ATOMIC(atomicAdd, double, old + v)
SIM_ATOMIC(atomicSub, int, old - v)
SIM_ATOMIC(atomicSub, unsigned, old - v)
SIM_ATOMIC(atomicInc, unsigned, old >= v ? 0 : old + 1)
SIM_ATOMIC(atomicDec, unsigned, old == 0 || old > v ? v : old - 1)
#undef SIM_ATOMIC_INTEGER
#undef SIM_ATOMIC

// The parts of the runtime's C++ interface that cuda_runtime.h adds to the C one.
template <typename T> inline cudaError_t cudaMalloc(T **p, size_t bytes) {
    void *v = nullptr;
    cudaError_t e = cudaMalloc(&v, bytes);
    if (e == cudaSuccess) *p = static_cast<T *>(v);
    return e;
}
template <typename T> inline cudaError_t cudaMallocHost(T **p, size_t bytes, unsigned flags = 0) {
    void *v = nullptr;
    cudaError_t e = cudaHostAlloc(&v, bytes, flags);
    if (e == cudaSuccess) *p = static_cast<T *>(v);
    return e;
}
template <typename T> inline cudaError_t cudaHostAlloc(T **p, size_t bytes, unsigned flags) { return cudaMallocHost(p, bytes, flags); }
template <typename T> inline cudaError_t cudaFuncSetAttribute(T *kernel, cudaFuncAttribute what, int value) {
    return cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel), what, value);
}
template <typename T> inline cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *out, T *kernel) {
    return cudaFuncGetAttributes(out, reinterpret_cast<const void *>(kernel));
}
template <typename T>
inline cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, T *kernel, int threads, size_t shared) {
    return cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, reinterpret_cast<const void *>(kernel), threads, shared);
}
#endif
