// The law of a row's partner under the softmax of its logits h_j + k_j x_i.y_j: draws from it, and its largest terms. Once a solved plan.
//   x [n,d] rows; y [m,d+1] columns, log2(e) h behind log2(e) k y (Backend::pack); f32, row-major.
//
// sample_plan: index_r = min {j : sum_{j'<=j} w_ij' > u_r} for the draws r of row i, first_i <= r < first_{i+1}, one number u_r of
//   [0, 1) a draw. The one pass over the pairs is that of softmin.cu, or of softmin_tensor.cu, whose sums over at most SPLITS runs of
//   columns are `partial`. Here a warp adds up those of its row, finds the run of a draw by bisection, and the column in the run from
//   logits in double: three times over it, 3/SPLITS of a pass. A row whose sum has left the range of the shift, and a run without
//   mass, are looked for in all columns. Grid: (rows, draws of a row in turn), a warp a row. Shared: 16 KiB.
//
// top_k: the k <= m columns of largest logit, in falling order, of equals the lowest index first. A column among the k lies in one
//   of the k tiles of largest maximum, of equals the first: else k tiles before its own would each have a column ahead of it. So
//   tile_maximum streams all pairs and leaves one number a row and 64 columns, and top_k, a warp a row, looks for the k tiles among
//   these and for the k columns in those; with k tiles or fewer it looks at once at the columns. Logits are formed in one order
//   everywhere, also on the processor, so the columns are the same to the last bit. Shared of tile_maximum: 8.3 KiB.
// Twins: src/backend/cpu/pairs/sample_plan.rs, src/backend/cpu/pairs/top_k.rs.
#include "tile.cuh"

constexpr int WARPS = 4, SPLITS = 512; // rows a block; runs of columns at most
constexpr uint32_t ALL = 0xffffffffu;

__device__ __forceinline__ int lane() { return threadIdx.x % 32; }

// The row that this warp serves.
__device__ __forceinline__ int row_of_warp() { return blockIdx.x * WARPS + threadIdx.x / 32; }

// The sum over the lanes up to this one.
__device__ __forceinline__ double running_sum(double value) {
    for (int by = 1; by < 32; by *= 2) {
        double below = __shfl_up_sync(ALL, value, by);
        if (lane() >= by) value += below;
    }
    return value;
}

// Row x against the columns y.
struct Logits {
    const float *x, *y;
    int d;

    // log2 of the weight of column j, up to a number common to the row.
    __device__ __forceinline__ double exact(int j) const {
        const float* column = y + static_cast<uint64_t>(j) * (d + 1);
        double logit = column[d];
#pragma unroll 4
        for (int k = 0; k < d; ++k) logit = fma(static_cast<double>(x[k]), static_cast<double>(column[k]), logit);
        return logit;
    }

    // The same in the arithmetic of tile_maximum.
    __device__ __forceinline__ float rounded(int j) const {
        const float* column = y + static_cast<uint64_t>(j) * (d + 1);
        float logit = column[d];
#pragma unroll 4
        for (int k = 0; k < d; ++k) logit = fmaf(x[k], column[k], logit);
        return logit;
    }

    // The first of columns [from, to) up to which 2^(logit - top) sum to more than `target`; the last with mass where rounding leaves
    // none. `mass` takes the sum before those columns that were looked at last.
    __device__ int crossing(int from, int to, double top, double target, double& mass) const {
        int last = from;
        mass = 0.0;
#pragma unroll 1
        for (int base = from; base < to; base += 32) {
            int j = base + lane();
            float weight = j < to ? exp2_unit(static_cast<float>(exact(j) - top)) : 0.0f;
            double sum = mass + running_sum(weight);
            uint32_t there = __ballot_sync(ALL, weight > 0.0f), over = __ballot_sync(ALL, weight > 0.0f && sum > target);
            if (over) return base + __ffs(over) - 1;
            if (there) last = base + 31 - __clz(there);
            mass = __shfl_sync(ALL, sum, 31);
        }
        return last;
    }

