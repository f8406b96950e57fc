// The 4-bit NormalFloat format: codebook, packing, and the arithmetic of one block. Pure C++, used
// on the host and, compiled by nvcc, on the device, so that both write the same bytes.
//
// Format (Dettmers et al. 2023, QLoRA; bytes as bitsandbytes writes them on the CPU): the tensor,
// read row by row as a flat array, is cut into blocks of `blockSize` values. Each block stores its
// largest magnitude (absmax, float32) and, for each value, the index of the nearest codebook entry
// to value / absmax. Two indices share a byte, the first in the high nibble; an odd count leaves
// the index of 0 in the last low nibble.
#pragma once

#include <cstdint>
#include <cstring>

#include "../cuda/host_device.h"

namespace pare::nf4 {

constexpr int kCodebookSize = 16;
constexpr int64_t kMinBlockSize = 32;
constexpr int64_t kMaxBlockSize = 4096;

// Up to this many rows are multiplied straight from the packed weights; more, tile by tile.
constexpr int64_t kMaxSmallBatch = 8;

// bitsandbytes' table: quantiles of a normal distribution, scaled to [-1, 1], with an exact zero.
PARE_HOST_DEVICE constexpr float codebook(int index) {
  constexpr float values[kCodebookSize] = {
      -1.0f,
      -0.6961928009986877f,
      -0.5250730514526367f,
      -0.39491748809814453f,
      -0.28444138169288635f,
      -0.18477343022823334f,
      -0.09105003625154495f,
      0.0f,
      0.07958029955625534f,
      0.16093020141124725f,
      0.24611230194568634f,
      0.33791524171829224f,
      0.44070982933044434f,
      0.5626170039176941f,
      0.7229568362236023f,
      1.0f,
  };
  return values[index];
}

constexpr int kZeroCode = 7;

// Values above the boundary belong to entry `index + 1`, values on it to entry `index`.
PARE_HOST_DEVICE constexpr float boundary(int index) {
  return (codebook(index) + codebook(index + 1)) / 2;
}

// The index of a value already divided by its block's absmax. Branch-free, so that a loop over a
// block vectorises. NaN gives the last index, as torch.bucketize does.
template <int Index = 0>
PARE_HOST_DEVICE inline int quantizeValue(float value) {
  if constexpr (Index < kCodebookSize - 1) {
    constexpr float limit = boundary(Index);
    return static_cast<int>(!(limit >= value)) + quantizeValue<Index + 1>(value);
  } else {
    return 0;
  }
}

// Magnitudes compare like their bits; NaN ranks highest, so that it is not lost in a maximum.
PARE_HOST_DEVICE inline uint32_t magnitudeBits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits & 0x7fffffffu;
}

PARE_HOST_DEVICE inline float fromBits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// bitsandbytes divides by no less than this (a subnormal float32).
constexpr float kMinAbsmax = 1e-38f;

PARE_HOST_DEVICE inline float atLeastMinAbsmax(float absmax) {
  return absmax < kMinAbsmax ? kMinAbsmax : absmax;
}

// How the values of a block are brought to [-1, 1]. bitsandbytes multiplies by the reciprocal in
// whole blocks but divides in a last block that is shorter, and only there stores the raised
// absmax; the roundings differ, so both are kept.
struct BlockScale {
  float absmax;      // as stored
  float divisor;     // at least kMinAbsmax
  float reciprocal;  // of the divisor
  bool ragged;

  PARE_HOST_DEVICE BlockScale(float largest, bool ragged)
      : absmax(ragged ? atLeastMinAbsmax(largest) : largest),
        divisor(atLeastMinAbsmax(largest)),
        reciprocal(1.0f / atLeastMinAbsmax(largest)),
        ragged(ragged) {}

  PARE_HOST_DEVICE float normalize(float value) const {
    return ragged ? value / divisor : value * reciprocal;
  }
};

PARE_HOST_DEVICE inline uint8_t pack(int high, int low) {
  return static_cast<uint8_t>(high << 4 | low);
}

// The index of the value at a position of the flat array.
PARE_HOST_DEVICE inline int unpack(const uint8_t* packed, int64_t position) {
  const int byte = packed[position >> 1];
  return position & 1 ? byte & 15 : byte >> 4;
}

}  // namespace pare::nf4
