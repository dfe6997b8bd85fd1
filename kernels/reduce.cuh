// Joining doubles over the 256 threads of a block, in one fixed order.
#pragma once
#include "common.cuh"

// a + b, or the larger of them; what is not a number stays so.
template <bool MAXIMUM>
__device__ __forceinline__ double joined(double a, double b) {
    if (MAXIMUM) return a > b || a != a ? a : b;
    return a + b;
}

// The total over the block, for thread 0; blocks of 256 threads.
template <bool MAXIMUM>
__device__ __forceinline__ double over_block(double value) {
    SHARED(double[256], totals);
    totals[threadIdx.x] = value;
    __syncthreads();
    for (uint32_t half = 128; half > 0; half /= 2) {
        if (threadIdx.x < half) totals[threadIdx.x] = joined<MAXIMUM>(totals[threadIdx.x], totals[threadIdx.x + half]);
        __syncthreads();
    }
    return totals[0];
}
