// The GPU's kernel: plain pointers and a stream. It launches and returns; nothing waits.
#pragma once

#include <cuda_runtime_api.h>

#include "../../cuda/element.h"
#include "../adamw_step.h"
#include "../stochastic_rounding.h"

namespace pare::adam {

// AdamW of a parameter in bfloat16, its gradient in bfloat16 or float32. `step`, on the device, is
// the number of this step from 1.
void updateOnDevice(void* parameter, const void* gradient, pare::cuda::Element gradientElement,
                    int64_t count, float* first, float* second, const float* step,
                    const Settings& settings, const rounding::Rounding& rounding,
                    cudaStream_t stream);

}  // namespace pare::adam
