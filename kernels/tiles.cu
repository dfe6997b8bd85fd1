// soft_min_tiles: L_i = log sum_j b_j exp((x_i.y_j - phi_i - psi_j)/eps), j in the tiles of 32 columns that the tile of row i keeps, and
// the weighted mean of values under the same weights. Points, potentials and frames are f64, their offsets f32.
//
// A tile has a frame: centre x', slope t and level l of an affine function near the potential, phi = l + t.(x - x') + rho; of columns
// y', s, l', sigma. With offsets delta = x - x', eta = y - y', the exponent of a pair is
//   (x'.y' - l - l') + (delta.(y' - t) - rho) + ((delta + x' - s).eta - sigma),
// the first term in double once a pair of tiles, the second in f32 once a row and tile, the last D FFMA + 2 FADD + 1 EX2 a pair: as
// many as without tiles, and no digits are lost however small eps is. pack_tiles leaves log2(e) (eta/eps, log b - sigma/eps) a column.
//
// Grid: a block of 4 warps for each tile of rows, a lane a row. The tiles of the list are dealt out to the warps 32 at a time: a lane
// works out the terms in double of one of them, so that doubles cost nothing even where they run at 1/64 rate, and shows them as the
// warp streams the 32 tiles through shared memory, copied in the background two stages deep, a broadcast for 32 pairs. The exp unit
// binds, 8 slots a pair. Sums: a tile in one register, compensated (Kahan) from tile to tile; then over the warps in order, so
// that a row's bits depend on its list alone. A block with a row whose sum leaves [2^-64, 2^64) goes over its list again with a
// running maximum, for those rows. Means, which are asked for once a solve, have the running maximum from the start.
// Shared: 2 (D + 1 + P) 512 + 512 (2 + P) bytes. Twin: src/backend/cpu/pairs/tiles.rs.
#include "common.cuh"

constexpr int WARPS = 4, TILE = 32;
constexpr uint32_t ALL = 0xffffffffu;
// The bias of a column that fills a tile up, and the running maximum before the first column: below any packed bias (-1e36).
constexpr float ABSENT = -3e38f;
constexpr float LOWEST = -2e36f;

// frames [tiles, 2d+1]: centre, slope, level. k = log2(e)/eps.
extern "C" __global__ void __launch_bounds__(256)
pack_tiles(const double* y, const double* potential, const double* log_weights, const double* frames, uint64_t m, int d, double k,
           double largest, float* out) {
    const uint64_t j = global_index();
    if (j >= m) return;
    const double* frame = frames + j / TILE * (2 * d + 1);
    double rest = potential[j] - frame[2 * d];
    out += j * (d + 1);
    for (int c = 0; c < d; ++c) {
        double offset = y[j * d + c] - frame[c];
        rest -= frame[d + c] * offset;
        out[c] = static_cast<float>(k * offset);
    }
    out[d] = static_cast<float>(held(1.44269504088896340736 * log_weights[j] - k * rest, largest));
}

// starts [row tiles + 1]; runs: from a column tile up to, not including, another; values [m,p], of which those from `first` on are taken.
struct Tiled {
    const double *x, *potential, *row_frames, *column_frames;
    const float *packed, *values;
    const uint32_t* starts;
    const uint2* runs;
    float *out, *mean;
    double k;
    int n, m, p, first;
};

// A tile of columns on its way through a warp, values a row of the tile each.
template <int D, int P>
struct Stage {
    float columns[TILE * (D + 1)], values[P > 0 ? TILE * P : 4];

    __device__ __forceinline__ void load(const Tiled& all, int tile) {
        const int lane = threadIdx.x % 32, there = min(TILE, all.m - tile * TILE);
        const float* from = all.packed + static_cast<uint64_t>(tile) * TILE * (D + 1);
        for (int at = lane * 16; at < TILE * (D + 1) * 4; at += 32 * 16) {
            int bytes = min(16, max(0, there * (D + 1) * 4 - at));
            copy_async16(columns + at / 4, bytes > 0 ? from + at / 4 : from, bytes);
        }
        if (P > 0) {
            const uint64_t j = static_cast<uint64_t>(tile) * TILE + lane;
            for (int v = 0; v < P; ++v) {
                bool given = lane < there && all.first + v < all.p;
                copy_async4(values + v * TILE + lane, given ? all.values + j * all.p + all.first + v : all.values, given ? 4 : 0);
            }
        }
        copy_commit();
    }

    // Gives columns beyond the last no weight.
    __device__ __forceinline__ void fill_up(const Tiled& all, int tile) {
        const int lane = threadIdx.x % 32;
        if ((tile + 1) * TILE <= all.m) return;
        if (tile * TILE + lane >= all.m) columns[lane * (D + 1) + D] = ABSENT;
        __syncwarp();
    }
};

