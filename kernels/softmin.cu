// soft_min: L_i = log sum_j exp(h_j + k_j x_i.y_j - shift_i), and the weighted mean sum_j w_ij v_j of values under the same weights.
//   x [n,D] rows; y [m,D+1] columns, log2(e) h behind log2(e) k y (Backend::pack); v [m,p]; f32, row-major, bases aligned to 16.
//
// Grid: (row blocks, column splits). A thread keeps ROWS rows in registers; a block streams TILE columns at a time through shared
// memory, copied in the background two stages deep. A split is a run of `chunk` columns, a function of m alone, and each split
// leaves one partial result a row in `partial`; soft_min_merge adds them in order. Nothing of a row depends on another row, nor
// on how many there are, so a row repeats bit for bit in any batch.
// Why the shift: the last potential is within |dg|/eps of this one, so there is no running maximum: D FFMA + 2 FADD + 1 EX2 a
// pair. The exp unit then binds (16 a clock a multiprocessor = 8 issue slots a pair); where slots are left, one exponential in
// eight is a polynomial on the multiply-add pipe, chosen by the column, never by the row.
// A polynomial would lose a logit that is not a number, so rows and columns that may have one are looked for, columns once a tile by a
// thread each; they make the sum NaN, and it is for the running maximum to say what it is.
// A row whose sum leaves [2^-64, 2^64) goes on the list `redo`, and soft_min_max runs it again with a running maximum: all in
// stream order, the host never looks.
// Sums: eight at a time by pairs, a tile in one register, compensated (Kahan) from tile to tile; means: by tile, then plain.
// Shared: 2 TILE (D + 1 + P) 4 bytes. Registers and slots a pair: tests/resources. Twin: src/backend/cpu/pairs/soft_min.rs.
// Checked on the host in three thread orders, tests/kernels.rs and tests/conformance; on no device yet. What a host cannot show:
// that a barrier after the wait makes another thread's background copies visible, as the programming guide has it.
#include "common.cuh"

constexpr int THREADS = 128;
constexpr int TILE = 128;
// The bias of a column that fills a tile up, and the running maximum before the first column: below any packed bias (-1e36).
constexpr float ABSENT = -3e38f;
constexpr float LOWEST = -2e36f;
// Coordinates below this in magnitude make no product or sum that overflows, so that no logit of theirs becomes inf - inf.
constexpr float TAME = 0x1p60f;

// Exponentials in eight that are polynomials, where the multiply-add pipe has slots left beside the exp unit. Compute
// capability 8.0 has half as many multiply-add lanes, and none left.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ == 800
template <int D, int P> constexpr int POLYNOMIALS = 0;
#else
template <int D, int P> constexpr int POLYNOMIALS = P > 0 || D > 3 ? 0 : D == 1 ? 2 : 1;
#endif

// Begins to copy columns [start, start + TILE) as they are, and P of their values, each a row of the tile; zeros from `end` on.
template <int D, int P>
__device__ __forceinline__ void load_tile(float* tile, const float* y, const float* v, int p, int first, int start, int end) {
    const int size = TILE * (D + 1) * 4, here = min(TILE, end - start) * (D + 1) * 4;
    for (int at = threadIdx.x * 16; at < size; at += blockDim.x * 16) {
        int bytes = min(16, max(0, here - at));
        const float* from = y + static_cast<size_t>(start) * (D + 1);
        copy_async16(tile + at / 4, bytes > 0 ? from + at / 4 : from, bytes);
    }
    if (P > 0) {
        for (int at = threadIdx.x; at < TILE * P; at += blockDim.x) {
            int j = start + at % TILE, k = first + at / TILE;
            bool there = j < end && k < p;
            copy_async4(tile + TILE * (D + 1) + at, there ? v + static_cast<size_t>(j) * p + k : v, there ? 4 : 0);
        }
    }
    copy_commit();
}

// Whether a column may have a logit that is not a number: one of its own is none, or its coordinates are immense.
template <int D>
__device__ __forceinline__ bool may_overflow(const float* column) {
    bool tame = column[D] == column[D];
#pragma unroll
    for (int k = 0; k < D; ++k) tame &= fabsf(column[k]) < TAME;
    return !tame;
}

