#include <ATen/Parallel.h>

#include <algorithm>

#include "kernels.h"
#include "unpack.h"

namespace pare::nf4::cpu {

// Partial sums kept side by side, so that the loop over k vectorises without reordering a sum.
constexpr int kLanes = 8;
constexpr int kRowsAtOnce = 4;

using Lanes = float[kLanes];

// Adds w . x[m] for `Rows` rows of x, `stride` apart, to each row's lanes.
template <int Rows>
static void accumulate(const float* weights, const float* x, int64_t stride, int64_t count,
                       Lanes* lanes) {
  const int64_t whole = count - count % kLanes;
  Lanes sums[Rows];  // a local copy stays in registers
  for (int m = 0; m < Rows; m++) std::copy_n(lanes[m], kLanes, sums[m]);
  for (int64_t k = 0; k < whole; k += kLanes) {
    for (int m = 0; m < Rows; m++) {
      for (int lane = 0; lane < kLanes; lane++) {
        sums[m][lane] += weights[k + lane] * x[m * stride + k + lane];
      }
    }
  }
  for (int64_t k = whole; k < count; k++) {
    for (int m = 0; m < Rows; m++) sums[m][k - whole] += weights[k] * x[m * stride + k];
  }
  for (int m = 0; m < Rows; m++) std::copy_n(sums[m], kLanes, lanes[m]);
}

static void accumulateRows(int64_t rows, const float* weights, const float* x, int64_t stride,
                           int64_t count, Lanes* lanes) {
  switch (rows) {
    case 1:
      return accumulate<1>(weights, x, stride, count, lanes);
    case 2:
      return accumulate<2>(weights, x, stride, count, lanes);
    case 3:
      return accumulate<3>(weights, x, stride, count, lanes);
    default:
      return accumulate<4>(weights, x, stride, count, lanes);
  }
}

void smallBatchLinear(const float* x, int64_t batch, const uint8_t* packed, const Scales& scales,
                      int64_t blockSize, int64_t outFeatures, int64_t inFeatures,
                      const float* bias, float* out) {
  constexpr int64_t kChunk = 512;  // weights decoded at a time: they and x stay in the L1 cache
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, inFeatures * batch));
  at::parallel_for(0, outFeatures, grain, [&](int64_t begin, int64_t end) {
    float weights[kChunk];
    for (int64_t n = begin; n < end; n++) {
      Lanes lanes[kMaxSmallBatch] = {};
      for (int64_t k = 0; k < inFeatures; k += kChunk) {
        const int64_t count = std::min(kChunk, inFeatures - k);
        dequantizeRange(packed, scales, blockSize, n * inFeatures + k, count, weights);
        for (int64_t m = 0; m < batch; m += kRowsAtOnce) {
          accumulateRows(std::min<int64_t>(kRowsAtOnce, batch - m), weights,
                         x + m * inFeatures + k, inFeatures, count, lanes + m);
        }
      }
      for (int64_t m = 0; m < batch; m++) {
        float sum = bias == nullptr ? 0 : bias[n];
        for (const float lane : lanes[m]) sum += lane;
        out[m * outFeatures + n] = sum;
      }
    }
  });
}

}  // namespace pare::nf4::cpu