// What one row has so far.
template <int D, int P>
struct Row {
    float shift, sum, lost;
    float mean[P > 0 ? P : 1], mean_lost[P > 0 ? P : 1];

    __device__ __forceinline__ explicit Row(float shift) : shift(shift), sum(0.0f), lost(0.0f), mean(), mean_lost() {}

    // A tile, whose logits are base + bias + x.y, with a shift of zero or with the running maximum.
    template <bool MAX>
    __device__ __forceinline__ void add(const Stage<D, P>& tile, const float (&x)[D], float base) {
        float sums = 0.0f, means[P > 0 ? P : 1] = {};
#pragma unroll(MAX ? 1 : 2)
        for (int j = 0; j < TILE; j += 4) {
            float c[4 * (D + 1)], z[4];
#pragma unroll
            for (int q = 0; q <= D; ++q) {
                float4 four = reinterpret_cast<const float4*>(tile.columns + j * (D + 1))[q];
                c[4 * q] = four.x, c[4 * q + 1] = four.y, c[4 * q + 2] = four.z, c[4 * q + 3] = four.w;
            }
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                z[i] = c[i * (D + 1) + D];
#pragma unroll
                for (int k = 0; k < D; ++k) z[i] = fmaf(x[k], c[i * (D + 1) + k], z[i]);
                z[i] += base;
            }
            if (MAX) {
                float top = fmaxf(fmaxf(z[0], z[1]), fmaxf(z[2], z[3]));
                if (top > shift) {
                    float rescale = exp2_unit(shift - top);
                    shift = top;
                    sum *= rescale, lost *= rescale, sums *= rescale;
#pragma unroll
                    for (int v = 0; v < P; ++v) mean[v] *= rescale, mean_lost[v] *= rescale, means[v] *= rescale;
                }
            }
#pragma unroll
            for (int i = 0; i < 4; ++i) z[i] = exp2_unit(MAX ? z[i] - shift : z[i]);
            sums += (z[0] + z[1]) + (z[2] + z[3]);
#pragma unroll
            for (int v = 0; v < P; ++v) {
                float4 four = *reinterpret_cast<const float4*>(tile.values + v * TILE + j);
                means[v] = fmaf(z[0], four.x, fmaf(z[1], four.y, fmaf(z[2], four.z, fmaf(z[3], four.w, means[v]))));
            }
        }
        add_compensated(sum, lost, sums);
#pragma unroll
        for (int v = 0; v < P; ++v) add_compensated(mean[v], mean_lost[v], means[v]);
    }
};

// This lane's row: offset from the centre of its tile, and what the frame leaves of its potential.
template <int D>
struct Place {
    float offset[D], rest;

    __device__ __forceinline__ Place(const Tiled& all, const double* frame, int row) {
        double left = all.potential[row] - frame[2 * D];
#pragma unroll
        for (int c = 0; c < D; ++c) {
            double from_centre = all.x[static_cast<uint64_t>(row) * D + c] - frame[c];
            left -= frame[D + c] * from_centre;
            offset[c] = static_cast<float>(from_centre);
        }
        rest = static_cast<float>(-all.k * left);
    }
};

// Streams the tiles dealt out to this warp past its rows.
template <int D, int P>
__device__ __forceinline__ void stream(const Tiled& all, const double* frame, const Place<D>& place, Stage<D, P> (&stages)[2], bool maximum, Row<D, P>& row) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const uint32_t first = all.starts[blockIdx.x], last = all.starts[blockIdx.x + 1];
    uint32_t deal = 0;
    for (uint32_t group = first; group < last; group += 32) {
        // A run a lane, and the tiles up to its end.
        const uint2 run = group + lane < last ? all.runs[group + lane] : uint2{0, 0};
        uint32_t upto = run.y - run.x;
        for (int by = 1; by < 32; by *= 2) {
            uint32_t below = __shfl_up_sync(ALL, upto, by);
            if (lane >= by) upto += below;
        }
        const uint32_t tiles = __shfl_sync(ALL, upto, 31);
        for (uint32_t begin = 0; begin < tiles; begin += 32, ++deal) {
            if (deal % WARPS != warp) continue;
            // The tile of this lane: in the first run that ends behind it.
            const uint32_t at = min(begin + lane, tiles - 1);
            int holder = 0;
            for (int step = 16; step > 0; step /= 2) {
                if (__shfl_sync(ALL, upto, holder + step - 1) <= at) holder += step;
            }
            const int tile = static_cast<int>(__shfl_sync(ALL, run.y, holder) - (__shfl_sync(ALL, upto, holder) - at));
            const double* other = all.column_frames + static_cast<uint64_t>(tile) * (2 * D + 1);
            double product = -frame[2 * D] - other[2 * D];
            float along[D], across[D];
#pragma unroll
            for (int c = 0; c < D; ++c) {
                product = fma(frame[c], other[c], product);
                along[c] = static_cast<float>(all.k * (other[c] - frame[D + c]));
                across[c] = static_cast<float>(frame[c] - other[D + c]);
            }
            const float level = static_cast<float>(all.k * product);

            const int count = min(32u, tiles - begin);
#pragma unroll 1
            for (int i = -1; i < count; ++i) {
                const int next = __shfl_sync(ALL, tile, (i + 1) % 32);
                if (i + 1 < count) {
                    stages[(i + 1) % 2].load(all, next);
                    copy_wait<1>();
                } else {
                    copy_wait<0>();
                }
                if (i < 0) continue;
                __syncwarp();
                Stage<D, P>& stage = stages[i % 2];
                stage.fill_up(all, __shfl_sync(ALL, tile, i));
                float x[D], base = place.rest + __shfl_sync(ALL, level, i);
#pragma unroll
                for (int c = 0; c < D; ++c) {
                    base = fmaf(place.offset[c], __shfl_sync(ALL, along[c], i), base);
                    x[c] = place.offset[c] + __shfl_sync(ALL, across[c], i);
                }
                if (P > 0 || maximum) row.template add<true>(stage, x, base);
                else row.template add<false>(stage, x, base);
                __syncwarp();
            }
        }
    }
}