__device__ __forceinline__ float top(const float (&z)[4]) { return fmaxf(fmaxf(z[0], z[1]), fmaxf(z[2], z[3])); }

// One tile against ROWS rows.
template <int D, int P, int ROWS, bool MAX>
struct Rows {
    float x[ROWS][D], shift[ROWS], sum[ROWS], lost[ROWS];
    float mean[ROWS][P > 0 ? P : 1];

    __device__ __forceinline__ void raise(int r, float top, float& tile, float (&part)[P > 0 ? P : 1]) {
        float rescale = exp2_unit(shift[r] - top);
        shift[r] = top;
        sum[r] *= rescale;
        lost[r] *= rescale;
        tile *= rescale;
#pragma unroll
        for (int k = 0; k < P; ++k) {
            mean[r][k] *= rescale;
            part[k] *= rescale;
        }
    }

    // Four columns, the last exponential by polynomial or not.
    template <bool POLYNOMIAL>
    __device__ __forceinline__ void add_four(const float* columns, const float* values, float (&tile)[ROWS], float (&part)[ROWS][P > 0 ? P : 1]) {
        float c[4 * (D + 1)];
#pragma unroll
        for (int q = 0; q <= D; ++q) {
            float4 four = reinterpret_cast<const float4*>(columns)[q];
            c[4 * q] = four.x, c[4 * q + 1] = four.y, c[4 * q + 2] = four.z, c[4 * q + 3] = four.w;
        }
        float v[P > 0 ? P : 1][4];
#pragma unroll
        for (int k = 0; k < P; ++k) {
            float4 four = *reinterpret_cast<const float4*>(values + k * TILE);
            v[k][0] = four.x, v[k][1] = four.y, v[k][2] = four.z, v[k][3] = four.w;
        }
        float z[ROWS][4];
        bool higher = false;
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                z[r][i] = MAX ? c[i * (D + 1) + D] : c[i * (D + 1) + D] - shift[r];
#pragma unroll
                for (int k = 0; k < D; ++k) z[r][i] = fmaf(x[r][k], c[i * (D + 1) + k], z[r][i]);
            }
            if (MAX) higher |= top(z[r]) > shift[r];
        }
        // One branch for all rows, rarely taken after the first tiles.
        if (MAX && higher) {
#pragma unroll
            for (int r = 0; r < ROWS; ++r) raise(r, fmaxf(shift[r], top(z[r])), tile[r], part[r]);
        }
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            float e[4];
#pragma unroll
            for (int i = 0; i < (POLYNOMIAL ? 3 : 4); ++i) e[i] = exp2_unit(MAX ? z[r][i] - shift[r] : z[r][i]);
            tile[r] += (e[0] + e[1]) + (POLYNOMIAL ? add_exp2(z[r][3], e[2]) : e[2] + e[3]);
#pragma unroll
            for (int k = 0; k < P; ++k) {
#pragma unroll
                for (int i = 0; i < 4; ++i) part[r][k] = fmaf(e[i], v[k][i], part[r][k]);
            }
        }
    }

    __device__ __forceinline__ void add_tile(const float* columns, const float* values) {
        constexpr int UNROLL = POLYNOMIALS<D, P> > 0 ? 2 : 1; // twice where issue slots bind
        float tile[ROWS], part[ROWS][P > 0 ? P : 1];
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            tile[r] = 0.0f;
#pragma unroll
            for (int k = 0; k < P; ++k) part[r][k] = 0.0f;
        }
        if (MAX) { // a loop of half the length for rows that are run again
#pragma unroll 1
            for (int j = 0; j < TILE; j += 4) add_four<false>(columns + j * (D + 1), values + j, tile, part);
        } else {
#pragma unroll(UNROLL)
            for (int j = 0; j < TILE; j += 8) {
                add_four<(POLYNOMIALS<D, P> > 1)>(columns + j * (D + 1), values + j, tile, part);
                add_four<(POLYNOMIALS<D, P> > 0)>(columns + (j + 4) * (D + 1), values + j + 4, tile, part);
            }
        }
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            add_compensated(sum[r], lost[r], tile[r]);
#pragma unroll
            for (int k = 0; k < P; ++k) mean[r][k] += part[r][k];
        }
    }
};

