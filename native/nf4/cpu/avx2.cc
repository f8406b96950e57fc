// AVX2, FMA and F16C. Two permutations of 8 float32 look up 8 codes in order; values are looked up
// as their two or four bytes, 32 at a time, where they have 16 bits or may stay out of order.
#include <immintrin.h>

#include "paths.h"

namespace pare::nf4::cpu {
namespace {

// The table of 16 values by code, in halves.
struct Table {
  __m256 low;
  __m256 high;
};

inline Table codebookTable() {
  return {_mm256_setr_ps(codebook(0), codebook(1), codebook(2), codebook(3), codebook(4),
                         codebook(5), codebook(6), codebook(7)),
          _mm256_setr_ps(codebook(8), codebook(9), codebook(10), codebook(11), codebook(12),
                         codebook(13), codebook(14), codebook(15))};
}

// By the low 4 bits of each lane: 3 choose within the halves, the fourth between them.
inline __m256 lookup(__m256i codes, const Table& table) {
  const __m256 high = _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28));
  return _mm256_blendv_ps(_mm256_permutevar8x32_ps(table.low, codes),
                          _mm256_permutevar8x32_ps(table.high, codes), high);
}

// Products and sums are rounded apart.
inline void decodeScales(const Scales& scales, int64_t first, int64_t count, float* decoded) {
  for (int64_t i = 0; i < count; i++) {
    const int64_t block = first + i;
    const float product = scales.map[scales.codes[block]] * scales.absmax[block / kNestedBlockSize];
    decoded[i] = product + scales.offset;
  }
}

// ---- quantise

template <Float Type>
inline __m256 load(const void* values, int64_t i) {
  if constexpr (Type == Float::kFloat32) {
    return _mm256_loadu_ps(static_cast<const float*>(values) + i);
  } else {
    const __m128i half =
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(static_cast<const uint16_t*>(values) + i));
    if constexpr (Type == Float::kFloat16) return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
  }
}

inline uint32_t largestOf(__m256i bits) {
  __m128i most = _mm_max_epu32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
  most = _mm_max_epu32(most, _mm_shuffle_epi32(most, _MM_SHUFFLE(1, 0, 3, 2)));
  most = _mm_max_epu32(most, _mm_shuffle_epi32(most, _MM_SHUFFLE(2, 3, 0, 1)));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(most));
}

// Counts the boundaries below each value, as quantizeValue does.
inline __m256i codesOf(__m256 values) {
  __m256i codes = _mm256_setzero_si256();
#pragma GCC unroll 15
  for (int i = 0; i + 1 < kCodebookSize; i++) {
    const __m256 above = _mm256_cmp_ps(_mm256_set1_ps(boundary(i)), values, _CMP_NGE_UQ);
    codes = _mm256_sub_epi32(codes, _mm256_castps_si256(above));  // a mask is -1
  }
  return codes;
}

template <Float Type>
void quantizeBlocksOf(const void* values, int64_t blocks, int64_t blockSize, uint8_t* packed,
                      float* absmax) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  for (int64_t block = 0; block < blocks; block++) {
    const int64_t first = block * blockSize;
    __m256i largest = _mm256_setzero_si256();
    for (int64_t i = first; i < first + blockSize; i += 8) {
      const __m256i bits = _mm256_castps_si256(load<Type>(values, i));
      largest = _mm256_max_epu32(largest, _mm256_and_si256(bits, magnitude));
    }
    const BlockScale scale(fromBits(largestOf(largest)), false);
    absmax[block] = scale.absmax;
    const __m256 reciprocal = _mm256_set1_ps(scale.reciprocal);
    for (int64_t i = first; i < first + blockSize; i += 32) {
      __m256i codes[4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; j++) {
        codes[j] = codesOf(_mm256_mul_ps(load<Type>(values, i + j * 8), reciprocal));
      }
      // To bytes, which come in fours from each half of the vectors in turn; then in order.
      const __m256i bytes = _mm256_packus_epi16(_mm256_packus_epi32(codes[0], codes[1]),
                                                _mm256_packus_epi32(codes[2], codes[3]));
      const __m256i ordered =
          _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
      // 16 times the first of two neighbours and the second.
      const __m256i pairs = _mm256_maddubs_epi16(ordered, _mm256_set1_epi16(0x0110));
      const __m256i halves = _mm256_packus_epi16(pairs, pairs);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(packed + i / 2),
                       _mm256_castsi256_si128(_mm256_permute4x64_epi64(halves, 0x08)));
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

// To the nearest, ties to even; NaN stays one. In the low half of each lane.
inline __m256i toBFloat16(__m256 values) {
  const __m256i bits = _mm256_castps_si256(values);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i isNan = _mm256_castps_si256(_mm256_cmp_ps(values, values, _CMP_UNORD_Q));
  return _mm256_blendv_epi8(_mm256_srli_epi32(rounded, 16), _mm256_set1_epi32(0x7fc0), isNan);
}

// 16 values of 16 bits.
inline __m256i narrow(const Table& table, Float type) {
  if (type == Float::kBFloat16) {
    const __m256i mixed = _mm256_packus_epi32(toBFloat16(table.low), toBFloat16(table.high));
    return _mm256_permute4x64_epi64(mixed, _MM_SHUFFLE(3, 1, 2, 0));
  }
  return _mm256_set_m128i(_mm256_cvtps_ph(table.high, _MM_FROUND_TO_NEAREST_INT),
                          _mm256_cvtps_ph(table.low, _MM_FROUND_TO_NEAREST_INT));
}

inline int codeAt(const uint8_t* bytes, int64_t i) {
  return i & 1 ? bytes[i >> 1] & 15 : bytes[i >> 1] >> 4;
}

// `count` values that share an absmax, from a whole byte on.
inline void decodeFloats(const uint8_t* bytes, int64_t count, const Table& table, float* values) {
  const __m256i shift = _mm256_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24);
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    int32_t eight;
    memcpy(&eight, bytes + i / 2, sizeof eight);
    const __m256i codes = _mm256_srlv_epi32(_mm256_set1_epi32(eight), shift);
    _mm256_storeu_ps(values + i, lookup(codes, table));
  }
  if (i == count) return;
  float rest[kCodebookSize];
  _mm256_storeu_ps(rest, table.low);
  _mm256_storeu_ps(rest + 8, table.high);
  for (; i < count; i++) values[i] = rest[codeAt(bytes, i)];
}

