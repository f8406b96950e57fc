#include "dynamic_map.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace pare {

// For each exponent i the interval [0.1, 1] times 10^(i - 6) is cut into 2^i equal parts, twice as
// many where no bit is spent on a sign; their midpoints (of both signs), 0 and 1 are the values.
// float32 throughout, as in the original.
at::Tensor dynamicMap(bool isSigned) {
  constexpr int kExponents = 7;
  std::vector<float> values = {0.0f, 1.0f};
  for (int exponent = 0; exponent < kExponents; exponent++) {
    const int64_t parts = int64_t{1} << (exponent + (isSigned ? 0 : 1));
    const at::Tensor bounds = at::linspace(0.1, 1, parts + 1, at::kFloat);
    const auto bound = bounds.accessor<float, 1>();
    const auto factor = static_cast<float>(std::pow(10.0, exponent - (kExponents - 1)));
    for (int64_t i = 0; i < parts; i++) {
      const float value = factor * ((bound[i] + bound[i + 1]) / 2);
      values.push_back(value);
      if (isSigned) values.push_back(-value);
    }
  }
  std::sort(values.begin(), values.end());
  return at::tensor(values, at::kFloat);
}

}  // namespace pare
