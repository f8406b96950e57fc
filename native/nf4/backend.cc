#include "backend.h"

#include "cpu/kernels.h"
#ifdef PARE_WITH_CUDA
#include "cuda/launch.h"
#endif

namespace pare::nf4::backend {

static void requireCpu(const at::Device& device) {
  TORCH_CHECK(device.is_cpu(), "NF4 has no kernels for ", device.str(),
              " in this build: move the tensor to the CPU",
              device.is_cuda() ? ", or rebuild with nvcc and a CUDA libtorch" : "");
}

// One line a function: the GPU's version where there is one, else insist on the CPU.
#ifdef PARE_WITH_CUDA
#define PARE_ON_CUDA(device, call) \
  if ((device).is_cuda()) return cuda::call;
#else
#define PARE_ON_CUDA(device, call)
#endif

bool supports(const at::Device& device, at::ScalarType dtype) {
  return dtype == at::kFloat || device.is_cuda();
}

// 4 MiB of float32 stays in a core's or a socket's cache; a GPU wants larger products.
int64_t tileSize(const at::Device& device) {
  return device.is_cuda() ? int64_t{1} << 24 : int64_t{1} << 20;
}

void quantize(const at::Tensor& values, int64_t blockSize, at::Tensor packed, at::Tensor absmax) {
  PARE_ON_CUDA(values.device(), quantize(values, blockSize, packed, absmax))
  requireCpu(values.device());
  cpu::quantize(values.const_data_ptr<float>(), values.numel(), blockSize,
                packed.mutable_data_ptr<uint8_t>(), absmax.mutable_data_ptr<float>());
}

void quantizeAbsmax(const at::Tensor& values, const at::Tensor& map, at::Tensor codes,
                    at::Tensor groupAbsmax) {
  PARE_ON_CUDA(values.device(), quantizeAbsmax(values, map, codes, groupAbsmax))
  requireCpu(values.device());
  cpu::quantizeAbsmax(values.const_data_ptr<float>(), values.numel(), map.const_data_ptr<float>(),
                      codes.mutable_data_ptr<uint8_t>(), groupAbsmax.mutable_data_ptr<float>());
}

void dequantize(const Weight& weight, int64_t first, at::Tensor out) {
  PARE_ON_CUDA(out.device(), dequantize(weight, first, out))
  requireCpu(out.device());
  cpu::dequantize(weight.packed.const_data_ptr<uint8_t>(), weight.scales(), weight.blockSize,
                  first, out.numel(), out.mutable_data_ptr<float>());
}

void dequantizeTile(const Weight& weight, int64_t width, int64_t row, int64_t column,
                    at::Tensor out) {
  PARE_ON_CUDA(out.device(), dequantizeTile(weight, width, row, column, out))
  requireCpu(out.device());
  cpu::dequantizeTile(weight.packed.const_data_ptr<uint8_t>(), weight.scales(), weight.blockSize,
                      width, row, out.size(0), column, out.size(1),
                      out.mutable_data_ptr<float>());
}

bool smallBatchFits(const at::Tensor& x, int64_t inFeatures) {
  PARE_ON_CUDA(x.device(), smallBatchFits(inFeatures))
  return x.size(0) <= kMaxSmallBatch;
}

void smallBatchLinear(const at::Tensor& x, const Weight& weight,
                      const std::optional<at::Tensor>& bias, at::Tensor out) {
  PARE_ON_CUDA(x.device(), smallBatchLinear(x, weight, bias, out))
  requireCpu(x.device());
  cpu::smallBatchLinear(x.const_data_ptr<float>(), x.size(0),
                        weight.packed.const_data_ptr<uint8_t>(), weight.scales(),
                        weight.blockSize, out.size(1), x.size(1),
                        bias ? bias->const_data_ptr<float>() : nullptr,
                        out.mutable_data_ptr<float>());
}

}  // namespace pare::nf4::backend