    // The column at `share` of the mass in columns [from, to); -1 where they have none: a packed bias of -1e36 is the log of zero.
    __device__ int locate(int from, int to, double share) const {
        double top = -INFINITY, mass;
#pragma unroll 1
        for (int j = from + lane(); j < to; j += 32) top = fmax(top, exact(j));
        for (int by = 16; by > 0; by /= 2) top = fmax(top, __shfl_xor_sync(ALL, top, by));
        if (top < -1e35) return -1;
        double target = INFINITY;
        int found = -1;
#pragma unroll 1
        for (int pass = 0; pass < 2; ++pass, target = share * mass) found = crossing(from, to, top, target, mass);
        return found;
    }
};

// partial [splits, n]: sums over runs of `chunk` columns.
extern "C" __global__ void __launch_bounds__(32 * WARPS, 8)
sample_plan(const float* x, const float* y, int n, int m, int d, const float* partial, int splits, int chunk, const uint32_t* first,
            const double* quantiles, uint32_t* index) {
    SHARED(double[WARPS][SPLITS], sums);
    const int row = row_of_warp();
    if (row >= n) return;
    const uint32_t end = first[row + 1];
    uint32_t draw = first[row] + blockIdx.y;
    if (draw >= end) return;
    double *running = sums[threadIdx.x / 32], total = 0.0;
    for (int base = 0; base < splits; base += 32) {
        int split = base + lane();
        double sum = total + running_sum(split < splits ? partial[static_cast<uint64_t>(split) * n + row] : 0.0f);
        if (split < splits) running[split] = sum;
        total = __shfl_sync(ALL, sum, 31);
    }
    __syncwarp();
    const bool usable = total >= 0x1p-64 && total < 0x1p64;
    const Logits logits = {x + static_cast<uint64_t>(row) * d, y, d};
    for (; draw < end; draw += gridDim.y) {
        const double quantile = quantiles[draw];
        int found = -1;
        // In the run that the sums tell; where that is in vain, in all columns.
#pragma unroll 1
        for (int whole = usable ? 0 : 1; found < 0 && whole < 2; ++whole) {
            int from = 0, to = m;
            double share = quantile;
            if (!whole) {
                const double target = quantile * total;
                int low = 0, high = splits - 1;
                while (low < high) {
                    int middle = (low + high) / 2;
                    if (running[middle] > target) high = middle;
                    else low = middle + 1;
                }
                double before = low > 0 ? running[low - 1] : 0.0;
                share = (target - before) / (running[low] - before);
                from = low * chunk, to = min(m, from + chunk);
            }
            found = logits.locate(from, to, share);
        }
        if (lane() == 0) index[draw] = max(found, 0);
    }
}

struct Product {
    using State = float;
    __device__ static void step(State& sum, float x, float y, float) { sum = fmaf(x, y, sum); }
};

// Grid: (tiles of 64 rows, splits of the columns), 256 threads; largest [tiles of 64 columns, n].
extern "C" __global__ void __launch_bounds__(256, 4)
tile_maximum(const float* __restrict__ x, uint64_t n, const float* __restrict__ y, uint64_t m, uint32_t d, uint64_t columns, float* __restrict__ largest) {
    SHARED(Tile<float>, tile);
    uint32_t tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    uint64_t row = static_cast<uint64_t>(blockIdx.x) * SIDE, start = blockIdx.y * columns;
    uint64_t end = start + columns < m ? start + columns : m;
    for (uint64_t column = start; column < end; column += SIDE) {
        float logits[EACH][EACH];
#pragma unroll
        for (uint32_t b = 0; b < EACH; ++b) {
            uint64_t j = column + tx + 16 * b;
            float bias = j < end ? y[j * (d + 1) + d] : -INFINITY;
#pragma unroll
            for (uint32_t a = 0; a < EACH; ++a) logits[a][b] = bias;
        }
        accumulate<Product>(tile, logits, x, row, n, y, column, end, d, 0.0f, 1);
#pragma unroll
        for (uint32_t a = 0; a < EACH; ++a) {
            float top = fmaxf(fmaxf(logits[a][0], logits[a][1]), fmaxf(logits[a][2], logits[a][3]));
            for (uint32_t by = 8; by > 0; by /= 2) top = fmaxf(top, __shfl_xor_sync(ALL, top, by));
            uint64_t i = row + ty + 16 * a;
            if (tx == 0 && i < n) largest[column / SIDE * n + i] = top;
        }
    }
}

