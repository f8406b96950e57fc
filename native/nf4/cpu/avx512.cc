// AVX-512 (F, BW, DQ, VL). A permutation looks up 16 codes in a table of 16 float32.
#include "avx512.h"

namespace pare::nf4::cpu {
namespace {

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

// Decoding is bound by its stores: on a Zen 5 the way of AVX2 was 1.3 times (float32) and 1.6 times
// (16 bits) as fast as permutations of 512 bits.
void dequantize(const uint8_t* packed, const Scales& scales, int64_t blockSize, int64_t first,
                int64_t count, void* values, Float type) {
  kAvx2.dequantize(packed, scales, blockSize, first, count, values, type);
}

// ---- multiply

struct Vector {
  static constexpr int kLanes = 16;
  static constexpr int kCodesPerLane = 8;
  using X = float;
  using Floats = __m512;
  using Weights = __m512;
  using Codes = __m512i;
  static constexpr int kLookup = 1;
  static constexpr int columnsFor(int batch) { return batch <= 2 ? 4 : batch <= 4 ? 2 : 1; }

  static Floats zero() { return _mm512_setzero_ps(); }
  static Floats load(const float* values) { return _mm512_loadu_ps(values); }
  static Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats multiplyAdd(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  static float sum(Floats values) { return _mm512_reduce_add_ps(values); }
  static Codes loadCodes(const uint8_t* bytes) { return _mm512_loadu_si512(bytes); }

  // The values of code `Code` of every lane; a permutation reads the low 4 bits only.
  template <int Code>
  static void lookup(Codes codes, Weights (&weights)[1]) {
    weights[0] = _mm512_permutexvar_ps(_mm512_srli_epi32(codes, shiftOf(Code)), codebookVector());
  }

  using Spread = cpu::Spread;
  using ScaleDecoder = cpu::ScaleDecoder;
};

}  // namespace
}  // namespace pare::nf4::cpu

#include "multiply_arranged.h"
#include "multiply_in_order.h"

namespace pare::nf4::cpu {

static void multiply(const Product& product, int64_t begin, int64_t end) {
  (product.arranged ? multiplyArranged : multiplyInOrder)(product, begin, end);
}

constinit const Path kAvx512 = {"avx512",
                                quantizeBlocks,
                                dequantize,
                                multiply,
                                32,
                                Vector::kLanes,
                                shiftedOrder<Vector::kCodesPerLane>,
                                nullptr};

}  // namespace pare::nf4::cpu
