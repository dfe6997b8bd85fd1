// soft_min on tensor cores, for every dimension that softmin.cu has no registers for, and up to 32 values in the same pass.
//   The same sums, columns splits, partial results and merge as softmin.cu, whose head says why; only the exponent differs.
//
// Split products: soft_min_split scales each row and each column and stores them as halves, split.cuh says how; points that come in
// half precision are one part instead of two (soft_min_split_half), with a third of the products. The weighted mean is a product too, in
// tf32 (a weight may be as large as 2^64), split in the same way, eight columns at a time.
//
// Grid: (blocks of 128 rows, column splits), 4 warps of 32 rows. Tiles of 64 columns, 32 beside values, slices of 32 coordinates, copied in the
// background two stages deep; up to 64 coordinates the rows stay in shared memory, beyond they are streamed with the columns.
// Shared: 20480 for each of the two row slices, and TILE (320 + 16 + 8 (P + 4)) behind them: at most 61 KiB, which must be asked for.
// Bound: the tensor pipe, 3 slots a pair and 16 coordinates at the peak, of which mma.sync reaches about 60 %; of one part 1 slot, and
// issue binds. Twin: src/backend/cpu/pairs/soft_min.rs. Checked on the host in three thread orders, tests/kernels.rs and
// tests/conformance, where a product is summed in double; on no device yet, so the truncation of a real one has not been measured.
#include "split.cuh"

constexpr int THREADS = 128;
constexpr int ROWS = 128; // of a block
constexpr int ROW_SLICE = 2 * ROWS * WIDTH; // halves: hi, then lo
// Columns of a tile: fewer beside values, whose means take registers too.
template <int P> constexpr int TILE = P > 0 ? 32 : 64;
constexpr float ABSENT = -3e38f;
constexpr float LOWEST = -2e36f;

// The largest magnitude of a vector of d numbers, one warp a vector. Loops over coordinates are not unrolled, here and below: the time is
// nothing, the code would be longer.
template <class Read>
__device__ __forceinline__ float largest_of(int d, Read read) {
    float largest = 0.0f;
#pragma unroll 1
    for (int k = threadIdx.x % 32; k < d; k += 32) largest = fmaxf(largest, fabsf(read(k)));
    for (int offset = 16; offset > 0; offset /= 2) largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, offset));
    return largest;
}

// Splits `count` vectors of d numbers, `stride` apart: count x 2 padded, of each vector hi, then lo, zeros behind the d-th. `scale` takes the
// factor that undoes the scaling; where there is a bias behind the coordinates, it follows the factor. One warp a vector.
extern "C" __global__ void soft_min_split(const float* from, int count, int d, int stride, int padded, uint16_t* halves, float* scale) {
    const uint64_t at = global_index() / 32;
    const int lane = threadIdx.x % 32;
    if (at >= static_cast<uint64_t>(count)) return;
    from += at * stride;
    const float up = scaling(largest_of(d, [&](int k) { return from[k]; }));
    uint16_t *hi = halves + at * 2 * padded, *lo = hi + padded;
#pragma unroll 1
    for (int k = lane; k < padded; k += 32) {
        float x = k < d ? from[k] * up : 0.0f;
        hi[k] = to_half(x);
        lo[k] = to_half(x - from_half(hi[k]));
    }
    if (lane == 0) {
        const bool bias = stride > d;
        scale[at * (bias ? 2 : 1)] = inverse_scaling(up);
        if (bias) scale[at * 2 + 1] = from[d];
    }
}

// The same for vectors in half precision, f16 or bf16, which become one part: count x padded. Of columns, with a bias, the factor has
// k log2(e) in it, and log2(e) (bias_j + c g_j) follows, held within +-bound.
extern "C" __global__ void soft_min_split_half(const uint16_t* from, int bf16, int count, int d, int padded, uint16_t* halves,
                                               float* scale, double k, const float* bias, double c, const float* potential,
                                               double bound) {
    const uint64_t at = global_index() / 32;
    const int lane = threadIdx.x % 32;
    if (at >= static_cast<uint64_t>(count)) return;
    from += at * d;
    auto read = [&](int i) { return bf16 ? __uint_as_float(static_cast<uint32_t>(from[i]) << 16) : from_half(from[i]); };
    const float up = scaling(largest_of(d, read));
#pragma unroll 1
    for (int i = lane; i < padded; i += 32) halves[at * padded + i] = to_half(i < d ? read(i) * up : 0.0f);
    if (lane > 0) return;
    if (bias) {
        const double log2_e = 1.44269504088896340736;
        scale[at * 2] = static_cast<float>(log2_e * k * inverse_scaling(up));
        scale[at * 2 + 1] = static_cast<float>(held(log2_e * (bias[at] + c * potential[at]), bound));
    } else {
        scale[at] = inverse_scaling(up);
    }
}

