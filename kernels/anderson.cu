// Anderson's step F <- F + R - sum_j gamma_j (dF_j + dR_j), gamma = argmin |R - sum_j gamma_j dR_j|_a, on the device alone: the host
// neither reads a product nor makes a decision, so that it can be iterations ahead and a graph can hold the whole.
//   F, R, a [n]; steps dF and changes dR [MEMORY,n]; points [4,n] = F and R of the best point, F and R of the last; all double.
// Three launches: products (and the new differences) in one pass over the memory, 1024 points a block; totals over the blocks,
// decisions and a Cholesky factorisation of at most 10 x 10 by one thread (some 400 multiply-adds); the step, one thread a point.
// Sums run in one fixed order. Twin: src/backend/cpu/potentials/anderson.rs; src/backend/anderson.rs has the places of State.
#include "reduce.cuh"

constexpr uint32_t MEMORY = 10;
constexpr uint32_t PRODUCTS = 2 * MEMORY + 1;

struct State {
    double best, has_best, has_last, taken;
    double gram[MEMORY][MEMORY];
    double gamma[MEMORY];
    double lost, better; // what anderson_solve decided: go back to the best point; this one is the best
};

__device__ __forceinline__ uint32_t kept(const State& state) { return min(static_cast<uint32_t>(state.taken), MEMORY); }

// Out of line: it is called for every product.
__device__ __noinline__ double total(double value) { return over_block<false>(value); }

// Takes the new differences into the memory, in place of the oldest, and leaves the products <dR_new, dR_j>, <R, dR_j>, <R, R>.
extern "C" __global__ void __launch_bounds__(256)
anderson_products(uint64_t n, const double* mass, const double* point, const double* residual, double* steps, double* changes, double* points,
                  const State* state, double* partials) {
    const bool has_last = state->has_last != 0.0;
    const uint32_t slot = static_cast<uint32_t>(state->taken) % MEMORY, count = kept(*state);
    double products[PRODUCTS];
#pragma unroll
    for (uint32_t k = 0; k < PRODUCTS; ++k) products[k] = 0.0;
    for (uint32_t e = 0; e < 4; ++e) {
        uint64_t i = (static_cast<uint64_t>(blockIdx.x) * 4 + e) * 256 + threadIdx.x;
        if (i >= n) continue;
        double a = mass[i], f = point[i], r = residual[i], change = 0.0;
        if (has_last) {
            change = r - points[3 * n + i];
            steps[slot * n + i] = f - points[2 * n + i];
            changes[slot * n + i] = change;
        }
        points[2 * n + i] = f;
        points[3 * n + i] = r;
#pragma unroll
        for (uint32_t j = 0; j < MEMORY; ++j) {
            double other = j == slot ? change : j < count ? changes[j * n + i] : 0.0;
            products[j] += a * change * other;
            products[MEMORY + j] += a * other * r;
        }
        products[2 * MEMORY] += a * r * r;
    }
#pragma unroll
    for (uint32_t k = 0; k < PRODUCTS; ++k) {
        double sum = total(products[k]);
        if (threadIdx.x == 0) partials[static_cast<uint64_t>(k) * gridDim.x + blockIdx.x] = sum;
        __syncthreads();
    }
}

// gamma = (gram + ridge trace)^-1 right by Cholesky over the first k places, in place; false where that is singular or not finite.
__device__ bool least_squares(double (*gram)[MEMORY], uint32_t k, const double* right, double ridge, double* gamma) {
    // A thread's work of microseconds: unrolled it would be 20 KiB.
    double trace = 0.0;
#pragma unroll 1
    for (uint32_t i = 0; i < k; ++i) trace += gram[i][i];
#pragma unroll 1
    for (uint32_t i = 0; i < k; ++i) {
        double forward = right[i];
#pragma unroll 1
        for (uint32_t j = 0; j <= i; ++j) {
            double rest = gram[i][j] + (i == j ? ridge * trace : 0.0);
#pragma unroll 1
            for (uint32_t l = 0; l < j; ++l) rest -= gram[i][l] * gram[j][l];
            if (i == j && !(rest > 0.0)) return false;
            gram[i][j] = i == j ? sqrt(rest) : rest / gram[j][j];
            if (j < i) forward -= gram[i][j] * gamma[j];
        }
        gamma[i] = forward / gram[i][i];
    }
#pragma unroll 1
    for (uint32_t i = k; i-- > 0;) {
#pragma unroll 1
        for (uint32_t j = i + 1; j < k; ++j) gamma[i] -= gram[j][i] * gamma[j];
        gamma[i] /= gram[i][i];
        if (!(fabs(gamma[i]) < 1e300)) return false;
    }
    return true;
}

extern "C" __global__ void __launch_bounds__(256) anderson_solve(uint64_t parts, const double* partials, double growth, double ridge, State* state) {
    SHARED(double[PRODUCTS], products);
    SHARED(double[MEMORY][MEMORY], gram);
    SHARED(double[MEMORY], gamma);
    if (threadIdx.x < MEMORY * MEMORY) gram[threadIdx.x / MEMORY][threadIdx.x % MEMORY] = state->gram[threadIdx.x / MEMORY][threadIdx.x % MEMORY];
    for (uint32_t k = 0; k < PRODUCTS; ++k) {
        double total = 0.0;
        for (uint64_t b = threadIdx.x; b < parts; b += 256) total += partials[k * parts + b];
        total = over_block<false>(total);
        if (threadIdx.x == 0) products[k] = total;
        __syncthreads();
    }
    if (threadIdx.x != 0) return;
    const double norm = sqrt(products[2 * MEMORY]);
    const bool had_best = state->has_best != 0.0;
    if (had_best && !(norm <= growth * state->best)) {
        state->lost = 1.0;
        state->best = state->has_best = state->has_last = state->taken = 0.0;
        return;
    }
    state->lost = 0.0;
    state->better = had_best && state->best <= norm ? 0.0 : 1.0;
    if (state->better != 0.0) state->best = norm;
    state->has_best = 1.0;
    if (state->has_last != 0.0) {
        const uint32_t slot = static_cast<uint32_t>(state->taken) % MEMORY;
        state->taken += 1.0;
        for (uint32_t j = 0; j < kept(*state); ++j) state->gram[slot][j] = state->gram[j][slot] = gram[slot][j] = gram[j][slot] = products[j];
    }
    state->has_last = 1.0;
    const uint32_t k = kept(*state);
    const bool solved = least_squares(gram, k, products + MEMORY, ridge, gamma);
    for (uint32_t j = 0; j < k; ++j) state->gamma[j] = solved ? gamma[j] : 0.0;
}

extern "C" __global__ void __launch_bounds__(256)
anderson_step(uint64_t n, double* point, const double* residual, const double* steps, const double* changes, double* points, const State* state) {
    const uint64_t i = global_index();
    if (i >= n) return;
    if (state->lost != 0.0) {
        point[i] = points[i] + points[n + i];
        return;
    }
    const double f = point[i], r = residual[i];
    if (state->better != 0.0) {
        points[i] = f;
        points[n + i] = r;
    }
    double next = f + r;
    const uint32_t count = kept(*state);
    for (uint32_t j = 0; j < count; ++j) next -= state->gamma[j] * (steps[j * n + i] + changes[j * n + i]);
    point[i] = next;
}
