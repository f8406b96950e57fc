#include "backend.h"

#include <ATen/Dispatch.h>

#include <algorithm>
#include <memory>

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

static cpu::Float floatOf(const at::Tensor& values) {
  switch (values.scalar_type()) {
    case at::kFloat:
      return cpu::Float::kFloat32;
    case at::kBFloat16:
      return cpu::Float::kBFloat16;
    case at::kHalf:
      return cpu::Float::kFloat16;
    default:
      TORCH_CHECK(false, "NF4 has no kernels for ", values.scalar_type());
  }
}

// libtorch's products of halves are slow on a CPU that does not have them.
at::ScalarType productDtype(const at::Device& device, at::ScalarType dtype) {
  if (!device.is_cpu()) return dtype;
  const bool half = dtype == at::kBFloat16 && cpu::path().multiplyBFloat16 != nullptr;
  if (half) return dtype;
  return at::kFloat;
}

// 2 MiB of float32 and 4 of bfloat16 were best on a Zen 5, backward above all; a GPU wants larger
// products.
int64_t tileSize(const at::Device& device, at::ScalarType dtype) {
  return int64_t{1} << (device.is_cuda() ? 24 : dtype == at::kFloat ? 19 : 21);
}

void quantize(const at::Tensor& values, int64_t blockSize, at::Tensor packed, at::Tensor absmax) {
  PARE_ON_CUDA(values.device(), quantize(values, blockSize, packed, absmax))
  requireCpu(values.device());
  cpu::quantize(values.const_data_ptr(), floatOf(values), values.numel(), blockSize,
                packed.mutable_data_ptr<uint8_t>(), absmax.mutable_data_ptr<float>());
}

void quantizeAbsmax(const at::Tensor& values, const at::Tensor& map, at::Tensor codes,
                    at::Tensor groupAbsmax) {
  PARE_ON_CUDA(values.device(), quantizeAbsmax(values, map, codes, groupAbsmax))
  requireCpu(values.device());
  cpu::quantizeAbsmax(values.const_data_ptr<float>(), values.numel(), map.const_data_ptr<float>(),
                      codes.mutable_data_ptr<uint8_t>(), groupAbsmax.mutable_data_ptr<float>());
}

void dequantize(const Weight& weight, at::Tensor out) {
  PARE_ON_CUDA(out.device(), dequantize(weight, 0, out))
  requireCpu(out.device());
  cpu::dequantize(weight.packed.const_data_ptr<uint8_t>(), weight.scales(), weight.blockSize, 0,
                  out.numel(), out.mutable_data_ptr(), floatOf(out));
}

void dequantizeTile(const Weight& weight, int64_t width, int64_t row, int64_t column,
                    at::Tensor out) {
  PARE_ON_CUDA(out.device(), dequantizeTile(weight, width, row, column, out))
  requireCpu(out.device());
  cpu::dequantizeTile(weight.packed.const_data_ptr<uint8_t>(), weight.scales(), weight.blockSize,
                      width, row, out.size(0), column, out.size(1), out.mutable_data_ptr(),
                      floatOf(out));
}

std::optional<at::Tensor> gather(const Weight& weight, int64_t rows, int64_t width,
                                 const at::Tensor& ids, at::ScalarType dtype) {
  PARE_ON_CUDA(weight.packed.device(), gather(weight, rows, width, ids, dtype))
  return std::nullopt;
}

namespace {

// A contiguous tensor's values as float32, without a tensor of their own: in a step of generation
// that would cost more than the values.
class Values {
 public:
  Values() = default;
  explicit Values(const at::Tensor& tensor) {
    if (tensor.scalar_type() == at::kFloat) {
      values_ = tensor.const_data_ptr<float>();
      return;
    }
    copy_ = std::make_unique_for_overwrite<float[]>(tensor.numel());
    values_ = copy_.get();
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, tensor.scalar_type(), "values", [&] {
      const scalar_t* from = tensor.const_data_ptr<scalar_t>();
      std::transform(from, from + tensor.numel(), copy_.get(),
                     [](scalar_t value) { return static_cast<float>(value); });
    });
  }

  const float* get() const { return values_; }

 private:
  std::unique_ptr<float[]> copy_;
  const float* values_ = nullptr;
};

void write(const float* values, const at::Tensor& out) {
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, out.scalar_type(), "write", [&] {
    std::transform(values, values + out.numel(), out.mutable_data_ptr<scalar_t>(),
                   [](float value) { return static_cast<scalar_t>(value); });
  });
}

}  // namespace

namespace {

// Rows of bfloat16 by panels of decoded weights.
bool byPanels(const at::Tensor& rows, const Weight& weight, const std::optional<at::Tensor>& bias,
              bool backward, const at::Tensor& out) {
  const int64_t inFeatures = backward ? out.size(1) : rows.size(1);
  if (rows.scalar_type() != at::kBFloat16) return false;
  if (!cpu::multipliesByPanels(weight.blockSize, inFeatures, backward)) return false;
  const at::Tensor contiguous = rows.contiguous();
  const Values offset = bias ? Values(bias->contiguous()) : Values();
  const auto* values = reinterpret_cast<const uint16_t*>(contiguous.const_data_ptr<at::BFloat16>());
  cpu::panelLinear(values, rows.size(0), weight.packed.const_data_ptr<uint8_t>(), weight.scales(),
                   weight.blockSize, backward ? rows.size(1) : out.size(1), inFeatures, backward,
                   offset.get(), reinterpret_cast<uint16_t*>(out.mutable_data_ptr<at::BFloat16>()));
  return true;
}

}  // namespace

bool linear(const at::Tensor& x, const Weight& weight, const std::optional<at::Tensor>& bias,
            at::Tensor out) {
  PARE_ON_CUDA(x.device(), linear(x, weight, bias, out))
  requireCpu(x.device());
  if (x.size(0) > kMaxSmallBatch && byPanels(x, weight, bias, false, out)) return true;
  if (x.size(0) > cpu::path().mostRows) return false;
  // Multiplied in bfloat16 where the processor does that, as in tiles: in float32 one row of a Zen 4
  // took 17 cycles for 64 bytes of weights in place of 10.
  const bool half = x.scalar_type() == at::kBFloat16 && cpu::multipliesBFloat16(x.size(1));
  const at::Tensor rows = x.contiguous();
  const Values input = half ? Values() : Values(rows);
  const Values offset = bias ? Values(bias->contiguous()) : Values();
  const bool direct = out.scalar_type() == at::kFloat;
  const auto sums = direct ? nullptr : std::make_unique_for_overwrite<float[]>(out.numel());
  float* result = direct ? out.mutable_data_ptr<float>() : sums.get();
  cpu::smallBatchLinear(half ? rows.const_data_ptr() : input.get(),
                        half ? cpu::Float::kBFloat16 : cpu::Float::kFloat32, x.size(0),
                        weight.packed.const_data_ptr<uint8_t>(), weight.scales(), weight.blockSize,
                        out.size(1), x.size(1), offset.get(), result);
  if (!direct) write(result, out);
  return true;
}

bool linearBackward(const at::Tensor& gradOutput, const Weight& weight, at::Tensor out) {
  PARE_ON_CUDA(out.device(), linearBackward(gradOutput, weight, out))
  requireCpu(out.device());
  return byPanels(gradOutput, weight, std::nullopt, true, out);
}

}  // namespace pare::nf4::backend
