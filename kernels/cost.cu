// The matrix out_ij = c(x_i, y_j), n x m row-major, from x [n,d] and y [m,d], in f32 or half precision.
// Grid: one block of 256 threads a tile of 64 x 64 pairs, tiles of a row of tiles side by side. Shared: 8.3 KiB.
// `half` is 1 for entries of half precision, 0 for f32: a choice at run time, because the writing has room for it.
// Why tiles: each coordinate is read from memory once for 64 pairs; at small d the writing of the matrix binds.
// Twin: src/backend/cpu/pairs.rs.
#include "norm.cuh"

struct HalfSquared : SquaredDistance<float> {
    __device__ static float cost(float sum, float) { return 0.5f * sum; }
};
// Out of line: this is long, and there would be 16 of it.
__device__ __noinline__ float cosine(float xy, float xx, float yy) {
    float lengths = __fsqrt_rn(xx) * __fsqrt_rn(yy);
    return lengths > 0.0f ? 1.0f - xy / lengths : 1.0f;
}

// 1 - x.y / (|x||y|)
struct Cosine {
    struct State { float xy, xx, yy; };
    __device__ static void step(State& sums, float x, float y, float) {
        sums.xy = fmaf(x, y, sums.xy);
        sums.xx = fmaf(x, x, sums.xx);
        sums.yy = fmaf(y, y, sums.yy);
    }
    __device__ static float cost(State sums, float) { return cosine(sums.xy, sums.xx, sums.yy); }
};

template <class Cost>
__device__ __forceinline__ void cost_matrix(const float* x, uint64_t n, const float* y, uint64_t m, uint32_t d, float p, uint32_t half, void* out) {
    SHARED(Tile<float>, tile);
    uint64_t across = (m + SIDE - 1) / SIDE;
    uint64_t row = blockIdx.x / across * SIDE, column = blockIdx.x % across * SIDE;
    typename Cost::State states[EACH][EACH] = {};
    accumulate<Cost>(tile, states, x, row, n, y, column, m, d, p);
    uint32_t tx = threadIdx.x % 16, ty = threadIdx.x / 16;
#pragma unroll
    for (uint32_t a = 0; a < EACH; ++a) {
#pragma unroll
        for (uint32_t b = 0; b < EACH; ++b) {
            uint64_t i = row + ty + 16 * a, j = column + tx + 16 * b;
            if (i >= n || j >= m) continue;
            float cost = Cost::cost(states[a][b], p);
            if (half) {
                static_cast<uint16_t*>(out)[i * m + j] = to_half(cost);
            } else {
                static_cast<float*>(out)[i * m + j] = cost;
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(256)
cost_half_squared(const float* x, uint64_t n, const float* y, uint64_t m, uint32_t d, float p, uint32_t half, void* out) {
    cost_matrix<HalfSquared>(x, n, y, m, d, p, half, out);
}
extern "C" __global__ void __launch_bounds__(256)
cost_euclidean(const float* x, uint64_t n, const float* y, uint64_t m, uint32_t d, float p, uint32_t half, void* out) {
    cost_matrix<Euclidean>(x, n, y, m, d, p, half, out);
}
extern "C" __global__ void __launch_bounds__(256)
cost_lp(const float* x, uint64_t n, const float* y, uint64_t m, uint32_t d, float p, uint32_t half, void* out) {
    cost_matrix<Lp>(x, n, y, m, d, p, half, out);
}
extern "C" __global__ void __launch_bounds__(256)
cost_cosine(const float* x, uint64_t n, const float* y, uint64_t m, uint32_t d, float p, uint32_t half, void* out) {
    cost_matrix<Cosine>(x, n, y, m, d, p, half, out);
}
