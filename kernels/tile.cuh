// All pairs of 64 rows and 64 columns: coordinates pass through shared memory, DEPTH at a time; each of 256 threads has 4 x 4 pairs,
// rows ty + 16 a and columns tx + 16 b. A coordinate costs a thread 8 shared loads for 16 pairs.
#pragma once
#include "common.cuh"

constexpr uint32_t SIDE = 64, DEPTH = 16, EACH = 4, THREADS = 256;

// One coordinate of 64 points after the other. The odd stride lets the transposing stores through without bank conflicts.
template <class T>
struct Tile {
    T x[DEPTH][SIDE + 1], y[DEPTH][SIDE + 1];
};

// Coordinates k0 .. k0 + depth of points first .. first + 64, `stride` apart; zero beyond the last of `count`.
template <class T>
__device__ __forceinline__ void load(T (&to)[DEPTH][SIDE + 1], const float* points, uint64_t first, uint64_t count, uint32_t stride, uint32_t k0, uint32_t depth) {
    // Other warps hide the wait; unrolled, the divisions are a third of a kernel.
#pragma unroll 1
    for (uint32_t e = threadIdx.x; e < SIDE * depth; e += THREADS) {
        uint64_t point = first + e / depth;
        uint32_t k = e % depth;
        to[k][e / depth] = point < count ? points[point * stride + k0 + k] : 0.0f;
    }
}

// Applies Pair::step to the thread's 16 states, coordinate after coordinate; a column has `behind` numbers behind its coordinates.
template <class Pair, class T>
__device__ __forceinline__ void accumulate(Tile<T>& tile, typename Pair::State (&states)[EACH][EACH], const float* x, uint64_t row, uint64_t n,
                                           const float* y, uint64_t column, uint64_t m, uint32_t d, float p, uint32_t behind = 0) {
    uint32_t tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    for (uint32_t k0 = 0; k0 < d; k0 += DEPTH) {
        uint32_t depth = d - k0 < DEPTH ? d - k0 : DEPTH;
        __syncthreads();
        load(tile.x, x, row, n, d, k0, depth);
        load(tile.y, y, column, m, d + behind, k0, depth);
        __syncthreads();
#pragma unroll 1
        for (uint32_t k = 0; k < depth; ++k) {
            T xs[EACH], ys[EACH];
#pragma unroll
            for (uint32_t e = 0; e < EACH; ++e) {
                xs[e] = tile.x[k][ty + 16 * e];
                ys[e] = tile.y[k][tx + 16 * e];
            }
#pragma unroll
            for (uint32_t a = 0; a < EACH; ++a) {
#pragma unroll
                for (uint32_t b = 0; b < EACH; ++b) Pair::step(states[a][b], xs[a], ys[b], p);
            }
        }
    }
}

// |x - y|^2 by differences, so that near pairs keep their digits.
template <class T>
struct SquaredDistance {
    using State = T;
    __device__ static void step(State& sum, T x, T y, float) {
        T difference = x - y;
        sum = fma(difference, difference, sum);
    }
};
