// What both products by panels share (panels_avx512_bf16.cc): a panel of decoded weights, its product
// with rows, and their sums.
#pragma once

#include <algorithm>
#include <memory>

#include "avx512.h"

namespace pare::nf4::cpu {
namespace {

constexpr int64_t kVectors = kStrip / 16;
// Pairs in a panel: with the rows' own and their sums it stays in an L1 cache of 32 KB.
constexpr int64_t kPairs = 64;

using Sums = float[kStrip];

struct alignas(64) Panel {
  uint16_t values[kPairs][kVectors][32];
};

inline __m512bh bits(__m512i values) { return reinterpret_cast<__m512bh>(values); }

// Adds the products of the rows' pairs and the panel's to the rows' sums.
template <int Rows>
void addProducts(const uint32_t* a, const uint16_t (*panel)[kVectors][32], int64_t pairs,
                 Sums* sums) {
  __m512 total[Rows][kVectors];
#pragma GCC unroll 8
  for (int m = 0; m < Rows; m++) {
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; j++) total[m][j] = _mm512_setzero_ps();
  }
  for (int64_t p = 0; p < pairs; p++) {
    // What the next panel meets; all rows are more than the L2 cache holds.
    __builtin_prefetch(a + (p + pairs) * Rows, 0, 2);
    __m512bh b[kVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; j++) b[j] = bits(_mm512_load_si512(panel[p][j]));
#pragma GCC unroll 8
    for (int m = 0; m < Rows; m++) {
      const __m512bh pair = bits(_mm512_set1_epi32(static_cast<int>(a[p * Rows + m])));
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; j++) total[m][j] = _mm512_dpbf16_ps(total[m][j], b[j], pair);
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < Rows; m++) {
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; j++) {
      float* sum = sums[m] + 16 * j;
      _mm512_store_ps(sum, _mm512_add_ps(total[m][j], _mm512_load_ps(sum)));
    }
  }
}

using AddProducts = void (*)(const uint32_t*, const uint16_t (*)[kVectors][32], int64_t, Sums*);
constexpr AddProducts kAddProducts[kRowsAtOnce] = {addProducts<1>, addProducts<2>, addProducts<3>,
                                                   addProducts<4>, addProducts<5>, addProducts<6>};

// The rows in equal groups of at most kRowsAtOnce.
struct Groups {
  explicit Groups(int64_t rows) : rows(rows), count((rows + kRowsAtOnce - 1) / kRowsAtOnce) {}
  int64_t begin(int64_t group) const { return group * rows / count; }
  int64_t rows;
  int64_t count;
};

// All rows with pairs [first, first + pairs) of `width` / 2, which the panel holds from 0 on.
void addPanel(const PanelProduct& product, const Groups& groups, int64_t allPairs, int64_t first,
              const uint16_t (*panel)[kVectors][32], int64_t pairs, Sums* sums) {
  const auto* a = reinterpret_cast<const uint32_t*>(product.a);
  for (int64_t group = 0; group < groups.count; group++) {
    const int64_t begin = groups.begin(group);
    const int64_t rows = groups.begin(group + 1) - begin;
    const uint32_t* from = a + begin * allPairs + first * rows;
    Sums* to = sums + begin;
    kAddProducts[rows - 1](from, panel, pairs, to);
  }
}

// ---- sums to the result

inline __m512i order(bool upper) {
  alignas(64) uint16_t indices[32];
  for (int i = 0; i < 32; i++) {
    const int lane = i / 4 + (upper ? 8 : 0);
    const int vector = i % 4;
    indices[i] = static_cast<uint16_t>(vector / 2 * 32 + vector % 2 * 16 + lane);
  }
  return _mm512_load_si512(indices);
}

inline __m512i toBFloat16(const float* low, const float* high) {
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(_mm512_load_ps(high), _mm512_load_ps(low)));
}

void write(const Sums* sums, int64_t rows, int64_t columns, int64_t width, uint16_t* out) {
  for (int64_t m = 0; m < rows; m++) {
    for (int part = 0; part < 2; part++) {
      const int64_t left = columns - 32 * part;
      if (left <= 0) break;
      const auto mask = static_cast<__mmask32>(left < 32 ? (uint32_t{1} << left) - 1 : ~0u);
      _mm512_mask_storeu_epi16(out + m * width + 32 * part, mask,
                               toBFloat16(sums[m] + 32 * part, sums[m] + 32 * part + 16));
    }
  }
}

// Column 4 lane + vector is in lane `lane` of vector `vector`.
void writeMixed(const Sums* sums, int64_t rows, int64_t width, uint16_t* out) {
  const __m512i low = order(false);
  const __m512i high = order(true);
  for (int64_t m = 0; m < rows; m++) {
    const __m512i first = toBFloat16(sums[m], sums[m] + 16);
    const __m512i second = toBFloat16(sums[m] + 32, sums[m] + 48);
    _mm512_storeu_si512(out + m * width, _mm512_permutex2var_epi16(first, low, second));
    _mm512_storeu_si512(out + m * width + 32, _mm512_permutex2var_epi16(first, high, second));
  }
}

struct Aligned {
  explicit Aligned(int64_t rows)
      : memory(std::make_unique_for_overwrite<uint8_t[]>(rows * sizeof(Sums) + 64)) {
    void* at = memory.get();
    size_t space = rows * sizeof(Sums) + 64;
    values = static_cast<Sums*>(std::align(64, rows * sizeof(Sums), at, space));
  }
  std::unique_ptr<uint8_t[]> memory;
  Sums* values;
};

// How many strips are summed in turn with the same pairs of all rows, which then come from the L2
// cache. Their sums stay in a quarter of one of 1 MB.
int64_t stripsTogether(int64_t rows, int64_t most) {
  constexpr int64_t kSumBytes = int64_t{1} << 18;
  return std::clamp<int64_t>(kSumBytes / (rows * static_cast<int64_t>(sizeof(Sums))), 1, most);
}

}  // namespace
}  // namespace pare::nf4::cpu
