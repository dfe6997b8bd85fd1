// The field of a mixture from coefficients folded on the host: dst = sum_k r_k v_k with r_k = 2^logit_k / sum_l 2^logit_l
// (src/field/mixture.rs, MixtureProgram: "Layout").
//
// A component is two runs of numbers, each padded to whole float4: what its logit needs, then what its value needs.
//   isotropic: [c, q, g (D)], [e, m (D)]          logit = c + q |x|^2 + g.x      v = e x + m
//   full:      [c, w (D), W (D D)], [m (D), G (D D)]   z = W x - w, logit = c - |z|^2  v = m + G z
// Components come in groups; a group that is not full has components of logit c = -3e38 and weight zero.
#pragma once
#include "common.cuh"

// Reads COUNT numbers, which start a float4.
template <int COUNT>
__device__ __forceinline__ void read_run(const float4* from, float (&to)[(COUNT + 3) / 4 * 4]) {
#pragma unroll
    for (int q = 0; q < (COUNT + 3) / 4; ++q) {
        float4 four = from[q];
        to[4 * q] = four.x, to[4 * q + 1] = four.y, to[4 * q + 2] = four.z, to[4 * q + 3] = four.w;
    }
}

template <int D, bool FULL>
struct Component {
    static constexpr int LOGIT = FULL ? 1 + D + D * D : D + 2;
    static constexpr int VALUE = FULL ? D + D * D : D + 1;
    // Length of a component in float4.
    static constexpr int LENGTH = (LOGIT + 3) / 4 + (VALUE + 3) / 4;
};

// The running sums of one particle: weights, slope (isotropic) and values, relative to the largest logit so far.
template <int D>
struct Average {
    float top, sum, slope, value[D];
};

// All components of one evaluation, GROUP logits at a time, for PARTICLES particles of a thread.
template <int D, int GROUP, int PARTICLES, bool FULL>
__device__ __forceinline__ void evaluate(const float4* coefficients, int groups, const float (&x)[PARTICLES][D], float (&out)[PARTICLES][D]) {
    using C = Component<D, FULL>;
    float square[PARTICLES];
    Average<D> average[PARTICLES];
#pragma unroll
    for (int p = 0; p < PARTICLES; ++p) {
        square[p] = x[p][0] * x[p][0];
#pragma unroll
        for (int k = 1; k < D; ++k) square[p] = fmaf(x[p][k], x[p][k], square[p]);
    }
    for (int group = 0; group < groups; ++group, coefficients += GROUP * C::LENGTH) {
        float logit[PARTICLES][GROUP], z[FULL ? PARTICLES : 1][FULL ? GROUP : 1][D];
#pragma unroll
        for (int i = 0; i < GROUP; ++i) {
            float c[(C::LOGIT + 3) / 4 * 4];
            read_run<C::LOGIT>(coefficients + i * C::LENGTH, c);
#pragma unroll
            for (int p = 0; p < PARTICLES; ++p) {
                if (FULL) {
                    logit[p][i] = c[0];
#pragma unroll
                    for (int a = 0; a < D; ++a) {
                        float whitened = -c[1 + a];
#pragma unroll
                        for (int b = 0; b < D; ++b) whitened = fmaf(x[p][b], c[1 + D + a * D + b], whitened);
                        z[p][i][a] = whitened;
                        logit[p][i] = fmaf(-whitened, whitened, logit[p][i]);
                    }
                } else {
                    logit[p][i] = fmaf(square[p], c[1], c[0]);
#pragma unroll
                    for (int k = 0; k < D; ++k) logit[p][i] = fmaf(x[p][k], c[2 + k], logit[p][i]);
                }
            }
        }
#pragma unroll
        for (int p = 0; p < PARTICLES; ++p) {
            float top = logit[p][0];
#pragma unroll
            for (int i = 1; i < GROUP; ++i) top = fmaxf(top, logit[p][i]);
            if (group == 0) {
                average[p].sum = average[p].slope = 0.0f;
#pragma unroll
                for (int k = 0; k < D; ++k) average[p].value[k] = 0.0f;
            } else {
                top = fmaxf(top, average[p].top);
                float rescale = exp2_unit(average[p].top - top);
                average[p].sum *= rescale;
                average[p].slope *= rescale;
#pragma unroll
                for (int k = 0; k < D; ++k) average[p].value[k] *= rescale;
            }
            average[p].top = top;
#pragma unroll
            for (int i = 0; i < GROUP; ++i) {
                logit[p][i] = exp2_unit(logit[p][i] - top);
                average[p].sum += logit[p][i];
            }
        }
#pragma unroll
        for (int i = 0; i < GROUP; ++i) {
            float c[(C::VALUE + 3) / 4 * 4];
            read_run<C::VALUE>(coefficients + i * C::LENGTH + (C::LOGIT + 3) / 4, c);
#pragma unroll
            for (int p = 0; p < PARTICLES; ++p) {
                if (!FULL) average[p].slope = fmaf(logit[p][i], c[0], average[p].slope);
#pragma unroll
                for (int a = 0; a < D; ++a) {
                    float value = c[FULL ? a : 1 + a];
                    if (FULL) {
#pragma unroll
                        for (int b = 0; b < D; ++b) value = fmaf(z[p][i][b], c[D + a * D + b], value);
                    }
                    average[p].value[a] = fmaf(logit[p][i], value, average[p].value[a]);
                }
            }
        }
    }
#pragma unroll
    for (int p = 0; p < PARTICLES; ++p) {
        float inverse = reciprocal(average[p].sum);
#pragma unroll
        for (int k = 0; k < D; ++k) {
            out[p][k] = (FULL ? average[p].value[k] : fmaf(average[p].slope, x[p][k], average[p].value[k])) * inverse;
        }
    }
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
    return x;
}

