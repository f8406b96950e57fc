// Reading and writing eight values at a time, whatever their type, as float32.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "element.h"

namespace pare::cuda {

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

// Two values, the first in the lower half, rounded as fromFloat does.
template <typename T>
__device__ inline uint32_t packPair(float first, float second) {
  uint32_t pair;
  if constexpr (std::is_same_v<T, __half>) {
    const __half2 both = __floats2half2_rn(first, second);
    memcpy(&pair, &both, sizeof pair);
  } else {
    const __nv_bfloat162 both = __floats2bfloat162_rn(first, second);
    memcpy(&pair, &both, sizeof pair);
  }
  return pair;
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
  if constexpr (std::is_same_v<T, float>) {
    auto* words = reinterpret_cast<float4*>(to);
    words[0] = make_float4(values[0], values[1], values[2], values[3]);
    words[1] = make_float4(values[4], values[5], values[6], values[7]);
  } else {
    *reinterpret_cast<uint4*>(to) =
        make_uint4(packPair<T>(values[0], values[1]), packPair<T>(values[2], values[3]),
                   packPair<T>(values[4], values[5]), packPair<T>(values[6], values[7]));
  }
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

}  // namespace pare::cuda
