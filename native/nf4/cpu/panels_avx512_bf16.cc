// Panels for AVX-512 with products of bfloat16: two to a lane, summed in float32.
//
// A panel holds pairs of the summed dimension: a vector has two values of each of 16 columns, and
// an instruction multiplies it with one pair of a row. Which two values make a pair is free as long
// as `packRows` pairs a row's in the same way; so codes are only shifted, never put in order.
#include <algorithm>
#include <vector>

#include "panel_products.h"

namespace pare::nf4::cpu {
namespace {

constexpr int64_t kCodes = 128;  // of a row of W in a vector of 64 bytes

int blockShiftOf(const PanelProduct& p) {
  return __builtin_ctzll(static_cast<unsigned long long>(p.blockSize));
}

// ---- rows

int64_t packedSize(int64_t rows, int64_t width) { return rows * (width + width % 2); }

// Forward, a shift leaves code `code` of 8 in every dword, and two neighbours are a pair: the codes
// 16 quad + code and 8 further.
constexpr int kQuads = 8;

// A group's pairs [pair][row]. Backward, a pair is of two rows of W that follow each other.
void packRows(const uint16_t* a, int64_t rows, int64_t width, bool backward, int64_t group,
              uint16_t* packed) {
  const Groups groups(rows);
  const int64_t begin = groups.begin(group);
  const int64_t count = groups.begin(group + 1) - begin;
  const int64_t pairs = (width + 1) / 2;
  uint16_t* out = packed + begin * pairs * 2;
  for (int64_t m = 0; m < count; m++) {
    const uint16_t* row = a + (begin + m) * width;
    const auto put = [&](int64_t pair, uint16_t first, uint16_t second) {
      out[(pair * count + m) * 2] = first;
      out[(pair * count + m) * 2 + 1] = second;
    };
    if (backward) {
      for (int64_t p = 0; p < width / 2; p++) put(p, row[2 * p], row[2 * p + 1]);
      if (width % 2 != 0) put(pairs - 1, row[width - 1], 0);
      continue;
    }
    for (int64_t first = 0; first < width; first += kCodes) {
      for (int quad = 0; quad < kQuads; quad++) {
        for (int code = 0; code < 8; code++) {
          const uint16_t* from = row + first + 16 * quad + code;
          put(first / 2 + 8 * quad + code, from[0], from[8]);
        }
      }
    }
  }
}

// ---- backward: W's rows are summed over; its columns are the result's

// One code of two rows of W a lane; the lower half of the table is for the first row.
void decodeRows(const uint8_t* first, const uint8_t* second, __m512i table,
                uint16_t (&panel)[kVectors][32]) {
  const auto words = [](const uint8_t* bytes) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes)));
  };
  const __m512i codes = _mm512_or_si512(words(first), _mm512_slli_epi32(words(second), 16));
  const __m512i nibble = _mm512_set1_epi16(15);
  const __m512i half = _mm512_set1_epi32(0x00100000);
  const auto put = [&](int vector, __m512i shifted) {
    // (shifted & nibble) | half
    const __m512i index = _mm512_ternarylogic_epi32(shifted, nibble, half, 0xea);
    _mm512_store_si512(panel[vector], _mm512_permutexvar_epi16(index, table));
  };
  put(0, _mm512_srli_epi16(codes, 4));
  put(1, codes);
  put(2, _mm512_srli_epi16(codes, 12));
  put(3, _mm512_srli_epi16(codes, 8));
}

inline __m512i scaledTable(float first, float second) {
  const __m512 book = codebookVector();
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(_mm512_mul_ps(book, _mm512_set1_ps(second)),
                                                       _mm512_mul_ps(book, _mm512_set1_ps(first))));
}

// Pairs of rows of W from `pair` on, of one strip.
void decodeStrip(const PanelProduct& p, int blockShift, int64_t column, int64_t pair, int64_t count,
                 Panel& panel) {
  const int64_t ahead = 2 * kPairs * p.inFeatures / 2;
  for (int64_t i = 0; i < count; i++) {
    const int64_t row = 2 * (pair + i);
    const bool both = row + 1 < p.outFeatures;
    const int64_t first = row * p.inFeatures + column;
    const int64_t second = both ? first + p.inFeatures : first;
    __builtin_prefetch(p.packed + first / 2 + ahead);
    __builtin_prefetch(p.packed + second / 2 + ahead);
    const __m512i table =
        scaledTable(p.scales(first >> blockShift), both ? p.scales(second >> blockShift) : 0.0f);
    decodeRows(p.packed + first / 2, p.packed + second / 2, table, panel.values[i]);
  }
}