// The warps' results of a row: sum, shift, means.
template <int P>
using Partials = float[WARPS][2 + P][32];

// Joins the warps' results in order; all warps have the whole.
template <int D, int P>
__device__ __forceinline__ void join(Partials<P>& partials, Row<D, P>& row) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    __syncthreads();
    partials[warp][0][lane] = row.sum;
    partials[warp][1][lane] = row.shift;
#pragma unroll
    for (int v = 0; v < P; ++v) partials[warp][2 + v][lane] = row.mean[v];
    __syncthreads();
    float top = partials[0][1][lane];
#pragma unroll
    for (int w = 1; w < WARPS; ++w) top = fmaxf(top, partials[w][1][lane]);
    row = Row<D, P>(top);
#pragma unroll
    for (int w = 0; w < WARPS; ++w) {
        float scale = exp2_unit(partials[w][1][lane] - top);
        add_compensated(row.sum, row.lost, scale * partials[w][0][lane]);
#pragma unroll
        for (int v = 0; v < P; ++v) add_compensated(row.mean[v], row.mean_lost[v], scale * partials[w][2 + v][lane]);
    }
}

template <int D, int P>
__device__ __forceinline__ void soft_min(const Tiled& all) {
    using Stages = Stage<D, P>[WARPS][2];
    SHARED(Stages, stages);
    SHARED(Partials<P>, partials);
    const int warp = threadIdx.x / 32;
    const uint64_t at = blockIdx.x * TILE + threadIdx.x % 32;
    const double* frame = all.row_frames + static_cast<uint64_t>(blockIdx.x) * (2 * D + 1);
    const Place<D> place(all, frame, min(static_cast<int>(at), all.n - 1));
    bool done = false;
#pragma unroll 1
    for (int maximum = P > 0; maximum < 2; ++maximum) {
        Row<D, P> row(maximum ? LOWEST : 0.0f);
        stream(all, frame, place, stages[warp], maximum, row);
        join(partials, row);
        const bool usable = maximum || (row.sum >= 0x1p-64f && row.sum < 0x1p64f);
        if (warp == 0 && at < all.n && usable && !done) {
            // log 2 in two parts: the product is exact to a rounding of the result.
            all.out[at] = fmaf(0.693147182f, row.shift, fmaf(-1.90465430e-9f, row.shift, logf(row.sum)));
#pragma unroll
            for (int v = 0; v < P; ++v) {
                if (all.first + v < all.p) all.mean[at * all.p + all.first + v] = __fdiv_rn(row.mean[v], row.sum);
            }
        }
        if (__all_sync(ALL, usable)) return; // all warps see the same rows
        done = usable;
    }
}

#define SOFT_MIN_TILES(D, P)                                                                                                       \
    extern "C" __global__ void __launch_bounds__(32 * WARPS, 5) soft_min_tiles_d##D##_p##P(const __grid_constant__ Tiled all) {     \
        soft_min<D, P>(all);                                                                                                       \
    }

SOFT_MIN_TILES(1, 0)
SOFT_MIN_TILES(1, 4)
SOFT_MIN_TILES(2, 0)
SOFT_MIN_TILES(2, 4)
SOFT_MIN_TILES(3, 0)
SOFT_MIN_TILES(3, 4)
SOFT_MIN_TILES(4, 0)
SOFT_MIN_TILES(4, 4)
