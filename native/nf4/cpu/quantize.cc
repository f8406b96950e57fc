#include <ATen/Parallel.h>

#include <algorithm>

#include "kernels.h"

namespace pare::nf4::cpu {

static float largestMagnitude(const float* values, int64_t count) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < count; i++) largest = std::max(largest, magnitudeBits(values[i]));
  return fromBits(largest);
}

static void quantizeBlock(const float* values, int64_t count, const BlockScale& scale,
                          uint8_t* packed) {
  // One code a value first: this loop vectorises, packing in the same loop does not.
  uint8_t codes[kMaxBlockSize];
  if (scale.ragged) {
    for (int64_t i = 0; i < count; i++) codes[i] = quantizeValue(values[i] / scale.divisor);
  } else {
    for (int64_t i = 0; i < count; i++) codes[i] = quantizeValue(values[i] * scale.reciprocal);
  }
  for (int64_t i = 0; i < count / 2; i++) packed[i] = pack(codes[2 * i], codes[2 * i + 1]);
  if (count & 1) packed[count / 2] = pack(codes[count - 1], kZeroCode);
}

void quantize(const float* values, int64_t count, int64_t blockSize, uint8_t* packed,
              float* absmax) {
  const int64_t blocks = (count + blockSize - 1) / blockSize;
  at::parallel_for(0, blocks, std::max<int64_t>(1, 16384 / blockSize),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t block = begin; block < end; block++) {
                       const int64_t first = block * blockSize;
                       const int64_t size = std::min(blockSize, count - first);
                       const BlockScale scale(largestMagnitude(values + first, size),
                                              size < blockSize);
                       absmax[block] = scale.absmax;
                       quantizeBlock(values + first, size, scale, packed + first / 2);
                     }
                   });
}

void quantizeAbsmax(const float* values, int64_t count, const float* map, uint8_t* codes,
                    float* groupAbsmax) {
  const int64_t groups = (count + kNestedBlockSize - 1) / kNestedBlockSize;
  at::parallel_for(0, groups, 16, [&](int64_t begin, int64_t end) {
    for (int64_t group = begin; group < end; group++) {
      const int64_t first = group * kNestedBlockSize;
      const int64_t last = std::min(count, first + kNestedBlockSize);
      const float absmax = largestMagnitude(values + first, last - first);
      const float reciprocal = 1.0f / absmax;
      groupAbsmax[group] = absmax;
      for (int64_t i = first; i < last; i++) {
        codes[i] = absmax == 0 ? kZeroGroupCode : quantizeToMap(map, values[i] * reciprocal);
      }
    }
  });
}

}  // namespace pare::nf4::cpu
