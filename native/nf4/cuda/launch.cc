#include "launch.h"

#include <c10/core/DeviceGuard.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>

#include "kernels.h"

namespace pare::nf4::cuda {

using at::Tensor;

static Element elementOf(const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return Element::kFloat32;
    case at::kBFloat16:
      return Element::kBFloat16;
    case at::kHalf:
      return Element::kFloat16;
    default:
      TORCH_CHECK_VALUE(false, "NF4 kernels take float32, bfloat16 and float16, got ",
                        tensor.scalar_type());
  }
}

// The kernels read 16 bytes at a time; a view can begin between them, an allocation cannot.
static Tensor aligned(const Tensor& tensor) {
  const auto address = reinterpret_cast<uintptr_t>(tensor.const_data_ptr());
  return address % 16 == 0 ? tensor : tensor.clone();
}

static cudaStream_t streamOf(const Tensor& tensor) {
  return c10::cuda::getCurrentCUDAStream(tensor.device().index());
}

void quantize(const Tensor& values, int64_t blockSize, Tensor packed, Tensor absmax) {
  const c10::DeviceGuard guard(values.device());
  const Tensor source = aligned(values);
  quantize(source.const_data_ptr(), elementOf(source), source.numel(), blockSize,
           packed.mutable_data_ptr<uint8_t>(), absmax.mutable_data_ptr<float>(),
           streamOf(values));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void quantizeAbsmax(const Tensor& values, const Tensor& map, Tensor codes, Tensor groupAbsmax) {
  const c10::DeviceGuard guard(values.device());
  quantizeAbsmax(values.const_data_ptr<float>(), values.numel(), map.const_data_ptr<float>(),
                 codes.mutable_data_ptr<uint8_t>(), groupAbsmax.mutable_data_ptr<float>(),
                 streamOf(values));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void dequantizeTile(const Weight& weight, int64_t width, int64_t row, int64_t column,
                    Tensor out) {
  const c10::DeviceGuard guard(out.device());
  const Tensor packed = aligned(weight.packed);
  dequantizeTile(packed.const_data_ptr<uint8_t>(), weight.scales(), weight.blockSize, width, row,
                 out.size(0), column, out.size(1), out.mutable_data_ptr(), elementOf(out),
                 streamOf(out));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void dequantize(const Weight& weight, int64_t first, Tensor out) {
  dequantizeTile(weight, first + out.numel(), 0, first, out.view({1, -1}));
}

bool smallBatchFits(int64_t inFeatures) { return inFeatures % kWeightsPerLoad == 0; }

void smallBatchLinear(const Tensor& x, const Weight& weight, const std::optional<Tensor>& bias,
                      Tensor out) {
  const c10::DeviceGuard guard(x.device());
  const Tensor source = aligned(x);
  const Tensor packed = aligned(weight.packed);
  smallBatchLinear(source.const_data_ptr(), elementOf(source), source.size(0),
                   packed.const_data_ptr<uint8_t>(), weight.scales(), weight.blockSize,
                   out.size(1), source.size(1), bias ? bias->const_data_ptr() : nullptr,
                   out.mutable_data_ptr(), streamOf(x));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

}  // namespace pare::nf4::cuda
