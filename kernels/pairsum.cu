// sum_ij a_i b_j k(x_i, y_j) for k the distance or a Gaussian, from x [n,d], a [n], y [m,d], b [m]: one partial sum a block.
// Grid: (tiles of 64 rows, splits of the columns), 256 threads; a block goes through its columns 64 at a time. Shared: 18.6 KiB.
// Why double throughout: energy distances and MMD are differences of three such sums, and f32 distances would leave 1e-7 of each. At
// half rate (H100) that costs twice the time of f32; at 1/64 rate (consumer cards) it binds. Twin: src/backend/cpu/pairs/pair_sum.rs.
#include "reduce.cuh"
#include "tile.cuh"

// Both kernels out of line: they are long, and there would be 16 of each.
struct Distance {
    __device__ __noinline__ static double of(double squared, double) { return sqrt(squared); }
};
// exp(-scale |x - y|^2)
struct Gaussian {
    __device__ __noinline__ static double of(double squared, double scale) { return exp(-scale * squared); }
};

template <class Kernel>
__device__ __forceinline__ void pair_sum(const float* x, const float* a, uint64_t n, const float* y, const float* b, uint64_t m, uint32_t d,
                                         uint64_t columns, double scale, double* out) {
    SHARED(Tile<double>, tile);
    uint32_t tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    uint64_t row = static_cast<uint64_t>(blockIdx.x) * SIDE, start = blockIdx.y * columns;
    uint64_t end = start + columns < m ? start + columns : m;
    double total = 0.0;
    for (uint64_t column = start; column < end; column += SIDE) {
        double squared[EACH][EACH] = {};
        accumulate<SquaredDistance<double>>(tile, squared, x, row, n, y, column, end, d, 0.0f);
        for (uint32_t r = 0; r < EACH; ++r) {
            for (uint32_t c = 0; c < EACH; ++c) {
                uint64_t i = row + ty + 16 * r, j = column + tx + 16 * c;
                if (i < n && j < end) total += static_cast<double>(a[i]) * b[j] * Kernel::of(squared[r][c], scale);
            }
        }
    }
    total = over_block<false>(total);
    if (threadIdx.x == 0) out[static_cast<uint64_t>(blockIdx.y) * gridDim.x + blockIdx.x] = total;
}

extern "C" __global__ void __launch_bounds__(256)
pair_sum_distance(const float* x, const float* a, uint64_t n, const float* y, const float* b, uint64_t m, uint32_t d, uint64_t columns, double scale,
                  double* out) {
    pair_sum<Distance>(x, a, n, y, b, m, d, columns, scale, out);
}

extern "C" __global__ void __launch_bounds__(256)
pair_sum_gaussian(const float* x, const float* a, uint64_t n, const float* y, const float* b, uint64_t m, uint32_t d, uint64_t columns, double scale,
                  double* out) {
    pair_sum<Gaussian>(x, a, n, y, b, m, d, columns, scale, out);
}
