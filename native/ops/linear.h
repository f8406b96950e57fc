#pragma once

#include <ATen/ATen.h>

namespace pare {

// at::linear, by the library that is faster on this processor.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight,
                  const std::optional<at::Tensor>& bias);

// out = a b + bias of matrices, by the same choice. Not differentiable. `work` are the
// multiplications of the whole product where this is a part of one.
void matmulInto(at::Tensor out, const at::Tensor& a, const at::Tensor& b,
                const std::optional<at::Tensor>& bias, int64_t work = 0);

}  // namespace pare