inline void decodeHalves(const uint8_t* bytes, int64_t count, __m256i table, uint16_t* values) {
  const __m256i byte = _mm256_set1_epi16(0xff);
  // The low bytes of the 16 values, in both halves of the vector, and the high bytes.
  const __m256i low = _mm256_permute4x64_epi64(
      _mm256_packus_epi16(_mm256_and_si256(table, byte), _mm256_setzero_si256()),
      _MM_SHUFFLE(2, 0, 2, 0));
  const __m256i high = _mm256_permute4x64_epi64(
      _mm256_packus_epi16(_mm256_srli_epi16(table, 8), _mm256_setzero_si256()),
      _MM_SHUFFLE(2, 0, 2, 0));
  const __m128i nibble = _mm_set1_epi8(15);
  int64_t i = 0;
  for (; i + 32 <= count; i += 32) {
    const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + i / 2));
    const __m128i first = _mm_and_si128(_mm_srli_epi16(packed, 4), nibble);
    const __m128i second = _mm_and_si128(packed, nibble);
    const __m256i codes =
        _mm256_set_m128i(_mm_unpackhi_epi8(first, second), _mm_unpacklo_epi8(first, second));
    const __m256i lows = _mm256_shuffle_epi8(low, codes);
    const __m256i highs = _mm256_shuffle_epi8(high, codes);
    const __m256i a = _mm256_unpacklo_epi8(lows, highs);  // 0 to 7 and 16 to 23
    const __m256i b = _mm256_unpackhi_epi8(lows, highs);  // 8 to 15 and 24 to 31
    auto* out = reinterpret_cast<__m256i*>(values + i);
    _mm256_storeu_si256(out, _mm256_permute2x128_si256(a, b, 0x20));
    _mm256_storeu_si256(out + 1, _mm256_permute2x128_si256(a, b, 0x31));
  }
  if (i == count) return;
  uint16_t rest[kCodebookSize];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(rest), table);
  for (; i < count; i++) values[i] = rest[codeAt(bytes, i)];
}

void dequantize(const uint8_t* packed, const Scales& scales, int64_t blockSize, int64_t first,
                int64_t count, void* values, Float type) {
  const Table book = codebookTable();
  const int blockShift = __builtin_ctzll(static_cast<unsigned long long>(blockSize));
  auto* out = static_cast<uint8_t*>(values);
  for (int64_t position = first; position < first + count;) {
    const int64_t block = position >> blockShift;
    float absmax;
    if (scales.codes == nullptr) {
      absmax = scales.absmax[block];
    } else {
      decodeScales(scales, block, 1, &absmax);
    }
    const __m256 scale = _mm256_set1_ps(absmax);
    const Table table = {_mm256_mul_ps(book.low, scale), _mm256_mul_ps(book.high, scale)};
    const int64_t blockEnd = (block + 1) << blockShift;
    int64_t size = (blockEnd < first + count ? blockEnd : first + count) - position;
    // The second of a byte's two values is none from a whole byte on; a byte of its own makes it
    // the first.
    const bool second = position & 1;
    const auto alone = static_cast<uint8_t>(packed[position >> 1] << 4);
    const uint8_t* bytes = second ? &alone : packed + position / 2;
    if (second) size = 1;
    if (type == Float::kFloat32) {
      decodeFloats(bytes, size, table, reinterpret_cast<float*>(out));
    } else {
      decodeHalves(bytes, size, narrow(table, type), reinterpret_cast<uint16_t*>(out));
    }
    position += size;
    out += size * sizeOf(type);
  }
}

