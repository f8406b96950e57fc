#include "decode.cuh"

namespace pare::nf4::cuda {

constexpr int kThreads = 128;
constexpr int kWarp = 32;

// The largest within each group of `Lanes` neighbouring lanes.
template <int Lanes>
__device__ uint32_t groupMaximum(uint32_t value) {
#pragma unroll
  for (int distance = Lanes / 2; distance > 0; distance /= 2) {
    value = max(value, __shfl_xor_sync(0xffffffffu, value, distance, Lanes));
  }
  return value;
}

// `Lanes` lanes quantise a block, eight values each at a time; a block longer than that is read a
// second time, from the cache, rather than kept in registers.
template <typename T, int Lanes>
__global__ void __launch_bounds__(kThreads)
    quantizeKernel(const T* values, int64_t count, int64_t blockSize, uint8_t* packed,
                   float* absmax) {
  const int lane = threadIdx.x % Lanes;
  const int64_t block = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / Lanes;
  const int64_t first = min(block * blockSize, count);
  const int64_t size = min(blockSize, count - first);

  float vector[kVector];
  const auto load = [&](int64_t at) {
    if (at + kVector <= size) {
      loadVector(values + first + at, vector);
    } else {
      for (int i = 0; i < kVector; i++) {
        vector[i] = at + i < size ? toFloat(values[first + at + i]) : 0.0f;
      }
    }
  };

  uint32_t largest = 0;
  for (int64_t at = lane * kVector; at < size; at += Lanes * kVector) {
    load(at);
#pragma unroll
    for (int i = 0; i < kVector; i++) largest = max(largest, magnitudeBits(vector[i]));
  }
  const BlockScale scale(fromBits(groupMaximum<Lanes>(largest)), size < blockSize);
  if (size == 0) return;  // past the end; only now, since the maximum needs every lane
  if (lane == 0) absmax[block] = scale.absmax;

  for (int64_t at = lane * kVector; at < size; at += Lanes * kVector) {
    load(at);
    uint32_t word = 0;
#pragma unroll
    for (int i = 0; i < kVector; i += 2) {
      const int high = quantizeValue(scale.normalize(vector[i]));
      const int low = quantizeValue(scale.normalize(vector[i + 1]));  // past the end: of 0
      word |= static_cast<uint32_t>(pack(high, low)) << (4 * i);
    }
    uint8_t* to = packed + (first + at) / 2;
    if (at + kVector <= size) {
      *reinterpret_cast<uint32_t*>(to) = word;
    } else {
      for (int i = 0; i < (size - at + 1) / 2; i++) to[i] = word >> (8 * i);
    }
  }
}

template <typename T, int Lanes>
static void launchQuantize(const void* values, int64_t count, int64_t blockSize, uint8_t* packed,
                           float* absmax, cudaStream_t stream) {
  const int64_t blocks = (count + blockSize - 1) / blockSize;
  constexpr int64_t perGrid = kThreads / Lanes;
  const auto grid = static_cast<unsigned>((blocks + perGrid - 1) / perGrid);
  launch(quantizeKernel<T, Lanes>, grid, kThreads, 0, stream, static_cast<const T*>(values), count,
         blockSize, packed, absmax);
}

void quantize(const void* values, Element element, int64_t count, int64_t blockSize,
              uint8_t* packed, float* absmax, cudaStream_t stream) {
  dispatch(element, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    switch (blockSize) {
      case 32:
        return launchQuantize<T, 4>(values, count, blockSize, packed, absmax, stream);
      case 64:
        return launchQuantize<T, 8>(values, count, blockSize, packed, absmax, stream);
      case 128:
        return launchQuantize<T, 16>(values, count, blockSize, packed, absmax, stream);
      default:
        return launchQuantize<T, kWarp>(values, count, blockSize, packed, absmax, stream);
    }
  });
}

// A warp to a group of 256.
__global__ void __launch_bounds__(kThreads)
    quantizeAbsmaxKernel(const float* values, int64_t count, const float* map, uint8_t* codes,
                         float* groupAbsmax) {
  __shared__ float sharedMap[kMapSize];
  for (int i = threadIdx.x; i < kMapSize; i += kThreads) sharedMap[i] = map[i];
  __syncthreads();
  const int lane = threadIdx.x % kWarp;
  const int64_t group = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / kWarp;
  const int64_t first = group * kNestedBlockSize;
  if (first >= count) return;  // the whole warp
  const int64_t last = min(count, first + kNestedBlockSize);
  uint32_t largest = 0;
  for (int64_t i = first + lane; i < last; i += kWarp) {
    largest = max(largest, magnitudeBits(values[i]));
  }
  const float absmax = fromBits(groupMaximum<kWarp>(largest));
  const float reciprocal = 1.0f / absmax;
  if (lane == 0) groupAbsmax[group] = absmax;
  for (int64_t i = first + lane; i < last; i += kWarp) {
    codes[i] = absmax == 0 ? kZeroGroupCode : quantizeToMap(sharedMap, values[i] * reciprocal);
  }
}

void quantizeAbsmax(const float* values, int64_t count, const float* map, uint8_t* codes,
                    float* groupAbsmax, cudaStream_t stream) {
  constexpr int64_t perGrid = kNestedBlockSize * (kThreads / kWarp);
  const auto grid = static_cast<unsigned>((count + perGrid - 1) / perGrid);
  launch(quantizeAbsmaxKernel, grid, kThreads, 0, stream, values, count, map, codes, groupAbsmax);
}

}  // namespace pare::nf4::cuda
