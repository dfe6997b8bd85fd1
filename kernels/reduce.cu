// Sums and maxima over a vector, in double, in one fixed order: 4096 numbers a block, 16 a thread, then a tree over the 256 threads, and
// the same again over the blocks. A thread's numbers lie 256 apart, so that reads coalesce.
// Why double and not compensated f32: the stopping test subtracts, and 3 double operations for 8 bytes read stay within the memory's
// time even where doubles run at 1/64 rate. Twin: src/backend/cpu/particles/vector.rs.
#include "reduce.cuh"

// a |exp(r) - 1|
struct MarginalError {
    static constexpr bool maximum = false;
    __device__ static double term(float a, float r) { return a * fabs(expm1(static_cast<double>(r))); }
};
// |change| of the points with mass
struct LargestChange {
    static constexpr bool maximum = true;
    __device__ static double term(double mass, double change) { return mass > 0.0 ? fabs(change) : 0.0; }
};
// how far any number fell
struct LargestFall {
    static constexpr bool maximum = true;
    __device__ static double term(double before, double after) { return before - after; }
};

template <class Term, class T>
__device__ __forceinline__ void partial(uint64_t n, const T* x, const T* y, double* out) {
    double total = 0.0;
#pragma unroll 4
    for (uint32_t e = 0; e < 16; ++e) {
        uint64_t i = (static_cast<uint64_t>(blockIdx.x) * 16 + e) * 256 + threadIdx.x;
        if (i < n) total = joined<Term::maximum>(total, Term::term(x[i], y[i]));
    }
    total = over_block<Term::maximum>(total);
    if (threadIdx.x == 0) out[blockIdx.x] = total;
}

// The whole of `count` partial results.
template <bool MAXIMUM>
__device__ __forceinline__ void whole(uint64_t count, const double* partials, double* out) {
    double total = 0.0;
    for (uint64_t i = threadIdx.x; i < count; i += 256) total = joined<MAXIMUM>(total, partials[i]);
    total = over_block<MAXIMUM>(total);
    if (threadIdx.x == 0) *out = total;
}

extern "C" __global__ void __launch_bounds__(256) marginal_error(uint64_t n, const float* a, const float* r, double* out) { partial<MarginalError>(n, a, r, out); }
extern "C" __global__ void __launch_bounds__(256) largest_change(uint64_t n, const double* mass, const double* change, double* out) { partial<LargestChange>(n, mass, change, out); }
extern "C" __global__ void __launch_bounds__(256) largest_fall(uint64_t n, const double* before, const double* after, double* out) { partial<LargestFall>(n, before, after, out); }
extern "C" __global__ void __launch_bounds__(256) total_sum(uint64_t count, const double* partials, double* out) { whole<false>(count, partials, out); }
extern "C" __global__ void __launch_bounds__(256) total_maximum(uint64_t count, const double* partials, double* out) { whole<true>(count, partials, out); }
