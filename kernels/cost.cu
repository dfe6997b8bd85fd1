// The matrix out_ij = c(x_i, y_j), n x m row-major, from x [n,d] and y [m,d], in f32 or half precision.
// Grid: one block of 256 threads a tile of 64 x 64 pairs, tiles of a row of tiles side by side. Shared: 8.3 KiB.
// Why tiles: each coordinate is read from memory once for 64 pairs; at small d the writing of the matrix binds.
// Twin: src/backend/cpu/pairs.rs.
#include "tile.cuh"

struct HalfSquared : SquaredDistance<float> {
    __device__ static float cost(float sum, float) { return 0.5f * sum; }
};
struct Euclidean : SquaredDistance<float> {
    __device__ static float cost(float sum, float) { return __fsqrt_rn(sum); }
};
// (sum |x - y|^p)^(1/p)
struct Lp {
    using State = float;
    __device__ static void step(State& sum, float x, float y, float p) { sum += powf(fabsf(x - y), p); }
    __device__ static float cost(float sum, float p) { return powf(sum, 1.0f / p); }
};
// 1 - x.y / (|x||y|)
struct Cosine {
    struct State { float xy, xx, yy; };
    __device__ static void step(State& sums, float x, float y, float) {
        sums.xy = fmaf(x, y, sums.xy);
        sums.xx = fmaf(x, x, sums.xx);
        sums.yy = fmaf(y, y, sums.yy);
    }
    __device__ static float cost(State sums, float) {
        float lengths = __fsqrt_rn(sums.xx) * __fsqrt_rn(sums.yy);
        return lengths > 0.0f ? 1.0f - sums.xy / lengths : 1.0f;
    }
};

__device__ __forceinline__ void store(float* out, float cost) { *out = cost; }
__device__ __forceinline__ void store(uint16_t* out, float cost) { *out = to_half(cost); }

template <class Cost, class Out>
__device__ __forceinline__ void cost_matrix(const float* x, uint64_t n, const float* y, uint64_t m, uint32_t d, float p, Out* out) {
    __shared__ Tile<float> tile;
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
            if (i < n && j < m) store(out + i * m + j, Cost::cost(states[a][b], p));
        }
    }
}

#define COST_MATRIX(name, Cost, Out)                                                                                                              \
    extern "C" __global__ void __launch_bounds__(256)                                                                                             \
    name(const float* __restrict__ x, uint64_t n, const float* __restrict__ y, uint64_t m, uint32_t d, float p, Out* __restrict__ out) {          \
        cost_matrix<Cost>(x, n, y, m, d, p, out);                                                                                                 \
    }
COST_MATRIX(cost_half_squared_f32, HalfSquared, float)
COST_MATRIX(cost_euclidean_f32, Euclidean, float)
COST_MATRIX(cost_lp_f32, Lp, float)
COST_MATRIX(cost_cosine_f32, Cosine, float)
COST_MATRIX(cost_half_squared_f16, HalfSquared, uint16_t)
COST_MATRIX(cost_euclidean_f16, Euclidean, uint16_t)
COST_MATRIX(cost_lp_f16, Lp, uint16_t)
COST_MATRIX(cost_cosine_f16, Cosine, uint16_t)
