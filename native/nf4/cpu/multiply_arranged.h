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
// Bytes by which weights are asked for before they are used: from the memory into the L2 cache, which
// waits for more lines at once, and from there into the L1 cache.
constexpr int64_t kAhead = 16384;
constexpr int64_t kNear = 512;

template <int Batch>
using Sums = typename Vector::Floats[Batch];

// The absmax of the blocks of kColumnsAtOnce columns, decoded at once: with a call for each chunk of
// a column four rows took 5 % longer.
class ColumnScales {
 public:
  explicit ColumnScales(const Product& p)
      : decoder_(p.scales),
        absmax_(p.scales.absmax),
        codes_(p.scales.codes),
        // No std::vector: its functions would be compiled for this processor and used on another.
        decoded_(p.scales.codes == nullptr
                     ? nullptr
                     : new float[kColumnsAtOnce * p.inFeatures / p.blockSize + 2]),
        blockShift_(__builtin_ctzll(static_cast<unsigned long long>(p.blockSize))) {}

  ColumnScales(const ColumnScales&) = delete;
  ColumnScales& operator=(const ColumnScales&) = delete;
  ~ColumnScales() { delete[] decoded_; }

  // Values [position, position + count) of the flat weights can be asked for from now on.
  void decode(int64_t position, int64_t count) {
    if (decoded_ == nullptr) return;
    first_ = position >> blockShift_;
    const int64_t blocks = ((position + count - 1) >> blockShift_) + 1 - first_;
    decoder_(first_, blocks, decoded_);
    const uint8_t* next = codes_ + first_ + blocks;
    for (int64_t i = 0; i < blocks; i += 64) __builtin_prefetch(next + i);
  }

  // Of the block of a position and those behind it.
  const float* at(int64_t position) const {
    const int64_t block = position >> blockShift_;
    return decoded_ == nullptr ? absmax_ + block : decoded_ + (block - first_);
  }

  int blockShift() const { return blockShift_; }

 private:
  const typename Vector::ScaleDecoder decoder_;
  const float* absmax_;
  const uint8_t* codes_;
  float* const decoded_;  // from block `first_` on; null where they are not nested
  int64_t first_ = 0;
  const int blockShift_;
};

// From vector `First` of a group's weights on.
template <int Batch, int Columns, int First>
inline __attribute__((always_inline)) void addCodes(const typename Vector::Codes (&codes)[Columns],
                                                    const X* x, Sums<Batch> (&sums)[Columns]) {
  constexpr int kLookup = Vector::kLookup;
  typename Vector::Weights weights[Columns][kLookup];
#pragma GCC unroll 8
  for (int c = 0; c < Columns; c++) Vector::template lookup<First>(codes[c], weights[c]);
#pragma GCC unroll 8
  for (int m = 0; m < Batch; m++) {
#pragma GCC unroll 8
    for (int i = 0; i < kLookup; i++) {
      const auto values = Vector::load(x + m * kGroup + (First + i) * Vector::kLanes);
#pragma GCC unroll 8
      for (int c = 0; c < Columns; c++) {
        sums[c][m] = First + i == 0 ? Vector::multiply(weights[c][i], values)
                                    : Vector::multiplyAdd(weights[c][i], values, sums[c][m]);
      }
    }
  }
  if constexpr (First + kLookup < Vector::kCodesPerLane) {
    addCodes<Batch, Columns, First + kLookup>(codes, x, sums);
  }
}

// Adds the products over [k, k + count), a multiple of the group, to `totals`.
template <int Batch, int Columns>
void addChunk(const Product& p, const ColumnScales& columnScales,
              const typename Vector::Spread& spread, int64_t n, int64_t k, int64_t count,
              Sums<Batch>* totals) {
  const int blockShift = columnScales.blockShift();
  const uint8_t* bytes[Columns];
  const float* scales[Columns];
  int64_t offsets[Columns];  // within the first block
  typename Vector::Floats sums[Columns][Batch];
#pragma GCC unroll 8
  for (int c = 0; c < Columns; c++) {
    const int64_t position = (n + c) * p.inFeatures + k;
    bytes[c] = p.packed + position / 2;
    scales[c] = columnScales.at(position);
    offsets[c] = position & (p.blockSize - 1);
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
  const X* x = static_cast<const X*>(p.x) + k * Batch;
  for (int64_t done = 0; done < count; done += kGroup) {
    typename Vector::Codes codes[Columns];
#pragma GCC unroll 8
    for (int c = 0; c < Columns; c++) {
      __builtin_prefetch(bytes[c] + done / 2 + ahead, 0, 2);
      __builtin_prefetch(bytes[c] + done / 2 + kNear);
      codes[c] = Vector::loadCodes(bytes[c] + done / 2);
    }
    addCodes<Batch, Columns, 0>(codes, x + done * Batch, sums);
#pragma GCC unroll 8
    for (int c = 0; c < Columns; c++) {
      const auto scale = spread(scales[c] + ((offsets[c] + done) >> blockShift));
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
  const typename Vector::Spread spread(p.blockSize);
  ColumnScales scales(p);
  const int64_t chunk =
      Batch <= 2 ? kMaxChunk / kGroup * kGroup
                 : kChunkBytes / (Batch * static_cast<int64_t>(sizeof(X))) / kGroup * kGroup;
  Sums<Batch> totals[kColumnsAtOnce];
  for (int64_t first = begin; first < end; first += kColumnsAtOnce) {
    const int64_t columns = end - first < kColumnsAtOnce ? end - first : kColumnsAtOnce;
    for (int64_t c = 0; c < columns; c++) {
      for (int m = 0; m < Batch; m++) totals[c][m] = Vector::zero();
    }
    scales.decode(first * p.inFeatures, columns * p.inFeatures);
    for (int64_t k = 0; k < p.inFeatures; k += chunk) {
      const int64_t count = p.inFeatures - k < chunk ? p.inFeatures - k : chunk;
      int64_t c = 0;
      for (; c + kTogether <= columns; c += kTogether) {
        addChunk<Batch, kTogether>(p, scales, spread, first + c, k, count, totals + c);
      }
      for (; c < columns; c++) {
        addChunk<Batch, 1>(p, scales, spread, first + c, k, count, totals + c);
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
