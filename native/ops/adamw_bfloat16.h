#pragma once

#include <ATen/ATen.h>

#include "adamw_step.h"
#include "stochastic_rounding.h"

namespace pare {

// A step of AdamW for a parameter in bfloat16 whose moments are in float32: computed in float32,
// rounded stochastically, no copy of the parameter. Its gradient is in bfloat16 or float32. `step`, a
// float32 scalar, is the number of this step from 1.
void adamwBFloat16(const at::Tensor& parameter, const at::Tensor& first, const at::Tensor& second,
                   const at::Tensor& step, const adam::Settings& settings,
                   const rounding::Rounding& rounding);

}  // namespace pare
