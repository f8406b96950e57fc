// float32 to bfloat16, up or down with the probabilities that make the mean right: sums of many
// small updates then arrive, of which rounding to the nearest would lose all that are below half of
// the last bit. The same on host and device to the bit.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "split_mix.h"

namespace pare::rounding {

// An element's 16 bits are a function of seed, parameter, step and the element's number: a resumed
// run, another process, any number of threads round alike.
PARE_HOST_DEVICE inline uint64_t keyOf(uint64_t seed, uint64_t parameter, uint64_t step) {
  return mix(mix(mix(seed + 1) + parameter) + step);
}

constexpr int kPerWord = 4;  // elements that share a word of 64 bits, the first in the lowest 16

// Of the elements from kPerWord * word on.
PARE_HOST_DEVICE inline uint64_t wordOf(uint64_t key, int64_t word) {
  return mix(key + static_cast<uint64_t>(word));
}

PARE_HOST_DEVICE inline uint32_t bitsOf(uint64_t word, int element) {
  return static_cast<uint32_t>(word >> (16 * (element % kPerWord))) & 0xffffu;
}

// The bits of the bfloat16. What it can hold stays as it is: a carry out of the lower half has the
// probability of that half's share of a last bit, subnormals included. NaN stays one, infinity, too.
PARE_HOST_DEVICE inline uint16_t bfloat16Of(float value, uint32_t bits) {
  uint32_t raw;
  memcpy(&raw, &value, sizeof raw);
  if (value != value) return 0x7fc0;
  const bool isInfinite = (raw & 0x7fffffffu) == 0x7f800000u;
  return static_cast<uint16_t>((isInfinite ? raw : raw + bits) >> 16);
}

// Rounds values that are numbered from `first` on, a multiple of kPerWord.
inline void roundAll(uint64_t key, int64_t first, const float* values, int64_t count,
                     uint16_t* to) {
  uint64_t word = 0;
  for (int64_t i = 0; i < count; i++) {
    if (i % kPerWord == 0) word = wordOf(key, (first + i) / kPerWord);
    to[i] = bfloat16Of(values[i], bitsOf(word, static_cast<int>(i % kPerWord)));
  }
}

// How the new values of a parameter are rounded: stochastically, or to the nearest.
struct Rounding {
  bool isStochastic;
  uint64_t seed, parameter;

  PARE_HOST_DEVICE uint64_t keyAt(float step) const {
    return keyOf(seed, parameter, static_cast<uint64_t>(step));
  }
};

// Of the i-th of some parameters: stochastic where they have numbers.
inline Rounding roundingOf(int64_t seed, const std::vector<int64_t>& numbers, size_t i) {
  if (numbers.empty()) return {false, 0, 0};
  return {true, static_cast<uint64_t>(seed), static_cast<uint64_t>(numbers.at(i))};
}

}  // namespace pare::rounding
