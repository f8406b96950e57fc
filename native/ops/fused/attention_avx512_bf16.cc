#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "attention.h"

namespace pare::fused {

namespace {

// Queries that are worked on together: their scores stay in the second cache.
constexpr int64_t kBlock = 64;
constexpr int64_t kLanes = 16;
constexpr float kNever = -std::numeric_limits<float>::infinity();

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
template <typename T>
using Buffer = std::unique_ptr<T[], Free>;

template <typename T>
Buffer<T> allocate(int64_t count) {
  const size_t bytes = (count * sizeof(T) + 63) / 64 * 64;
  return Buffer<T>(static_cast<T*>(std::aligned_alloc(64, std::max<size_t>(bytes, 64))));
}

int64_t roundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// The operands of a product: a pair of bfloat16 that follow each other in the inner dimension is
// one 32-bit word. `a` is read a word at a time, at any strides; `b` [pairs, columns] a vector at a
// time.
struct Left {
  const uint32_t* words;
  int64_t rowStride, pairStride;
};

template <int kRows, int kVectors>
void multiplyTile(const Left& a, const uint32_t* b, int64_t bStride, int64_t pairs, float* c,
                  int64_t cStride, bool accumulate) {
  __m512 sums[kRows][kVectors];
  for (int i = 0; i < kRows; i++) {
    for (int j = 0; j < kVectors; j++) {
      sums[i][j] = accumulate ? _mm512_loadu_ps(c + i * cStride + j * kLanes) : _mm512_setzero_ps();
    }
  }
  for (int64_t pair = 0; pair < pairs; pair++, b += bStride) {
    __m512bh columns[kVectors];
    for (int j = 0; j < kVectors; j++) {
      columns[j] = (__m512bh)_mm512_loadu_si512(b + j * kLanes);
    }
    for (int i = 0; i < kRows; i++) {
      const __m512bh row = (__m512bh)_mm512_set1_epi32(
          static_cast<int>(a.words[i * a.rowStride + pair * a.pairStride]));
      for (int j = 0; j < kVectors; j++) {
        sums[i][j] = _mm512_dpbf16_ps(sums[i][j], row, columns[j]);
      }
    }
  }
  for (int i = 0; i < kRows; i++) {
    for (int j = 0; j < kVectors; j++) {
      _mm512_storeu_ps(c + i * cStride + j * kLanes, sums[i][j]);
    }
  }
}

template <int kVectors>
void multiplyColumns(Left a, int64_t rows, const uint32_t* b, int64_t bStride, int64_t pairs,
                     float* c, int64_t cStride, bool accumulate) {
  constexpr int kRows = 6;
  int64_t row = 0;
  for (; row + kRows <= rows; row += kRows) {
    multiplyTile<kRows, kVectors>(a, b, bStride, pairs, c, cStride, accumulate);
    a.words += kRows * a.rowStride;
    c += kRows * cStride;
  }
  switch (rows - row) {
    case 5: return multiplyTile<5, kVectors>(a, b, bStride, pairs, c, cStride, accumulate);
    case 4: return multiplyTile<4, kVectors>(a, b, bStride, pairs, c, cStride, accumulate);
    case 3: return multiplyTile<3, kVectors>(a, b, bStride, pairs, c, cStride, accumulate);
    case 2: return multiplyTile<2, kVectors>(a, b, bStride, pairs, c, cStride, accumulate);
    case 1: return multiplyTile<1, kVectors>(a, b, bStride, pairs, c, cStride, accumulate);
  }
}

// c [rows, columns] = a b, or c += a b; columns a multiple of 16.
void multiply(const Left& a, int64_t rows, const uint32_t* b, int64_t columns, int64_t bStride,
              int64_t pairs, float* c, int64_t cStride, bool accumulate) {
  int64_t column = 0;
  for (; column + 4 * kLanes <= columns; column += 4 * kLanes) {
    multiplyColumns<4>(a, rows, b + column, bStride, pairs, c + column, cStride, accumulate);
  }
  for (; column < columns; column += kLanes) {
    multiplyColumns<1>(a, rows, b + column, bStride, pairs, c + column, cStride, accumulate);
  }
}

__m512 exponential(__m512 x) {
  // x = n ln 2 + r with |r| <= ln 2 / 2; scaling by 2^n gives 0 for the lowest x.
  x = _mm512_max_ps(x, _mm512_set1_ps(-200.f));
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)),
                                        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fmadd_ps(n, _mm512_set1_ps(2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.9875691500e-4f);
  for (const float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f,
                        5.0000001201e-1f}) {
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c));
  }
  p = _mm512_fmadd_ps(_mm512_mul_ps(p, r), r, _mm512_add_ps(r, _mm512_set1_ps(1.f)));
  return _mm512_scalef_ps(p, n);
}