// Begins to copy `count` vectors, of which `here` are there, coordinates [32 slice, 32 slice + 32) of their parts: hi, then lo. `row`
// tells where vector i is.
template <int COUNT, class Row>
__device__ __forceinline__ void load_slice(uint16_t* to, const uint16_t* halves, int parts, int padded, int slice, int here,
                                           Row row) {
#pragma unroll 1
    for (int at = threadIdx.x; at < COUNT * 4 * parts; at += THREADS) {
        int part = at % 4, vector = at / 4 % COUNT, low = at / (4 * COUNT), k = slice * SLICE + part * 8;
        bool there = vector < here && k < padded;
        const uint16_t* from = halves + (there ? (static_cast<uint64_t>(row(vector)) * parts + low) * padded + k : 0);
        copy_async16(to + (low * COUNT + vector) * WIDTH + part * 8, from, there ? 16 : 0);
    }
}

// x rounded to tf32, and what is left of it, both as words.
__device__ __forceinline__ void split_tf32(float x, uint32_t& hi, uint32_t& lo) {
    hi = (__float_as_uint(x) + 0x1000u) & 0xffffe000u;
    lo = (__float_as_uint(x - __uint_as_float(hi)) + 0x1000u) & 0xffffe000u;
}

// What a thread keeps of the 32 rows of its warp: with g = lane/4 and t = lane%4, rows g, g+8, g+16, g+24 at columns 2t, 2t+1 of
// every eight.
template <int P, bool MAX>
struct Fragment {
    static constexpr int VALUES = P > 0 ? P / 8 : 1;
    static constexpr int EIGHTS = TILE<P> / 8;
    float logits[2][EIGHTS][4];
    float shift[4], scale[4], sum[4], lost[4];
    float mean[2][VALUES][4];

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int half = 0; half < 2; ++half)
#pragma unroll
            for (int eight = 0; eight < EIGHTS; ++eight)
#pragma unroll
                for (int i = 0; i < 4; ++i) logits[half][eight][i] = 0.0f;
    }

    // The products of one slice, `steps` times 16 coordinates.
    __device__ __forceinline__ void multiply_slice(const uint16_t* rows, const uint16_t* columns, int parts, int steps) {
        auto add = [&](int half, int eight, const float(&sixteen)[4]) {
#pragma unroll
            for (int i = 0; i < 4; ++i) logits[half][eight][i] += sixteen[i];
        };
        const uint16_t *row_lo = rows + ROWS * WIDTH, *column_lo = columns + TILE<P> * WIDTH;
        const int first = threadIdx.x / 32 * 32;
        if (parts == 2) {
            multiply<2, EIGHTS>(rows, row_lo, first, columns, column_lo, steps, add);
        } else {
            multiply<1, EIGHTS>(rows, row_lo, first, columns, column_lo, steps, add);
        }
    }

    // Exponentials of the tile in place of its products, and their sums.
    __device__ __forceinline__ void exponentiate(const float* biases, int there) {
        const int t = threadIdx.x % 4;
        float top[4] = {ABSENT, ABSENT, ABSENT, ABSENT};
#pragma unroll
        for (int eight = 0; eight < EIGHTS; ++eight) {
            const int column = eight * 8 + 2 * t;
            const float4 two = *reinterpret_cast<const float4*>(biases + 2 * column);
            const float factor[2] = {two.x, two.z}, h[2] = {column < there ? two.y : ABSENT, column + 1 < there ? two.w : ABSENT};
#pragma unroll
            for (int half = 0; half < 2; ++half) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const int row = half * 2 + i / 2;
                    float& z = logits[half][eight][i];
                    z = fmaf(z * factor[i % 2], scale[row], MAX ? h[i % 2] : h[i % 2] - shift[row]);
                    if (MAX) top[row] = fmaxf(top[row], z);
                }
            }
        }
        if (MAX) {
#pragma unroll
            for (int row = 0; row < 4; ++row) {
                top[row] = fmaxf(top[row], __shfl_xor_sync(0xffffffffu, top[row], 1));
                top[row] = fmaxf(top[row], __shfl_xor_sync(0xffffffffu, top[row], 2));
                if (top[row] > shift[row]) raise(row, top[row]);
            }
        }
        float tile[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
        for (int eight = 0; eight < EIGHTS; ++eight) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    float& z = logits[half][eight][i];
                    z = exp2_unit(MAX ? z - shift[half * 2 + i / 2] : z);
                    tile[half * 2 + i / 2] += z;
                }
            }
        }
