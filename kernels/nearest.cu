// index_i = argmin_j |x_i - y_j|^2, the lowest index of equals, from x [n,d] and y [m,d]: a search in f32, settled in double.
// Grid: (tiles of 64 rows, splits of the columns), 256 threads; a thread has 4 x 4 pairs of a tile of 64 columns. Only a pair whose f32
// distance comes within the rounding errors of the thread's best is measured in double, which happens about log(m/16) times a row; so the
// result is that of comparing all pairs in double, whatever the splits. Shared: 8.3 KiB. Twin: src/backend/cpu/pairs/nearest.rs.
#include "tile.cuh"

struct Best {
    double distance;
    uint32_t index;
};

__device__ __forceinline__ Best nearer(Best a, Best b) {
    return b.distance < a.distance || (b.distance == a.distance && b.index < a.index) ? b : a;
}

// Out of line: it is rare, and there would be 16 of it.
__device__ __noinline__ double exact_distance(const float* x, const float* y, uint32_t d) {
    double sum = 0.0;
    for (uint32_t k = 0; k < d; ++k) {
        double difference = static_cast<double>(x[k]) - y[k];
        sum = fma(difference, difference, sum);
    }
    return sum;
}

// The f32 distance above which a pair cannot be nearer than `distance`: d + 2 roundings taken twice, and squares below the normal numbers.
__device__ __forceinline__ float bound(double distance, uint32_t d) {
    if (distance == 0.0) return -INFINITY;
    return static_cast<float>(distance * (1.0 + 2.0 * (d + 2.0) * 5.9604644775390625e-8) + d * 1e-37);
}

// best [splits, n].
extern "C" __global__ void __launch_bounds__(256)
nearest(const float* __restrict__ x, uint64_t n, const float* __restrict__ y, uint64_t m, uint32_t d, uint64_t columns, Best* __restrict__ out) {
    SHARED(Tile<float>, tile);
    uint32_t tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    uint64_t row = static_cast<uint64_t>(blockIdx.x) * SIDE, start = blockIdx.y * columns;
    uint64_t end = start + columns < m ? start + columns : m;
    Best best[EACH];
    float bounds[EACH];
#pragma unroll
    for (uint32_t a = 0; a < EACH; ++a) {
        best[a] = {INFINITY, 0};
        bounds[a] = INFINITY;
    }
    for (uint64_t column = start; column < end; column += SIDE) {
        float squared[EACH][EACH] = {};
        accumulate<SquaredDistance<float>>(tile, squared, x, row, n, y, column, end, d, 0.0f);
#pragma unroll
        for (uint32_t a = 0; a < EACH; ++a) {
#pragma unroll
            for (uint32_t b = 0; b < EACH; ++b) {
                uint64_t i = row + ty + 16 * a, j = column + tx + 16 * b;
                if (i >= n || j >= end || squared[a][b] > bounds[a]) continue;
                double distance = exact_distance(x + i * d, y + j * d, d);
                if (distance < best[a].distance) {
                    best[a] = {distance, static_cast<uint32_t>(j)};
                    bounds[a] = bound(distance, d);
                }
            }
        }
    }
#pragma unroll
    for (uint32_t a = 0; a < EACH; ++a) {
        for (uint32_t lane = 8; lane > 0; lane /= 2) {
            Best other = {__shfl_xor_sync(0xffffffffu, best[a].distance, lane), __shfl_xor_sync(0xffffffffu, best[a].index, lane)};
            best[a] = nearer(best[a], other);
        }
        uint64_t i = row + ty + 16 * a;
        if (tx == 0 && i < n) out[blockIdx.y * n + i] = best[a];
    }
}

// The nearest over the splits.
extern "C" __global__ void __launch_bounds__(256) nearest_merge(uint64_t n, uint32_t splits, const Best* __restrict__ best, uint32_t* __restrict__ index) {
    uint64_t i = global_index();
    if (i >= n) return;
    Best nearest = best[i];
    for (uint32_t split = 1; split < splits; ++split) nearest = nearer(nearest, best[split * n + i]);
    index[i] = nearest.index;
}
