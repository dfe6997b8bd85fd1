// integrate: the program interpreter over a mixture's field, every operation of every step in one launch.
//   registers[r] [n,d], f32, row-major; `tape` the operations one after the other, with the coefficients folded on the host.
//
// An operation starts with a word of 4 x 32 bits; the first of them is kind | register << 8 | third << 16:
//   EVALUATE  third = source; coefficients of the field follow (field.cuh)       dst = field(source)
//   DRAW      step, draw, call                                                  dst = normals of (first + row, step, draw)
//   COMBINE   third = count; then count pairs (register, factor), two a word    dst = sum factor * register
//   CLIP      low, high                                                         dst = min(max(dst, low), high)
//   END
//
// d = 1, 2, 3: a thread carries PARTICLES particles through the whole run, its registers in shared memory as one vector a
// coordinate that no other thread touches, so there is no barrier. All threads read the tape at the same place, through the
// first-level cache; a thread reads it once for its particles: with four, coefficients cost K/2 loads of 16 bytes a step.
// Any other d: a warp a particle, its registers in global memory (a few KB that stay in the first-level cache), its sums in shared.
// Bound at K = 8, d = 2: issue slots, K (2d + 5) + 5d + 8 = 90 a particle-step, beside 8 (K + 1) = 72 of the exp unit; counted in
// tests/resources. Shared: registers x d x 4 PARTICLES bytes a thread; 8 d bytes a warp. Twin: src/backend/cpu/particles/interpret.rs.
// Normals have its bits; exponentials and the division differ in the last place. Checked on the host in three thread orders,
// tests/kernels.rs and tests/conformance; on no device yet.
#include "field.cuh"
#include "philox.cuh"

enum Kind { EVALUATE, DRAW, COMBINE, CLIP, END };

// Where the registers are, and the noise: given numbers [calls, n, d], or Philox where there are none.
struct Run {
    float* registers[8];
    const float* given;
    uint32_t seed, stream, first, n;
    int count, components; // registers in use; components, or groups of components
};

constexpr int THREADS = 128;

// Normal k < 4 of row `row`, or the given one.
template <int D>
__device__ __forceinline__ void draw(const Run& run, uint4 word, uint32_t row, float (&z)[D]) {
    if (run.given) {
        const float* given = run.given + (static_cast<uint64_t>(word.w) * run.n + row) * D;
#pragma unroll
        for (int k = 0; k < D; ++k) z[k] = given[k];
    } else {
        Normals normals = normal_block({run.first + row, word.y, word.z, 0}, run.seed, run.stream);
#pragma unroll
        for (int k = 0; k < D; ++k) z[k] = normals.z[k];
    }
}

// A coordinate of the PARTICLES particles of a thread.
template <int PARTICLES> struct alignas(4 * PARTICLES) Lanes { float at[PARTICLES]; };

template <int D, int GROUP, int PARTICLES, bool FULL>
__device__ __forceinline__ void integrate(const uint4* __restrict__ tape, const Run& run) {
    using Vector = Lanes<PARTICLES>;
    DYNAMIC_SHARED(Vector, file);
    file += threadIdx.x;
    const uint32_t first = blockIdx.x * (THREADS * PARTICLES) + threadIdx.x;
    auto row = [&](int p) { return min(first + p * THREADS, run.n - 1); };
    auto at = [&](int r, int k) -> Vector& { return file[(r * D + k) * THREADS]; };

    for (int r = 0; r < run.count; ++r) {
#pragma unroll
        for (int k = 0; k < D; ++k) {
            Vector vector;
#pragma unroll
            for (int p = 0; p < PARTICLES; ++p) vector.at[p] = run.registers[r][static_cast<uint64_t>(row(p)) * D + k];
            at(r, k) = vector;
        }
    }
    for (;;) {
        const uint4 word = *tape++;
        const int kind = word.x & 255, dst = word.x >> 8 & 255, third = word.x >> 16;
        if (kind == EVALUATE) {
            float x[PARTICLES][D], out[PARTICLES][D];
#pragma unroll
            for (int k = 0; k < D; ++k) {
                Vector vector = at(third, k);
#pragma unroll
                for (int p = 0; p < PARTICLES; ++p) x[p][k] = vector.at[p];
            }
            evaluate<D, GROUP, PARTICLES, FULL>(reinterpret_cast<const float4*>(tape), run.components, x, out);
            tape += run.components * (GROUP * Component<D, FULL>::LENGTH);
#pragma unroll
            for (int k = 0; k < D; ++k) {
                Vector vector;
#pragma unroll
                for (int p = 0; p < PARTICLES; ++p) vector.at[p] = out[p][k];
                at(dst, k) = vector;
            }
        } else if (kind == COMBINE) {
            float sum[D][PARTICLES] = {};
            for (int term = 0; term < third; term += 2) {
                const uint4 pair = *tape++;
#pragma unroll
                for (int k = 0; k < D; ++k) {
                    Vector vector = at(pair.x, k);
#pragma unroll
                    for (int p = 0; p < PARTICLES; ++p) sum[k][p] = fmaf(vector.at[p], __uint_as_float(pair.y), sum[k][p]);
                    if (term + 1 == third) continue;
                    vector = at(pair.z, k);
#pragma unroll
                    for (int p = 0; p < PARTICLES; ++p) sum[k][p] = fmaf(vector.at[p], __uint_as_float(pair.w), sum[k][p]);
                }
            }
#pragma unroll
            for (int k = 0; k < D; ++k) {
                Vector vector;
#pragma unroll
                for (int p = 0; p < PARTICLES; ++p) vector.at[p] = sum[k][p];
                at(dst, k) = vector;
            }
        } else if (kind == DRAW) {
#pragma unroll 1
            for (int p = 0; p < PARTICLES; ++p) {
                float z[D];
                draw<D>(run, word, row(p), z);
#pragma unroll
                for (int k = 0; k < D; ++k) at(dst, k).at[p] = z[k];
            }
        } else if (kind == CLIP) {
#pragma unroll
            for (int k = 0; k < D; ++k) {
                Vector vector = at(dst, k);
#pragma unroll
                for (int p = 0; p < PARTICLES; ++p) {
                    vector.at[p] = fminf(fmaxf(vector.at[p], __uint_as_float(word.y)), __uint_as_float(word.z));
                }
                at(dst, k) = vector;
            }
        } else {
            break;
        }
    }
    for (int r = 0; r < run.count; ++r) {
#pragma unroll
        for (int k = 0; k < D; ++k) {
            Vector vector = at(r, k);
#pragma unroll
            for (int p = 0; p < PARTICLES; ++p) {
                uint32_t to = first + p * THREADS;
                if (to < run.n) run.registers[r][static_cast<uint64_t>(to) * D + k] = vector.at[p];
            }
        }
    }
}

