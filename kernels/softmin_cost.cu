// soft_min_cost: L_i = log sum_j exp(h_j - k c(x_i, y_j)) for a norm c of the difference, the mean of values under the same weights, or
// that of c itself.
//   x [n,d] rows; y [m,d+1] columns, log2(e) h behind y; v [m,p]; k in units of log2(e); f32, row-major.
//
// Grid: (tiles of 64 rows, column splits), 256 threads; a block streams its columns 64 at a time, a thread has 4 x 4 pairs. A split is
// a run of `chunk` columns, a function of m alone, and leaves one partial result a row with its own maximum, as soft_min_max does:
// soft_min_merge_max adds them in order. Nothing of a row depends on another row.
// Why a running maximum: a cost is dearer than a product, 2 operations a coordinate and a root or a power, so it costs little beside
// it, and no row is run twice. Sums: four by pairs, compensated (Kahan) from tile to tile, 16 threads of a row in a fixed tree.
// Shared: 8.3 KiB. Twin: src/backend/cpu/pairs/soft_min_cost.rs. Checked by tests/conformance/soft_min_cost.rs on the host.
#include "norm.cuh"

// The logit of a column that is not there, and the maximum before the first: below any packed bias (-1e36).
constexpr float ABSENT = -3e38f;
constexpr float LOWEST = -2e36f;

// The sums of one row over some of its columns, about a maximum: of the weights, and of P values under them.
template <int P>
struct Partial {
    float shift, sum, lost, mean[P > 0 ? P : 1];

    __device__ __forceinline__ void rescale(float top) {
        float factor = exp2_unit(shift - top);
        shift = top;
        sum *= factor;
        lost *= factor;
#pragma unroll
        for (int k = 0; k < P; ++k) mean[k] *= factor;
    }
};

template <class Norm, int P, bool COSTS>
__device__ __forceinline__ void stream(const float* x, const float* y, const float* v, int p, int first, float scale, float power_of,
                                       float* partial, int n, int m, int d, int chunk) {
    SHARED(Tile<float>, tile);
    const uint32_t tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    const uint64_t row = static_cast<uint64_t>(blockIdx.x) * SIDE, start = static_cast<uint64_t>(blockIdx.y) * chunk;
    const uint64_t end = start + chunk < m ? start + chunk : m;

    Partial<P> rows[EACH];
#pragma unroll
    for (uint32_t a = 0; a < EACH; ++a) {
        rows[a].shift = LOWEST;
        rows[a].sum = rows[a].lost = 0.0f;
#pragma unroll
        for (int k = 0; k < P; ++k) rows[a].mean[k] = 0.0f;
    }
    for (uint64_t column = start; column < end; column += SIDE) {
        typename Norm::State states[EACH][EACH] = {};
        accumulate<Norm>(tile, states, x, row, n, y, column, end, d, power_of, 1);
        float bias[EACH], value[EACH][P > 0 ? P : 1];
#pragma unroll
        for (uint32_t b = 0; b < EACH; ++b) {
            uint64_t j = column + tx + 16 * b;
            bias[b] = j < end ? y[j * (d + 1) + d] : ABSENT;
#pragma unroll
            for (int k = 0; k < P; ++k) value[b][k] = !COSTS && j < end && first + k < p ? v[j * p + first + k] : 0.0f;
        }
#pragma unroll
        for (uint32_t a = 0; a < EACH; ++a) {
            float cost[EACH], z[EACH];
#pragma unroll
            for (uint32_t b = 0; b < EACH; ++b) {
                cost[b] = Norm::cost(states[a][b], power_of);
                z[b] = fmaf(-scale, cost[b], bias[b]);
            }
            float top = fmaxf(fmaxf(z[0], z[1]), fmaxf(z[2], z[3]));
            if (top > rows[a].shift) rows[a].rescale(top);
            float e[EACH];
#pragma unroll
            for (uint32_t b = 0; b < EACH; ++b) e[b] = exp2_unit(z[b] - rows[a].shift);
            add_compensated(rows[a].sum, rows[a].lost, (e[0] + e[1]) + (e[2] + e[3]));
#pragma unroll
            for (int k = 0; k < P; ++k) {
#pragma unroll
                for (uint32_t b = 0; b < EACH; ++b) rows[a].mean[k] = fmaf(e[b], COSTS ? cost[b] : value[b][k], rows[a].mean[k]);
            }
        }
    }

    // The 16 threads of a row lie in one half of a warp.
    const uint64_t plane = static_cast<uint64_t>(gridDim.y) * n;
#pragma unroll
    for (uint32_t a = 0; a < EACH; ++a) {
        float top = rows[a].shift;
        for (int lane = 8; lane > 0; lane /= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, lane));
        rows[a].rescale(top);
        for (int lane = 8; lane > 0; lane /= 2) {
            rows[a].sum += __shfl_xor_sync(0xffffffffu, rows[a].sum, lane);
#pragma unroll
            for (int k = 0; k < P; ++k) rows[a].mean[k] += __shfl_xor_sync(0xffffffffu, rows[a].mean[k], lane);
        }
        uint64_t i = row + ty + 16 * a;
        if (tx > 0 || i >= n) continue;
        float* out = partial + static_cast<uint64_t>(blockIdx.y) * n + i;
        *out = rows[a].sum;
        *(out += plane) = rows[a].shift;
#pragma unroll
        for (int k = 0; k < P; ++k) *(out += plane) = rows[a].mean[k];
    }
}

#define SOFT_MIN_COST(NAME, NORM, P, COSTS)                                                                                        \
    extern "C" __global__ void __launch_bounds__(256)                                                                              \
        soft_min_cost_##NAME(const float* x, const float* y, const float* v, int p, int first, float scale, float power_of,       \
                             float* partial, int n, int m, int d, int chunk) {                                                    \
        stream<NORM, P, COSTS>(x, y, v, p, first, scale, power_of, partial, n, m, d, chunk);                                       \
    }

SOFT_MIN_COST(euclidean_p0, Euclidean, 0, false)
SOFT_MIN_COST(euclidean_p4, Euclidean, 4, false)
SOFT_MIN_COST(euclidean_cost, Euclidean, 1, true)
SOFT_MIN_COST(lp_p0, Lp, 0, false)
SOFT_MIN_COST(lp_p4, Lp, 4, false)
SOFT_MIN_COST(lp_cost, Lp, 1, true)
