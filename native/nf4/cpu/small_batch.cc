#include <ATen/Parallel.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "kernels.h"

namespace pare::nf4::cpu {

// Puts rows of x in the order [group][row][value], groups in the order in which vectors of `lanes`
// lanes give weights. Rows one after the other would meet in the same sets of the L1 cache.
template <typename T>
static void arrange(const T* x, int64_t rows, int64_t inFeatures, int lanes, int codes, Order order,
                    T* arranged) {
  const int64_t group = lanes * codes;
  std::vector<int32_t> from(group);
  for (int i = 0; i < group; i++) from[i] = order(i / lanes, i % lanes);
  at::parallel_for(0, inFeatures / group, 64, [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; g++) {
      for (int64_t row = 0; row < rows; row++) {
        const T* source = x + row * inFeatures + g * group;
        T* to = arranged + (g * rows + row) * group;
        for (int64_t i = 0; i < group; i++) to[i] = source[from[i]];
      }
    }
  });
}

bool multipliesBFloat16(int64_t inFeatures) {
  return path().multiplyBFloat16 != nullptr &&
         inFeatures % (path().lanes * codesPerLane(Float::kFloat32)) == 0;
}

void smallBatchLinear(const void* x, Float type, int64_t batch, const uint8_t* packed,
                      const Scales& scales, int64_t blockSize, int64_t outFeatures,
                      int64_t inFeatures, const float* bias, float* out) {
  const Path& kernels = path();
  const bool half = type != Float::kFloat32;
  Product all{x, false, batch, packed, scales, blockSize, outFeatures, inFeatures, bias, out};
  const auto multiply = half ? kernels.multiplyBFloat16 : kernels.multiply;
  const int codes = codesPerLane(type);
  const int lanes = half ? 2 * kernels.lanes : kernels.lanes;
  // Rows of x in equal parts.
  const int64_t parts = (batch + kMaxSmallBatch - 1) / kMaxSmallBatch;
  const auto firstRow = [&](int64_t part) { return part * batch / parts; };
  std::unique_ptr<uint8_t[]> arranged;
  if (lanes > 0 && inFeatures % (lanes * codes) == 0) {
    const size_t bytes = batch * inFeatures * sizeOf(type);
    size_t space = bytes + 64;
    arranged = std::make_unique_for_overwrite<uint8_t[]>(space);
    void* aligned = arranged.get();
    std::align(64, bytes, aligned, space);
    for (int64_t part = 0; part < parts; part++) {
      const int64_t rows = firstRow(part + 1) - firstRow(part);
      const int64_t at = firstRow(part) * inFeatures;
      if (half) {
        arrange(static_cast<const uint16_t*>(x) + at, rows, inFeatures, lanes, codes,
                shiftedOrder<codesPerLane(Float::kBFloat16)>, static_cast<uint16_t*>(aligned) + at);
      } else {
        arrange(static_cast<const float*>(x) + at, rows, inFeatures, lanes, codes, kernels.order,
                static_cast<float*>(aligned) + at);
      }
    }
    all.x = aligned;
    all.arranged = true;
  }
  // The weights of a few columns stay in the L2 cache from part to part.
  const int64_t columns = parts == 1 ? outFeatures : 16;
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, inFeatures * batch));
  at::parallel_for(0, outFeatures, grain, [&](int64_t begin, int64_t end) {
    for (int64_t column = begin; column < end; column += columns) {
      for (int64_t part = 0; part < parts; part++) {
        const int64_t row = firstRow(part);
        Product some = all;
        some.x = static_cast<const uint8_t*>(all.x) + row * inFeatures * sizeOf(type);
        some.out += row * outFeatures;
        some.batch = firstRow(part + 1) - row;
        multiply(some, column, std::min(column + columns, end));
      }
    }
  });
}

}  // namespace pare::nf4::cpu
