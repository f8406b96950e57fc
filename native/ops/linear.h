#pragma once

#include <ATen/ATen.h>

namespace pare {

// at::linear, by the library that is faster on this processor.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight,
                  const std::optional<at::Tensor>& bias);

}  // namespace pare