// Whether value a at i comes before b at j.
__device__ __forceinline__ bool ahead(float a, uint32_t i, float b, uint32_t j) { return a > b || (a == b && i < j); }

// The k that come first of those that the warp was shown, in order.
struct Ranking {
    float* values;
    uint32_t* indices;
    int k;
    float last;
    uint32_t last_index;

    __device__ Ranking(float* values, uint32_t* indices, int k) : values(values), indices(indices), k(k), last(-INFINITY), last_index(ALL) {
        for (int at = lane(); at < k; at += 32) values[at] = last, indices[at] = last_index;
        __syncwarp();
    }

    // Each lane shows one.
    __device__ void show(bool there, float value, uint32_t at) {
        for (uint32_t left = __ballot_sync(ALL, there && ahead(value, at, last, last_index)); left; left &= left - 1) {
            int from = __ffs(left) - 1;
            float shown = __shfl_sync(ALL, value, from);
            uint32_t shown_at = __shfl_sync(ALL, at, from);
            if (ahead(shown, shown_at, last, last_index)) insert(shown, shown_at);
        }
    }

    // From the end, whoever comes after it moves one place back.
    __device__ void insert(float value, uint32_t at) {
        for (int base = (k - 1) / 32 * 32; base >= 0; base -= 32) {
            int place = base + lane();
            bool stays = true, here = false;
            float before = 0.0f;
            uint32_t before_index = 0;
            if (place < k) {
                stays = ahead(values[place], indices[place], value, at);
                here = !stays;
                if (here && place > 0) before = values[place - 1], before_index = indices[place - 1];
            }
            const bool first = here && (place == 0 || ahead(before, before_index, value, at));
            __syncwarp();
            if (here) values[place] = first ? value : before, indices[place] = first ? at : before_index;
            __syncwarp();
            if (__ballot_sync(ALL, stays && place < k)) break; // those farther in front stay too
        }
        last = values[k - 1], last_index = indices[k - 1];
    }
};

// largest [tiles, n]; chosen [n, min(k, tiles)] and their maxima as working memory, none of the three where tiles <= k.
extern "C" __global__ void __launch_bounds__(32 * WARPS)
top_k(const float* x, const float* y, int n, int m, int d, int k, const float* largest, int tiles, float* maxima, uint32_t* chosen,
      uint32_t* index, float* logit) {
    const uint64_t row = row_of_warp();
    if (row >= static_cast<uint64_t>(n)) return;
    const Logits logits = {x + row * d, y, d};
    const bool some = tiles > k;
    if (some) {
        chosen += row * k;
        Ranking best(maxima + row * k, chosen, k);
        for (int base = 0; base < tiles; base += 32) {
            int t = base + lane();
            best.show(t < tiles, t < tiles ? largest[static_cast<uint64_t>(t) * n + row] : 0.0f, t);
        }
    }
    index += row * k, logit += row * k;
    Ranking best(logit, index, k);
    for (int at = 0; at < (some ? k : tiles); ++at) {
        const int tile = some ? chosen[at] : at;
#pragma unroll 1
        for (int j = tile * static_cast<int>(SIDE) + lane(), half = 0; half < 2; ++half, j += 32) {
            best.show(j < m, j < m ? logits.rounded(j) : 0.0f, j);
        }
    }
    for (int at = lane(); at < k; at += 32) logit[at] = static_cast<float>(0.69314718055994530942 * logit[at]);
}
