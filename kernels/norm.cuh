// Norms of the difference of two points, a coordinate at a time, as costs.
#pragma once
#include "tile.cuh"

struct Euclidean : SquaredDistance<float> {
    __device__ static float cost(float sum, float) { return __fsqrt_rn(sum); }
};

// Out of line: powf is long, and there would be 32 of it.
__device__ __noinline__ float power(float x, float p) { return powf(x, p); }

// (sum |x - y|^p)^(1/p), about the largest difference so far, so that no power over- or underflows.
struct Lp {
    struct State { float largest, sum; };
    __device__ static void step(State& state, float x, float y, float p) {
        float difference = fabsf(x - y);
        float larger = fmaxf(difference, state.largest), smaller = fminf(difference, state.largest);
        float ratio = larger > 0.0f ? power(__fdiv_rn(smaller, larger), p) : 0.0f;
        state.sum = difference > state.largest ? fmaf(state.sum, ratio, 1.0f) : state.sum + ratio;
        state.largest = larger;
    }
    __device__ static float cost(State state, float p) { return state.largest * power(state.sum, __fdiv_rn(1.0f, p)); }
};
