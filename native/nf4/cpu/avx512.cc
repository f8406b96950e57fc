// AVX-512 (F, BW, DQ, VL). A permutation looks up 16 codes in a table of 16 float32, or 32 codes in
// one of 16-bit values.
#include <immintrin.h>

#include "paths.h"

namespace pare::nf4::cpu {
namespace {

inline __m512 codebookVector() {
  return _mm512_setr_ps(codebook(0), codebook(1), codebook(2), codebook(3), codebook(4),
                        codebook(5), codebook(6), codebook(7), codebook(8), codebook(9),
                        codebook(10), codebook(11), codebook(12), codebook(13), codebook(14),
                        codebook(15));
}

// 16 blocks at a time, in one group of 256 or two; products and sums are rounded apart.
__attribute__((noinline)) void decodeScales(const Scales& scales, int64_t first, int64_t count,
                                            float* decoded) {
  const __m512 offset = _mm512_set1_ps(scales.offset);
  for (int64_t i = 0; i < count; i += 16) {
    const int64_t block = first + i;
    const auto mask = static_cast<__mmask16>(count - i < 16 ? (1 << (count - i)) - 1 : 0xffff);
    const __m512i codes = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, scales.codes + block));
    const __m512 values = _mm512_i32gather_ps(codes, scales.map, 4);
    __m512 absmax = _mm512_set1_ps(scales.absmax[block / kNestedBlockSize]);
    const int64_t left = kNestedBlockSize - block % kNestedBlockSize;
    if (left < 16 && left < count - i) {
      const auto next = static_cast<__mmask16>(0xffff << left);
      absmax = _mm512_mask_mov_ps(absmax, next,
                                  _mm512_set1_ps(scales.absmax[block / kNestedBlockSize + 1]));
    }
    _mm512_mask_storeu_ps(decoded + i, mask, _mm512_add_ps(_mm512_mul_ps(values, absmax), offset));
  }
}

// ---- quantise

