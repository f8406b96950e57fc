#include "counter_normal.h"

#include <ATen/Parallel.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cmath>
#include <stdexcept>

#include "../ops/split_mix.h"

namespace pare {

template <typename Float>
static void fill(void* bytes, int64_t count, uint64_t seed, int64_t first, double deviation) {
  auto* values = static_cast<Float*>(bytes);
  const uint64_t start = mix(seed + 1) + static_cast<uint64_t>(first);
  // The sum of four uniform numbers of 16 bits, whose variance is (2^32 - 1) / 12 each.
  constexpr float kMean = 4 * 32767.5f;
  const auto scale = static_cast<float>(deviation / std::sqrt(4294967295.0 / 3));
  at::parallel_for(0, count, 65536, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      const uint64_t x = mix(start + static_cast<uint64_t>(i));
      const auto sum = static_cast<uint32_t>((x & 0xffff) + ((x >> 16) & 0xffff) +
                                             ((x >> 32) & 0xffff) + (x >> 48));
      values[i] = static_cast<Float>((static_cast<float>(sum) - kMean) * scale);
    }
  });
}

void fillNormal(void* bytes, size_t size, at::ScalarType dtype, uint64_t seed, int64_t first,
                double deviation) {
  const auto count = static_cast<int64_t>(size / c10::elementSize(dtype));
  switch (dtype) {
    case at::kFloat:
      return fill<float>(bytes, count, seed, first, deviation);
    case at::kBFloat16:
      return fill<c10::BFloat16>(bytes, count, seed, first, deviation);
    case at::kHalf:
      return fill<c10::Half>(bytes, count, seed, first, deviation);
    default:
      throw std::invalid_argument("random values are float32, bfloat16 or float16");
  }
}

}  // namespace pare
