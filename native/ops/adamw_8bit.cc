// AdamW with both moments in 8 bits (Dettmers et al. 2022, 8-bit optimizers via block-wise
// quantization), as bitsandbytes' AdamW8bit: blocks of 256 values with their absmax, the signed
// dynamic map for the first moment, the unsigned for the second. A block is unpacked, updated and
// packed in the cache; nothing of the parameter's size is allocated.
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "../bridge/rooms.h"
#include "adamw_8bit.h"
#include "dynamic_map.h"
#ifdef PARE_WITH_CUDA
#include <c10/core/DeviceGuard.h>
#include <c10/cuda/CUDAException.h>

#include "../cuda/tensors.h"
#include "cuda/adamw_8bit.h"
#endif

namespace pare {

using at::Tensor;
using Tensors = std::vector<Tensor>;
using namespace blockwise;

// The dynamic map with its inverse. A value's upper 16 bits name a bucket that holds at most one
// boundary between entries, so the nearest entry costs one look-up and one comparison.
class Map {
 public:
  explicit Map(bool isSigned) {
    const Tensor map = dynamicMap(isSigned);
    values_.back() = std::numeric_limits<float>::infinity();
    std::copy_n(map.const_data_ptr<float>(), 256, values_.begin());
    for (uint32_t bucket = 0; bucket < start_.size(); bucket++) {
      const bool negative = bucket >= 0x8000;
      start_[bucket] = blockwise::nearest(
          values_.data(), std::bit_cast<float>(bucket << 16 | (negative ? 0xffffu : 0u)));
    }
  }

  float operator[](uint8_t code) const { return values_[code]; }

  // The nearest entry, the lower one on a tie.
  uint8_t nearest(float value) const {
    const uint8_t code = start_[std::bit_cast<uint32_t>(value) >> 16];
    return code + static_cast<uint8_t>(nextIsNearer(values_.data(), code, value));
  }

 private:
  // Behind the last entry stands one that is never nearer: no branch, which would often be missed.
  std::array<float, 257> values_;
  std::array<uint8_t, 65536> start_;
};

// A moment of one block: codes and absmax as stored.
struct Moment {
  uint8_t* codes;
  float* absmax;

  void unpack(const Map& map, float* values, int64_t count) const {
    for (int64_t i = 0; i < count; i++) values[i] = map[codes[i]] * *absmax;
  }
  void pack(const Map& map, const float* values, int64_t count) const {
    float largest = 0;
    for (int64_t i = 0; i < count; i++) largest = std::max(largest, std::abs(values[i]));
    *absmax = largest;
    if (largest == 0) {
      std::fill_n(codes, count, 0);
      return;
    }
    const float reciprocal = 1 / largest;
    for (int64_t i = 0; i < count; i++) codes[i] = map.nearest(normalized(values[i], reciprocal));
  }
};

template <typename T>
static void updateBlock(const Step& s, T* parameter, const T* gradient, const Moment& first,
                        const Moment& second, const Map& isSigned, const Map& isUnsigned,
                        int64_t count) {
  float m[kBlock], v[kBlock];
  first.unpack(isSigned, m, count);
  second.unpack(isUnsigned, v, count);
  for (int64_t i = 0; i < count; i++) {
    parameter[i] = static_cast<T>(blockwise::update(s, static_cast<float>(parameter[i]),
                                                    static_cast<float>(gradient[i]), m[i], v[i]));
  }
  first.pack(isSigned, m, count);
  second.pack(isUnsigned, v, count);
}

template <typename T>
static void update(const Step& s, const Tensor& parameter, const Tensor& gradient, Tensor codes1,
                   Tensor codes2, Tensor absmax1, Tensor absmax2) {
  static const Map isSigned(true), isUnsigned(false);
  T* p = parameter.mutable_data_ptr<T>();
  const T* g = gradient.const_data_ptr<T>();
  auto* c1 = codes1.mutable_data_ptr<uint8_t>();
  auto* c2 = codes2.mutable_data_ptr<uint8_t>();
  auto* a1 = absmax1.mutable_data_ptr<float>();
  auto* a2 = absmax2.mutable_data_ptr<float>();
  const int64_t count = parameter.numel();
  at::parallel_for(0, absmax1.numel(), 16, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; block++) {
      const int64_t at = block * kBlock;
      updateBlock(s, p + at, g + at, {c1 + at, a1 + block}, {c2 + at, a2 + block}, isSigned,
                  isUnsigned, std::min(kBlock, count - at));
    }
  });
}

#ifdef PARE_WITH_CUDA
static void updateOnCuda(const Settings& settings, const Tensor& parameter, const Tensor& gradient,
                         const Tensor& codes1, const Tensor& codes2, const Tensor& absmax1,
                         const Tensor& absmax2, const Tensor& step) {
  static const Maps maps = [] {
    Maps made;
    std::copy_n(dynamicMap(true).const_data_ptr<float>(), kCodes, made.isSigned);
    std::copy_n(dynamicMap(false).const_data_ptr<float>(), kCodes, made.isUnsigned);
    return made;
  }();
  const c10::DeviceGuard guard(parameter.device());
  updateOnDevice(parameter.mutable_data_ptr(), gradient.const_data_ptr(),
                 pare::cuda::elementOf(parameter), parameter.numel(),
                 pare::cuda::isAligned(parameter) && pare::cuda::isAligned(gradient),
                 {codes1.mutable_data_ptr<uint8_t>(), absmax1.mutable_data_ptr<float>()},
                 {codes2.mutable_data_ptr<uint8_t>(), absmax2.mutable_data_ptr<float>()},
                 step.const_data_ptr<float>(), settings, maps, pare::cuda::streamOf(parameter));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}
