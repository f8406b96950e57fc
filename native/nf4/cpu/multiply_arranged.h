// The product of a few rows, arranged, with packed weights; written once for every width of vector:
// a file that is compiled for an instruction set defines `Vector` and includes this. All of it has
// internal linkage, so that no function compiled for one processor is used on another.
//
// Codes are never put in the order of the weights: `Vector::lookup` gives the values of a vector of
// them, kLookup vectors at a time, in the order in which that is cheapest, and x has been put in
// that order once (see `arranged`). Each block's sum is multiplied by its absmax.
#pragma once

#include "paths.h"

namespace pare::nf4::cpu {
namespace {

using X = typename Vector::X;

constexpr int64_t kGroup = Vector::kLanes * Vector::kCodesPerLane;
// Sums of this many columns of the result are kept while a chunk of x is in the L1 cache.
constexpr int64_t kColumnsAtOnce = 16;
constexpr int64_t kMaxChunk = 12288;    // values of a row
constexpr int64_t kChunkBytes = 24576;  // of all rows of x, from 3 rows on
constexpr int64_t kAhead = 4096;        // bytes
constexpr int64_t kMaxScales = kMaxChunk / kMinBlockSize;

template <int Batch>
using Sums = typename Vector::Floats[Batch];

// What the columns of a product share.
struct Setting {
  explicit Setting(const Product& p)
      : spread(p.blockSize),
        decoder(p.scales),
        blockShift(__builtin_ctzll(static_cast<unsigned long long>(p.blockSize))),
        wholeBlocks(p.inFeatures % p.blockSize == 0) {}

