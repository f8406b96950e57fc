#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "kernels.h"

namespace pare::nf4::cpu {

void quantize(const void* values, Float type, int64_t count, int64_t blockSize, uint8_t* packed,
              float* absmax) {
  const Path& kernels = path();
  const auto* bytes = static_cast<const uint8_t*>(values);
  const int64_t whole = count / blockSize;
  at::parallel_for(0, whole, std::max<int64_t>(1, 16384 / blockSize),
                   [&](int64_t begin, int64_t end) {
                     const int64_t first = begin * blockSize;
                     kernels.quantizeBlocks(bytes + first * sizeOf(type), type, end - begin,
                                            blockSize, packed + first / 2, absmax + begin);
                   });
  const int64_t first = whole * blockSize;
  if (first < count) {
    absmax[whole] =
        quantizeBlock(bytes + first * sizeOf(type), type, count - first, true, packed + first / 2);
  }
}

// The codes of all of quantizeToMap's steps: with it, a value costs no search.
static std::vector<uint8_t> codesOfSteps(const float* map) {
  std::vector<uint8_t> codes(kMapSteps);
  int code = 0;
  for (int step = 0; step < kMapSteps; step++) {
    const float value = valueOfStep(step);
    while (code + 1 < kMapSize && 0.5f * (map[code] + map[code + 1]) < value) code++;
    codes[step] = static_cast<uint8_t>(code);
  }
  return codes;
}

void quantizeAbsmax(const float* values, int64_t count, const float* map, uint8_t* codes,
                    float* groupAbsmax) {
  // The table is worth its making from about as many values on as it has steps.
  const std::vector<uint8_t> table = count < kMapSteps ? std::vector<uint8_t>() : codesOfSteps(map);
  const int64_t groups = (count + kNestedBlockSize - 1) / kNestedBlockSize;
  at::parallel_for(0, groups, 16, [&](int64_t begin, int64_t end) {
    for (int64_t group = begin; group < end; group++) {
      const int64_t first = group * kNestedBlockSize;
      const int64_t last = std::min(count, first + kNestedBlockSize);
      uint32_t largest = 0;
      for (int64_t i = first; i < last; i++) largest = std::max(largest, magnitudeBits(values[i]));
      const float absmax = fromBits(largest);
      const float reciprocal = 1.0f / absmax;
      groupAbsmax[group] = absmax;
      for (int64_t i = first; i < last; i++) {
        const float value = values[i] * reciprocal;
        codes[i] = absmax == 0     ? kZeroGroupCode
                   : table.empty() ? quantizeToMap(map, value)
                                   : table[stepOf(value)];
      }
    }
  });
}

}  // namespace pare::nf4::cpu
