// The GPU's kernel: plain pointers and a stream. It launches and returns; nothing waits.
#pragma once

#include <cuda_runtime_api.h>

#include "../../cuda/element.h"
#include "../adamw_8bit.h"
#include "../stochastic_rounding.h"

namespace pare::blockwise {

// Values of a tensor.
template <typename Pointer>
struct DeviceValues {
  Pointer values;
  pare::cuda::Element element;
};

// A moment of a parameter: codes, and absmax one a block.
struct DeviceMoment {
  uint8_t* codes;
  float* absmax;
};

// The dynamic maps by value: they travel with the launch.
struct Maps {
  float isSigned[kCodes];
  float isUnsigned[kCodes];
};

// `step`, on the device, is the number of this step from 1: a captured graph that advances it stays
// right, but for the learning rate, which it keeps. The gradient has the parameter's type, or float32
// beside bfloat16; `vectors` says that both are aligned to 16 bytes.
void updateOnDevice(DeviceValues<void*> parameter, DeviceValues<const void*> gradient,
                    int64_t count, bool vectors, DeviceMoment first, DeviceMoment second,
                    const float* step, const adam::Settings& settings,
                    const rounding::Rounding& rounding, const Maps& maps, cudaStream_t stream);

}  // namespace pare::blockwise