// Numbers of the coefficients of one evaluation, in words of the tape.
__device__ __forceinline__ uint64_t evaluation(int components, int d, bool full) {
    uint64_t one = full ? 1 + 2 * static_cast<uint64_t>(d) * (d + 1) : 2 * static_cast<uint64_t>(d) + 3;
    return (components * one + 3) / 4;
}

template <bool FULL>
__device__ __forceinline__ void integrate_on_warp(const uint4* __restrict__ tape, const Run& run, int d) {
    DYNAMIC_SHARED(float, shared);
    const int lane = threadIdx.x % 32;
    const uint64_t row = global_index() / 32;
    if (row >= run.n) return;
    float* z = shared + threadIdx.x / 32 * 2 * d;
    auto at = [&](int r) { return run.registers[r] + row * d; };
    for (;;) {
        const uint4 word = *tape++;
        const int kind = word.x & 255, third = word.x >> 16;
        float* dst = at(word.x >> 8 & 255);
        if (kind == EVALUATE) {
            evaluate_on_warp<FULL>(reinterpret_cast<const float*>(tape), run.components, d, at(third), z, z + d, dst);
            tape += evaluation(run.components, d, FULL);
        } else if (kind == COMBINE) {
            for (int k = lane; k < d; k += 32) {
                float sum = 0.0f;
                for (int term = 0; term < third; ++term) {
                    const uint4 pair = tape[term / 2];
                    float value = at(term % 2 ? pair.z : pair.x)[k];
                    sum = fmaf(value, __uint_as_float(term % 2 ? pair.w : pair.y), sum);
                }
                dst[k] = sum;
            }
            tape += (third + 1) / 2;
        } else if (kind == DRAW && run.given) {
            const float* given = run.given + (static_cast<uint64_t>(word.w) * run.n + row) * d;
            for (int k = lane; k < d; k += 32) dst[k] = given[k];
        } else if (kind == DRAW) {
            for (int block = lane; block < (d + 3) / 4; block += 32) {
                Normals normals =
                    normal_block({run.first + static_cast<uint32_t>(row), word.y, word.z, static_cast<uint32_t>(block)}, run.seed, run.stream);
#pragma unroll
                for (int k = 0; k < 4; ++k) {
                    if (4 * block + k < d) dst[4 * block + k] = normals.z[k];
                }
            }
        } else if (kind == CLIP) {
            for (int k = lane; k < d; k += 32) dst[k] = fminf(fmaxf(dst[k], __uint_as_float(word.y)), __uint_as_float(word.z));
        } else {
            break;
        }
        __syncwarp(); // the next operation may read what another lane wrote
    }
}

#define INTEGRATE(NAME, D, GROUP, PARTICLES, FULL)                                                                                 \
    extern "C" __global__ void __launch_bounds__(THREADS) integrate_##NAME(const uint4* __restrict__ tape, const __grid_constant__ Run run) {        \
        integrate<D, GROUP, PARTICLES, FULL>(tape, run);                                                                           \
    }
INTEGRATE(isotropic_d1_k4, 1, 4, 4, false)
INTEGRATE(isotropic_d1_k8, 1, 8, 4, false)
INTEGRATE(isotropic_d2_k4, 2, 4, 4, false)
INTEGRATE(isotropic_d2_k8, 2, 8, 4, false)
INTEGRATE(isotropic_d3_k4, 3, 4, 4, false)
INTEGRATE(isotropic_d3_k8, 3, 8, 4, false)
INTEGRATE(full_d1_k4, 1, 4, 2, true)
INTEGRATE(full_d2_k4, 2, 4, 2, true)
INTEGRATE(full_d3_k4, 3, 4, 2, true)

extern "C" __global__ void __launch_bounds__(THREADS) integrate_isotropic(const uint4* __restrict__ tape, const __grid_constant__ Run run, int d) {
    integrate_on_warp<false>(tape, run, d);
}

extern "C" __global__ void __launch_bounds__(THREADS) integrate_full(const uint4* __restrict__ tape, const __grid_constant__ Run run, int d) {
    integrate_on_warp<true>(tape, run, d);
}
