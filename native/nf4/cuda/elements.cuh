// Reading and writing eight values at a time, whatever their type, as float32.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels.h"

namespace pare::nf4::cuda {

constexpr int kVector = 8;

__device__ inline float toFloat(float value) { return value; }
__device__ inline float toFloat(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ inline float toFloat(__half value) { return __half2float(value); }

template <typename T>
__device__ inline T fromFloat(float value);
template <>
__device__ inline float fromFloat(float value) {
  return value;
}
template <>
__device__ inline __nv_bfloat16 fromFloat(float value) {
  return __float2bfloat16_rn(value);
}
template <>
__device__ inline __half fromFloat(float value) {
  return __float2half_rn(value);
}

// Eight values as 128-bit words: two for float32, one for the halves.
template <typename T>
struct alignas(16) Vector {
  T values[kVector];
};

template <typename T>
__device__ inline void loadVector(const T* from, float (&values)[kVector]) {
  constexpr int words = sizeof(Vector<T>) / sizeof(uint4);
  union {
    uint4 raw[words];
    Vector<T> vector;
  };
#pragma unroll
  for (int i = 0; i < words; i++) raw[i] = reinterpret_cast<const uint4*>(from)[i];
#pragma unroll
  for (int i = 0; i < kVector; i++) values[i] = toFloat(vector.values[i]);
}

template <typename T>
__device__ inline void storeVector(T* to, const float (&values)[kVector]) {
  constexpr int words = sizeof(Vector<T>) / sizeof(uint4);
  union {
    uint4 raw[words];
    Vector<T> vector;
  };
#pragma unroll
  for (int i = 0; i < kVector; i++) vector.values[i] = fromFloat<T>(values[i]);
#pragma unroll
  for (int i = 0; i < words; i++) reinterpret_cast<uint4*>(to)[i] = raw[i];
}

// Calls `body` with a null pointer of the element's type.
template <typename Body>
void dispatch(Element element, Body body) {
  switch (element) {
    case Element::kFloat32:
      return body(static_cast<float*>(nullptr));
    case Element::kBFloat16:
      return body(static_cast<__nv_bfloat16*>(nullptr));
    case Element::kFloat16:
      return body(static_cast<__half*>(nullptr));
  }
}

// The codebook in shared memory: 16 values in 16 banks, so that the lanes of a warp look up
// different entries without conflict. The caller synchronises.
__device__ inline void loadCodebook(float* shared) {
  // Constant indices: a table indexed at run time would live in local memory.
#pragma unroll
  for (int i = 0; i < kCodebookSize; i++) {
    if (threadIdx.x == i) shared[i] = codebook(i);
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
