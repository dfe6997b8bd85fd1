// Products of f32 accuracy on the tensor cores. A vector is scaled by a power of two of its own, so that its largest number lies in
// [2^14, 2^15), and each number stored in PARTS f16 numbers: two of any f32, x' = hi + lo to 2^-24, or one of what is half precision
// already. Then x.y = hi hi + (hi lo + lo hi) + O(2^-24), three m16n8k16 products, or hi hi alone, exactly. A tensor core truncates
// its sums, so it only ever adds up 16 coordinates, small terms first; sixteen and sixteen are added in registers, rounded.
//
// In shared memory 32 coordinates are a slice, and a vector of a slice is 40 halves wide, so that no two lanes of a fragment meet in
// a bank (20 words: 8 vectors x 4 words, all apart).
#pragma once
#include "common.cuh"

constexpr int SLICE = 32; // coordinates
constexpr int WIDTH = SLICE + 8;

// The power of two that scales a vector with this largest magnitude; of zeros, or of less than 2^-112, it and its inverse stay normal.
__device__ __forceinline__ float scaling(float largest) {
    int exponent = 127 + 14 + 127 - static_cast<int>(__float_as_uint(largest) >> 23);
    return __uint_as_float(static_cast<uint32_t>(max(1, min(253, exponent))) << 23);
}

__device__ __forceinline__ float inverse_scaling(float scaling) { return __uint_as_float((254u << 23) - __float_as_uint(scaling)); }

// Two neighbouring halves of a vector, at coordinate k of a slice.
__device__ __forceinline__ uint32_t two_halves(const uint16_t* slice, int vector, int k) {
    return *reinterpret_cast<const uint32_t*>(slice + vector * WIDTH + k);
}

// 32 rows from `first` on against 8 EIGHTS columns, 16 coordinates `steps` times: gives `add` the half of the rows, the eight of the columns, and with
// g = lane/4 and t = lane%4 what this thread has of the products: rows g and g+8 of the half at columns 2t and 2t+1 of the eight.
template <int PARTS, int EIGHTS, class Add>
__device__ __forceinline__ void multiply(const uint16_t* row_hi, const uint16_t* row_lo, int first, const uint16_t* column_hi,
                                         const uint16_t* column_lo, int steps, Add add) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll 1
    for (int step = 0; step < steps; ++step) {
        const int k = step * 16 + 2 * t;
        uint32_t hi[2][4], lo[2][4];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                int row = first + half * 16 + g + i % 2 * 8, at = k + i / 2 * 8;
                hi[half][i] = two_halves(row_hi, row, at);
                if (PARTS == 2) lo[half][i] = two_halves(row_lo, row, at);
            }
        }
#pragma unroll
        for (int eight = 0; eight < EIGHTS; ++eight) {
            const int column = eight * 8 + g;
            uint32_t right[2] = {two_halves(column_hi, column, k), two_halves(column_hi, column, k + 8)}, rest[2];
            if (PARTS == 2) {
                rest[0] = two_halves(column_lo, column, k);
                rest[1] = two_halves(column_lo, column, k + 8);
            }
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                float sixteen[4] = {0.0f, 0.0f, 0.0f, 0.0f};
                if (PARTS == 2) {
                    mma_half(sixteen, lo[half], right);
                    mma_half(sixteen, hi[half], rest);
                }
                mma_half(sixteen, hi[half], right);
                add(half, eight, sixteen);
            }
        }
    }
}
