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
#include "stochastic_rounding.h"
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

// A parameter's new values, from the element `first` on.
template <typename T>
struct ToNearest {
  void operator()(int64_t first, const float* values, int64_t count, T* to) const {
    for (int64_t i = 0; i < count; i++) to[i] = static_cast<T>(values[i]);
  }
};
struct Stochastically {
  uint64_t key;

  void operator()(int64_t first, const float* values, int64_t count, at::BFloat16* to) const {
    rounding::roundAll(key, first, values, count, &to->x);
  }
};

// The tensors of a parameter.
struct Updated {
  Tensor parameter, gradient, codes1, codes2, absmax1, absmax2, step;
};

template <typename T, typename G, typename Store>
static void update(const adam::Step& s, const Updated& u, const Store& store) {
  static const Map isSigned(true), isUnsigned(false);
  T* parameter = u.parameter.mutable_data_ptr<T>();
  const G* gradient = u.gradient.const_data_ptr<G>();
  auto* codes1 = u.codes1.mutable_data_ptr<uint8_t>();
  auto* codes2 = u.codes2.mutable_data_ptr<uint8_t>();
  auto* absmax1 = u.absmax1.mutable_data_ptr<float>();
  auto* absmax2 = u.absmax2.mutable_data_ptr<float>();
  const int64_t total = u.parameter.numel();
  at::parallel_for(0, u.absmax1.numel(), 16, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; block++) {
      const int64_t at = block * kBlock, count = std::min(kBlock, total - at);
      const Moment first{codes1 + at, absmax1 + block}, second{codes2 + at, absmax2 + block};
      float p[kBlock], m[kBlock], v[kBlock];
      first.unpack(isSigned, m, count);
      second.unpack(isUnsigned, v, count);
      for (int64_t i = 0; i < count; i++) {
        p[i] = adam::update(s, static_cast<float>(parameter[at + i]),
                            static_cast<float>(gradient[at + i]), m[i], v[i]);
      }
      store(at, p, count, parameter + at);
      first.pack(isSigned, m, count);
      second.pack(isUnsigned, v, count);
    }
  });
}

static void updateOnCpu(const adam::Settings& settings, const rounding::Rounding& rounding,
                        const Updated& u) {
  const float number = u.step.item().toFloat();
  const adam::Step step = adam::stepOf(settings, number);
  switch (u.parameter.scalar_type()) {
    case at::kFloat:
      return update<float, float>(step, u, ToNearest<float>{});
    case at::kHalf:
      return update<at::Half, at::Half>(step, u, ToNearest<at::Half>{});
    default:
      break;
  }
  const auto from = [&](auto zero) {
    using G = decltype(zero);
    if (rounding.isStochastic) {
      update<at::BFloat16, G>(step, u, Stochastically{rounding.keyAt(number)});
    } else {
      update<at::BFloat16, G>(step, u, ToNearest<at::BFloat16>{});
    }
  };
  if (u.gradient.scalar_type() == at::kFloat) return from(float{});
  return from(at::BFloat16{});
}

#ifdef PARE_WITH_CUDA
static void updateOnCuda(const adam::Settings& settings, const rounding::Rounding& rounding,
                         const Updated& u) {
  static const Maps maps = [] {
    Maps made;
    std::copy_n(dynamicMap(true).const_data_ptr<float>(), kCodes, made.isSigned);
    std::copy_n(dynamicMap(false).const_data_ptr<float>(), kCodes, made.isUnsigned);
    return made;
  }();
  const c10::DeviceGuard guard(u.parameter.device());
  updateOnDevice({u.parameter.mutable_data_ptr(), pare::cuda::elementOf(u.parameter)},
                 {u.gradient.const_data_ptr(), pare::cuda::elementOf(u.gradient)},
                 u.parameter.numel(),
                 pare::cuda::isAligned(u.parameter) && pare::cuda::isAligned(u.gradient),
                 {u.codes1.mutable_data_ptr<uint8_t>(), u.absmax1.mutable_data_ptr<float>()},
                 {u.codes2.mutable_data_ptr<uint8_t>(), u.absmax2.mutable_data_ptr<float>()},
                 u.step.const_data_ptr<float>(), settings, rounding, maps,
                 pare::cuda::streamOf(u.parameter));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}
#endif

static bool hasKernel(const Tensor& parameter) {
#ifdef PARE_WITH_CUDA
  if (parameter.is_cuda()) return true;
#endif
  return parameter.is_cpu();
}