void backwardStrips(const PanelProduct& p, int64_t begin, int64_t end) {
  const Groups groups(p.rows);
  const int blockShift = blockShiftOf(p);
  const int64_t allPairs = (p.outFeatures + 1) / 2;
  // A row of W is read in runs of several strips.
  const int64_t together = std::min(stripsTogether(p.rows, 16), end - begin);
  const Aligned sums(together * p.rows);
  Panel panel;
  for (int64_t from = begin; from < end; from += together) {
    const int64_t strips = std::min(together, end - from);
    std::fill_n(sums.values[0], strips * p.rows * kStrip, 0.0f);
    for (int64_t pair = 0; pair < allPairs; pair += kPairs) {
      const int64_t count = std::min(kPairs, allPairs - pair);
      for (int64_t s = 0; s < strips; s++) {
        decodeStrip(p, blockShift, (from + s) * kStrip, pair, count, panel);
        addPanel(p, groups, allPairs, pair, panel.values, count, sums.values + s * p.rows);
      }
    }
    for (int64_t s = 0; s < strips; s++) {
      writeMixed(sums.values + s * p.rows, p.rows, p.inFeatures, p.out + (from + s) * kStrip);
    }
  }
}

// ---- forward: W's rows are the result's columns

// 8 vectors of 8 qwords, turned about.
inline void transpose(__m512i (&v)[8]) {
  __m512i t[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm512_unpacklo_epi64(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi64(v[i], v[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; i++) {
    const __m512i a = _mm512_shuffle_i64x2(t[i], t[i + 2], 0x88);
    const __m512i b = _mm512_shuffle_i64x2(t[i], t[i + 2], 0xdd);
    const __m512i c = _mm512_shuffle_i64x2(t[i + 4], t[i + 6], 0x88);
    const __m512i d = _mm512_shuffle_i64x2(t[i + 4], t[i + 6], 0xdd);
    v[i] = _mm512_shuffle_i64x2(a, c, 0x88);
    v[i + 4] = _mm512_shuffle_i64x2(a, c, 0xdd);
    v[i + 2] = _mm512_shuffle_i64x2(b, d, 0x88);
    v[i + 6] = _mm512_shuffle_i64x2(b, d, 0xdd);
  }
}

// Of 64 rows of W, for each of two parts of 64 codes, twice.
using RowScales = float[2][kStrip][2];

// 128 codes of each of 16 rows of W into vector `vector` of 64 pairs.
void decodeColumns(const uint8_t* const* rows, int64_t offset, int64_t vector,
                   const RowScales& scales, Panel& panel) {
  const __m512 book = codebookVector();
  __m512i low[8];
  __m512i high[8];
#pragma GCC unroll 8
  for (int n = 0; n < 8; n++) {
    low[n] = _mm512_loadu_si512(rows[n] + offset);
    high[n] = _mm512_loadu_si512(rows[n + 8] + offset);
    // The next panel's, which the products of this one give time to come.
    __builtin_prefetch(rows[n] + offset + kCodes / 2, 0, 2);
    __builtin_prefetch(rows[n + 8] + offset + kCodes / 2, 0, 2);
  }
  transpose(low);
  transpose(high);
#pragma GCC unroll 8
  for (int quad = 0; quad < kQuads; quad++) {
    const float (*scale)[2] = scales[quad / 4] + 16 * vector;
    const __m512 lowScale = _mm512_load_ps(scale[0]);
    const __m512 highScale = _mm512_load_ps(scale[8]);
#pragma GCC unroll 8
    for (int code = 0; code < 8; code++) {
      const int shift = code * 4 ^ 4;
      const auto values = [&](__m512i codes, __m512 factor) {
        return _mm512_mul_ps(_mm512_permutexvar_ps(_mm512_srli_epi32(codes, shift), book), factor);
      };
      const __m512bh both =
          _mm512_cvtne2ps_pbh(values(high[quad], highScale), values(low[quad], lowScale));
      _mm512_store_si512(panel.values[8 * quad + code][vector], reinterpret_cast<__m512i>(both));
    }
  }
}

// Rows [column, column + 64) of W, the columns of a strip. Those beyond the last are computed as it
// is, and not written.
struct Strip {
  Strip(const PanelProduct& p, int64_t strip)
      : column(strip * kStrip), columns(std::min(kStrip, p.outFeatures - column)) {
    for (int64_t n = 0; n < kStrip; n++) {
      positions[n] = (column + std::min(n, columns - 1)) * p.inFeatures;
      bytes[n] = p.packed + positions[n] / 2;
    }
  }

  int64_t column;
  int64_t columns;
  int64_t positions[kStrip];
  const uint8_t* bytes[kStrip];
};

// All absmax of a strip.
class StripScales {
 public:
  void decode(const PanelProduct& p, const ScaleDecoder& decoder, int blockShift,
              const Strip& strip) {
    blockShift_ = blockShift;
    firstBlock_ = strip.positions[0] >> blockShift;
    absmax_ = p.scales.absmax + firstBlock_;
    if (p.scales.codes == nullptr) return;
    const int64_t end = strip.positions[strip.columns - 1] + p.inFeatures;
    const int64_t blocks = ((end - 1) >> blockShift) + 1 - firstBlock_;
    if (static_cast<int64_t>(decoded_.size()) < blocks) decoded_.resize(blocks);
    decoder(firstBlock_, blocks, decoded_.data());
    absmax_ = decoded_.data();
  }

  float at(int64_t position) const { return absmax_[(position >> blockShift_) - firstBlock_]; }

 private:
  int blockShift_ = 0;
  int64_t firstBlock_ = 0;
  const float* absmax_ = nullptr;
  std::vector<float> decoded_;
};

void decodePanel(const Strip& strip, const StripScales& absmax, int64_t k, Panel& panel) {
  alignas(64) RowScales scales;
  for (int part = 0; part < 2; part++) {
    for (int64_t n = 0; n < kStrip; n++) {
      const float scale = absmax.at(strip.positions[n] + k + part * kCodes / 2);
      scales[part][n][0] = scales[part][n][1] = scale;
    }
  }
  for (int64_t vector = 0; vector < kVectors; vector++) {
    decodeColumns(strip.bytes + 16 * vector, k / 2, vector, scales, panel);
  }
}

void forwardStrips(const PanelProduct& p, int64_t begin, int64_t end) {
  const Groups groups(p.rows);
  const ScaleDecoder decoder(p.scales);
  const int blockShift = blockShiftOf(p);
  const int64_t allPairs = p.inFeatures / 2;
  // One is best where half of an L2 cache of 1 MB holds all rows: W is then read in fewer places.
  constexpr int64_t kHalf = int64_t{1} << 19;
  const int64_t most = p.rows * p.inFeatures * 2 <= kHalf ? 1 : 8;
  const int64_t together = std::min(stripsTogether(p.rows, most), end - begin);
  const Aligned sums(together * p.rows);
  std::vector<StripScales> scales(together);
  std::vector<Strip> strips;
  Panel panel;
  for (int64_t from = begin; from < end; from += together) {
    const int64_t count = std::min(together, end - from);
    strips.clear();
    for (int64_t s = 0; s < count; s++) {
      const Strip& strip = strips.emplace_back(p, from + s);
      scales[s].decode(p, decoder, blockShift, strip);
      for (int64_t m = 0; m < p.rows; m++) {
        float* row = sums.values[s * p.rows + m];
        for (int64_t n = 0; n < kStrip; n++) {
          row[n] = p.bias == nullptr || n >= strip.columns ? 0.0f : p.bias[strip.column + n];
        }
      }
    }
    for (int64_t k = 0; k < p.inFeatures; k += kCodes) {
      for (int64_t s = 0; s < count; s++) {
        decodePanel(strips[s], scales[s], k, panel);
        addPanel(p, groups, allPairs, k / 2, panel.values, kPairs, sums.values + s * p.rows);
      }
    }
    for (int64_t s = 0; s < count; s++) {
      write(sums.values + s * p.rows, p.rows, strips[s].columns, p.outFeatures,
            p.out + strips[s].column);
    }
  }
}

bool fits(int64_t blockSize, int64_t inFeatures, bool backward) {
  return blockSize >= kStrip && inFeatures % (backward ? kStrip : kCodes) == 0;
}

}  // namespace

constinit const Panels kPanels = {fits, packedSize, packRows, forwardStrips, backwardStrips};

}  // namespace pare::nf4::cpu