// The same for one particle of any dimension d on a warp, coordinate k on lane k % 32, components one after the other. Components
// lie unpadded behind one another, a full one's matrices column-major, so that lanes read neighbours. `z` and `value` are the
// warp's own, d numbers each; `out` may be `x`.
template <bool FULL>
__device__ __forceinline__ void evaluate_on_warp(const float* c, int components, int d, const float* x, float* z, float* value, float* out) {
    const int lane = threadIdx.x % 32;
    const uint64_t square_of_d = static_cast<uint64_t>(d) * d;
    float square = 0.0f, top = -INFINITY, sum = 0.0f, slope = 0.0f;
    for (int k = lane; k < d; k += 32) {
        square = fmaf(x[k], x[k], square);
        value[k] = 0.0f;
    }
    square = warp_sum(square);
    for (int component = 0; component < components; ++component) {
        float part = 0.0f;
        if (FULL) {
            for (int i = lane; i < d; i += 32) {
                float whitened = -c[1 + i];
                for (int j = 0; j < d; ++j) whitened = fmaf(x[j], c[1 + d + static_cast<uint64_t>(j) * d + i], whitened);
                z[i] = whitened;
                part = fmaf(-whitened, whitened, part);
            }
        } else {
            for (int k = lane; k < d; k += 32) part = fmaf(x[k], c[2 + k], part);
        }
        float logit = warp_sum(part) + (FULL ? c[0] : fmaf(square, c[1], c[0]));
        float raised = fmaxf(top, logit), rescale = exp2_unit(top - raised), weight = exp2_unit(logit - raised);
        top = raised;
        sum = fmaf(sum, rescale, weight);
        if (FULL) {
            __syncwarp();
            const float *means = c + 1 + d + square_of_d, *spread = means + d;
            for (int i = lane; i < d; i += 32) {
                float v = means[i];
                for (int j = 0; j < d; ++j) v = fmaf(z[j], spread[static_cast<uint64_t>(j) * d + i], v);
                value[i] = fmaf(value[i], rescale, weight * v);
            }
            __syncwarp();
            c += 1 + 2 * d + 2 * square_of_d;
        } else {
            slope = fmaf(slope, rescale, weight * c[2 + d]);
            for (int k = lane; k < d; k += 32) value[k] = fmaf(value[k], rescale, weight * c[3 + d + k]);
            c += 2 * d + 3;
        }
    }
    float inverse = reciprocal(sum);
    for (int k = lane; k < d; k += 32) out[k] = (FULL ? value[k] : fmaf(slope, x[k], value[k])) * inverse;
    __syncwarp();
}
