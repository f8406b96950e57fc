// Moments in 8 bits, a value at a time, the same on host and device to the bit.
#pragma once

#include <cmath>
#include <cstdint>

#include "adamw_step.h"

namespace pare::blockwise {

constexpr int64_t kBlock = 256;  // values under one absmax
constexpr int kCodes = 256;

using adam::times;

// A moment on its way to a code, given 1 / absmax. In a block of the smallest subnormals that is
// infinite: those count as the largest.
PARE_HOST_DEVICE inline float normalized(float value, float reciprocal) {
  const float unit = times(value, reciprocal);
  return unit < -1.0f ? -1.0f : 1.0f < unit ? 1.0f : unit;
}

// `map` has an entry more, infinity, which is never nearer. Of NaN nothing is.
PARE_HOST_DEVICE inline bool nextIsNearer(const float* map, int code, float value) {
  return std::fabs(value - map[code + 1]) < std::fabs(value - map[code]);
}

// The nearest entry of an ascending map, the lower one on a tie.
PARE_HOST_DEVICE inline uint8_t nearest(const float* map, float value) {
  int low = 0, high = kCodes - 1;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (nextIsNearer(map, middle, value)) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return static_cast<uint8_t>(low);
}

}  // namespace pare::blockwise