#pragma unroll
        for (int row = 0; row < 4; ++row) add_compensated(sum[row], lost[row], tile[row]);
    }

    __device__ __forceinline__ void raise(int row, float top) {
        float rescale = exp2_unit(shift[row] - top);
        shift[row] = top;
        sum[row] *= rescale;
        lost[row] *= rescale;
        if (P > 0) {
#pragma unroll
            for (int value = 0; value < VALUES; ++value) {
                mean[row / 2][value][row % 2 * 2] *= rescale;
                mean[row / 2][value][row % 2 * 2 + 1] *= rescale;
            }
        }
    }

    // Adds the weights of the tile times its values. Of every eight columns, 2t and 2t+1 stand in the places t and t+4 of the sum,
    // where this thread has them.
    __device__ __forceinline__ void average(const float* values) {
        const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
        for (int eight = 0; eight < EIGHTS; ++eight) {
            __syncwarp(); // keeps the compiler from loading the values of all columns ahead, for which there are no registers
            uint32_t hi[2][4], lo[2][4];
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                // Places (row g, t), (row g+8, t), (row g, t+4), (row g+8, t+4).
#pragma unroll
                for (int i = 0; i < 4; ++i) split_tf32(logits[half][eight][i % 2 * 2 + i / 2], hi[half][i], lo[half][i]);
            }
#pragma unroll
            for (int value = 0; value < VALUES; ++value) {
                uint32_t right[2], rest[2];
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    split_tf32(values[(eight * 8 + 2 * t + i) * (P + 4) + value * 8 + g], right[i], rest[i]);
                }
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
                    mma_tf32(sum, lo[half], right);
                    mma_tf32(sum, hi[half], rest);
                    mma_tf32(sum, hi[half], right);
#pragma unroll
                    for (int i = 0; i < 4; ++i) mean[half][value][i] += sum[i];
                }
            }
        }
    }
};

