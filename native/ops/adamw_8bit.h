// The arithmetic of AdamW with moments in 8 bits, a value at a time, the same on host and device to
// the bit: products, sums, quotients and roots are each rounded, but for the two fused ones.
#pragma once

#include <cmath>
#include <cstdint>

#include "../cuda/host_device.h"

namespace pare::blockwise {

constexpr int64_t kBlock = 256;  // values under one absmax
constexpr int kCodes = 256;

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

// What is the same for all values of a step.
struct Step {
  float beta1, beta2, gradient1, gradient2, rate, correction2, decay, eps;
};

PARE_HOST_DEVICE inline Step stepOf(double lr, double beta1, double beta2, double weightDecay,
                                    double eps, double step) {
  return {static_cast<float>(beta1),
          static_cast<float>(beta2),
          static_cast<float>(1 - beta1),
          static_cast<float>(1 - beta2),
          static_cast<float>(-lr / (1 - std::pow(beta1, step))),
          static_cast<float>(std::sqrt(1 - std::pow(beta2, step))),
          static_cast<float>(1 - lr * weightDecay),
          static_cast<float>(eps)};
}

// The new parameter; `first` and `second` are its moments.
PARE_HOST_DEVICE inline float update(const Step& s, float parameter, float gradient, float& first,
                                     float& second) {
  first = multiplyAdd(s.gradient1, gradient, times(first, s.beta1));
  second = multiplyAdd(times(s.gradient2, gradient), gradient, times(second, s.beta2));
  const float scale = plus(std::sqrt(second) / s.correction2, s.eps);
  return plus(times(parameter, s.decay), times(s.rate, first) / scale);
}

// A moment on its way to a code, given 1 / absmax. In a block of the smallest subnormals that is
// infinite: those count as the largest.
PARE_HOST_DEVICE inline float normalized(float value, float reciprocal) {
  const float unit = times(value, reciprocal);
  return unit < -1.0f ? -1.0f : 1.0f < unit ? 1.0f : unit;
}

// `map` has an entry more, infinity, which is never nearer. Of NaN nothing is.
PARE_HOST_DEVICE inline bool nextIsNearer(const float* map, int code, float value) {
  return std::fabs(value - map[code + 1]) < std::fabs(value - map[code]);
}

// The nearest entry of an ascending map, the lower one on a tie.
PARE_HOST_DEVICE inline uint8_t nearest(const float* map, float value) {
  int low = 0, high = kCodes - 1;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (nextIsNearer(map, middle, value)) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return static_cast<uint8_t>(low);
}

}  // namespace pare::blockwise
