// Columns for the soft-min: out_j = log2(e) (k_j y_j, bias_j + c g_j), m x (d + 1), from y [m,d]; the last is held within +-largest.
// One thread a number; memory binds. Products in double, rounded once. Twin: pack in src/backend/cpu/pairs/soft_min.rs.
#include "common.cuh"

// factors [m] or null for `factor` everywhere; potential [m] or null.
extern "C" __global__ void __launch_bounds__(256)
pack(uint64_t m, uint32_t d, const float* __restrict__ y, double factor, const float* __restrict__ factors, const float* __restrict__ bias,
     double c, const float* __restrict__ potential, double largest, float* __restrict__ out) {
    const double log2_e = 1.44269504088896340736;
    uint64_t at = global_index();
    uint64_t j = at / (d + 1), k = at % (d + 1);
    if (j >= m) return;
    if (k < d) {
        out[at] = static_cast<float>(log2_e * (factors ? factors[j] : factor) * y[j * d + k]);
    } else {
        double h = bias[j] + (potential ? c * potential[j] : 0.0);
        out[at] = static_cast<float>(held(log2_e * h, largest));
    }
}
