// In place of the toolkit's: what the kernels use of CUDA's C++, for the emulator.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "../emulator.h"

#define __global__
#define __device__
#define __host__
#define __shared__ static  // one block runs at a time
#define __launch_bounds__(...)

using cudaStream_t = struct CUstream_st*;

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

extern emulator::Place threadIdx, blockIdx, blockDim, gridDim;

using std::max;
using std::min;

template <typename T>
T __ldg(const T* from) {
  return *from;
}

inline void __syncthreads() { emulator::syncThreads(); }
inline void __syncwarp() { emulator::syncWarp(); }

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int distance, int width = emulator::kWarp) {
  static_assert(sizeof(T) <= sizeof(emulator::Deposit), "too large for a shuffle");
  if (mask != 0xffffffffu) std::abort();  // no kernel does
  emulator::Deposit mine{}, all[emulator::kWarp];
  memcpy(&mine, &value, sizeof value);
  emulator::exchange("shuffle", mine, all);
  const int other = emulator::lane() ^ distance;
  if (other / width != emulator::lane() / width) return value;
  memcpy(&value, &all[other], sizeof value);
  return value;
}
