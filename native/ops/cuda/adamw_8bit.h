// The GPU's kernel: plain pointers and a stream. It launches and returns; nothing waits.
#pragma once

#include <cuda_runtime_api.h>

#include "../../cuda/element.h"
#include "../adamw_8bit.h"

namespace pare::blockwise {

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

struct Settings {
  double lr, beta1, beta2, weightDecay, eps;
};

// `step`, on the device, is the number of this step from 1: a captured graph that advances it stays
// right, but for the learning rate, which it keeps. `vectors` says that parameter and gradient are
// aligned to 16 bytes.
void updateOnDevice(void* parameter, const void* gradient, pare::cuda::Element element,
                    int64_t count, bool vectors, DeviceMoment first, DeviceMoment second,
                    const float* step, const Settings& settings, const Maps& maps,
                    cudaStream_t stream);

}  // namespace pare::blockwise
