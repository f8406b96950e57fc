#include <ATen/Parallel.h>

#include <algorithm>

#include "kernels.h"
#include "unpack.h"

namespace pare::nf4::cpu {

constexpr int64_t kGrain = 16384;  // values a thread should have at least

void dequantizeRange(const uint8_t* packed, const Scales& scales, int64_t blockSize, int64_t first,
                     int64_t count, float* values) {
  const int64_t end = first + count;
  for (int64_t position = first; position < end;) {
    const int64_t block = position / blockSize;
    const int64_t stop = std::min(end, (block + 1) * blockSize);
    unpackScaled(packed, position, stop - position, scales(block), values);
    values += stop - position;
    position = stop;
  }
}

void dequantize(const uint8_t* packed, const Scales& scales, int64_t blockSize, int64_t first,
                int64_t count, float* values) {
  at::parallel_for(0, count, kGrain, [&](int64_t begin, int64_t end) {
    dequantizeRange(packed, scales, blockSize, first + begin, end - begin, values + begin);
  });
}

void dequantizeTile(const uint8_t* packed, const Scales& scales, int64_t blockSize, int64_t width,
                    int64_t row, int64_t rows, int64_t column, int64_t columns, float* tile) {
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, columns));
  at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      dequantizeRange(packed, scales, blockSize, (row + i) * width + column, columns,
                      tile + i * columns);
    }
  });
}

}  // namespace pare::nf4::cpu
