// perceptron_layer: out = a(s x W^T + b), one layer of a network; x [n,inputs], W [outputs,inputs], b [outputs], out [n,outputs], f32,
// row-major.
//
// Grid: (blocks of 128 rows, tiles of 64 outputs), 4 warps of 32 rows. Rows of x and of W are both vectors of inputs, and pass through
// shared memory 32 inputs at a time, split into halves (split.cuh) by the threads that load them; three blocks a multiprocessor hide
// each other's loads. The scale is that of the slice, so that nothing is read or written beside x, W and out, and activations of any
// size keep their digits: a slice's products are scaled back and added in f32, two operations for 48 on the tensor cores. A row of the
// result depends on no other row.
// The epilogue passes through shared memory, so that one rolled loop has the activations and writes whole lines.
// Shared: 31.5 KiB. Bound: issue slots, on sm_90 8.1 a pair of row and output and 16 inputs, 3.75 of them for the products (of which
// tests/resources counts the loop) and the rest for splitting; multiply-adds in f32 alone would take 16.
// Twin: src/backend/cpu/particles/perceptron.rs, whose states are features x rows.
#include "split.cuh"

constexpr int THREADS = 128, ROWS = 128, OUTPUTS = 64;
constexpr int PARTS = SLICE / 4;               // threads that load a vector of a slice, four numbers each
constexpr int STEP = THREADS / PARTS;          // vectors loaded in a round
constexpr int EACH = (ROWS + OUTPUTS) / STEP;  // rounds of a slice
constexpr int STAGED = OUTPUTS + 8;            // floats of a row of results: 8 rows x 4 pairs lie in different banks

struct Slices {
    uint16_t rows[2][ROWS * WIDTH], outputs[2][OUTPUTS * WIDTH]; // hi, lo
    float row_scale[ROWS], output_scale[OUTPUTS];
};

enum Activation : int { NONE, RELU, SILU, TANH, GELU, GELU_TANH, SOFTPLUS };

// 1/(1 + e^-u); what is not a number stays so.
__device__ __forceinline__ float logistic(float u) {
    const float power = -1.44269504f * u;
    return reciprocal(1.0f + exp2_unit(power > 126.0f ? 126.0f : power));
}

__device__ __forceinline__ float activated(int activation, float x) {
    switch (activation) {
        case RELU: return x < 0.0f ? 0.0f : x; // so that NaN stays
        case SILU: return x * logistic(x);
        case TANH: return fmaf(2.0f, logistic(2.0f * x), -1.0f);
        case GELU_TANH: return x * logistic(1.5957691216f * (fmaf(0.044715f, x * x, 1.0f) * x));
        case SOFTPLUS: return fmaxf(x, 0.0f) + log1pf(exp2_unit(-1.44269504f * fabsf(x)));
        case GELU: {
            // x Phi(x) = max(x, 0) - |x| Phi(-|x|), the tail as the processor has it (Abramowitz, Stegun 1964, 7.1.26).
            float t = reciprocal(fmaf(0.3275911f * 0.70710678f, fabsf(x), 1.0f));
            float tail = fmaf(t, 1.061405429f, -1.453152027f);
            tail = fmaf(t, tail, 1.421413741f);
            tail = fmaf(t, tail, -0.284496736f);
            tail = fmaf(t, tail, 0.254829592f);
            return fmaxf(x, 0.0f) - 0.5f * fabsf(x) * (t * tail) * exp2_unit(-0.72134752f * (x * x));
        }
        default: return x;
    }
}

