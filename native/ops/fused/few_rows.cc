// A bfloat16 product of few rows, as in a step of generation: the weights are read once, at the
// memory's speed, and summed in float32. libtorch's takes two to three times as long.
#include "elementwise.h"
#include "fused.h"

namespace pare {

using at::Tensor;

namespace fused {

// Vectors of the compiler: one register of AVX-512, two of AVX2, four of SSE or NEON.
typedef float Floats __attribute__((vector_size(64)));
typedef uint32_t Words __attribute__((vector_size(64)));
typedef uint16_t Halves __attribute__((vector_size(32), aligned(2)));
typedef float LooseFloats __attribute__((vector_size(64), aligned(4)));

constexpr int64_t kLanes = 16;
// Weights that are asked for before they are used, in values.
constexpr int64_t kAhead = 8192;
constexpr int64_t kNear = 256;

PARE_INLINE Floats loadWeights(const BFloat16* from) {
  const Halves halves = *reinterpret_cast<const Halves*>(from);
  return std::bit_cast<Floats>(__builtin_convertvector(halves, Words) << 16);
}

// Columns [column, column + kColumns) of x [kRows, size] times weight [columns, size] transposed.
template <int kRows, int kColumns>
PARE_INLINE void multiplyColumns(const float* x, const BFloat16* weight, const float* bias,
                                 BFloat16* y, int64_t size, int64_t columns, int64_t column) {
  Floats sums[kColumns][kRows] = {};
  const BFloat16* rows = weight + column * size;
  // Whole steps of columns, and far enough that the memory answers in time: into the L2 cache, which
  // waits for more lines at once, and from there into the L1 cache.
  const int64_t step = kColumns * size;
  const int64_t ahead = step * ((kAhead + step - 1) / step);
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    Floats weights[kColumns];
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; c++) {
      __builtin_prefetch(rows + c * size + i + ahead, 0, 2);
      __builtin_prefetch(rows + c * size + i + kNear);
      weights[c] = loadWeights(rows + c * size + i);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; r++) {
      const Floats values = *reinterpret_cast<const LooseFloats*>(x + r * size + i);
#pragma GCC unroll 8
      for (int c = 0; c < kColumns; c++) sums[c][r] += weights[c] * values;
    }
  }
  for (int c = 0; c < kColumns; c++) {
    for (int r = 0; r < kRows; r++) {
      float sum = bias == nullptr ? 0.f : bias[column + c];
      for (int lane = 0; lane < kLanes; lane++) sum += sums[c][r][lane];
      for (int64_t j = i; j < size; j++) sum += load(rows[c * size + j]) * x[r * size + j];
      store(y[r * columns + column + c], sum);
    }
  }
}

template <int kRows>
PARE_INLINE void multiplyRows(const float* x, const BFloat16* weight, const float* bias,
                              BFloat16* y, int64_t size, int64_t columns, int64_t begin,
                              int64_t end) {
  // Independent sums hide the latency of adding.
  constexpr int kTogether = kRows <= 6 ? 4 : 3;
  int64_t column = begin;
  for (; column + kTogether <= end; column += kTogether) {
    multiplyColumns<kRows, kTogether>(x, weight, bias, y, size, columns, column);
  }
  for (; column < end; column++) {
    multiplyColumns<kRows, 1>(x, weight, bias, y, size, columns, column);
  }
}

PARE_CLONES static void multiply(int64_t rows, const float* x, const BFloat16* weight,
                                 const float* bias, BFloat16* y, int64_t size, int64_t columns,
                                 int64_t begin, int64_t end) {
  switch (rows) {
    case 1: return multiplyRows<1>(x, weight, bias, y, size, columns, begin, end);
    case 2: return multiplyRows<2>(x, weight, bias, y, size, columns, begin, end);
    case 3: return multiplyRows<3>(x, weight, bias, y, size, columns, begin, end);
    case 4: return multiplyRows<4>(x, weight, bias, y, size, columns, begin, end);
    case 5: return multiplyRows<5>(x, weight, bias, y, size, columns, begin, end);
    case 6: return multiplyRows<6>(x, weight, bias, y, size, columns, begin, end);
    case 7: return multiplyRows<7>(x, weight, bias, y, size, columns, begin, end);
    default: return multiplyRows<8>(x, weight, bias, y, size, columns, begin, end);
  }
}

}  // namespace fused

bool fewRowsFit(const Tensor& x, const Tensor& weight) {
  return weight.dim() == 2 && weight.numel() > 0 && weight.is_contiguous() && x.dim() > 0 &&
         x.scalar_type() == at::kBFloat16 && fused::fits({&x, &weight}) &&
         x.size(-1) == weight.size(1) && x.numel() > 0 && x.numel() <= kFewRows * x.size(-1);
}

Tensor fewRowsLinear(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias) {
  const int64_t size = weight.size(1), columns = weight.size(0), rows = x.numel() / size;
  const Tensor values = x.to(at::kFloat).contiguous();
  const std::optional<Tensor> offset =
      bias ? std::optional(bias->to(at::kFloat).contiguous()) : std::nullopt;
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = columns;
  Tensor y = at::empty(shape, x.options());
  at::parallel_for(0, columns, fused::grain(size), [&](int64_t begin, int64_t end) {
    fused::multiply(rows, fused::in<float>(values), fused::in<fused::BFloat16>(weight),
                    offset ? fused::in<float>(*offset) : nullptr, fused::out<fused::BFloat16>(y),
                    size, columns, begin, end);
  });
  return y;
}

}  // namespace pare
