// Attention of a few queries over many keys, as in a step of generation: keys and values are read
// where they lie in the cache, once for all heads that share them, in float32 arithmetic.
#include <cmath>
#include <limits>

#include "attention.h"
#include "elementwise.h"

namespace pare::fused {

namespace {

template <typename T>
PARE_INLINE float dot(const T* a, const T* b, int64_t count) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; i++) sum += load(a[i]) * load(b[i]);
  return sum;
}

PARE_INLINE float maskAt(const Mask& mask, int64_t query, int64_t key) {
  const int64_t at = query * mask.stride + key;
  switch (mask.type) {
    case MaskType::kFloat32: return static_cast<const float*>(mask.rows)[at];
    case MaskType::kBFloat16: return load(static_cast<const BFloat16*>(mask.rows)[at]);
    case MaskType::kBool:
      return static_cast<const bool*>(mask.rows)[at] ? 0.f
                                                     : -std::numeric_limits<float>::infinity();
    default: return 0.f;
  }
}

// One query of one head.
template <typename T>
PARE_INLINE void attendQuery(const T* q, const T* keys, int64_t keyStride, const T* values,
                             int64_t valueStride, const HeadSizes& sizes, const Mask& mask,
                             int64_t query, T* out, float* scores, float* sums) {
  const int64_t d = sizes.headDim;
  const int64_t visible = mask.causal ? std::min(sizes.keys, query + 1) : sizes.keys;
  float highest = -std::numeric_limits<float>::infinity();
  for (int64_t key = 0; key < visible; key++) {
    scores[key] = dot(q, keys + key * keyStride, d) * sizes.scale + maskAt(mask, query, key);
    highest = scores[key] > highest ? scores[key] : highest;
  }
  // A query that sees nothing gets zeros.
  if (highest == -std::numeric_limits<float>::infinity()) {
    for (int64_t i = 0; i < d; i++) store(out[i], 0.f);
    return;
  }
  float total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t key = 0; key < visible; key++) {
    scores[key] = exponential(scores[key] - highest);
    total += scores[key];
  }
  for (int64_t i = 0; i < d; i++) sums[i] = 0;
  for (int64_t key = 0; key < visible; key++) {
    const T* value = values + key * valueStride;
    const float weight = scores[key];
#pragma omp simd
    for (int64_t i = 0; i < d; i++) sums[i] += weight * load(value[i]);
  }
  for (int64_t i = 0; i < d; i++) store(out[i], sums[i] / total);
}

}  // namespace

PARE_CLONES void attendOne(const float* q, const float* keys, int64_t keyStride,
                           const float* values, int64_t valueStride, const HeadSizes& sizes,
                           const Mask& mask, int64_t query, float* out, float* scores,
                           float* sums) {
  attendQuery(q, keys, keyStride, values, valueStride, sizes, mask, query, out, scores, sums);
}
PARE_CLONES void attendOne(const BFloat16* q, const BFloat16* keys, int64_t keyStride,
                           const BFloat16* values, int64_t valueStride, const HeadSizes& sizes,
                           const Mask& mask, int64_t query, BFloat16* out, float* scores,
                           float* sums) {
  attendQuery(q, keys, keyStride, values, valueStride, sizes, mask, query, out, scores, sums);
}

}  // namespace pare::fused
