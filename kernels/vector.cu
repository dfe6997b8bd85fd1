// The admitted vector operations, one thread a number. Memory binds them; sums of products are in double, rounded once.
#include "common.cuh"

// x <- min(max(x, low), high).
extern "C" __global__ void __launch_bounds__(256) clip(uint64_t n, double low, double high, float* __restrict__ x) {
    uint64_t i = global_index();
    if (i < n) x[i] = static_cast<float>(fmin(fmax(static_cast<double>(x[i]), low), high));
}

// Registers and their factors, in the order they are added.
struct Terms {
    const float* registers[16];
    double factors[16];
    uint64_t count;
};

// out <- sum of factor * register; out may be among the registers.
extern "C" __global__ void __launch_bounds__(256) combine(uint64_t n, Terms terms, float* out) {
    uint64_t i = global_index();
    if (i >= n) return;
    double sum = 0.0;
    for (uint64_t t = 0; t < terms.count; ++t) sum += terms.factors[t] * terms.registers[t][i];
    out[i] = static_cast<float>(sum);
}

// out_r <- points_{index_r}, rows of length d; n = rows * d.
extern "C" __global__ void __launch_bounds__(256)
gather(uint64_t n, uint32_t d, const float* __restrict__ points, const uint32_t* __restrict__ index, float* __restrict__ out) {
    uint64_t i = global_index();
    if (i < n) out[i] = points[static_cast<uint64_t>(index[i / d]) * d + i % d];
}
