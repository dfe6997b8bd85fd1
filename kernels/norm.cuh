// Norms of the difference of two points, a coordinate at a time, as costs.
#pragma once
#include "tile.cuh"

struct Euclidean : SquaredDistance<float> {
    __device__ static float cost(float sum, float) { return root_unit(sum); }
};

// (sum |x - y|^p)^(1/p), about the largest difference so far, so that no power over- or underflows. Powers are of the exp unit: p/2^22
// of a share, which is a rounding of the cost.
struct Lp {
    struct State { float largest, sum; };
    __device__ static float power(float x, float p) { return exp2_unit(p * log2_unit(x)); }
    __device__ static void step(State& state, float x, float y, float p) {
        float difference = fabsf(x - y);
        // What is not a number counts as the smaller, and so reaches the sum.
        float larger = fmaxf(difference, state.largest), smaller = difference > state.largest ? state.largest : difference;
        float ratio = larger > 1e-37f ? power(smaller * reciprocal(larger), p) : smaller;
        state.sum = difference > state.largest ? fmaf(state.sum, ratio, 1.0f) : state.sum + ratio;
        state.largest = larger;
    }
    __device__ static float cost(State state, float p) { return state.largest * power(state.sum, reciprocal(p)); }
};
