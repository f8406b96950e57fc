// From tensors to what kernels take. For .cc files of rooms with kernels.
#pragma once

#include <ATen/ATen.h>
#include <c10/cuda/CUDAStream.h>

#include "element.h"

namespace pare::cuda {

inline Element elementOf(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return Element::kFloat32;
    case at::kBFloat16:
      return Element::kBFloat16;
    case at::kHalf:
      return Element::kFloat16;
    default:
      TORCH_CHECK_VALUE(false, "CUDA kernels take float32, bfloat16 and float16, got ",
                        tensor.scalar_type());
  }
}

inline bool isAligned(const at::Tensor& tensor) {
  return reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % 16 == 0;
}

// For kernels that read 16 bytes at a time: a view can begin between them, an allocation cannot.
inline at::Tensor aligned(const at::Tensor& tensor) {
  return isAligned(tensor) ? tensor : tensor.clone();
}

inline cudaStream_t streamOf(const at::Tensor& tensor) {
  return c10::cuda::getCurrentCUDAStream(tensor.device().index());
}

}  // namespace pare::cuda
