// Kernels with the faults that the emulator must show, each beside the same without. One block of 128 threads; in and out [128].
#include "common.cuh"

// out_i = in_{127-i} through shared memory, copied in the background with PENDING groups still under way when it is read.
template <int PENDING>
__device__ __forceinline__ void reversed(const float* in, float* out) {
    SHARED(float[128], words);
    copy_async4(words + threadIdx.x, in + threadIdx.x, 4);
    copy_commit();
    copy_wait<PENDING>();
    __syncthreads();
    out[threadIdx.x] = words[127 - threadIdx.x];
}

extern "C" __global__ void __launch_bounds__(128) specimen_waits(const float* in, float* out) { reversed<0>(in, out); }
extern "C" __global__ void __launch_bounds__(128) specimen_reads_early(const float* in, float* out) { reversed<1>(in, out); }

// out = in, four at a time, through shared memory that begins `offset` floats behind where it is aligned.
extern "C" __global__ void __launch_bounds__(128) specimen_copies(const float* in, float* out, int offset) {
    SHARED(float[132], words);
    if (threadIdx.x < 32) copy_async16(words + offset + 4 * threadIdx.x, in + 4 * threadIdx.x, 16);
    copy_commit();
    copy_wait<0>();
    __syncthreads();
    out[threadIdx.x] = words[offset + threadIdx.x];
}

extern "C" __global__ void __launch_bounds__(128) specimen_loads(const float* in, float* out, int offset) {
    SHARED(float[132], words);
    words[offset + threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    if (threadIdx.x % 4 > 0) return;
    float4 four = *reinterpret_cast<const float4*>(words + offset + threadIdx.x);
    out[threadIdx.x] = four.x, out[threadIdx.x + 1] = four.y, out[threadIdx.x + 2] = four.z, out[threadIdx.x + 3] = four.w;
}
