// Operations that libtorch has only as chains of smaller ones. Where a dtype or a device is not
// theirs they are those chains.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <vector>

namespace pare {

// x [..., size] by its root mean square over the last dimension, times weight [size].
at::Tensor rmsNorm(const at::Tensor& x, const std::vector<int64_t>& shape,
                   const std::optional<at::Tensor>& weight, double eps);

// silu(gate) * up, of one shape.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

// x [batch, heads, time, headDim]; cos and sin [batch or 1, 1, time, headDim] with the sine of the
// first half negated.
at::Tensor rotary(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);

// result [..., out] + scale x A^T B^T, with x [..., in], A [r, in], B [out, r].
at::Tensor lowRankUpdate(const at::Tensor& result, const at::Tensor& x, const at::Tensor& a,
                         const at::Tensor& b, double scale);

// Copies keys and values [batch, heads, time, headDim] of new positions behind the `length` positions
// in a cache of [batch, heads, capacity, headDim]. Returns views of all positions so far.
std::vector<at::Tensor> cacheAppend(at::Tensor cachedKeys, at::Tensor cachedValues,
                                    const at::Tensor& keys, const at::Tensor& values,
                                    int64_t length);

// Rows of x that `fewRowsLinear` takes.
constexpr int64_t kFewRows = 8;
bool fewRowsFit(const at::Tensor& x, const at::Tensor& weight);
// x [..., in] times weight [out, in] transposed plus bias, of bfloat16. Not differentiable.
at::Tensor fewRowsLinear(const at::Tensor& x, const at::Tensor& weight,
                         const std::optional<at::Tensor>& bias);

// softmax(scale q k^T + mask) v: q [batch, heads, queries, headDim], k and v [batch, kvHeads, keys,
// headDim], where heads / kvHeads neighbouring heads share keys and values. `mask` is boolean
// (true = attend) or additive, broadcast to [batch, heads, queries, keys].
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const std::optional<at::Tensor>& mask, double dropoutP, bool causal,
                     double scale);

}  // namespace pare