// ---- multiply

// The codebook's bytes, the lowest first, each in both halves of a vector.
struct Bytes {
  alignas(32) uint8_t values[4][32];

  __m256i of(int byte) const {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(values[byte]));
  }
};

constexpr Bytes makeBytes() {
  Bytes bytes{};
  for (int byte = 0; byte < 4; byte++) {
    for (int i = 0; i < 32; i++) {
      const auto bits = __builtin_bit_cast(uint32_t, codebook(i % kCodebookSize));
      bytes.values[byte][i] = static_cast<uint8_t>(bits >> 8 * byte);
    }
  }
  return bytes;
}

constexpr Bytes kBytes = makeBytes();

struct Vector {
  static constexpr int kLanes = 8;
  static constexpr int kCodesPerLane = 8;
  using X = float;
  using Floats = __m256;
  using Weights = __m256;
  using Codes = __m256i;
  static constexpr int kLookup = 4;
  static constexpr int columnsFor(int batch) { return batch <= 2 ? 2 : 1; }

  static Floats zero() { return _mm256_setzero_ps(); }
  static Floats load(const float* values) { return _mm256_loadu_ps(values); }
  static Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  static Floats multiplyAdd(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
  static Codes loadCodes(const uint8_t* bytes) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
  }

  static float sum(Floats values) {
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(values), _mm256_extractf128_ps(values, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
  }

  // The values of the first codes of all bytes, or of the second: their four bytes are looked up 32
  // at a time and put together: two thirds of the instructions of two permutations and a choice for
  // 8 values.
  template <int First>
  static void lookup(Codes codes, Weights (&weights)[kLookup]) {
    const Codes shifted = First == 0 ? _mm256_srli_epi16(codes, 4) : codes;
    const Codes nibbles = _mm256_and_si256(shifted, _mm256_set1_epi8(15));
    Codes bytes[4];
#pragma GCC unroll 4
    for (int byte = 0; byte < 4; byte++) {
      bytes[byte] = _mm256_shuffle_epi8(kBytes.of(byte), nibbles);
    }
    const Codes low01 = _mm256_unpacklo_epi8(bytes[0], bytes[1]);
    const Codes high01 = _mm256_unpackhi_epi8(bytes[0], bytes[1]);
    const Codes low23 = _mm256_unpacklo_epi8(bytes[2], bytes[3]);
    const Codes high23 = _mm256_unpackhi_epi8(bytes[2], bytes[3]);
    weights[0] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(low01, low23));
    weights[1] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(low01, low23));
    weights[2] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(high01, high23));
    weights[3] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(high01, high23));
  }

  // Unpacking works within 128 bits: vector 4 second + i has the codes of the bytes 4 i to 4 i + 3
  // of each half.
  static constexpr int order(int vector, int lane) {
    return 2 * (lane / 4 * 16 + vector % 4 * 4 + lane % 4) + vector / 4;
  }

  // A group's absmax, one for a block, to the lanes of that block.
  class Spread {
   public:
    explicit Spread(int64_t blockSize)
        : mask_(blockSize == kMinBlockSize ? _mm256_setr_epi32(-1, -1, 0, 0, 0, 0, 0, 0)
                                           : _mm256_setr_epi32(-1, 0, 0, 0, 0, 0, 0, 0)),
          blocks_(blockSize == kMinBlockSize ? _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1)
                                             : _mm256_setzero_si256()) {}

    Floats operator()(const float* scales) const {
      return _mm256_permutevar8x32_ps(_mm256_maskload_ps(scales, mask_), blocks_);
    }

   private:
    __m256i mask_;
    __m256i blocks_;
  };

  struct ScaleDecoder {
    explicit ScaleDecoder(const Scales& scales) : scales(scales) {}
    void operator()(int64_t first, int64_t count, float* decoded) const {
      decodeScales(scales, first, count, decoded);
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

constinit const Path kAvx2 = {"avx2", quantizeBlocks, dequantize,    multiply,
                              16,     Vector::kLanes, Vector::order, nullptr};

}  // namespace pare::nf4::cpu
