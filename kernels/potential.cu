// What a Sinkhorn iteration does to a potential, in double, one thread a point; memory binds. Kept in double because an update is a small
// difference of large numbers; what the soft-min reads is rounded again each time. Twin: src/backend/cpu/potentials/potential.rs.
#include "common.cuh"

// out <- x in single precision.
extern "C" __global__ void __launch_bounds__(256) round_potential(uint64_t n, const double* __restrict__ x, float* __restrict__ out) {
    uint64_t i = global_index();
    if (i < n) out[i] = static_cast<float>(x[i]);
}

// change <- share (omega eps log_ratio + (1 - omega)(ground - potential)); without ground, share eps log_ratio.
extern "C" __global__ void __launch_bounds__(256)
relax(uint64_t n, const float* __restrict__ log_ratio, double eps, double omega, const double* __restrict__ ground, double share,
      const double* __restrict__ potential, double* __restrict__ change) {
    uint64_t i = global_index();
    if (i >= n) return;
    double whole = omega * eps * log_ratio[i];
    change[i] = share * (ground ? whole + (1.0 - omega) * (ground[i] - potential[i]) : whole);
}

// potential <- potential + change.
extern "C" __global__ void __launch_bounds__(256) advance(uint64_t n, const double* __restrict__ change, double* __restrict__ potential) {
    uint64_t i = global_index();
    if (i < n) potential[i] += change[i];
}