template <Float Type>
inline __m512 load(const void* values, int64_t i) {
  if constexpr (Type == Float::kFloat32) {
    return _mm512_loadu_ps(static_cast<const float*>(values) + i);
  } else {
    const __m256i half = _mm256_loadu_si256(
        reinterpret_cast<const __m256i*>(static_cast<const uint16_t*>(values) + i));
    if constexpr (Type == Float::kFloat16) return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
}

// [-1, 1] in 32 parts, so narrow that each holds at most one boundary between two codes: a value's
// code is the number of boundaries in the parts below its own, and one more if it is above the
// boundary in its own.
struct Parts {
  alignas(64) int32_t below[32];
  alignas(64) float limit[32];
};

constexpr float kPartsScale = 15.5f;

constexpr Parts makeParts() {
  Parts parts{};
  for (float& limit : parts.limit) limit = __builtin_inff();
  for (int i = 0; i + 1 < kCodebookSize; i++) {
    // The arithmetic of `codesOf`: what decides is that it never falls as the value rises.
    const int part = static_cast<int>(boundary(i) * kPartsScale + kPartsScale);
    if (parts.limit[part] != __builtin_inff()) throw "two boundaries in one part";
    parts.limit[part] = boundary(i);
    for (int above = part + 1; above < 32; above++) parts.below[above]++;
  }
  return parts;
}

constexpr Parts kParts = makeParts();

// Of finite values in [-1, 1] or a rounding beyond.
inline __m512i codesOf(__m512 values) {
  const __m512 scale = _mm512_set1_ps(kPartsScale);
  const __m512i part = _mm512_cvttps_epi32(_mm512_add_ps(_mm512_mul_ps(values, scale), scale));
  const __m512 limit =
      _mm512_permutex2var_ps(_mm512_load_ps(kParts.limit), part, _mm512_load_ps(kParts.limit + 16));
  const __m512i below = _mm512_permutex2var_epi32(_mm512_load_si512(kParts.below), part,
                                                  _mm512_load_si512(kParts.below + 16));
  const __mmask16 above = _mm512_cmp_ps_mask(values, limit, _CMP_GT_OQ);
  return _mm512_mask_add_epi32(below, above, below, _mm512_set1_epi32(1));
}

template <Float Type>
void quantizeBlocksOf(const void* values, int64_t blocks, int64_t blockSize, uint8_t* packed,
                      float* absmax) {
  constexpr uint32_t kInfinity = 0x7f800000;
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  for (int64_t block = 0; block < blocks; block++) {
    const int64_t first = block * blockSize;
    __m512i largest = _mm512_setzero_si512();
    for (int64_t i = first; i < first + blockSize; i += 16) {
      const __m512i bits = _mm512_castps_si512(load<Type>(values, i));
      largest = _mm512_max_epu32(largest, _mm512_and_si512(bits, magnitude));
    }
    const uint32_t bits = _mm512_reduce_max_epu32(largest);
    if (bits >= kInfinity) {
      const auto* bytes = static_cast<const uint8_t*>(values) + first * sizeOf(Type);
      absmax[block] = quantizeBlock(bytes, Type, blockSize, false, packed + first / 2);
      continue;
    }
    const BlockScale scale(fromBits(bits), false);
    absmax[block] = scale.absmax;
    const __m512 reciprocal = _mm512_set1_ps(scale.reciprocal);
    for (int64_t i = first; i < first + blockSize; i += 16) {
      const __m512i codes = codesOf(_mm512_mul_ps(load<Type>(values, i), reciprocal));
      // Of two neighbours the first goes to the high half of a byte.
      const __m512i pairs =
          _mm512_or_si512(_mm512_slli_epi64(codes, 4), _mm512_srli_epi64(codes, 32));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(packed + i / 2), _mm512_cvtepi64_epi8(pairs));
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

// To the nearest, ties to even; NaN stays one. Not vcvtneps2bf16, which flushes subnormals.
inline __m256i toBFloat16(__m512 values) {
  const __m512i bits = _mm512_castps_si512(values);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __mmask16 isNan = _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(
      _mm512_mask_mov_epi32(_mm512_srli_epi32(rounded, 16), isNan, _mm512_set1_epi32(0x7fc0)));
}

inline __m512i halfTable(__m512 table, Float type) {
  const __m256i narrow = type == Float::kBFloat16
                             ? toBFloat16(table)
                             : _mm512_cvtps_ph(table, _MM_FROUND_TO_NEAREST_INT);
  return _mm512_broadcast_i64x4(narrow);
}

// 16 values of 64 codes; `which` of 4.
inline __m512 lookup(__m512i codes, int which, __m512 table) {
  const __m512i lane = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
  const __m512i shift = _mm512_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24, 4, 0, 12, 8, 20, 16, 28, 24);
  const __m512i spread =
      _mm512_permutexvar_epi32(_mm512_add_epi32(lane, _mm512_set1_epi32(2 * which)), codes);
  return _mm512_permutexvar_ps(_mm512_srlv_epi32(spread, shift), table);
}

// 32 values of 64 codes; `which` of 2.
inline __m512i lookupHalf(__m512i codes, int which, __m512i table) {
  const __m512i lane = _mm512_set_epi16(7, 7, 7, 7, 6, 6, 6, 6, 5, 5, 5, 5, 4, 4, 4, 4, 3, 3, 3, 3,
                                        2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
  const __m512i shift = _mm512_set1_epi64(0x0008'000c'0000'0004);
  const __m512i spread =
      _mm512_permutexvar_epi16(_mm512_add_epi16(lane, _mm512_set1_epi16(8 * which)), codes);
  return _mm512_permutexvar_epi16(_mm512_srlv_epi16(spread, shift), table);
}

inline __mmask64 firstOf(int64_t count) {
  return count >= 64 ? ~0ull : (1ull << (count < 0 ? 0 : count)) - 1;
}

// `count` values that share an absmax, from a whole byte on.
inline void decodeFloats(const uint8_t* bytes, int64_t count, __m512 table, float* values) {
  for (int64_t i = 0; i < count; i += 64) {
    const int64_t left = count - i;
    const auto mask = static_cast<__mmask32>(firstOf((left + 1) / 2));
    const __m512i codes = _mm512_castsi256_si512(_mm256_maskz_loadu_epi8(mask, bytes + i / 2));
    if (left >= 64) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; j++) _mm512_storeu_ps(values + i + j * 16, lookup(codes, j, table));
    } else {
#pragma GCC unroll 4
      for (int j = 0; j < 4; j++) {
        _mm512_mask_storeu_ps(values + i + j * 16, static_cast<__mmask16>(firstOf(left) >> j * 16),
                              lookup(codes, j, table));
      }
    }
  }
}

inline void decodeHalves(const uint8_t* bytes, int64_t count, __m512i table, uint16_t* values) {
  for (int64_t i = 0; i < count; i += 64) {
    const int64_t left = count - i;
    const auto mask = static_cast<__mmask32>(firstOf((left + 1) / 2));
    const __m512i codes = _mm512_castsi256_si512(_mm256_maskz_loadu_epi8(mask, bytes + i / 2));
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++) {
      _mm512_mask_storeu_epi16(values + i + j * 32, static_cast<__mmask32>(firstOf(left) >> j * 32),
                               lookupHalf(codes, j, table));
    }
  }
}

void dequantize(const uint8_t* packed, const Scales& scales, int64_t blockSize, int64_t first,
                int64_t count, void* values, Float type) {
  constexpr int64_t kScales = 64;
  float decoded[kScales];
  const int blockShift = __builtin_ctzll(static_cast<unsigned long long>(blockSize));
  const __m512 book = codebookVector();
  const int64_t lastBlock = (first + count - 1) >> blockShift;
  int64_t position = first;
  int64_t decodedUntil = 0;
  const float* absmax = scales.absmax;
  auto* out = static_cast<uint8_t*>(values);
  while (position < first + count) {
    const int64_t block = position >> blockShift;
    if (scales.codes != nullptr && block >= decodedUntil) {
      const int64_t blocks = lastBlock + 1 - block < kScales ? lastBlock + 1 - block : kScales;
      decodeScales(scales, block, blocks, decoded);
      decodedUntil = block + blocks;
      absmax = decoded - block;
    }
    const __m512 table = _mm512_mul_ps(book, _mm512_set1_ps(absmax[block]));
    const int64_t blockEnd = (block + 1) << blockShift;
    int64_t size = (blockEnd < first + count ? blockEnd : first + count) - position;
    if (position & 1) {
      // The second of a byte's two: not from a whole byte on.
      const int code = packed[position >> 1] & 15;
      size = 1;
      if (type == Float::kFloat32) {
        alignas(64) float floats[16];
        _mm512_store_ps(floats, table);
        memcpy(out, floats + code, sizeof(float));
      } else {
        alignas(64) uint16_t halves[32];
        _mm512_store_si512(halves, halfTable(table, type));
        memcpy(out, halves + code, sizeof(uint16_t));
      }
    } else if (type == Float::kFloat32) {
      decodeFloats(packed + position / 2, size, table, reinterpret_cast<float*>(out));
    } else {
      decodeHalves(packed + position / 2, size, halfTable(table, type),
                   reinterpret_cast<uint16_t*>(out));
    }
    position += size;
    out += size * sizeOf(type);
  }
}

// ---- multiply

struct Vector {
  static constexpr int kLanes = 16;
  using Floats = __m512;
  using Codes = __m512i;

  static Floats zero() { return _mm512_setzero_ps(); }
  static Floats load(const float* values) { return _mm512_loadu_ps(values); }
  static Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats multiplyAdd(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  static float sum(Floats values) { return _mm512_reduce_add_ps(values); }
  static Codes loadCodes(const uint8_t* bytes) { return _mm512_loadu_si512(bytes); }

  // The values of the codes at bit `Shift` of every lane; a permutation reads the low 4 bits only.
  template <int Shift>
  static Floats lookup(Codes codes) {
    return _mm512_permutexvar_ps(_mm512_srli_epi32(codes, Shift), codebookVector());
  }

  // A group's absmax, one for a block, to the lanes of that block.
  class Spread {
   public:
    explicit Spread(int64_t blockSize)
        : mask_(blockSize >= 128  ? 1
                : blockSize == 64 ? 3
                                  : 15),
          blocks_(_mm512_srlv_epi32(
              _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
              _mm512_set1_epi32(blockSize >= 128  ? 4
                                : blockSize == 64 ? 3
                                                  : 2))) {}

    Floats operator()(const float* scales) const {
      return _mm512_permutexvar_ps(blocks_, _mm512_maskz_loadu_ps(mask_, scales));
    }

   private:
    __mmask16 mask_;
    __m512i blocks_;
  };

  static void decodeScales(const Scales& scales, int64_t first, int64_t count, float* decoded) {
    cpu::decodeScales(scales, first, count, decoded);
  }
};

}  // namespace
}  // namespace pare::nf4::cpu

#include "multiply.h"

namespace pare::nf4::cpu {

constinit const Path kAvx512 = {"avx512", quantizeBlocks, dequantize,
                                multiply, Vector::kLanes, false};

}  // namespace pare::nf4::cpu
