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
#include "dynamic_map.h"

namespace pare {

using at::Tensor;
using Tensors = std::vector<Tensor>;

static constexpr int64_t kBlock = 256;

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
      start_[bucket] = search(std::bit_cast<float>(bucket << 16 | (negative ? 0xffffu : 0u)));
    }
  }

  float operator[](uint8_t code) const { return values_[code]; }

  // The nearest entry, the lower one on a tie.
  uint8_t nearest(float value) const {
    const uint8_t code = start_[std::bit_cast<uint32_t>(value) >> 16];
    return code + static_cast<uint8_t>(nextIsNearer(code, value));
  }

 private:
  bool nextIsNearer(uint8_t code, float value) const {
    return std::abs(value - values_[code + 1]) < std::abs(value - values_[code]);
  }
  uint8_t search(float value) const {
    uint8_t code = 0;
    while (nextIsNearer(code, value)) code++;
    return code;
  }

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
    // In a block of the smallest subnormals the reciprocal is infinite: those count as its largest.
    const float reciprocal = 1 / largest;
    for (int64_t i = 0; i < count; i++) {
      codes[i] = map.nearest(std::clamp(values[i] * reciprocal, -1.0f, 1.0f));
    }
  }
};

struct Step {
  float beta1, beta2, gradient1, gradient2, rate, correction2, decay, eps;

  Step(double lr, double beta1, double beta2, double weightDecay, double eps, double step)
      : beta1(beta1),
        beta2(beta2),
        gradient1(1 - beta1),
        gradient2(1 - beta2),
        rate(-lr / (1 - std::pow(beta1, step))),
        correction2(std::sqrt(1 - std::pow(beta2, step))),
        decay(1 - lr * weightDecay),
        eps(eps) {}
};

// As the fused instruction of libtorch's vectors, on processors without it, too: the double product
// of floats is exact. That the sum is rounded twice shows once in 2^29.
static inline float multiplyAdd(float a, float b, float c) {
  return static_cast<float>(static_cast<double>(a) * b + c);
}

template <typename T>
static void updateBlock(const Step& s, T* parameter, const T* gradient, const Moment& first,
                        const Moment& second, const Map& isSigned, const Map& isUnsigned,
                        int64_t count) {
  float m[kBlock], v[kBlock];
  first.unpack(isSigned, m, count);
  second.unpack(isUnsigned, v, count);
  for (int64_t i = 0; i < count; i++) {
    const auto g = static_cast<float>(gradient[i]);
    m[i] = multiplyAdd(s.gradient1, g, m[i] * s.beta1);
    v[i] = multiplyAdd(s.gradient2 * g, g, v[i] * s.beta2);
    const float scale = std::sqrt(v[i]) / s.correction2 + s.eps;
    const float decayed = static_cast<float>(parameter[i]) * s.decay;
    parameter[i] = static_cast<T>(decayed + s.rate * m[i] / scale);
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

static void check(const Tensor& parameter, const Tensor& gradient, const Tensor& codes1,
                  const Tensor& codes2, const Tensor& absmax1, const Tensor& absmax2) {
  TORCH_CHECK_VALUE(parameter.is_cpu(),
                    "8-bit AdamW is for parameters on the CPU, not on ", parameter.device());
  const auto dtype = parameter.scalar_type();
  TORCH_CHECK_VALUE(dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf,
                    "8-bit AdamW is for float32, bfloat16 and float16, not ", dtype);
  TORCH_CHECK_VALUE(parameter.is_contiguous(), "8-bit AdamW needs contiguous parameters, got ",
                    parameter.sizes(), " with strides ", parameter.strides());
  TORCH_CHECK_VALUE(gradient.scalar_type() == dtype, "expected a gradient of ", dtype, ", got ",
                    gradient.scalar_type());
  const int64_t count = parameter.numel();
  for (const Tensor& codes : {codes1, codes2}) {
    TORCH_CHECK_VALUE(codes.scalar_type() == at::kByte && codes.numel() == count &&
                          codes.is_contiguous(),
                      "expected ", count, " codes as uint8, got ", codes.sizes(), " ",
                      codes.scalar_type());
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
      check(parameters[i], gradient, codes1[i], codes2[i], absmax1[i], absmax2[i]);
    }
  }
  for (size_t i = 0; i < parameters.size(); i++) {
    const Tensor& parameter = parameters[i];
    if (!parameter.grad().defined()) continue;
    const Tensor gradient = parameter.grad().contiguous();
    steps[i].add_(1);
    const Step step(lr, beta1, beta2, weightDecay, eps, steps[i].item().toDouble());
    const auto run = [&](auto zero) {
      update<decltype(zero)>(step, parameter, gradient, codes1[i], codes2[i], absmax1[i],
                             absmax2[i]);
    };
    switch (parameter.scalar_type()) {
      case at::kFloat: run(float{}); break;
      case at::kBFloat16: run(at::BFloat16{}); break;
      default: run(at::Half{}); break;
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