template <int P, bool MAX>
__device__ __forceinline__ void stream(const uint16_t* x, const float* row_scale, const uint16_t* y, const float* biases,
                                       const float* v, int p, int first, const float* given, double factor, const uint32_t* list,
                                       const uint32_t* count, float* partial, int n, int m, int parts, int padded, int resident,
                                       int chunk) {
    DYNAMIC_SHARED(uint16_t, shared);
    constexpr int column_slice = 2 * TILE<P> * WIDTH;
    const int rows = MAX && list ? static_cast<int>(*count) : n;
    const int block = blockIdx.x * ROWS;
    if (block >= rows) return;
    const int start = blockIdx.y * chunk, end = min(m, start + chunk);
    const int slices = (padded + SLICE - 1) / SLICE, tiles = (end - start + TILE<P> - 1) / TILE<P>;
    uint16_t* row_slices = shared;
    uint16_t* column_slices = row_slices + (resident ? slices : 2) * ROW_SLICE;
    float* tile_biases = reinterpret_cast<float*>(column_slices + 2 * column_slice);
    float* tile_values = tile_biases + 2 * 2 * TILE<P>;
    auto row_of = [&](int i) { return MAX && list ? static_cast<int>(list[block + i]) : block + i; };

    // Copies slice `slice` of tile `tile` into the stage of `step`.
    auto load = [&](int step, int tile, int slice) {
        const int at = start + tile * TILE<P>;
        if (!resident || tile == 0) {
            uint16_t* to = row_slices + (resident ? slice : step % 2) * ROW_SLICE;
            load_slice<ROWS>(to, x, parts, padded, slice, rows - block, row_of);
        }
        uint16_t* to = column_slices + step % 2 * column_slice;
        load_slice<TILE<P>>(to, y, parts, padded, slice, end - at, [&](int j) { return at + j; });
        if (slice == 0) {
            float* biases_to = tile_biases + tile % 2 * 2 * TILE<P>;
            for (int i = threadIdx.x; i < 2 * TILE<P>; i += THREADS) {
                bool there = at + i / 2 < end;
                copy_async4(biases_to + i, biases + (there ? 2 * static_cast<uint64_t>(at) + i : 0), there ? 4 : 0);
            }
            if (P > 0) {
                float* values_to = tile_values + tile % 2 * TILE<P> * (P + 4);
                constexpr int EACH = P > 0 ? P : 1;
#pragma unroll 1
                for (int i = threadIdx.x; i < TILE<P> * P; i += THREADS) {
                    int j = i / EACH, k = i % EACH;
                    bool there = at + j < end && first + k < p;
                    copy_async4(values_to + j * (P + 4) + k, v + (there ? static_cast<uint64_t>(at + j) * p + first + k : 0), there ? 4 : 0);
                }
            }
        }
        copy_commit();
    };

    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, warp = threadIdx.x / 32 * 32;
    Fragment<P, MAX> state;
#pragma unroll
    for (int row = 0; row < 4; ++row) {
        int at = row_of(min(warp + row * 8 + g, rows - block - 1));
        state.scale[row] = row_scale[at];
        state.shift[row] = MAX ? LOWEST : static_cast<float>(factor * static_cast<double>(given[at]));
        state.sum[row] = state.lost[row] = 0.0f;
    }
    if (P > 0) {
#pragma unroll
        for (int half = 0; half < 2; ++half)
#pragma unroll
            for (int value = 0; value < P / 8; ++value)
#pragma unroll
                for (int i = 0; i < 4; ++i) state.mean[half][value][i] = 0.0f;
    }

    state.clear();
    load(0, 0, 0);
    for (int step = 0, tile = 0, slice = 0; tile < tiles; ++step) {
        const bool last = slice + 1 == slices;
        const int next_tile = tile + last, next_slice = last ? 0 : slice + 1;
        if (next_tile < tiles) {
            load(step + 1, next_tile, next_slice);
            copy_wait<1>();
        } else {
            copy_wait<0>();
        }
        __syncthreads();
        state.multiply_slice(row_slices + (resident ? slice : step % 2) * ROW_SLICE, column_slices + step % 2 * column_slice, parts,
                             min(2, (padded - slice * SLICE) / 16));
        if (last) {
            state.exponentiate(tile_biases + tile % 2 * 2 * TILE<P>, end - start - tile * TILE<P>);
            if (P > 0) state.average(tile_values + tile % 2 * TILE<P> * (P + 4));
            state.clear();
        }
        __syncthreads();
        tile = next_tile, slice = next_slice;
    }

    // Means are whole in each thread; sums are spread over the four lanes of a row.
    const size_t plane = static_cast<size_t>(gridDim.y) * n;
#pragma unroll
    for (int row = 0; row < 4; ++row) {
        float sum = state.sum[row];
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        sum += __shfl_xor_sync(0xffffffffu, sum, 2);
        int at = block + warp + row * 8 + g;
        if (at >= rows) continue;
        float* out = partial + static_cast<size_t>(blockIdx.y) * n + at;
        if (t == 0) out[0] = sum;
        if (MAX && t == 0) out[plane] = state.shift[row];
        if (P > 0) {
            out += (MAX ? 2 : 1) * plane;
#pragma unroll
            for (int value = 0; value < P / 8; ++value) {
                out[(value * 8 + 2 * t) * plane] = state.mean[row / 2][value][row % 2 * 2];
                out[(value * 8 + 2 * t + 1) * plane] = state.mean[row / 2][value][row % 2 * 2 + 1];
            }
        }
    }
}

#define SOFT_MIN_TENSOR(P, BLOCKS)                                                                                                 \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)                                                                  \
        soft_min_tensor_p##P(const uint16_t* x, const float* row_scale, const uint16_t* y, const float* biases, const float* v,    \
                             int p, int first, const float* given, double factor, float* partial, int n, int m, int parts,         \
                             int padded, int resident, int chunk) {                                                                \
        stream<P, false>(x, row_scale, y, biases, v, p, first, given, factor, nullptr, nullptr, partial, n, m, parts, padded,      \
                         resident, chunk);                                                                                         \
    }                                                                                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)                                                                  \
        soft_min_max_tensor_p##P(const uint16_t* x, const float* row_scale, const uint16_t* y, const float* biases, const float* v,\
                                 int p, int first, const uint32_t* list, const uint32_t* count, float* partial, int n, int m,      \
                                 int parts, int padded, int resident, int chunk) {                                                 \
        stream<P, true>(x, row_scale, y, biases, v, p, first, nullptr, 0.0, list, count, partial, n, m, parts, padded, resident,   \
                        chunk);                                                                                                    \
    }

SOFT_MIN_TENSOR(0, 2)
SOFT_MIN_TENSOR(32, 2)