  const typename Vector::Spread spread;
  const typename Vector::ScaleDecoder decoder;
  const int blockShift;
  const bool wholeBlocks;  // in every column
};

// The absmax of the blocks at and after a position.
inline const float* scalesFrom(const Scales& scales, const Setting& setting, int64_t firstBlock,
                               int64_t blocks, float* decoded) {
  if (scales.codes == nullptr) return scales.absmax + firstBlock;
  setting.decoder(firstBlock, blocks, decoded);
  return decoded;
}

// From vector `First` of a group's weights on.
template <int Batch, int Columns, int First>
inline __attribute__((always_inline)) void addCodes(const typename Vector::Codes (&codes)[Columns],
                                                    const X* x, int64_t stride,
                                                    Sums<Batch> (&sums)[Columns]) {
  constexpr int kLookup = Vector::kLookup;
  typename Vector::Weights weights[Columns][kLookup];
#pragma GCC unroll 8
  for (int c = 0; c < Columns; c++) Vector::template lookup<First>(codes[c], weights[c]);
#pragma GCC unroll 8
  for (int m = 0; m < Batch; m++) {
#pragma GCC unroll 8
    for (int i = 0; i < kLookup; i++) {
      const auto values = Vector::load(x + m * stride + (First + i) * Vector::kLanes);
#pragma GCC unroll 8
      for (int c = 0; c < Columns; c++) {
        sums[c][m] = First + i == 0 ? Vector::multiply(weights[c][i], values)
                                    : Vector::multiplyAdd(weights[c][i], values, sums[c][m]);
      }
    }
  }
  if constexpr (First + kLookup < Vector::kCodesPerLane) {
    addCodes<Batch, Columns, First + kLookup>(codes, x, stride, sums);
  }
}

// Adds the products over [k, k + count), a multiple of the group, to `totals`.
template <int Batch, int Columns>
void addChunk(const Product& p, const Setting& setting, int64_t n, int64_t k, int64_t count,
              Sums<Batch>* totals) {
  const int blockShift = setting.blockShift;
  float decoded[Columns * (kMaxScales + 1)];
  const uint8_t* bytes[Columns];
  const float* scales[Columns];
  int64_t offsets[Columns];  // within the first block
  typename Vector::Floats sums[Columns][Batch];
#pragma GCC unroll 8
  for (int c = 0; c < Columns; c++) {
    const int64_t position = (n + c) * p.inFeatures + k;
    const int64_t firstBlock = position >> blockShift;
    const int64_t blocks = ((position + count - 1) >> blockShift) + 1 - firstBlock;
    bytes[c] = p.packed + position / 2;
    offsets[c] = position - (firstBlock << blockShift);
    // Whole columns' blocks follow each other: fewer and longer calls.
    const bool together = setting.wholeBlocks && count == p.inFeatures;
    if (!together) {
      scales[c] = scalesFrom(p.scales, setting, firstBlock, blocks, decoded + c * (kMaxScales + 1));
    } else if (c == 0) {
      scales[0] = scalesFrom(p.scales, setting, firstBlock, Columns * blocks, decoded);
    } else {
      scales[c] = scales[0] + c * blocks;
    }
  }
  typename Vector::Floats total[Columns][Batch];
#pragma GCC unroll 8
  for (int c = 0; c < Columns; c++) {
#pragma GCC unroll 8
    for (int m = 0; m < Batch; m++) total[c][m] = totals[c][m];
  }
  // Whole steps of columns, and far enough that the memory answers in time.
  const int64_t step = Columns * p.inFeatures / 2;
  const int64_t ahead = step * ((kAhead + step - 1) / step);
  if (p.scales.codes != nullptr && k == 0) {
    const uint8_t* next = p.scales.codes + ((n * p.inFeatures + 2 * ahead) >> blockShift);
    const int64_t bytesOfStep = (2 * step) >> blockShift;
    for (int64_t i = 0; i <= bytesOfStep; i += 64) __builtin_prefetch(next + i);
  }
  const X* x = static_cast<const X*>(p.x) + k;
  for (int64_t done = 0; done < count; done += kGroup) {
    typename Vector::Codes codes[Columns];
#pragma GCC unroll 8
    for (int c = 0; c < Columns; c++) {
      __builtin_prefetch(bytes[c] + done / 2 + ahead);
      codes[c] = Vector::loadCodes(bytes[c] + done / 2);
    }
    addCodes<Batch, Columns, 0>(codes, x + done, p.inFeatures, sums);
#pragma GCC unroll 8
    for (int c = 0; c < Columns; c++) {
      const auto scale = setting.spread(scales[c] + ((offsets[c] + done) >> blockShift));
#pragma GCC unroll 8
      for (int m = 0; m < Batch; m++) {
        total[c][m] = Vector::multiplyAdd(sums[c][m], scale, total[c][m]);
      }
    }
  }
#pragma GCC unroll 8
  for (int c = 0; c < Columns; c++) {
#pragma GCC unroll 8
    for (int m = 0; m < Batch; m++) totals[c][m] = total[c][m];
  }
}

template <int Batch>
void multiplyRows(const Product& p, int64_t begin, int64_t end) {
  // As many columns together as there are registers for their sums.
  constexpr int kTogether = Vector::columnsFor(Batch);
  const Setting setting(p);
  const int64_t chunk =
      Batch <= 2 ? kMaxChunk / kGroup * kGroup
                 : kChunkBytes / (Batch * static_cast<int64_t>(sizeof(X))) / kGroup * kGroup;
  Sums<Batch> totals[kColumnsAtOnce];
  for (int64_t first = begin; first < end; first += kColumnsAtOnce) {
    const int64_t columns = end - first < kColumnsAtOnce ? end - first : kColumnsAtOnce;
    for (int64_t c = 0; c < columns; c++) {
      for (int m = 0; m < Batch; m++) totals[c][m] = Vector::zero();
    }
    for (int64_t k = 0; k < p.inFeatures; k += chunk) {
      const int64_t count = p.inFeatures - k < chunk ? p.inFeatures - k : chunk;
      int64_t c = 0;
      for (; c + kTogether <= columns; c += kTogether) {
        addChunk<Batch, kTogether>(p, setting, first + c, k, count, totals + c);
      }
      for (; c < columns; c++) {
        addChunk<Batch, 1>(p, setting, first + c, k, count, totals + c);
      }
    }
    for (int64_t c = 0; c < columns; c++) {
      for (int m = 0; m < Batch; m++) {
        const float bias = p.bias == nullptr ? 0.0f : p.bias[first + c];
        p.out[m * p.outFeatures + first + c] = Vector::sum(totals[c][m]) + bias;
      }
    }
  }
}

void multiplyArranged(const Product& p, int64_t begin, int64_t end) {
  switch (p.batch) {
    case 1:
      return multiplyRows<1>(p, begin, end);
    case 2:
      return multiplyRows<2>(p, begin, end);
    case 3:
      return multiplyRows<3>(p, begin, end);
    case 4:
      return multiplyRows<4>(p, begin, end);
    case 5:
      return multiplyRows<5>(p, begin, end);
    case 6:
      return multiplyRows<6>(p, begin, end);
    case 7:
      return multiplyRows<7>(p, begin, end);
    default:
      return multiplyRows<8>(p, begin, end);
  }
}

}  // namespace
}  // namespace pare::nf4::cpu
