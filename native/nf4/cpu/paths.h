// The instruction sets for which there are kernels, each in a file of its own that is compiled for
// it, and the choice among them. Everything here is serial; kernels.h runs it on all threads.
#pragma once

#include <string>
#include <vector>

#include "../scales.h"
#include "panels.h"

namespace pare::nf4::cpu {

// What values are read and written as. The arithmetic is float32.
enum class Float { kFloat32, kBFloat16, kFloat16 };

constexpr int64_t sizeOf(Float type) { return type == Float::kFloat32 ? 4 : 2; }

// out[m, n] = sum_k x[m, k] w[n, k] + bias[n].
struct Product {
  const void* x;  // [batch, inFeatures], or [group][batch][value] if arranged; float32 unless said
  bool arranged;
  int64_t batch;  // at most kMaxSmallBatch
  const uint8_t* packed;
  Scales scales;
  int64_t blockSize;
  int64_t outFeatures;
  int64_t inFeatures;
  const float* bias;  // may be null
  float* out;         // [batch, outFeatures]
};

// A vector is loaded with several codes in each lane and gives as many vectors of values.
// `arranged` says that the values of each group of x are in the order of these, too: [vector][lane].
constexpr int codesPerLane(Float type) { return 2 * static_cast<int>(sizeOf(type)); }

// Where in the group a value stands.
using Order = int (*)(int vector, int lane);

// The order where a vector of codes is shifted by one code at a time, which leaves one at the
// bottom of every lane: a lane of 32 bits gives the values 0, 8, 16, ... of the group, then 1, 9,
// 17, ...
template <int CodesPerLane>
constexpr int shiftedOrder(int vector, int lane) {
  return lane * CodesPerLane + vector;
}

// The bits to shift a lane by, little-endian: the first of two codes is in the high half of a byte.
constexpr int shiftOf(int code) { return code * 4 ^ 4; }

struct Path {
  const char* name;

  // Whole blocks of values.
  void (*quantizeBlocks)(const void* values, Float type, int64_t blocks, int64_t blockSize,
                         uint8_t* packed, float* absmax);
  // The values at [first, first + count) of the flat array.
  void (*dequantize)(const uint8_t* packed, const Scales& scales, int64_t blockSize, int64_t first,
                     int64_t count, void* values, Float type);
  // Columns [begin, end) of the product.
  void (*multiply)(const Product& product, int64_t begin, int64_t end);
  // More rows of x are multiplied by tiles of decoded weights, which are then the faster way.
  int64_t mostRows;
  // Of the vectors of x's type that read codes; 0 if x is never to be arranged.
  int lanes;
  Order order;  // of x; null where it is never arranged
  // The same for x of bfloat16, always arranged, with twice the lanes; null where the processor
  // does not multiply those. Then the tiles of decoded weights are of bfloat16, too.
  void (*multiplyBFloat16)(const Product& product, int64_t begin, int64_t end);
  // Products of more rows of bfloat16, and those of gradients; null where the processor does not
  // multiply those.
  const Panels* panels = nullptr;
};

// The reference for all others.
extern const Path kPortable;
// Its way with one block: packs the codes and returns the absmax to be stored. For a last block
// that is shorter, and for one with infinities or NaN.
float quantizeBlock(const void* values, Float type, int64_t count, bool ragged, uint8_t* packed);

#ifdef PARE_NF4_X86
extern const Path kAvx2;
extern const Path kAvx512;
void multiplyBFloat16(const Product& product, int64_t begin, int64_t end);
extern const Panels kPanels;
#endif
#ifdef PARE_NF4_ARM64
extern const Path kNeon;
#endif

// In use: the fastest that this processor has, or the one that the environment variable
// PARE_NF4_CPU names. Throws if that one does not exist here.
const Path& path();

// Those of this processor, slowest first.
std::vector<std::string> pathNames();

// For tests: from now on, in all threads.
void usePath(const std::string& name);

}  // namespace pare::nf4::cpu
