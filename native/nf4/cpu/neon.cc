// NEON of 64-bit Arm. A table lookup finds 16 bytes by 16 codes: decoded values are made of their
// bytes, one lookup each, and stored interleaved.
#include <arm_neon.h>

#include "paths.h"

namespace pare::nf4::cpu {
namespace {

struct Table {
  float32x4_t values[4];
};

inline Table codebookTable() {
  Table table;
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    const float four[] = {codebook(4 * i), codebook(4 * i + 1), codebook(4 * i + 2),
                          codebook(4 * i + 3)};
    table.values[i] = vld1q_f32(four);
  }
  return table;
}

// Products and sums are rounded apart.
inline float decodeScale(const Scales& scales, int64_t block) {
  if (scales.codes == nullptr) return scales.absmax[block];
  const float product = scales.map[scales.codes[block]] * scales.absmax[block / kNestedBlockSize];
  return product + scales.offset;
}

// ---- quantise

template <Float Type>
inline float32x4_t load(const void* values, int64_t i) {
  if constexpr (Type == Float::kFloat32) {
    return vld1q_f32(static_cast<const float*>(values) + i);
  } else {
    const uint16x4_t half = vld1_u16(static_cast<const uint16_t*>(values) + i);
    if constexpr (Type == Float::kFloat16) return vcvt_f32_f16(vreinterpret_f16_u16(half));
    return vreinterpretq_f32_u32(vshll_n_u16(half, 16));
  }
}

// Counts the boundaries below each value, as quantizeValue does.
inline uint32x4_t codesOf(float32x4_t values) {
  uint32x4_t codes = vdupq_n_u32(0);
#pragma GCC unroll 15
  for (int i = 0; i + 1 < kCodebookSize; i++) {
    const uint32x4_t above = vmvnq_u32(vcgeq_f32(vdupq_n_f32(boundary(i)), values));
    codes = vsubq_u32(codes, above);  // a mask is -1
  }
  return codes;
}

template <Float Type>
void quantizeBlocksOf(const void* values, int64_t blocks, int64_t blockSize, uint8_t* packed,
                      float* absmax) {
  for (int64_t block = 0; block < blocks; block++) {
    const int64_t first = block * blockSize;
    uint32x4_t largest = vdupq_n_u32(0);
    for (int64_t i = first; i < first + blockSize; i += 4) {
      const uint32x4_t bits = vreinterpretq_u32_f32(load<Type>(values, i));
      largest = vmaxq_u32(largest, vandq_u32(bits, vdupq_n_u32(0x7fffffff)));
    }
    const BlockScale scale(fromBits(vmaxvq_u32(largest)), false);
    absmax[block] = scale.absmax;
    for (int64_t i = first; i < first + blockSize; i += 16) {
      uint16x4_t codes[4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; j++) {
        const float32x4_t four = load<Type>(values, i + j * 4);
        codes[j] = vmovn_u32(codesOf(vmulq_n_f32(four, scale.reciprocal)));
      }
      const uint8x8_t low = vmovn_u16(vcombine_u16(codes[0], codes[1]));
      const uint8x8_t high = vmovn_u16(vcombine_u16(codes[2], codes[3]));
      // Of two neighbours the first goes to the high half of a byte.
      vst1_u8(packed + i / 2, vsli_n_u8(vuzp2_u8(low, high), vuzp1_u8(low, high), 4));
    }
  }
}

void quantizeBlocks(const void* values, Float type, int64_t blocks, int64_t blockSize,
                    uint8_t* packed, float* absmax) {
  switch (type) {
    case Float::kFloat32:
      return quantizeBlocksOf<Float::kFloat32>(values, blocks, blockSize, packed, absmax);
    case Float::kBFloat16:
      return quantizeBlocksOf<Float::kBFloat16>(values, blocks, blockSize, packed, absmax);
    case Float::kFloat16:
      return quantizeBlocksOf<Float::kFloat16>(values, blocks, blockSize, packed, absmax);
  }
}

// ---- dequantise: the codebook times a block's absmax is the table of that block

// To the nearest, ties to even; NaN stays one.
inline uint16x4_t toBFloat16(float32x4_t values) {
  const uint32x4_t bits = vreinterpretq_u32_f32(values);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
  return vshrn_n_u32(vbslq_u32(vceqq_f32(values, values), rounded, vdupq_n_u32(0x7fc00000)), 16);
}

inline int codeAt(const uint8_t* bytes, int64_t i) {
  return i & 1 ? bytes[i >> 1] & 15 : bytes[i >> 1] >> 4;
}

// `count` values that share an absmax, from a whole byte on. `Value` has the size of the values.
template <typename Value>
inline void decode(const uint8_t* bytes, int64_t count, const Value (&table)[kCodebookSize],
                   Value* values) {
  int64_t i = 0;
  const auto look = [&](auto planes, auto store) {
    for (; i + 16 <= count; i += 16) {
      const uint8x8_t packed = vld1_u8(bytes + i / 2);
      const uint8x8_t first = vshr_n_u8(packed, 4);
      const uint8x8_t second = vand_u8(packed, vdup_n_u8(15));
      const uint8x16_t codes = vcombine_u8(vzip1_u8(first, second), vzip2_u8(first, second));
      auto found = planes;
#pragma GCC unroll 4
      for (size_t j = 0; j < sizeof(Value); j++) found.val[j] = vqtbl1q_u8(planes.val[j], codes);
      store(reinterpret_cast<uint8_t*>(values + i), found);
    }
  };
  const auto* tableBytes = reinterpret_cast<const uint8_t*>(table);
  if constexpr (sizeof(Value) == 4) {
    look(vld4q_u8(tableBytes), [](uint8_t* out, uint8x16x4_t found) { vst4q_u8(out, found); });
  } else {
    look(vld2q_u8(tableBytes), [](uint8_t* out, uint8x16x2_t found) { vst2q_u8(out, found); });
  }
  for (; i < count; i++) values[i] = table[codeAt(bytes, i)];
}

void dequantize(const uint8_t* packed, const Scales& scales, int64_t blockSize, int64_t first,
                int64_t count, void* values, Float type) {
  const Table book = codebookTable();
  const int blockShift = __builtin_ctzll(static_cast<unsigned long long>(blockSize));
  auto* out = static_cast<uint8_t*>(values);
  for (int64_t position = first; position < first + count;) {
    const int64_t block = position >> blockShift;
    const float absmax = decodeScale(scales, block);
    const int64_t blockEnd = (block + 1) << blockShift;
    int64_t size = (blockEnd < first + count ? blockEnd : first + count) - position;
    // The second value of a byte is decoded alone, as the first of a byte of its own.
    const bool second = position & 1;
    const auto alone = static_cast<uint8_t>(packed[position >> 1] << 4);
    const uint8_t* bytes = second ? &alone : packed + position / 2;
    if (second) size = 1;
    if (type == Float::kFloat32) {
      float table[kCodebookSize];
      for (int i = 0; i < 4; i++) vst1q_f32(table + 4 * i, vmulq_n_f32(book.values[i], absmax));
      decode(bytes, size, table, reinterpret_cast<float*>(out));
    } else {
      uint16_t table[kCodebookSize];
      for (int i = 0; i < 4; i++) {
        const float32x4_t four = vmulq_n_f32(book.values[i], absmax);
        vst1_u16(table + 4 * i, type == Float::kBFloat16
                                    ? toBFloat16(four)
                                    : vreinterpret_u16_f16(vcvt_f16_f32(four)));
      }
      decode(bytes, size, table, reinterpret_cast<uint16_t*>(out));
    }
    position += size;
    out += size * sizeOf(type);
  }
}

// ---- multiply

struct Vector {
  static constexpr int kLanes = 4;
  static constexpr int kCodesPerLane = 8;
  using X = float;
  using Floats = float32x4_t;
  using Weights = float32x4_t;
  using Codes = uint32x4_t;
  static constexpr int kLookup = 1;
  static constexpr int columnsFor(int batch) { return batch <= 2 ? 4 : batch <= 4 ? 2 : 1; }