// The body of both kinds: with the given shift, or (MAX) with a running maximum over the rows of `list`, all where it is null.
template <int D, int P, int ROWS, bool MAX>
__device__ __forceinline__ void stream(const float* x, const float* y, const float* v, int p, int first, const float* given,
                                       double factor, const uint32_t* list, const uint32_t* count, float* partial, int n, int m,
                                       int chunk) {
    DYNAMIC_SHARED(float, shared);
    constexpr int STAGE = TILE * (D + 1 + P);
    const int rows = MAX && list ? static_cast<int>(*count) : n;
    const int block = blockIdx.x * blockDim.x * ROWS;
    if (block >= rows) return;
    const int start = blockIdx.y * chunk, end = min(m, start + chunk);
    constexpr bool LOOKS = !MAX && POLYNOMIALS<D, P> > 0;
    bool wild = false;

    Rows<D, P, ROWS, MAX> state;
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        int at = min(block + r * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x), rows - 1);
        size_t row = MAX && list ? list[at] : at;
        bool tame = true;
#pragma unroll
        for (int k = 0; k < D; ++k) {
            state.x[r][k] = x[row * D + k];
            tame &= fabsf(state.x[r][k]) < TAME;
        }
        state.shift[r] = MAX ? LOWEST : static_cast<float>(factor * static_cast<double>(given[row]));
        state.sum[r] = 0.0f;
        state.lost[r] = LOOKS && !tame ? NOT_A_NUMBER : 0.0f;
#pragma unroll
        for (int k = 0; k < P; ++k) state.mean[r][k] = 0.0f;
    }

    load_tile<D, P>(shared, y, v, p, first, start, end);
    for (int at = start, stage = 0; at < end; at += TILE, stage ^= 1) {
        float* tile = shared + stage * STAGE;
        if (at + TILE < end) {
            load_tile<D, P>(shared + (stage ^ 1) * STAGE, y, v, p, first, at + TILE, end);
            copy_wait<1>();
        } else {
            copy_wait<0>();
        }
        __syncthreads();
        if (LOOKS) {
#pragma unroll 1
            for (int j = threadIdx.x; j < TILE; j += blockDim.x) wild |= may_overflow<D>(tile + j * (D + 1));
        }
        if (at + TILE > end) {
            for (int j = end - at + threadIdx.x; j < TILE; j += blockDim.x) tile[j * (D + 1) + D] = ABSENT;
            __syncthreads();
        }
        state.add_tile(tile, tile + TILE * (D + 1));
        __syncthreads();
    }

    if (LOOKS && __syncthreads_or(wild)) {
#pragma unroll
        for (int r = 0; r < ROWS; ++r) state.sum[r] = NOT_A_NUMBER;
    }
    const size_t plane = static_cast<size_t>(gridDim.y) * n;
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        int at = block + r * blockDim.x + threadIdx.x;
        if (at >= rows) continue;
        float* out = partial + static_cast<size_t>(blockIdx.y) * n + at;
        *out = state.sum[r];
        if (MAX) *(out += plane) = state.shift[r];
#pragma unroll
        for (int k = 0; k < P; ++k) *(out += plane) = state.mean[r][k];
    }
}

// Compute capability 12.0 schedules into a few more registers.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1200
constexpr int SPARED = 1;
#else
constexpr int SPARED = 0;
#endif

// Rows a thread, and blocks a multiprocessor that the registers must allow, with the shift and with the maximum.
#define SOFT_MIN(D, P, ROWS, BLOCKS, MAX_ROWS, MAX_BLOCKS)                                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS - SPARED)                                                                  \
        soft_min_d##D##_p##P(const float* x, const float* y, const float* v, int p, int first, const float* given, double factor,  \
                             float* partial, int n, int m, int chunk) {                                                            \
        stream<D, P, ROWS, false>(x, y, v, p, first, given, factor, nullptr, nullptr, partial, n, m, chunk);                       \
    }                                                                                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS, MAX_BLOCKS - SPARED)                                                              \
        soft_min_max_d##D##_p##P(const float* x, const float* y, const float* v, int p, int first, const uint32_t* list,           \
                                 const uint32_t* count, float* partial, int n, int m, int chunk) {                                 \
        stream<D, P, MAX_ROWS, true>(x, y, v, p, first, nullptr, 0.0, list, count, partial, n, m, chunk);                          \
    }

