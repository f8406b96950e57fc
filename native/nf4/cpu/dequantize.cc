#include <ATen/Parallel.h>

#include <algorithm>

#include "kernels.h"

namespace pare::nf4::cpu {

constexpr int64_t kGrain = 16384;   // values a thread should have at least
constexpr int64_t kRowsAhead = 16;  // of a tile, by which packed bytes are asked for

void dequantize(const uint8_t* packed, const Scales& scales, int64_t blockSize, int64_t first,
                int64_t count, void* values, Float type) {
  const Path& kernels = path();
  auto* bytes = static_cast<uint8_t*>(values);
  at::parallel_for(0, count, kGrain, [&](int64_t begin, int64_t end) {
    kernels.dequantize(packed, scales, blockSize, first + begin, end - begin,
                       bytes + begin * sizeOf(type), type);
  });
}

void dequantizeTile(const uint8_t* packed, const Scales& scales, int64_t blockSize, int64_t width,
                    int64_t row, int64_t rows, int64_t column, int64_t columns, void* tile,
                    Float type) {
  const Path& kernels = path();
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, columns));
  auto* bytes = static_cast<uint8_t*>(tile);
  at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      // Rows lie further apart than the processor looks ahead by itself.
      if (i + kRowsAhead < rows) {
        const uint8_t* next = packed + ((row + i + kRowsAhead) * width + column) / 2;
        for (int64_t byte = 0; byte < columns / 2; byte += 64) __builtin_prefetch(next + byte);
      }
      kernels.dequantize(packed, scales, blockSize, (row + i) * width + column, columns,
                         bytes + i * columns * sizeOf(type), type);
    }
  });
}

}  // namespace pare::nf4::cpu
