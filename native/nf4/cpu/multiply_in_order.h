// The product of a few rows with packed weights whose rows have any length, for a `Vector` as in
// multiply_arranged.h: weights are decoded in order by the including file's `dequantize`.
#pragma once

#include "paths.h"

namespace pare::nf4::cpu {
namespace {

void multiplyInOrder(const Product& p, int64_t begin, int64_t end) {
  constexpr int64_t kChunk = 512;  // weights decoded at a time: they and x stay in the L1 cache
  constexpr int64_t kLanes = Vector::kLanes;
  float weights[kChunk];
  for (int64_t n = begin; n < end; n++) {
    typename Vector::Floats sums[kMaxSmallBatch];
    float rest[kMaxSmallBatch];
    for (int64_t m = 0; m < p.batch; m++) {
      sums[m] = Vector::zero();
      rest[m] = p.bias == nullptr ? 0.0f : p.bias[n];
    }
    for (int64_t k = 0; k < p.inFeatures; k += kChunk) {
      const int64_t count = p.inFeatures - k < kChunk ? p.inFeatures - k : kChunk;
      const int64_t whole = count - count % kLanes;
      dequantize(p.packed, p.scales, p.blockSize, n * p.inFeatures + k, count, weights,
                 Float::kFloat32);
      for (int64_t m = 0; m < p.batch; m++) {
        const float* x = static_cast<const float*>(p.x) + m * p.inFeatures + k;
        for (int64_t i = 0; i < whole; i += kLanes) {
          sums[m] = Vector::multiplyAdd(Vector::load(weights + i), Vector::load(x + i), sums[m]);
        }
        for (int64_t i = whole; i < count; i++) rest[m] += weights[i] * x[i];
      }
    }
    for (int64_t m = 0; m < p.batch; m++) {
      p.out[m * p.outFeatures + n] = Vector::sum(sums[m]) + rest[m];
    }
  }
}

}  // namespace
}  // namespace pare::nf4::cpu
