// What NVRTC does not define and what the host has no twin of. Included first by every kernel file.
// Compiled for the host (tests/emulator), BRENIER_HOST is defined and CUDA's own names come from the emulator before this file.
#pragma once

// What the widest loads, stores and copies want of shared memory; without it an array of float is aligned to 4.
#define SHARED_ALIGNMENT 16

#ifndef BRENIER_HOST
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
#define INFINITY __int_as_float(0x7f800000)
#define NOT_A_NUMBER __int_as_float(0x7fffffff)
// Shared memory of fixed and of dynamic size by one name: the emulator gives both poisoned, and aligned to no more than is asked for.
template <class T>
struct Same {
    using type = T;
};
#define SHARED(T, name) __shared__ __align__(SHARED_ALIGNMENT) typename Same<T>::type name
#define DYNAMIC_SHARED(T, name) \
    extern __shared__ __align__(SHARED_ALIGNMENT) unsigned char name##_bytes[]; \
    T* name = reinterpret_cast<T*>(name##_bytes)
#else
#define __grid_constant__
#define NOT_A_NUMBER NAN
#endif

// The index of a thread among all of a one-dimensional launch.
__device__ __forceinline__ uint64_t global_index() {
    return static_cast<uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

// A number in half precision, to nearest, ties to even, beyond 65504 infinite: the bits.
__device__ __forceinline__ uint16_t to_half(float x) {
#ifndef BRENIER_HOST
    uint16_t bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
#else
    uint32_t word = __float_as_uint(x), sign = word >> 16 & 0x8000, magnitude = word & 0x7fffffff;
    if (magnitude > 0x7f800000) return 0x7fff;
    if (magnitude >= 0x477ff000) return sign | 0x7c00;
    if (magnitude < 0x38800000) return sign | static_cast<uint16_t>(__float_as_uint(__uint_as_float(magnitude) + 0.5f));
    return sign | static_cast<uint16_t>((magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13);
#endif
}

// The number with these bits in half precision.
__device__ __forceinline__ float from_half(uint16_t bits) {
#ifndef BRENIER_HOST
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
#else
    if ((bits & 0x7c00) == 0x7c00) return __uint_as_float((bits & 0x8000u) << 16 | 0x7f800000u | (bits & 0x3ffu) << 13);
    // Its bits as the top of an f32 are 2^-112 of it.
    float magnitude = __uint_as_float((bits & 0x7fffu) << 13) * 5192296858534827628530496329220096.0f;
    return bits & 0x8000 ? -magnitude : magnitude;
#endif
}

// Two numbers in half precision, the second above the first.
__device__ __forceinline__ uint32_t to_halves(float low, float high) {
#ifndef BRENIER_HOST
    uint32_t bits;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
#else
    return static_cast<uint32_t>(to_half(high)) << 16 | to_half(low);
#endif
}

// 16 bytes from global to shared memory in the background, both aligned to 16; of the source only `bytes` are read, the rest is zero.
__device__ __forceinline__ void copy_async16(void* to, const void* from, int bytes) {
#ifndef BRENIER_HOST
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(static_cast<uint32_t>(__cvta_generic_to_shared(to))), "l"(from), "r"(bytes) : "memory");
#else
    emulator::copy_async(to, from, 16, bytes);
#endif
}

// The same for one word.
__device__ __forceinline__ void copy_async4(void* to, const void* from, int bytes) {
#ifndef BRENIER_HOST
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(static_cast<uint32_t>(__cvta_generic_to_shared(to))), "l"(from), "r"(bytes) : "memory");
#else
    emulator::copy_async(to, from, 4, bytes);
#endif
}

// Closes the group of copies that this thread has begun.
__device__ __forceinline__ void copy_commit() {
#ifndef BRENIER_HOST
    asm volatile("cp.async.commit_group;" ::: "memory");
#else
    emulator::copy_commit();
#endif
}

// Waits until at most `PENDING` of this thread's groups are under way; a barrier must follow before other threads read.
template <int PENDING>
__device__ __forceinline__ void copy_wait() {
#ifndef BRENIER_HOST
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
#else
    emulator::copy_wait(PENDING);
#endif
}

// x held within +-bound; what is not a number stays so, where fmin and fmax would make a bound of it.
__device__ __forceinline__ double held(double x, double bound) { return x > bound ? bound : x < -bound ? -bound : x; }

// 2^x on the exp unit: 2 units in the last place, results below 2^-126 are zero.
__device__ __forceinline__ float exp2_unit(float x) {
#ifndef BRENIER_HOST
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return x < -126.0f ? 0.0f : exp2f(x);
#endif
}

// log2 x on the exp unit for x >= 0: off by 2^-22 within [0.5, 2], elsewhere by a unit or two in the last place.
__device__ __forceinline__ float log2_unit(float x) {
#ifndef BRENIER_HOST
    float y;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return log2f(x);
#endif
}

// The root of x >= 0: 2 units in the last place, of a denormal number zero.
__device__ __forceinline__ float root_unit(float x) {
#ifndef BRENIER_HOST
    float y;
    asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return sqrtf(x);
#endif
}

// 1/x for normal x: 1 unit in the last place.
__device__ __forceinline__ float reciprocal(float x) {
#ifndef BRENIER_HOST
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return 1.0f / x;
#endif
}

// sum + 2^x on the multiply-add pipe: 2^n 2^f with n = round(x) held within [-126, 126] by a saturating multiply-add and 2^f a
// polynomial of degree 5 (relative error 9e-8), saturated too. So 2^x is within an absolute 2^-125 far below the range and at
// least 2^126 above it: never a small number for a large one. Saturation makes 0 of what is not a number, so the caller must see to that.
__device__ __forceinline__ float add_exp2(float x, float sum) {
    const float magic = 12582912.0f; // 1.5 2^23: what is added to it is rounded to an integer in its low bits
    float u = __saturatef(fmaf(x, 1.0f / 252.0f, 0.5f));
    float shifted = fmaf(u, 252.0f, magic + 2.0f); // n + 128, the biased exponent of 2^(n + 1)
    float f = x - (shifted - (magic + 128.0f));
    float half = 0.5f * 0.0013264727f;
    half = fmaf(half, f, 0.5f * 0.009671513f);
    half = fmaf(half, f, 0.5f * 0.055507336f);
    half = fmaf(half, f, 0.5f * 0.24022242f);
    half = fmaf(half, f, 0.5f * 0.693147f);
    half = __saturatef(fmaf(half, f, 0.5f));
    return fmaf(half, __uint_as_float(__float_as_uint(shifted) << 23), sum);
}

// sum + term, and what rounding added to it, to be taken off the next term (Kahan).
__device__ __forceinline__ void add_compensated(float& sum, float& lost, float term) {
    term = term - lost;
    float total = sum + term;
    lost = (total - sum) - term;
    sum = total;
}

#ifdef BRENIER_HOST
// What the lanes of a warp show each other in the twins of the matrix functions: up to six words each, by warp of the block.
static thread_local uint32_t brenier_lanes[32][32][6];
template <int WORDS>
static inline const uint32_t (*show_lanes(const uint32_t (&words)[WORDS]))[6] {
    auto* warp = brenier_lanes[threadIdx.x / 32];
    for (int w = 0; w < WORDS; ++w) warp[threadIdx.x % 32][w] = words[w];
    __syncwarp();
    return warp;
}
#endif

// c += a b for a 16x16 (rows), b 16x8 (columns), both f16, c 16x8 in f32, spread over the warp as mma.m16n8k16 has them: with
// g = lane/4 and t = lane%4, a = rows g and g+8 at k = 2t, 2t+1 then at k+8, b = column g at the same k, c = rows g and g+8 at
// columns 2t, 2t+1. The tensor core truncates where the twin rounds.
__device__ __forceinline__ void mma_half(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#ifndef BRENIER_HOST
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    auto* lanes = show_lanes({a[0], a[1], a[2], a[3], b[0], b[1]});
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    for (int i = 0; i < 4; ++i) {
        double sum = c[i];
        for (int k = 0; k < 16; ++k) {
            int lane = k % 8 / 2, high = 16 * (k % 2);
            uint32_t left = lanes[g * 4 + lane][i / 2 + k / 8 * 2], right = lanes[(2 * t + i % 2) * 4 + lane][4 + k / 8];
            sum += static_cast<double>(from_half(left >> high)) * static_cast<double>(from_half(right >> high));
        }
        c[i] = static_cast<float>(sum);
    }
    __syncwarp();
#endif
}

// The same for a 16x8, b 8x8 in tf32 (the upper 19 bits of an f32), as mma.m16n8k8 has them: a = rows g and g+8 at k = t, then
// at k = t+4; b = column g at k = t and t+4.
__device__ __forceinline__ void mma_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#ifndef BRENIER_HOST
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    auto* lanes = show_lanes({a[0], a[1], a[2], a[3], b[0], b[1]});
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    auto value = [](uint32_t bits) { return static_cast<double>(__uint_as_float(bits & 0xffffe000u)); };
    for (int i = 0; i < 4; ++i) {
        double sum = c[i];
        for (int k = 0; k < 8; ++k) {
            sum += value(lanes[g * 4 + k % 4][i / 2 + k / 4 * 2]) * value(lanes[(2 * t + i % 2) * 4 + k % 4][4 + k / 4]);
        }
        c[i] = static_cast<float>(sum);
    }
    __syncwarp();
#endif
}