__m512 loadBFloat16(const uint16_t* from) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(
      _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))), 16));
}

__m256i toBFloat16(__m512 values) { return (__m256i)_mm512_cvtneps_pbh(values); }

void storeBFloat16(uint16_t* to, __m512 values) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), toBFloat16(values));
}

// Two rows as words of pairs: `first` in the lower halves.
__m512i interleave(__m256i first, __m256i second) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32(first),
                         _mm512_slli_epi32(_mm512_cvtepu16_epi32(second), 16));
}

// Rows [0, rows) of bfloat16 as words of pairs of rows [ceil(rows / 2), headDim]; a missing last row
// is zero.
void interleaveRows(const Rows& from, int64_t rows, int64_t headDim, uint32_t* to) {
  for (int64_t row = 0; row < rows; row += 2, to += headDim) {
    const uint16_t* first = from.data + row * from.stride;
    const bool both = row + 1 < rows;
    for (int64_t i = 0; i < headDim; i += kLanes) {
      const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(first + i));
      const __m256i b = both ? _mm256_loadu_si256(
                                   reinterpret_cast<const __m256i*>(first + from.stride + i))
                             : _mm256_setzero_si256();
      _mm512_storeu_si512(to + i, interleave(a, b));
    }
  }
}

// Rows of bfloat16, transposed, as words [headDim / 2, padded]; columns from `rows` on are zero.
void transposeRows(const Rows& from, int64_t rows, int64_t padded, int64_t headDim, uint32_t* to) {
  for (int64_t row = 0; row < padded; row++) {
    for (int64_t pair = 0; pair < headDim / 2; pair++) {
      uint32_t word = 0;
      if (row < rows) std::memcpy(&word, from.data + row * from.stride + 2 * pair, sizeof word);
      to[pair * padded + row] = word;
    }
  }
}

Left leftOf(const Rows& rows) {
  return {reinterpret_cast<const uint32_t*>(rows.data), rows.stride / 2, 1};
}

// Adds the mask to a row of scores, up to `visible`.
void addMask(const Mask& mask, int64_t query, int64_t visible, float* scores) {
  const auto at = [&](auto* rows) { return rows + query * mask.stride; };
  switch (mask.type) {
    case MaskType::kNone:
      return;
    case MaskType::kFloat32: {
      const float* row = at(static_cast<const float*>(mask.rows));
      for (int64_t key = 0; key < visible; key++) scores[key] += row[key];
      return;
    }
    case MaskType::kBFloat16: {
      const uint16_t* row = at(static_cast<const uint16_t*>(mask.rows));
      for (int64_t key = 0; key < visible; key++) {
        const uint32_t bits = static_cast<uint32_t>(row[key]) << 16;
        float value;
        std::memcpy(&value, &bits, sizeof value);
        scores[key] += value;
      }
      return;
    }
    case MaskType::kBool: {
      const bool* row = at(static_cast<const bool*>(mask.rows));
      for (int64_t key = 0; key < visible; key++) {
        if (!row[key]) scores[key] = kNever;
      }
    }
  }
}

// The products of a query with keys in a row of `width`, scaled and masked; what the query does not
// see, and what stands behind the keys, becomes minus infinity.
void maskScores(const Mask& mask, int64_t query, int64_t keys, float scale, int64_t width,
                float* scores) {
  const int64_t visible = mask.causal ? std::min(keys, query + 1) : keys;
  const __m512 scales = _mm512_set1_ps(scale);
  std::fill(scores + visible, scores + width, kNever);
  for (int64_t i = 0; i < width; i += kLanes) {
    _mm512_storeu_ps(scores + i, _mm512_mul_ps(_mm512_loadu_ps(scores + i), scales));
  }
  addMask(mask, query, visible, scores);
}

}  // namespace

