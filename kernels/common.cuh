// What NVRTC does not define and what the host has no twin of. Included first by every kernel file.
// Compiled for the host (tests/emulator), BRENIER_HOST is defined and CUDA's own names come from the emulator before this file.
#pragma once

#ifndef BRENIER_HOST
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
#define INFINITY __int_as_float(0x7f800000)
// Dynamic shared memory by one name: the emulator gives a poisoned array.
#define DYNAMIC_SHARED(T, name) extern __shared__ __align__(16) unsigned char name##_bytes[]; T* name = reinterpret_cast<T*>(name##_bytes)
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

// 16 bytes from global to shared memory in the background, both aligned to 16; of the source only `bytes` are read, the rest is zero.
__device__ __forceinline__ void copy_async16(void* to, const void* from, int bytes) {
#ifndef BRENIER_HOST
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(static_cast<uint32_t>(__cvta_generic_to_shared(to))), "l"(from), "r"(bytes) : "memory");
#else
    memset(to, 0, 16);
    memcpy(to, from, bytes);
#endif
}

// The same for one word.
__device__ __forceinline__ void copy_async4(void* to, const void* from, int bytes) {
#ifndef BRENIER_HOST
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(static_cast<uint32_t>(__cvta_generic_to_shared(to))), "l"(from), "r"(bytes) : "memory");
#else
    memset(to, 0, 4);
    memcpy(to, from, bytes);
#endif
}

// Closes the group of copies that this thread has begun.
__device__ __forceinline__ void copy_commit() {
#ifndef BRENIER_HOST
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most `PENDING` of this thread's groups are under way; a barrier must follow before other threads read.
template <int PENDING>
__device__ __forceinline__ void copy_wait() {
#ifndef BRENIER_HOST
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
#endif
}

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
// least 2^126 above it: never a small number for a large one.
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
