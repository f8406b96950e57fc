// Scaled dot-product attention of bfloat16 heads for processors that multiply bfloat16
// (AVX512-BF16), forward and backward. libtorch's CPU kernel multiplies blocks with MKL, whose
// kernels on some of these processors reach a fifth of their speed.
#pragma once

#include <cstdint>

namespace pare::fused {

enum class MaskType { kNone, kFloat32, kBFloat16, kBool };

// What a query may see: an additive or boolean row of keys each, and, if causal, no later key.
struct Mask {
  MaskType type = MaskType::kNone;
  const void* rows = nullptr;
  int64_t stride = 0;  // in values; 0 where all queries share a row
  bool causal = false;
};

// Rows of bfloat16, headDim each.
struct Rows {
  const uint16_t* data;
  int64_t stride;
};
struct RowsOut {
  uint16_t* data;
  int64_t stride;
};

struct HeadSizes {
  int64_t queries, keys, headDim;  // headDim a multiple of 16
  float scale;
};

// Query `query` of a head over keys and values at these strides; `scores` has room for the keys,
// `sums` for headDim values.
struct BFloat16;
void attendOne(const float* q, const float* keys, int64_t keyStride, const float* values,
               int64_t valueStride, const HeadSizes& sizes, const Mask& mask, int64_t query,
               float* out, float* scores, float* sums);
void attendOne(const BFloat16* q, const BFloat16* keys, int64_t keyStride, const BFloat16* values,
               int64_t valueStride, const HeadSizes& sizes, const Mask& mask, int64_t query,
               BFloat16* out, float* scores, float* sums);

bool hasBFloat16Attention();

// Keys and values as the products read them; packed once for the heads that share them.
class PackedHead {
 public:
  PackedHead(const Rows& keys, const Rows& values, const HeadSizes& sizes, bool backward);
  ~PackedHead();
  PackedHead(const PackedHead&) = delete;
  PackedHead& operator=(const PackedHead&) = delete;

  // softmax(scale q k^T + mask) v into out; logSums [queries] for backward.
  void forward(const Rows& q, const Mask& mask, const RowsOut& out, float* logSums);

  // To q in bfloat16; to keys and values added up in float32 [keys, headDim].
  void backward(const Rows& q, const Mask& mask, const Rows& out, const float* logSums,
                const Rows& gradient, const RowsOut& toQ, float* toKeys, float* toValues);

 private:
  struct Buffers;
  HeadSizes sizes_;
  int64_t paddedKeys_;
  Buffers* buffers_;
};

}  // namespace pare::fused
