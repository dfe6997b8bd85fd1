// Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011) and Box-Muller normals, bit for bit those of src/random.rs.
// Explicit fused multiply-adds, IEEE division and root; the unit is compiled with contraction off, so no other operation fuses.
#pragma once
#include "common.cuh"

struct Words { uint32_t x, y, z, w; };
struct Normals { float z[4]; };

// Four random words at counter = (particle, step, draw, block) under the key (seed, stream).
__device__ __forceinline__ Words philox(Words c, uint32_t k0, uint32_t k1) {
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        uint32_t high0 = __umulhi(0xD2511F53u, c.x), low0 = 0xD2511F53u * c.x;
        uint32_t high1 = __umulhi(0xCD9E8D57u, c.z), low1 = 0xCD9E8D57u * c.z;
        c = {high1 ^ c.y ^ k0, low1, high0 ^ c.w ^ k1, low0};
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c;
}

// Natural logarithm of a normal u <= 1: u = 2^e (1+f), f in [sqrt(1/2) - 1, sqrt(2) - 1), log(1+f) = f - f^2/2 + f^3 P(f).
__device__ __forceinline__ float philox_log(float u) {
    uint32_t shifted = __float_as_uint(u) - 0x3F3504F3u;
    float exponent = static_cast<float>(static_cast<int>(shifted) >> 23);
    float f = __uint_as_float((shifted & 0x007FFFFFu) + 0x3F3504F3u) - 1.0f;
    float p = -0.07859615f;
    p = fmaf(p, f, 0.12881649f);
    p = fmaf(p, f, -0.13128754f);
    p = fmaf(p, f, 0.14181192f);
    p = fmaf(p, f, -0.16624554f);
    p = fmaf(p, f, 0.20002286f);
    p = fmaf(p, f, -0.2500081f);
    p = fmaf(p, f, 0.33333316f);
    float square = f * f;
    float tail = fmaf(square * f, p, -0.5f * square);
    return fmaf(exponent, 0.693147180559945309f, f + tail);
}

// Two normals: radius sqrt(-2 log u) from the first word, angle 2 pi v from the second, split exactly into quadrant and rest.
__device__ __forceinline__ void box_muller(uint32_t first, uint32_t second, float& z0, float& z1) {
    const float inverse = 1.0f / 4294967296.0f;
    float radius = __fsqrt_rn(-2.0f * philox_log(fmaf(static_cast<float>(first), inverse, 0.5f * inverse)));
    uint32_t quadrant = (second + (1u << 29)) >> 30;
    float a = static_cast<float>(static_cast<int>(second - (quadrant << 30))) * (1.57079632679489661923f / 1073741824.0f);
    float square = a * a;
    float s = fmaf(fmaf(-0.000195173f, square, 0.008332178f), square, -0.16666655f);
    float sin = fmaf(s * square, a, a);
    float c = fmaf(fmaf(2.4438452e-5f, square, -0.0013887368f), square, 0.041666646f);
    float cos = fmaf(c * square, square, fmaf(-0.5f, square, 1.0f));
    float x = quadrant & 1 ? sin : cos, y = quadrant & 1 ? cos : sin;
    x = __uint_as_float(__float_as_uint(x) ^ ((quadrant ^ (quadrant << 1)) & 2) << 30);
    y = __uint_as_float(__float_as_uint(y) ^ (quadrant & 2) << 30);
    z0 = radius * x;
    z1 = radius * y;
}

// Four normals at counter = (particle, step, draw, block): coordinates 4 block .. 4 block + 3.
__device__ __forceinline__ Normals normal_block(Words counter, uint32_t k0, uint32_t k1) {
    Words words = philox(counter, k0, k1);
    Normals out;
    box_muller(words.x, words.y, out.z[0], out.z[1]);
    box_muller(words.z, words.w, out.z[2], out.z[3]);
    return out;
}