static void check(const Updated& u) {
  const Tensor& parameter = u.parameter;
  TORCH_CHECK_VALUE(hasKernel(parameter), "8-bit AdamW has no kernel for ", parameter.device(),
                    " in this build: take adamw, or rebuild with nvcc and a CUDA libtorch");
  for (const Tensor& state : {u.gradient, u.codes1, u.codes2, u.absmax1, u.absmax2, u.step}) {
    TORCH_CHECK_VALUE(state.device() == parameter.device(), "8-bit AdamW: a parameter is on ",
                      parameter.device(), ", its gradient or state on ", state.device());
  }
  TORCH_CHECK_VALUE(u.step.scalar_type() == at::kFloat && u.step.numel() == 1,
                    "expected the step as a float32 scalar, got ", u.step.sizes(), " ",
                    u.step.scalar_type());
  const auto dtype = parameter.scalar_type();
  TORCH_CHECK_VALUE(dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf,
                    "8-bit AdamW is for float32, bfloat16 and float16, not ", dtype);
  TORCH_CHECK_VALUE(parameter.is_contiguous(), "8-bit AdamW needs contiguous parameters, got ",
                    parameter.sizes(), " with strides ", parameter.strides());
  const auto given = u.gradient.scalar_type();
  TORCH_CHECK_VALUE(given == dtype || (dtype == at::kBFloat16 && given == at::kFloat),
                    "expected a gradient of ", dtype, ", got ", given);
  const int64_t count = parameter.numel();
  for (const Tensor& codes : {u.codes1, u.codes2}) {
    TORCH_CHECK_VALUE(
        codes.scalar_type() == at::kByte && codes.numel() == count && codes.is_contiguous(),
        "expected ", count, " codes as uint8, got ", codes.sizes(), " ", codes.scalar_type());
  }
  for (const Tensor& absmax : {u.absmax1, u.absmax2}) {
    TORCH_CHECK_VALUE(absmax.scalar_type() == at::kFloat && absmax.is_contiguous() &&
                          absmax.numel() == (count + kBlock - 1) / kBlock,
                      "expected one absmax for 256 values as float32, got ", absmax.sizes(), " ",
                      absmax.scalar_type());
  }
}

// In place, as `adamw`: parameters without a gradient stay, `steps` is advanced here. Parameters in
// bfloat16 are rounded by `seed` and their numbers, to the nearest if there are no numbers.
static void adamw8bit(const Tensors& parameters, const Tensors& codes1, const Tensors& codes2,
                      const Tensors& absmax1, const Tensors& absmax2, const Tensors& steps,
                      const adam::Settings& settings, int64_t seed,
                      const std::vector<int64_t>& numbers) {
  c10::AutoGradMode guard(false);
  const auto of = [&](size_t i) -> Updated {
    return {parameters[i], parameters[i].grad(), codes1[i], codes2[i],
            absmax1[i],    absmax2[i],           steps[i]};
  };
  // Nothing is changed unless all fits.
  for (size_t i = 0; i < parameters.size(); i++) {
    if (parameters[i].grad().defined()) check(of(i));
  }
  for (size_t i = 0; i < parameters.size(); i++) {
    if (!parameters[i].grad().defined()) continue;
    Updated u = of(i);
    u.gradient = u.gradient.contiguous();
    u.step.add_(1);
    const rounding::Rounding rounding = rounding::roundingOf(seed, numbers, i);
#ifdef PARE_WITH_CUDA
    if (u.parameter.is_cuda()) updateOnCuda(settings, rounding, u);
#endif
    if (u.parameter.is_cpu()) updateOnCpu(settings, rounding, u);
    // For autograd, which would not see that a value it saved is another now.
    u.parameter.unsafeGetTensorImpl()->bump_version();
  }
}

void registerAdamW8bit(Registry& registry) {
  PARE_OP("adamw8bit",
          (Tensors parameters, Tensors codes1, Tensors codes2, Tensors absmax1, Tensors absmax2,
           Tensors steps, double lr, double beta1, double beta2, double weightDecay, double eps,
           int64_t seed, std::vector<int64_t> numbers),
          adamw8bit(parameters, codes1, codes2, absmax1, absmax2, steps,
                    {lr, beta1, beta2, weightDecay, eps}, seed, numbers))
}

}  // namespace pare
