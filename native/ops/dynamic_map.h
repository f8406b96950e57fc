#pragma once

#include <ATen/ATen.h>

namespace pare {

// The 256 values of bitsandbytes' 8-bit dynamic type, create_dynamic_map(signed): float32,
// ascending. Its bits go to the exponent near 0 (Dettmers 2016, 8-bit approximations for
// parallelism in deep learning).
at::Tensor dynamicMap(bool isSigned);

}  // namespace pare
