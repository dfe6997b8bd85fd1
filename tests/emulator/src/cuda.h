// Just enough of CUDA C++ to run the kernels on the host. One fiber a thread, one block at a time, all on the caller's own thread.
// A barrier that some thread never reaches is an error instead of a hang.
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <algorithm>
#include <type_traits>
#include <utility>

#ifdef BRENIER_LIST // the build looks for these words
#define __global__ BRENIER_GLOBAL
#define __launch_bounds__(...) BRENIER_BOUNDS(__VA_ARGS__)
#else
#define __global__
#define __launch_bounds__(...)
#endif
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __restrict__
#define __align__(n) alignas(n)
// Shared memory that the kernel's text gives its size: poisoned at the start of each block, and aligned as a device would align it.
#define SHARED(T, name)                                                       \
    static thread_local emulator::Shared<T, SHARED_ALIGNMENT> name##_storage; \
    auto& name = name##_storage.of_this_block()
#define DYNAMIC_SHARED(T, name) T* name = static_cast<T*>(emulator::dynamic_shared)

using std::max;
using std::min;

struct uint3 {
    unsigned x, y, z;
};

namespace emulator {
// Ends the running thread, and the launch, with this sentence.
void fail(const char* why);

// A vector that a device loads and stores as a whole: at an address that its size divides, or not at all.
template <size_t BYTES>
struct alignas(BYTES) Whole {
    Whole() = default;
    Whole(const Whole& from) { check(&from), check(this); }
    Whole& operator=(const Whole& from) {
        check(&from), check(this);
        return *this;
    }
    static void check(const void* at) {
        uintptr_t address = reinterpret_cast<uintptr_t>(at);
        asm("" : "+r"(address)); // or the compiler would take the alignment of the type for granted
        if (address % BYTES != 0) fail("a vector is loaded or stored where it is not aligned to its size");
    }
};
} // namespace emulator

struct float2 : emulator::Whole<8> {
    float x, y;
    float2() = default;
    float2(float x, float y) : x(x), y(y) {}
};
struct float4 : emulator::Whole<16> {
    float x, y, z, w;
    float4() = default;
    float4(float x, float y, float z, float w) : x(x), y(y), z(z), w(w) {}
};
struct uint2 : emulator::Whole<8> {
    unsigned x, y;
    uint2() = default;
    uint2(unsigned x, unsigned y) : x(x), y(y) {}
};
struct uint4 : emulator::Whole<16> {
    unsigned x, y, z, w;
    uint4() = default;
    uint4(unsigned x, unsigned y, unsigned z, unsigned w) : x(x), y(y), z(z), w(w) {}
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

namespace emulator {
constexpr int POISON = 0xA5;
extern thread_local uint3 thread_index, block_index, block_extent, grid_extent;
extern thread_local unsigned thread;     // number of the running thread within its block
extern thread_local uint64_t block_number; // counts all blocks that have run
extern thread_local void* dynamic_shared;

void block_barrier();
void warp_barrier(unsigned mask);
// Whether `predicate` holds for any thread of the block, which all have reached this.
bool block_any(bool predicate);
// A copy in the background: from here until its thread waits for it the destination is poisoned. `bytes` are read, the rest of `size`
// is zero.
void copy_async(void* to, const void* from, unsigned size, unsigned bytes);
// Closes the group of copies that the thread has begun, and waits until at most `pending` of its groups are under way.
void copy_commit();
void copy_wait(unsigned pending);
// What each lane of this thread's warp shows the others.
uint64_t* lanes();

template <class T, size_t ASKED>
struct Shared {
    // As asked, or of the type itself, and no more.
    static constexpr size_t ALIGNMENT = std::max(ASKED, alignof(T));
    alignas(2 * ALIGNMENT) unsigned char bytes[ALIGNMENT + sizeof(T)];
    uint64_t block;
    T& of_this_block() {
        unsigned char* own = bytes + ALIGNMENT;
        if (block != block_number) {
            memset(own, POISON, sizeof(T));
            block = block_number;
        }
        return *reinterpret_cast<T*>(own);
    }
};

template <class T>
T from_lane(unsigned mask, T value, unsigned source) {
    static_assert(sizeof(T) <= sizeof(uint64_t));
    uint64_t* slots = lanes();
    memcpy(&slots[thread % 32], &value, sizeof value);
    warp_barrier(mask);
    T result;
    memcpy(&result, &slots[source % 32], sizeof result);
    warp_barrier(mask);
    return result;
}

// A kernel by its own signature, its arguments behind pointers.
template <auto F>
struct Call;
template <class... A, void (*F)(A...)>
struct Call<F> {
    template <size_t... I>
    static void apply(void** params, std::index_sequence<I...>) {
        F(*static_cast<std::remove_cv_t<A>*>(params[I])...);
    }
    static void run(void** params) { apply(params, std::index_sequence_for<A...>{}); }
    static constexpr unsigned count = sizeof...(A);
    static constexpr unsigned sizes[count] = {sizeof(A)...};
};

struct Kernel {
    const char* name;
    void (*run)(void**);
    unsigned largest_block;
    const unsigned* sizes; // bytes of each argument
    unsigned arguments;
};
} // namespace emulator

#define threadIdx emulator::thread_index
#define blockIdx emulator::block_index
#define blockDim emulator::block_extent
#define gridDim emulator::grid_extent

inline void __syncthreads() { emulator::block_barrier(); }
inline int __syncthreads_or(int predicate) { return emulator::block_any(predicate != 0); }
inline void __syncwarp(unsigned mask = ~0u) { emulator::warp_barrier(mask); }
template <class T>
T __shfl_sync(unsigned mask, T value, int source) {
    return emulator::from_lane(mask, value, source);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int by) {
    return emulator::from_lane(mask, value, emulator::thread % 32 ^ by);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by) {
    unsigned lane = emulator::thread % 32;
    return emulator::from_lane(mask, value, lane + by < 32 ? lane + by : lane);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by) {
    unsigned lane = emulator::thread % 32;
    return emulator::from_lane(mask, value, lane >= by ? lane - by : lane);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    uint64_t* slots = emulator::lanes();
    slots[emulator::thread % 32] = predicate != 0;
    emulator::warp_barrier(mask);
    unsigned votes = 0;
    for (unsigned lane = 0; lane < 32; ++lane) {
        if (mask >> lane & 1) votes |= static_cast<unsigned>(slots[lane]) << lane;
    }
    emulator::warp_barrier(mask);
    return votes;
}
inline int __ffs(unsigned bits) { return __builtin_ffs(static_cast<int>(bits)); }
inline int __clz(unsigned bits) { return bits ? __builtin_clz(bits) : 32; }
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }

inline float __uint_as_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}
inline uint32_t __float_as_uint(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}
inline float __int_as_float(int32_t bits) { return __uint_as_float(static_cast<uint32_t>(bits)); }
inline int32_t __float_as_int(float x) { return static_cast<int32_t>(__float_as_uint(x)); }
inline uint32_t __umulhi(uint32_t a, uint32_t b) { return static_cast<uint32_t>(static_cast<uint64_t>(a) * b >> 32); }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
template <class T>
T atomicAdd(T* at, T by) {
    T before = *at;
    *at += by;
    return before;
}
template <class T>
T atomicMax(T* at, T with) {
    T before = *at;
    *at = max(before, with);
    return before;
}
template <class T>
T __ldg(const T* at) {
    return *at;
}
