// Plain C++ that compilers vectorise a little: runs everywhere, and says what is right.
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>

#include "paths.h"
#include "unpack.h"

namespace pare::nf4::cpu {

namespace {

template <typename T>
void toFloat(const void* values, int64_t count, float* result) {
  const T* typed = static_cast<const T*>(values);
  for (int64_t i = 0; i < count; i++) result[i] = static_cast<float>(typed[i]);
}

void toFloat(const void* values, Float type, int64_t count, float* result) {
  switch (type) {
    case Float::kFloat32:
      return toFloat<float>(values, count, result);
    case Float::kBFloat16:
      return toFloat<c10::BFloat16>(values, count, result);
    case Float::kFloat16:
      return toFloat<c10::Half>(values, count, result);
  }
}

void quantizeBlocks(const void* values, Float type, int64_t blocks, int64_t blockSize,
                    uint8_t* packed, float* absmax) {
  const auto* bytes = static_cast<const uint8_t*>(values);
  for (int64_t i = 0; i < blocks; i++) {
    const int64_t first = i * blockSize;
    absmax[i] =
        quantizeBlock(bytes + first * sizeOf(type), type, blockSize, false, packed + first / 2);
  }
}

void dequantizeToFloat(const uint8_t* packed, const Scales& scales, int64_t blockSize,
                       int64_t first, int64_t count, float* values) {
  const int64_t end = first + count;
  for (int64_t position = first; position < end;) {
    const int64_t block = position / blockSize;
    const int64_t stop = std::min(end, (block + 1) * blockSize);
    unpackScaled(packed, position, stop - position, scales(block), values);
    values += stop - position;
    position = stop;
  }
}

template <typename T>
void dequantizeTo(const uint8_t* packed, const Scales& scales, int64_t blockSize, int64_t first,
                  int64_t count, T* values) {
  constexpr int64_t kChunk = 1024;
  float chunk[kChunk];
  for (int64_t done = 0; done < count; done += kChunk) {
    const int64_t size = std::min(kChunk, count - done);
    dequantizeToFloat(packed, scales, blockSize, first + done, size, chunk);
    for (int64_t i = 0; i < size; i++) values[done + i] = static_cast<T>(chunk[i]);
  }
}

void dequantize(const uint8_t* packed, const Scales& scales, int64_t blockSize, int64_t first,
                int64_t count, void* values, Float type) {
  switch (type) {
    case Float::kFloat32:
      return dequantizeToFloat(packed, scales, blockSize, first, count,
                               static_cast<float*>(values));
    case Float::kBFloat16:
      return dequantizeTo(packed, scales, blockSize, first, count,
                          static_cast<c10::BFloat16*>(values));
    case Float::kFloat16:
      return dequantizeTo(packed, scales, blockSize, first, count, static_cast<c10::Half*>(values));
  }
}

// Partial sums kept side by side, so that the loop over k vectorises without reordering a sum.
constexpr int kLanes = 8;
constexpr int kRowsAtOnce = 4;

using Lanes = float[kLanes];

// Adds w . x[m] for `Rows` rows of x, `stride` apart, to each row's lanes.
template <int Rows>
void accumulate(const float* weights, const float* x, int64_t stride, int64_t count, Lanes* lanes) {
  const int64_t whole = count - count % kLanes;
  Lanes sums[Rows];  // a local copy stays in registers
  for (int m = 0; m < Rows; m++) std::copy_n(lanes[m], kLanes, sums[m]);
  for (int64_t k = 0; k < whole; k += kLanes) {
    for (int m = 0; m < Rows; m++) {
      for (int lane = 0; lane < kLanes; lane++) {
        sums[m][lane] += weights[k + lane] * x[m * stride + k + lane];
      }
    }
  }
  for (int64_t k = whole; k < count; k++) {
    for (int m = 0; m < Rows; m++) sums[m][k - whole] += weights[k] * x[m * stride + k];
  }
  for (int m = 0; m < Rows; m++) std::copy_n(sums[m], kLanes, lanes[m]);
}

void accumulateRows(int64_t rows, const float* weights, const float* x, int64_t stride,
                    int64_t count, Lanes* lanes) {
  switch (rows) {
    case 1:
      return accumulate<1>(weights, x, stride, count, lanes);
    case 2:
      return accumulate<2>(weights, x, stride, count, lanes);
    case 3:
      return accumulate<3>(weights, x, stride, count, lanes);
    default:
      return accumulate<4>(weights, x, stride, count, lanes);
  }
}

void multiply(const Product& p, int64_t begin, int64_t end) {
  constexpr int64_t kChunk = 512;  // weights decoded at a time: they and x stay in the L1 cache
  const float* x = static_cast<const float*>(p.x);
  float weights[kChunk];
  for (int64_t n = begin; n < end; n++) {
    Lanes lanes[kMaxSmallBatch] = {};
    for (int64_t k = 0; k < p.inFeatures; k += kChunk) {
      const int64_t count = std::min(kChunk, p.inFeatures - k);
      dequantizeToFloat(p.packed, p.scales, p.blockSize, n * p.inFeatures + k, count, weights);
      for (int64_t m = 0; m < p.batch; m += kRowsAtOnce) {
        accumulateRows(std::min<int64_t>(kRowsAtOnce, p.batch - m), weights,
                       x + m * p.inFeatures + k, p.inFeatures, count, lanes + m);
      }
    }
    for (int64_t m = 0; m < p.batch; m++) {
      float sum = p.bias == nullptr ? 0 : p.bias[n];
      for (const float lane : lanes[m]) sum += lane;
      p.out[m * p.outFeatures + n] = sum;
    }
  }
}

}  // namespace

float quantizeBlock(const void* source, Float type, int64_t count, bool ragged, uint8_t* packed) {
  float values[kMaxBlockSize];
  toFloat(source, type, count, values);
  uint32_t largest = 0;
  for (int64_t i = 0; i < count; i++) largest = std::max(largest, magnitudeBits(values[i]));
  const BlockScale scale(fromBits(largest), ragged);
  // One code a value first: this loop vectorises, packing in the same loop does not.
  uint8_t codes[kMaxBlockSize];
  if (ragged) {
    for (int64_t i = 0; i < count; i++) codes[i] = quantizeValue(values[i] / scale.divisor);
  } else {
    for (int64_t i = 0; i < count; i++) codes[i] = quantizeValue(values[i] * scale.reciprocal);
  }
  for (int64_t i = 0; i < count / 2; i++) packed[i] = pack(codes[2 * i], codes[2 * i + 1]);
  if (count & 1) packed[count / 2] = pack(codes[count - 1], kZeroCode);
  return scale.absmax;
}

constinit const Path kPortable = {"portable", quantizeBlocks, dequantize, multiply, kMaxSmallBatch,
                                  0,          nullptr,        nullptr};

}  // namespace pare::nf4::cpu