bool hasBFloat16Attention() {
  return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

struct PackedHead::Buffers {
  Buffer<uint32_t> keysTransposed;    // [headDim / 2, paddedKeys]
  Buffer<uint32_t> valuesInPairs;     // [paddedKeys / 2, headDim]
  Buffer<uint32_t> valuesTransposed;  // backward
  Buffer<uint32_t> keysInPairs;       // backward
  Buffer<float> scores;               // [kBlock, paddedKeys]
  Buffer<uint16_t> weights;           // [kBlock, paddedKeys]: softmax, in backward its gradient
  Buffer<float> sums;                 // [kBlock, headDim]
  // Backward.
  Buffer<float> toWeights;              // [kBlock, paddedKeys]
  Buffer<uint32_t> weightsInPairs;      // [kBlock / 2, paddedKeys]
  Buffer<uint32_t> toScoresInPairs;     // [kBlock / 2, paddedKeys]
  Buffer<uint32_t> queriesInPairs;      // [kBlock / 2, headDim]
  Buffer<uint32_t> gradientInPairs;     // [kBlock / 2, headDim]
};

PackedHead::PackedHead(const Rows& keys, const Rows& values, const HeadSizes& sizes, bool backward)
    : sizes_(sizes), paddedKeys_(roundUp(sizes.keys, 2 * kLanes)), buffers_(new Buffers) {
  const int64_t d = sizes.headDim, padded = paddedKeys_;
  Buffers& b = *buffers_;
  b.keysTransposed = allocate<uint32_t>(d / 2 * padded);
  transposeRows(keys, sizes.keys, padded, d, b.keysTransposed.get());
  b.scores = allocate<float>(kBlock * padded);
  b.weights = allocate<uint16_t>(kBlock * padded);
  b.sums = allocate<float>(kBlock * d);
  const auto inPairs = [&](const Rows& rows) {
    Buffer<uint32_t> result = allocate<uint32_t>(padded / 2 * d);
    std::memset(result.get(), 0, padded / 2 * d * sizeof(uint32_t));
    interleaveRows(rows, sizes.keys, d, result.get());
    return result;
  };
  if (!backward) {
    b.valuesInPairs = inPairs(values);
    return;
  }
  b.keysInPairs = inPairs(keys);
  b.valuesTransposed = allocate<uint32_t>(d / 2 * padded);
  transposeRows(values, sizes.keys, padded, d, b.valuesTransposed.get());
  b.toWeights = allocate<float>(kBlock * padded);
  b.weightsInPairs = allocate<uint32_t>(kBlock / 2 * padded);
  b.toScoresInPairs = allocate<uint32_t>(kBlock / 2 * padded);
  b.queriesInPairs = allocate<uint32_t>(kBlock / 2 * d);
  b.gradientInPairs = allocate<uint32_t>(kBlock / 2 * d);
}

PackedHead::~PackedHead() { delete buffers_; }

void PackedHead::forward(const Rows& q, const Mask& mask, const RowsOut& out, float* logSums) {
  const auto [queries, keys, d, scale] = sizes_;
  Buffers& b = *buffers_;
  for (int64_t first = 0; first < queries; first += kBlock) {
    const int64_t rows = std::min(kBlock, queries - first);
    const int64_t most = mask.causal ? std::min(keys, first + rows) : keys;
    const int64_t width = roundUp(most, 2 * kLanes);
    const Rows block{q.data + first * q.stride, q.stride};
    multiply(leftOf(block), rows, b.keysTransposed.get(), width, paddedKeys_, d / 2,
             b.scores.get(), paddedKeys_, false);
    float inverse[kBlock];
    for (int64_t row = 0; row < rows; row++) {
      float* scores = b.scores.get() + row * paddedKeys_;
      maskScores(mask, first + row, keys, scale, width, scores);
      __m512 most = _mm512_set1_ps(kNever);
      for (int64_t i = 0; i < width; i += kLanes) {
        most = _mm512_max_ps(most, _mm512_loadu_ps(scores + i));
      }
      const float highest = _mm512_reduce_max_ps(most);
      // A query that sees nothing gets zeros.
      const bool blind = highest == kNever;
      const __m512 offset = _mm512_set1_ps(blind ? 0.f : highest);
      __m512 sums = _mm512_setzero_ps();
      uint16_t* weights = b.weights.get() + row * paddedKeys_;
      for (int64_t i = 0; i < width; i += kLanes) {
        const __m512 weight = exponential(_mm512_sub_ps(_mm512_loadu_ps(scores + i), offset));
        sums = _mm512_add_ps(sums, weight);
        storeBFloat16(weights + i, weight);
      }
      const float sum = _mm512_reduce_add_ps(sums);
      inverse[row] = blind ? 0.f : 1.f / sum;
      if (logSums != nullptr) {
        logSums[first + row] = blind ? -kNever : highest + std::log(sum);
      }
    }
    multiply(leftOf({b.weights.get(), paddedKeys_}), rows, b.valuesInPairs.get(), d, d, width / 2,
             b.sums.get(), d, false);
    for (int64_t row = 0; row < rows; row++) {
      const __m512 factor = _mm512_set1_ps(inverse[row]);
      for (int64_t i = 0; i < d; i += kLanes) {
        storeBFloat16(out.data + (first + row) * out.stride + i,
                      _mm512_mul_ps(_mm512_loadu_ps(b.sums.get() + row * d + i), factor));
      }
    }
  }
}

void PackedHead::backward(const Rows& q, const Mask& mask, const Rows& out, const float* logSums,
                          const Rows& gradient, const RowsOut& toQ, float* toKeys,
                          float* toValues) {
  const auto [queries, keys, d, scale] = sizes_;
  Buffers& b = *buffers_;
  const __m512 scales = _mm512_set1_ps(scale);
  for (int64_t first = 0; first < queries; first += kBlock) {
    const int64_t rows = std::min(kBlock, queries - first);
    const int64_t most = mask.causal ? std::min(keys, first + rows) : keys;
    const int64_t width = roundUp(most, 2 * kLanes);
    const Rows blockQ{q.data + first * q.stride, q.stride};
    const Rows blockG{gradient.data + first * gradient.stride, gradient.stride};
    multiply(leftOf(blockQ), rows, b.keysTransposed.get(), width, paddedKeys_, d / 2,
             b.scores.get(), paddedKeys_, false);
    multiply(leftOf(blockG), rows, b.valuesTransposed.get(), width, paddedKeys_, d / 2,
             b.toWeights.get(), paddedKeys_, false);
    // Weights in place of the scores, the scores' gradient in place of the weights'.
    for (int64_t row = 0; row < rows; row++) {
      float* scores = b.scores.get() + row * paddedKeys_;
      float* toWeights = b.toWeights.get() + row * paddedKeys_;
      maskScores(mask, first + row, keys, scale, width, scores);
      __m512 dots = _mm512_setzero_ps();
      for (int64_t i = 0; i < d; i += kLanes) {
        dots = _mm512_fmadd_ps(loadBFloat16(blockG.data + row * blockG.stride + i),
                               loadBFloat16(out.data + (first + row) * out.stride + i), dots);
      }
      const __m512 delta = _mm512_set1_ps(_mm512_reduce_add_ps(dots));
      const __m512 offset = _mm512_set1_ps(logSums[first + row]);
      uint16_t* toScores = b.weights.get() + row * paddedKeys_;
      for (int64_t i = 0; i < width; i += kLanes) {
        const __m512 weight = exponential(_mm512_sub_ps(_mm512_loadu_ps(scores + i), offset));
        const __m512 toScore = _mm512_mul_ps(
            _mm512_mul_ps(weight, scales),
            _mm512_sub_ps(_mm512_loadu_ps(toWeights + i), delta));
        _mm512_storeu_ps(scores + i, weight);
        storeBFloat16(toScores + i, toScore);
      }
    }
    for (int64_t row = 0; row < rows; row += 2) {
      const bool both = row + 1 < rows;
      const float* weights = b.scores.get() + row * paddedKeys_;
      const uint16_t* toScores = b.weights.get() + row * paddedKeys_;
      uint32_t* weightPairs = b.weightsInPairs.get() + row / 2 * paddedKeys_;
      uint32_t* toScorePairs = b.toScoresInPairs.get() + row / 2 * paddedKeys_;
      const auto load = [](const uint16_t* from) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
      };
      const __m256i none = _mm256_setzero_si256();
      for (int64_t i = 0; i < width; i += kLanes) {
        const __m256i second =
            both ? toBFloat16(_mm512_loadu_ps(weights + paddedKeys_ + i)) : none;
        _mm512_storeu_si512(weightPairs + i,
                            interleave(toBFloat16(_mm512_loadu_ps(weights + i)), second));
        _mm512_storeu_si512(toScorePairs + i,
                            interleave(load(toScores + i),
                                       both ? load(toScores + paddedKeys_ + i) : none));
      }
    }
    multiply(leftOf({b.weights.get(), paddedKeys_}), rows, b.keysInPairs.get(), d, d, width / 2,
             b.sums.get(), d, false);
    for (int64_t row = 0; row < rows; row++) {
      for (int64_t i = 0; i < d; i += kLanes) {
        storeBFloat16(toQ.data + (first + row) * toQ.stride + i,
                      _mm512_loadu_ps(b.sums.get() + row * d + i));
      }
    }
    interleaveRows(blockQ, rows, d, b.queriesInPairs.get());
    interleaveRows(blockG, rows, d, b.gradientInPairs.get());
    const int64_t pairs = (rows + 1) / 2;
    multiply({b.weightsInPairs.get(), 1, paddedKeys_}, most, b.gradientInPairs.get(), d, d, pairs,
             toValues, d, true);
    multiply({b.toScoresInPairs.get(), 1, paddedKeys_}, most, b.queriesInPairs.get(), d, d, pairs,
             toKeys, d, true);
  }
}

}  // namespace pare::fused
