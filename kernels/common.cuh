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
