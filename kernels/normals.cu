// Standard normals z of (first + row, step, draw): out [n,d], the bits of src/random.rs. Twin: src/backend/cpu/particles/normals.rs.
// One thread a block of four coordinates of a row. About 120 integer and 60 floating-point operations for 16 bytes: near memory-bound.
#include "philox.cuh"

extern "C" __global__ void __launch_bounds__(256)
normals(uint64_t n, uint32_t d, uint32_t seed, uint32_t stream, uint32_t first, uint32_t step, uint32_t draw, float* __restrict__ out) {
    uint32_t blocks = (d + 3) / 4;
    uint64_t row = global_index() / blocks;
    uint32_t block = static_cast<uint32_t>(global_index() % blocks);
    if (row >= n) return;
    Normals normals = normal_block({first + static_cast<uint32_t>(row), step, draw, block}, seed, stream);
#pragma unroll
    for (uint32_t k = 0; k < 4; ++k) {
        if (4 * block + k < d) out[row * d + 4 * block + k] = normals.z[k];
    }
}
