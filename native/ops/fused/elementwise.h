// What the fused operations share: float32 arithmetic on float32 or bfloat16 values, in loops that
// the compiler vectorises, once for each instruction set.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <bit>
#include <cstdint>

// The loader takes the version for the processor at hand.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__)
#define PARE_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define PARE_CLONES
#endif
#define PARE_INLINE inline __attribute__((always_inline))

namespace pare::fused {

// bfloat16 as its bits: c10::BFloat16's conversions are calls in the loops' eyes.
struct BFloat16 {
  uint16_t bits;
};

PARE_INLINE float load(float value) { return value; }
PARE_INLINE float load(BFloat16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
}

PARE_INLINE void store(float& to, float value) { to = value; }
// To the nearest, ties to even; NaN stays one.
PARE_INLINE void store(BFloat16& to, float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  to.bits = static_cast<uint16_t>(value != value ? 0x7fc0u : rounded);
}

// A value as a tensor of T would hold it between two operations.
template <typename T>
PARE_INLINE float rounded(float value) {
  T held;
  store(held, value);
  return load(held);
}

// e^x within 2 units in the last place, 0 and infinity beyond float32's range.
PARE_INLINE float exponential(float x) {
  x = x > 89.f ? 89.f : x;  // infinity
  x = x < -104.f ? -104.f : x;
  // x = n ln 2 + r, |r| <= ln 2 / 2; the shift rounds to an integer and leaves it in the low bits.
  const float shifted = x * 1.44269504f + 12582912.f;
  const float n = shifted - 12582912.f;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.f;
  // 2^n in two halves: n may lie outside the exponents of normal numbers.
  const int whole = static_cast<int>(n), half = whole >> 1;
  const auto power = [](int e) {
    return std::bit_cast<float>(static_cast<uint32_t>(e + 127) << 23);
  };
  return p * power(half) * power(whole - half);
}

PARE_INLINE float sigmoid(float x) { return 1.f / (1.f + exponential(-x)); }

// Rows that are worth a thread.
inline int64_t grain(int64_t rowSize) {
  return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, rowSize));
}

// Whether the loops here can do it: on a CPU, contiguous, of one dtype that they know.
inline bool fits(std::initializer_list<const at::Tensor*> tensors) {
  const at::ScalarType dtype = (*tensors.begin())->scalar_type();
  if (dtype != at::kFloat && dtype != at::kBFloat16) return false;
  for (const at::Tensor* tensor : tensors) {
    if (!tensor->is_cpu() || tensor->scalar_type() != dtype) return false;
  }
  return true;
}

template <typename T>
const T* in(const at::Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}
template <typename T>
T* out(const at::Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

// Calls `body` with a null pointer of the element's type.
template <typename Body>
void withElement(const at::Tensor& tensor, Body body) {
  if (tensor.scalar_type() == at::kFloat) {
    body(static_cast<float*>(nullptr));
  } else {
    body(static_cast<BFloat16*>(nullptr));
  }
}

}  // namespace pare::fused