// Splits `slice` of `rows` rows of x and of `outputs` rows of W, zeros beyond.
__device__ __forceinline__ void load(Slices& to, const float* x, int rows, const float* weight, int outputs, int inputs, int slice) {
    const int part = threadIdx.x % PARTS, own = threadIdx.x / PARTS, left = inputs - slice * SLICE - part * 4;
    x += static_cast<uint64_t>(own) * inputs + slice * SLICE + part * 4;
    weight += static_cast<uint64_t>(own) * inputs + slice * SLICE + part * 4;
    float4 fours[EACH];
#pragma unroll
    for (int e = 0; e < EACH; ++e) {
        // A round has STEP rows of x, or of W.
        const bool of_x = e < ROWS / STEP;
        const int at = (of_x ? e : e - ROWS / STEP) * STEP;
        const float* from = (of_x ? x : weight) + static_cast<uint64_t>(at) * static_cast<uint32_t>(inputs);
        const int there = own < (of_x ? rows : outputs) - at ? left : 0;
        if (inputs % 4 == 0) {
            fours[e] = there > 0 ? *reinterpret_cast<const float4*>(from) : float4{0.0f, 0.0f, 0.0f, 0.0f};
        } else {
            fours[e] = {there > 0 ? from[0] : 0.0f, there > 1 ? from[1] : 0.0f, there > 2 ? from[2] : 0.0f, there > 3 ? from[3] : 0.0f};
        }
    }
#pragma unroll
    for (int e = 0; e < EACH; ++e) {
        const float4& four = fours[e];
        float largest = fmaxf(fmaxf(fabsf(four.x), fabsf(four.y)), fmaxf(fabsf(four.z), fabsf(four.w)));
#pragma unroll
        for (int by = 1; by < PARTS; by *= 2) largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, by));
        const float up = scaling(largest);
        const uint2 hi = {to_halves(four.x * up, four.y * up), to_halves(four.z * up, four.w * up)};
        const uint2 lo = {to_halves(fmaf(four.x, up, -from_half(hi.x)), fmaf(four.y, up, -from_half(hi.x >> 16))),
                          to_halves(fmaf(four.z, up, -from_half(hi.y)), fmaf(four.w, up, -from_half(hi.y >> 16)))};
        const bool of_x = e < ROWS / STEP;
        const int at = (of_x ? e : e - ROWS / STEP) * STEP + own;
        *reinterpret_cast<uint2*>((of_x ? to.rows[0] : to.outputs[0]) + at * WIDTH + part * 4) = hi;
        *reinterpret_cast<uint2*>((of_x ? to.rows[1] : to.outputs[1]) + at * WIDTH + part * 4) = lo;
        if (part == 0) (of_x ? to.row_scale : to.output_scale)[at] = inverse_scaling(up);
    }
}

// Compute capability 10.0 and 12.0 schedule into more registers.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
constexpr int BLOCKS = 2;
#else
constexpr int BLOCKS = 3;
#endif

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
perceptron_layer(const float* x, const float* weight, const float* bias, float scale, int activation, float* out, int n, int inputs, int outputs) {
    SHARED(Slices, slices);
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, own = threadIdx.x / 32 * 32;
    const int first = blockIdx.x * ROWS, output = blockIdx.y * OUTPUTS, rows = n - first;
    x += static_cast<uint64_t>(first) * inputs;
    weight += static_cast<uint64_t>(output) * inputs;
    float sums[2][OUTPUTS / 8][4] = {};
    for (int slice = 0; slice * SLICE < inputs; ++slice) {
        __syncthreads();
        load(slices, x, rows, weight, outputs - output, inputs, slice);
        __syncthreads();
        float row_scale[4];
#pragma unroll
        for (int row = 0; row < 4; ++row) row_scale[row] = slices.row_scale[own + row * 8 + g];
        auto add = [&](int half, int eight, const float(&sixteen)[4]) {
            const float2 down = *reinterpret_cast<const float2*>(slices.output_scale + eight * 8 + 2 * t);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                float& sum = sums[half][eight][i];
                sum = fmaf(sixteen[i] * row_scale[half * 2 + i / 2], i % 2 ? down.y : down.x, sum);
            }
        };
        multiply<2, OUTPUTS / 8>(slices.rows[0], slices.rows[1], own, slices.outputs[0], slices.outputs[1],
                                 min(2, (inputs - slice * SLICE + 15) / 16), add);
    }

    // Sixteen rows of each warp at a time.
    float* staged = reinterpret_cast<float*>(&slices);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        __syncthreads();
#pragma unroll
        for (int eight = 0; eight < OUTPUTS / 8; ++eight) {
#pragma unroll
            for (int low = 0; low < 2; ++low) {
                float* to = staged + (own / 2 + low * 8 + g) * STAGED + eight * 8 + 2 * t;
                *reinterpret_cast<float2*>(to) = {sums[half][eight][2 * low], sums[half][eight][2 * low + 1]};
            }
        }
        __syncthreads();
#pragma unroll 1
        for (int at = threadIdx.x; at < ROWS / 2 * OUTPUTS; at += THREADS) {
            const int line = at / OUTPUTS, column = at % OUTPUTS, row = line / 16 * 32 + half * 16 + line % 16;
            if (row >= rows || output + column >= outputs) continue;
            const float sum = fmaf(scale, staged[line * STAGED + column], bias[output + column]);
            out[static_cast<uint64_t>(first + row) * outputs + output + column] = activated(activation, sum);
        }
    }
}
