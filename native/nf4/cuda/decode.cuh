// Decoding eight codes at a time.
#pragma once

#include "../../cuda/elements.cuh"
#include "../../cuda/intrinsics.cuh"
#include "kernels.h"

namespace pare::nf4::cuda {

using namespace pare::cuda;

inline int log2Of(int64_t powerOfTwo) {
  int shift = 0;
  while ((int64_t{1} << shift) < powerOfTwo) shift++;
  return shift;
}

// The codebook in shared memory: 16 values in 16 banks, so that the lanes of a warp look up
// different entries without conflict. The caller synchronises.
__device__ inline void loadCodebook(float* shared) {
  // Constant indices: a table indexed at run time would live in local memory.
#pragma unroll
  for (int i = 0; i < kCodebookSize; i++) {
    if (static_cast<int>(threadIdx.x) == i) shared[i] = codebook(i);
  }
}

// Two indices a byte, the high nibble first, times `scale`.
__device__ inline void decodeVector(uint32_t word, const float* code, float scale,
                                    float (&values)[kVector]) {
#pragma unroll
  for (int i = 0; i < kVector / 2; i++) {
    const uint32_t byte = word >> (8 * i) & 255;
    values[2 * i] = code[byte >> 4] * scale;
    values[2 * i + 1] = code[byte & 15] * scale;
  }
}

}  // namespace pare::nf4::cuda
