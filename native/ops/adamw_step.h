// The arithmetic of AdamW, a value at a time, in float32, the same on host and device to the bit:
// products, sums, quotients and roots are each rounded, but for the two fused ones.
#pragma once

#include <cmath>
#include <cstdint>

#include "../cuda/host_device.h"

namespace pare::adam {

#ifdef __CUDA_ARCH__
// Written out, or nvcc would fuse products with sums.
__device__ inline float times(float a, float b) { return __fmul_rn(a, b); }
__device__ inline float plus(float a, float b) { return __fadd_rn(a, b); }
__device__ inline float multiplyAdd(float a, float b, float c) { return __fmaf_rn(a, b, c); }
#else
inline float times(float a, float b) { return a * b; }
inline float plus(float a, float b) { return a + b; }
// As the fused instruction of libtorch's vectors, on processors without it, too: the double product
// of floats is exact. That the sum is rounded twice shows once in 2^29.
inline float multiplyAdd(float a, float b, float c) {
  return static_cast<float>(static_cast<double>(a) * b + c);
}
#endif

struct Settings {
  double lr, beta1, beta2, weightDecay, eps;
};

// What is the same for all values of a step.
struct Step {
  float beta1, beta2, gradient1, gradient2, rate, correction2, decay, eps;
};

// `number` is that of the step, from 1.
PARE_HOST_DEVICE inline Step stepOf(const Settings& s, double number) {
  return {static_cast<float>(s.beta1),
          static_cast<float>(s.beta2),
          static_cast<float>(1 - s.beta1),
          static_cast<float>(1 - s.beta2),
          static_cast<float>(-s.lr / (1 - std::pow(s.beta1, number))),
          static_cast<float>(std::sqrt(1 - std::pow(s.beta2, number))),
          static_cast<float>(1 - s.lr * s.weightDecay),
          static_cast<float>(s.eps)};
}

// The new parameter; `first` and `second` are its moments.
PARE_HOST_DEVICE inline float update(const Step& s, float parameter, float gradient, float& first,
                                     float& second) {
  first = multiplyAdd(s.gradient1, gradient, times(first, s.beta1));
  second = multiplyAdd(times(s.gradient2, gradient), gradient, times(second, s.beta2));
  const float scale = plus(std::sqrt(second) / s.correction2, s.eps);
  return plus(times(parameter, s.decay), times(s.rate, first) / scale);
}

}  // namespace pare::adam
