// A packed 4-bit tensor and what can be done with it, on any device.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <tuple>

#include "scales.h"

namespace pare::nf4 {

// The parts of bitsandbytes' quantised parameter, by its names in a state dict.
struct Weight {
  at::Tensor packed;  // uint8, (elements + 1) / 2 bytes in any shape
  at::Tensor absmax;  // float32, one a block; uint8 where nested
  std::optional<at::Tensor> nestedAbsmax;    // float32, one for 256 blocks
  std::optional<at::Tensor> nestedQuantMap;  // float32 [256]
  double nestedOffset = 0;
  int64_t blockSize = 64;

  // Throws unless the parts fit each other and `elements` values.
  void check(int64_t elements) const;
  // Pointers into the tensors above.
  Scales scales() const;
};

// uint8 [(count + 1) / 2, 1] for `count` values, not yet written.
at::Tensor emptyPacked(int64_t count, const at::Device& device);

// (packed uint8 [(n + 1) / 2, 1], absmax float32 [blocks]) of a float32, bfloat16 or float16 tensor.
std::tuple<at::Tensor, at::Tensor> quantize(const at::Tensor& values, int64_t blockSize);

// The same into tensors that are there, of just those sizes.
void quantizeInto(const at::Tensor& values, int64_t blockSize, const at::Tensor& packed,
                  const at::Tensor& absmax);

// (codes uint8 [blocks], group absmax float32 [groups], offset float32 []) of a block's absmax.
std::tuple<at::Tensor, at::Tensor, at::Tensor> quantizeAbsmax(const at::Tensor& absmax);

// float32 [16].
at::Tensor codebookTensor(const at::Device& device);

at::Tensor dequantize(const Weight& weight, at::IntArrayRef shape, at::ScalarType dtype);

// Rows [..., embeddingDim] of W [rows, embeddingDim] by integer ids of any shape; its blocks end
// where its rows do.
at::Tensor embedding(const at::Tensor& ids, const Weight& weight, int64_t embeddingDim,
                     at::ScalarType dtype);

// x W^T + bias, W [outFeatures, inFeatures], x [..., inFeatures] of float32, bfloat16 or float16;
// the result has x's dtype. Differentiable in x and bias; the weight is frozen.
at::Tensor linear(const at::Tensor& x, const Weight& weight, int64_t outFeatures,
                  int64_t inFeatures, const std::optional<at::Tensor>& bias);

// The two products behind `linear`, without autograd: x [rows, inFeatures] contiguous.
at::Tensor linearForward(const at::Tensor& x, const Weight& weight, int64_t outFeatures,
                         int64_t inFeatures, const std::optional<at::Tensor>& bias);
// gradOutput [rows, outFeatures] times W.
at::Tensor linearBackward(const at::Tensor& gradOutput, const Weight& weight, int64_t outFeatures,
                          int64_t inFeatures);

}  // namespace pare::nf4
