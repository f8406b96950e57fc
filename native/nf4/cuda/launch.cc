#include "launch.h"

#include <c10/core/DeviceGuard.h>
#include <c10/cuda/CUDAException.h>

#include <limits>

#include "../../cuda/tensors.h"
#include "kernels.h"

namespace pare::nf4::cuda {

using at::Tensor;
using namespace pare::cuda;

// Halves of kMaxSmallBatch rows and fewer are multiplied straight from the packed weights, those of
// up to this many on tensor cores with weights decoded in shared memory; from then on one pass that
// decodes tiles for the library's product costs less than its faster use of the tensor cores
// saves. Estimated, not measured yet: bench/cuda.ts shows it.
constexpr int64_t kMaxTensorCoreRows = 256;

void quantize(const Tensor& values, int64_t blockSize, Tensor packed, Tensor absmax) {
  const c10::DeviceGuard guard(values.device());
  const Tensor source = aligned(values);
  quantize(source.const_data_ptr(), elementOf(source), source.numel(), blockSize,
           packed.mutable_data_ptr<uint8_t>(), absmax.mutable_data_ptr<float>(), streamOf(values));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void quantizeAbsmax(const Tensor& values, const Tensor& map, Tensor codes, Tensor groupAbsmax) {
  const c10::DeviceGuard guard(values.device());
  quantizeAbsmax(values.const_data_ptr<float>(), values.numel(), map.const_data_ptr<float>(),
                 codes.mutable_data_ptr<uint8_t>(), groupAbsmax.mutable_data_ptr<float>(),
                 streamOf(values));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void dequantizeTile(const Weight& weight, int64_t width, int64_t row, int64_t column, Tensor out) {
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

Tensor gather(const Weight& weight, int64_t rows, int64_t width, const Tensor& ids,
              at::ScalarType dtype) {
  const c10::DeviceGuard guard(weight.packed.device());
  const Tensor packed = aligned(weight.packed);
  Tensor out = at::empty({ids.numel(), width}, packed.options().dtype(dtype));
  gatherRows(packed.const_data_ptr<uint8_t>(), weight.scales(), weight.blockSize, rows, width,
             ids.const_data_ptr<int64_t>(), ids.numel(), out.mutable_data_ptr(), elementOf(out),
             streamOf(out));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

// Tensor cores take halves, and sizes that fit 32 bits.
static bool tensorCoreFits(const Tensor& left, const Tensor& out, int64_t inFeatures) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  return left.scalar_type() != at::kFloat && left.size(0) <= kMaxTensorCoreRows &&
         inFeatures % kTensorCoreIn == 0 && left.size(1) < kMost && out.size(1) < kMost;
}

static int64_t multiprocessorsOf(const Tensor& tensor) {
  int count = 0;
  C10_CUDA_CHECK(
      cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, tensor.device().index()));
  return count;
}

// Where the sum is split, its parts; `splits` is set.
static Tensor partialSums(const Tensor& left, const Tensor& out, int64_t& splits) {
  splits = tensorCoreSplits(left.size(0), left.size(1), out.size(1), multiprocessorsOf(left));
  return at::empty({splits > 1 ? splits * out.numel() : 0}, out.options().dtype(at::kFloat));
}

bool linear(const Tensor& x, const Weight& weight, const std::optional<Tensor>& bias, Tensor out) {
  const c10::DeviceGuard guard(x.device());
  const int64_t rows = x.size(0), outFeatures = out.size(1), inFeatures = x.size(1);
  const bool few = rows <= kMaxSmallBatch && smallBatchFits(elementOf(x), outFeatures, inFeatures);
  if (!few && !tensorCoreFits(x, out, inFeatures)) return false;
  const Tensor source = aligned(x);
  const Tensor packed = aligned(weight.packed);
  const std::optional<Tensor> offset =
      bias ? std::optional(bias->to(x.scalar_type()).contiguous()) : std::nullopt;
  const void* start = offset ? offset->const_data_ptr() : nullptr;
  if (few) {
    smallBatchLinear(source.const_data_ptr(), elementOf(x), rows, packed.const_data_ptr<uint8_t>(),
                     weight.scales(), weight.blockSize, outFeatures, inFeatures, start,
                     out.mutable_data_ptr(), multiprocessorsOf(x), streamOf(x));
  } else {
    int64_t splits;
    const Tensor partial = partialSums(x, out, splits);
    tensorCoreLinear(source.const_data_ptr(), elementOf(x), rows, packed.const_data_ptr<uint8_t>(),
                     weight.scales(), weight.blockSize, outFeatures, inFeatures, start,
                     out.mutable_data_ptr(), partial.mutable_data_ptr<float>(), splits,
                     streamOf(x));
  }
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return true;
}

bool linearBackward(const Tensor& gradOutput, const Weight& weight, Tensor out) {
  const int64_t outFeatures = gradOutput.size(1), inFeatures = out.size(1);
  if (!tensorCoreFits(gradOutput, out, inFeatures) || outFeatures % kTensorCoreOut != 0) {
    return false;
  }
  const c10::DeviceGuard guard(gradOutput.device());
  const Tensor source = aligned(gradOutput);
  const Tensor packed = aligned(weight.packed);
  int64_t splits;
  const Tensor partial = partialSums(gradOutput, out, splits);
  tensorCoreBackward(source.const_data_ptr(), elementOf(source), source.size(0),
                     packed.const_data_ptr<uint8_t>(), weight.scales(), weight.blockSize,
                     outFeatures, inFeatures, out.mutable_data_ptr(),
                     partial.mutable_data_ptr<float>(), splits, streamOf(source));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return true;
}

}  // namespace pare::nf4::cuda