#endif

static bool hasKernel(const Tensor& parameter) {
#ifdef PARE_WITH_CUDA
  if (parameter.is_cuda()) return true;
#endif
  return parameter.is_cpu();
}

static void check(const Tensor& parameter, const Tensor& gradient, const Tensor& codes1,
                  const Tensor& codes2, const Tensor& absmax1, const Tensor& absmax2,
                  const Tensor& step) {
  TORCH_CHECK_VALUE(hasKernel(parameter), "8-bit AdamW has no kernel for ", parameter.device(),
                    " in this build: take adamw, or rebuild with nvcc and a CUDA libtorch");
  for (const Tensor& state : {gradient, codes1, codes2, absmax1, absmax2, step}) {
    TORCH_CHECK_VALUE(state.device() == parameter.device(), "8-bit AdamW: a parameter is on ",
                      parameter.device(), ", its gradient or state on ", state.device());
  }
  TORCH_CHECK_VALUE(step.scalar_type() == at::kFloat && step.numel() == 1,
                    "expected the step as a float32 scalar, got ", step.sizes(), " ",
                    step.scalar_type());
  const auto dtype = parameter.scalar_type();
  TORCH_CHECK_VALUE(dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf,
                    "8-bit AdamW is for float32, bfloat16 and float16, not ", dtype);
  TORCH_CHECK_VALUE(parameter.is_contiguous(), "8-bit AdamW needs contiguous parameters, got ",
                    parameter.sizes(), " with strides ", parameter.strides());
  TORCH_CHECK_VALUE(gradient.scalar_type() == dtype, "expected a gradient of ", dtype, ", got ",
                    gradient.scalar_type());
  const int64_t count = parameter.numel();
  for (const Tensor& codes : {codes1, codes2}) {
    TORCH_CHECK_VALUE(
        codes.scalar_type() == at::kByte && codes.numel() == count && codes.is_contiguous(),
        "expected ", count, " codes as uint8, got ", codes.sizes(), " ", codes.scalar_type());
  }
  for (const Tensor& absmax : {absmax1, absmax2}) {
    TORCH_CHECK_VALUE(absmax.scalar_type() == at::kFloat && absmax.is_contiguous() &&
                          absmax.numel() == (count + kBlock - 1) / kBlock,
                      "expected one absmax for 256 values as float32, got ", absmax.sizes(), " ",
                      absmax.scalar_type());
  }
}

// In place, as `adamw`: parameters without a gradient stay, `steps` is advanced here.
static void adamw8bit(const Tensors& parameters, const Tensors& codes1, const Tensors& codes2,
                      const Tensors& absmax1, const Tensors& absmax2, const Tensors& steps,
                      double lr, double beta1, double beta2, double weightDecay, double eps) {
  c10::AutoGradMode guard(false);
  // Nothing is changed unless all fits.
  for (size_t i = 0; i < parameters.size(); i++) {
    const Tensor& gradient = parameters[i].grad();
    if (gradient.defined()) {
      check(parameters[i], gradient, codes1[i], codes2[i], absmax1[i], absmax2[i], steps[i]);
    }
  }
  for (size_t i = 0; i < parameters.size(); i++) {
    const Tensor& parameter = parameters[i];
    if (!parameter.grad().defined()) continue;
    const Tensor gradient = parameter.grad().contiguous();
    steps[i].add_(1);
#ifdef PARE_WITH_CUDA
    if (parameter.is_cuda()) {
      updateOnCuda({lr, beta1, beta2, weightDecay, eps}, parameter, gradient, codes1[i], codes2[i],
                   absmax1[i], absmax2[i], steps[i]);
      parameter.unsafeGetTensorImpl()->bump_version();
      continue;
    }
#endif
    const Step step = stepOf(lr, beta1, beta2, weightDecay, eps, steps[i].item().toDouble());
    const auto run = [&](auto zero) {
      update<decltype(zero)>(step, parameter, gradient, codes1[i], codes2[i], absmax1[i],
                             absmax2[i]);
    };
    switch (parameter.scalar_type()) {
      case at::kFloat:
        run(float{});
        break;
      case at::kBFloat16:
        run(at::BFloat16{});
        break;
      default:
        run(at::Half{});
        break;
    }
    // For autograd, which would not see that a value it saved is another now.
    parameter.unsafeGetTensorImpl()->bump_version();
  }
}

void registerAdamW8bit(Registry& registry) {
  PARE_OP("adamw8bit",
          (Tensors parameters, Tensors codes1, Tensors codes2, Tensors absmax1, Tensors absmax2,
           Tensors steps, double lr, double beta1, double beta2, double weightDecay, double eps),
          adamw8bit(parameters, codes1, codes2, absmax1, absmax2, steps, lr, beta1, beta2,
                    weightDecay, eps))
}

}  // namespace pare
