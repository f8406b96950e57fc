#include <ATen/Parallel.h>

#include <algorithm>
#include <memory>

#include "kernels.h"

namespace pare::nf4::cpu {

// Puts groups of x in the order in which vectors of `lanes` lanes read codes.
static void arrange(const float* x, int64_t count, int lanes, float* arranged) {
  const int64_t group = lanes * kCodesPerLane;
  for (int64_t first = 0; first < count; first += group) {
    for (int code = 0; code < kCodesPerLane; code++) {
      for (int lane = 0; lane < lanes; lane++) {
        arranged[first + code * lanes + lane] = x[first + lane * kCodesPerLane + code];
      }
    }
  }
}

void smallBatchLinear(const float* x, int64_t batch, const uint8_t* packed, const Scales& scales,
                      int64_t blockSize, int64_t outFeatures, int64_t inFeatures, const float* bias,
                      float* out) {
  const Path& kernels = path();
  Product product{x, false, batch, packed, scales, blockSize, outFeatures, inFeatures, bias, out};
  std::unique_ptr<float[]> arranged;
  if (kernels.lanes > 0 && inFeatures % (kernels.lanes * kCodesPerLane) == 0) {
    constexpr size_t kLine = 64 / sizeof(float);
    size_t space = (batch * inFeatures + kLine) * sizeof(float);
    arranged = std::make_unique_for_overwrite<float[]>(space / sizeof(float));
    void* aligned = arranged.get();
    std::align(64, batch * inFeatures * sizeof(float), aligned, space);
    arrange(x, batch * inFeatures, kernels.lanes, static_cast<float*>(aligned));
    product.x = static_cast<float*>(aligned);
    product.arranged = true;
  }
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, inFeatures * batch));
  at::parallel_for(0, outFeatures, grain,
                   [&](int64_t begin, int64_t end) { kernels.multiply(product, begin, end); });
}

}  // namespace pare::nf4::cpu
