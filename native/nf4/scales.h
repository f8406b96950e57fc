// Double quantisation: the absmax of the blocks, themselves in 8 bits. Their mean (the offset) is
// subtracted and the rest quantised in groups of 256 to bitsandbytes' dynamic map, 256 values that
// spend their bits on the exponent near 0 (Dettmers 2016, 8-bit approximations for parallelism).
// Pure C++ for host and device, like nf4.h.
#pragma once

#include "nf4.h"

namespace pare::nf4 {

constexpr int kMapSize = 256;
constexpr int64_t kNestedBlockSize = 256;

// Of one block as it lies in memory: kernels fetch it early and resolve it when it has come.
struct StoredScale {
  float absmax = 0;  // of the block, or of its group where nested
  uint8_t code = 0;
};

// Absmax by block, plain or nested; plain pointers, valid where the kernel runs.
struct Scales {
  const float* absmax = nullptr;   // of the blocks, or of the groups of 256 where nested
  const uint8_t* codes = nullptr;  // of the blocks; null where not nested
  const float* map = nullptr;      // 256 values
  float offset = 0;

  PARE_HOST_DEVICE StoredScale load(int64_t block) const {
    StoredScale stored;
    stored.absmax = absmax[codes == nullptr ? block : block / kNestedBlockSize];
    if (codes != nullptr) stored.code = codes[block];
    return stored;
  }

  // Product and sum are rounded apart, as the reference does: a fused multiply-add would give
  // other bits.
  PARE_HOST_DEVICE float resolve(const StoredScale& stored) const {
    if (codes == nullptr) return stored.absmax;
#ifdef __CUDA_ARCH__
    return __fadd_rn(__fmul_rn(map[stored.code], stored.absmax), offset);
#else
    const double product =
        static_cast<double>(map[stored.code]) * static_cast<double>(stored.absmax);
    return static_cast<float>(product) + offset;
#endif
  }

  PARE_HOST_DEVICE float operator()(int64_t block) const { return resolve(load(block)); }
};

// bitsandbytes' CPU code rounds a value to one of 65,536 steps of [-1, 1] before it looks for the
// nearest entry of the map; the rounding decides between neighbours, so it is part of the format.
constexpr int kMapSteps = 65536;

// Of a value already divided by its group's absmax.
PARE_HOST_DEVICE inline int stepOf(float value) {
  if (!(value > -1.0f)) return 0;  // NaN included
  const float clamped = value < 1.0f ? value : 1.0f;
  // One fused multiply-add in the reference: the double product is exact, so this rounds once.
  const double scaled = static_cast<double>((clamped + 1.0f) * 0.5f) * 65535.0 + 0.5;
  return static_cast<int>(static_cast<float>(scaled));
}

PARE_HOST_DEVICE inline float valueOfStep(int step) {
  return -1.0f + (2.0f * static_cast<float>(step)) / 65535.0f;
}

// The 8-bit code of a value already divided by its group's absmax: the nearest entry of the map,
// the lower one on a tie.
PARE_HOST_DEVICE inline uint8_t quantizeToMap(const float* map, float value) {
  const float rounded = valueOfStep(stepOf(value));
  int low = 0;
  int high = kMapSize - 1;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (0.5f * (map[middle] + map[middle + 1]) < rounded) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return static_cast<uint8_t>(low);
}

// The code stored for every value of a group whose absmax is 0.
constexpr uint8_t kZeroGroupCode = 0;

}  // namespace pare::nf4