  static Floats zero() { return vdupq_n_f32(0); }
  static Floats load(const float* values) { return vld1q_f32(values); }
  static Floats multiply(Floats a, Floats b) { return vmulq_f32(a, b); }
  static Floats multiplyAdd(Floats a, Floats b, Floats c) { return vfmaq_f32(c, a, b); }
  static float sum(Floats values) { return vaddvq_f32(values); }
  static Codes loadCodes(const uint8_t* bytes) { return vreinterpretq_u32_u8(vld1q_u8(bytes)); }

  // The values of code `Code` of every lane: the table's bytes 4 code to 4 code + 3.
  template <int Code>
  static void lookup(Codes codes, Weights (&weights)[1]) {
    const Table book = codebookTable();
    const uint8x16x4_t bytes = {
        {vreinterpretq_u8_f32(book.values[0]), vreinterpretq_u8_f32(book.values[1]),
         vreinterpretq_u8_f32(book.values[2]), vreinterpretq_u8_f32(book.values[3])}};
    if constexpr (shiftOf(Code) > 0) codes = vshrq_n_u32(codes, shiftOf(Code));
    const uint32x4_t low = vandq_u32(codes, vdupq_n_u32(15));
    const uint32x4_t first = vmlaq_n_u32(vdupq_n_u32(0x03020100), low, 0x04040404);
    weights[0] = vreinterpretq_f32_u8(vqtbl4q_u8(bytes, vreinterpretq_u8_u32(first)));
  }

  // A group is one block or part of one.
  struct Spread {
    explicit Spread(int64_t) {}
    Floats operator()(const float* scales) const { return vdupq_n_f32(*scales); }
  };

  struct ScaleDecoder {
    explicit ScaleDecoder(const Scales& scales) : scales(scales) {}
    void operator()(int64_t first, int64_t count, float* decoded) const {
      for (int64_t i = 0; i < count; i++) decoded[i] = decodeScale(scales, first + i);
    }
    Scales scales;
  };
};

}  // namespace
}  // namespace pare::nf4::cpu

#include "multiply_arranged.h"
#include "multiply_in_order.h"

namespace pare::nf4::cpu {

static void multiply(const Product& product, int64_t begin, int64_t end) {
  (product.arranged ? multiplyArranged : multiplyInOrder)(product, begin, end);
}

constinit const Path kNeon = {"neon",
                              quantizeBlocks,
                              dequantize,
                              multiply,
                              kMaxSmallBatch,
                              Vector::kLanes,
                              shiftedOrder<Vector::kCodesPerLane>,
                              nullptr};

}  // namespace pare::nf4::cpu
