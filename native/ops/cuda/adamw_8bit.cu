#include "adamw_8bit.h"

#include "../../cuda/elements.cuh"
#include "../../cuda/intrinsics.cuh"
#include "rounding.cuh"

namespace pare::blockwise {

using namespace pare::cuda;

constexpr int kWarp = 32;
constexpr int kThreads = 256;
constexpr int kBlocks = 4;  // of threads on a multiprocessor: 64 registers to each
constexpr int64_t kMaxGrid = 1024;  // more blocks would make maps and step again for nothing
static_assert(kBlock == kWarp * kVector, "a warp to a block of values, eight to a lane");

__device__ inline float largestOfWarp(float value) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, distance));
  }
  return value;
}

__device__ inline void unpack(const uint8_t (&codes)[kVector], float absmax, const float* map,
                              float (&values)[kVector]) {
#pragma unroll
  for (int i = 0; i < kVector; i++) values[i] = times(map[codes[i]], absmax);
}

// Gives the block's absmax. Values past the end are 0.
__device__ inline float pack(const float (&values)[kVector], const float* map,
                             uint8_t (&codes)[kVector]) {
  float largest = 0;
#pragma unroll
  for (int i = 0; i < kVector; i++) largest = fmaxf(largest, fabsf(values[i]));  // not NaN
  largest = largestOfWarp(largest);
  const float reciprocal = 1 / largest;
#pragma unroll
  for (int i = 0; i < kVector; i++) {
    codes[i] = largest == 0 ? 0 : nearest(map, normalized(values[i], reciprocal));
  }
  return largest;
}

template <typename T, typename G, bool Stochastic>
__global__ void __launch_bounds__(kThreads, kBlocks)
    updateKernel(T* parameter, const G* gradient, int64_t count, bool vectors, DeviceMoment first,
                 DeviceMoment second, const float* number, adam::Settings settings,
                 rounding::Rounding rounding, Maps maps) {
  // An entry more than there are codes: see nextIsNearer.
  __shared__ float isSigned[kCodes + 1], isUnsigned[kCodes + 1];
  __shared__ adam::Step step;
  __shared__ uint64_t key;
  static_assert(kThreads == kCodes, "a thread, an entry");
  isSigned[threadIdx.x] = maps.isSigned[threadIdx.x];
  isUnsigned[threadIdx.x] = maps.isUnsigned[threadIdx.x];
  if (threadIdx.x == 0) {
    isSigned[kCodes] = isUnsigned[kCodes] = HUGE_VALF;
    step = adam::stepOf(settings, *number);
    key = rounding.keyAt(*number);
  }
  __syncthreads();
  const int lane = threadIdx.x % kWarp;
  const int64_t blocks = (count + kBlock - 1) / kBlock;
  const int64_t stride = int64_t{gridDim.x} * (kThreads / kWarp);
  for (int64_t block = int64_t{blockIdx.x} * (kThreads / kWarp) + threadIdx.x / kWarp;
       block < blocks; block += stride) {
    const int64_t at = block * kBlock + lane * kVector;
    const int64_t left = count - at;
    const bool whole = left >= kVector;
    float p[kVector] = {}, g[kVector] = {}, m[kVector], v[kVector];
    uint8_t codes1[kVector] = {}, codes2[kVector] = {};
    if (whole && vectors) {
      loadVector(parameter + at, p);
      loadVector(gradient + at, g);
    } else {
#pragma unroll
      for (int i = 0; i < kVector; i++) {
        if (i < left) {
          p[i] = toFloat(parameter[at + i]);
          g[i] = toFloat(gradient[at + i]);
        }
      }
    }
    if (whole) {
      memcpy(codes1, __builtin_assume_aligned(first.codes + at, kVector), kVector);
      memcpy(codes2, __builtin_assume_aligned(second.codes + at, kVector), kVector);
    } else {
#pragma unroll
      for (int i = 0; i < kVector; i++) {
        if (i < left) {
          codes1[i] = first.codes[at + i];
          codes2[i] = second.codes[at + i];
        }
      }
    }
    unpack(codes1, first.absmax[block], isSigned, m);
    unpack(codes2, second.absmax[block], isUnsigned, v);
#pragma unroll
    for (int i = 0; i < kVector; i++) {
      if (i < left) {
        p[i] = adam::update(step, p[i], g[i], m[i], v[i]);
      } else {
        m[i] = v[i] = 0;
      }
    }
    // At once: its registers are needed.
    if constexpr (Stochastic) rounding::store(key, at, p, left, parameter, vectors);
    const float absmax1 = pack(m, isSigned, codes1);
    const float absmax2 = pack(v, isUnsigned, codes2);
    if constexpr (!Stochastic) {
      if (whole && vectors) {
        storeVector(parameter + at, p);
      } else {
#pragma unroll
        for (int i = 0; i < kVector; i++) {
          if (i < left) parameter[at + i] = fromFloat<T>(p[i]);
        }
      }
    }
    if (whole) {
      memcpy(__builtin_assume_aligned(first.codes + at, kVector), codes1, kVector);
      memcpy(__builtin_assume_aligned(second.codes + at, kVector), codes2, kVector);
    } else {
#pragma unroll
      for (int i = 0; i < kVector; i++) {
        if (i < left) {
          first.codes[at + i] = codes1[i];
          second.codes[at + i] = codes2[i];
        }
      }
    }
    __syncwarp();  // every lane has read the old ones
    if (lane == 0) {
      first.absmax[block] = absmax1;
      second.absmax[block] = absmax2;
    }
  }
}

void updateOnDevice(DeviceValues<void*> parameter, DeviceValues<const void*> gradient,
                    int64_t count, bool vectors, DeviceMoment first, DeviceMoment second,
                    const float* step, const adam::Settings& settings,
                    const rounding::Rounding& rounding, const Maps& maps, cudaStream_t stream) {
  if (count == 0) return;
  constexpr int64_t perGrid = kBlock * (kThreads / kWarp);
  const int64_t wanted = (count + perGrid - 1) / perGrid;
  const auto grid = static_cast<unsigned>(wanted < kMaxGrid ? wanted : kMaxGrid);
  const auto run = [&](auto* type, auto* typeOfGradient, auto stochastic) {
    using T = std::remove_pointer_t<decltype(type)>;
    using G = std::remove_pointer_t<decltype(typeOfGradient)>;
    launch(updateKernel<T, G, decltype(stochastic)::value>, grid, kThreads, 0, stream,
           static_cast<T*>(parameter.values), static_cast<const G*>(gradient.values), count,
           vectors, first, second, step, settings, rounding, maps);
  };
  const auto roundTo = [&](auto* type, auto* typeOfGradient) {
    if constexpr (std::is_same_v<decltype(type), __nv_bfloat16*>) {
      if (rounding.isStochastic) return run(type, typeOfGradient, std::true_type{});
    }
    run(type, typeOfGradient, std::false_type{});
  };
  dispatch(parameter.element, [&](auto* type) {
    if constexpr (std::is_same_v<decltype(type), __nv_bfloat16*>) {
      if (gradient.element == Element::kFloat32) return roundTo(type, static_cast<float*>(nullptr));
    }
    roundTo(type, type);
  });
}

}  // namespace pare::blockwise