SOFT_MIN(1, 0, 8, 4, 4, 6)
SOFT_MIN(1, 2, 4, 6, 4, 6)
SOFT_MIN(2, 0, 8, 4, 4, 6)
SOFT_MIN(2, 3, 4, 4, 4, 5)
SOFT_MIN(3, 0, 8, 4, 4, 6)
SOFT_MIN(3, 4, 4, 4, 4, 4)
SOFT_MIN(4, 0, 8, 4, 4, 5)
SOFT_MIN(4, 5, 4, 4, 4, 4)
SOFT_MIN(8, 0, 4, 4, 4, 4)
SOFT_MIN(8, 9, 2, 4, 2, 4)

// Adds the partial results of a row in the order of the splits; a row that has left the range goes on the list.
// The loops over the splits are not unrolled: the time is nothing, the code would be a tenth of this file's.
extern "C" __global__ void soft_min_merge(const float* partial, int splits, int n, int values, int p, int first, float* out,
                                          float* mean, uint32_t* redo, uint32_t* count) {
    const uint64_t row = global_index();
    if (row >= static_cast<uint64_t>(n)) return;
    const float* at = partial + row;
    float sum = 0.0f, lost = 0.0f;
#pragma unroll 1
    for (int s = 0; s < splits; ++s, at += n) add_compensated(sum, lost, *at);
    if (!(sum >= 0x1p-64f && sum < 0x1p64f)) {
        redo[atomicAdd(count, 1u)] = static_cast<uint32_t>(row);
        return;
    }
    out[row] = logf(sum);
    for (int k = 0; k < values; ++k) {
        float weighted = 0.0f, rest = 0.0f;
#pragma unroll 1
        for (int s = 0; s < splits; ++s, at += n) add_compensated(weighted, rest, *at);
        if (first + k < p) mean[row * p + first + k] = __fdiv_rn(weighted, sum);
    }
}

// The same for partial results that each have their own maximum; the log-sum is relative to the given shift, if any. Where there is an
// x [n,p], the mean becomes share mean + rest x.
extern "C" __global__ void soft_min_merge_max(const float* partial, int splits, int n, int values, int p, int first, float* out,
                                              float* mean, const uint32_t* list, const uint32_t* count, const float* given,
                                              double factor, const float* x, float share, float rest) {
    const uint64_t index = global_index();
    if (index >= (list ? *count : static_cast<uint32_t>(n))) return;
    const uint64_t row = list ? list[index] : index, plane = static_cast<uint64_t>(splits) * n;
    const float *sums = partial + index, *shifts = sums + plane;
    float top = LOWEST, sum = 0.0f, lost = 0.0f;
#pragma unroll 1
    for (int s = 0; s < splits; ++s) top = fmaxf(top, shifts[static_cast<uint64_t>(s) * n]);
#pragma unroll 1
    for (int s = 0; s < splits; ++s) {
        uint64_t at = static_cast<uint64_t>(s) * n;
        add_compensated(sum, lost, sums[at] * exp2_unit(shifts[at] - top));
    }
    // log 2 in two parts: the product is exact to a rounding of the result.
    float relative = given ? top - static_cast<float>(factor * static_cast<double>(given[row])) : top;
    out[row] = fmaf(0.693147182f, relative, fmaf(-1.90465430e-9f, relative, logf(sum)));
    for (int k = 0; k < values && first + k < p; ++k) {
        const float* at = shifts + (k + 1) * plane;
        float weighted = 0.0f, lost = 0.0f;
#pragma unroll 1
        for (int s = 0; s < splits; ++s) {
            uint64_t split = static_cast<uint64_t>(s) * n;
            add_compensated(weighted, lost, at[split] * exp2_unit(shifts[split] - top));
        }
        const uint64_t here = row * p + first + k;
        const float value = __fdiv_rn(weighted, sum);
        mean[here] = x ? fmaf(share, value, rest * x[here]) : value;
    }
}
