// What the files for AVX-512 share; of internal linkage, as all that is compiled for it.
#pragma once

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

// The absmax of the groups that 16 blocks from `block` on are in: one of 256 blocks, or two.
inline __m512 groupAbsmax(const Scales& scales, int64_t block, int64_t count) {
  const __m512 absmax = _mm512_set1_ps(scales.absmax[block / kNestedBlockSize]);
  const int64_t left = kNestedBlockSize - block % kNestedBlockSize;
  if (left >= 16 || left >= count) return absmax;
  return _mm512_mask_mov_ps(absmax, static_cast<__mmask16>(0xffff << left),
                            _mm512_set1_ps(scales.absmax[block / kNestedBlockSize + 1]));
}

// 16 blocks at a time; products and sums are rounded apart.
__attribute__((noinline)) void decodeScales(const Scales& scales, int64_t first, int64_t count,
                                            float* decoded) {
  const __m512 offset = _mm512_set1_ps(scales.offset);
  for (int64_t i = 0; i < count; i += 16) {
    const int64_t block = first + i;
    const auto mask = static_cast<__mmask16>(count - i < 16 ? (1 << (count - i)) - 1 : 0xffff);
    const __m512i codes = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, scales.codes + block));
    const __m512 values = _mm512_i32gather_ps(codes, scales.map, 4);
    const __m512 absmax = groupAbsmax(scales, block, count - i);
    _mm512_mask_storeu_ps(decoded + i, mask, _mm512_add_ps(_mm512_mul_ps(values, absmax), offset));
  }
}

// Decodes nested absmax. A gather of 16 entries takes as long as 16 loads; where bytes can be looked
// up in registers (AVX512-VBMI) the map is taken apart into its four bytes, each looked up for 64
// codes at a time.
class ScaleDecoder {
 public:
  explicit ScaleDecoder(const Scales& scales) : scales_(scales) {
    static const bool supported = __builtin_cpu_supports("avx512vbmi") != 0;
    byBytes_ = supported && scales.codes != nullptr;
    if (!byBytes_) return;
    for (int64_t i = 0; i < kMapSize; i += 16) {
      const __m512i bits = _mm512_loadu_si512(scales.map + i);
      for (int byte = 0; byte < 4; byte++) {
        _mm_store_si128(reinterpret_cast<__m128i*>(bytes_[byte] + i),
                        _mm512_cvtepi32_epi8(_mm512_srli_epi32(bits, 8 * byte)));
      }
    }
  }

  // `count` absmax from block `first` on.
  void operator()(int64_t first, int64_t count, float* decoded) const {
    if (byBytes_) {
      decodeByBytes(first, count, decoded);
    } else {
      decodeScales(scales_, first, count, decoded);
    }
  }

 private:
  __attribute__((noinline, target("avx512vbmi"))) void decodeByBytes(int64_t first, int64_t count,
                                                                     float* decoded) const {
    // Unpacking works within 128 bits: code 16 m + 4 lane + j goes to byte 16 lane + 4 m + j.
    alignas(64) static constexpr auto kOrder = [] {
      struct {
        uint8_t at[64];
      } order{};
      for (int i = 0; i < 64; i++) order.at[i] = i % 16 / 4 * 16 + i / 16 * 4 + i % 4;
      return order;
    }();
    const __m512i order = _mm512_load_si512(kOrder.at);
    const __m512 offset = _mm512_set1_ps(scales_.offset);
    for (int64_t i = 0; i < count; i += 64) {
      const int64_t left = count - i;
      const auto some = left < 64 ? (uint64_t{1} << left) - 1 : ~uint64_t{0};
      const __m512i codes = _mm512_permutexvar_epi8(
          order, _mm512_maskz_loadu_epi8(some, scales_.codes + first + i));
      const __mmask64 upper = _mm512_movepi8_mask(codes);
      __m512i planes[4];
      for (int byte = 0; byte < 4; byte++) {
        const uint8_t* table = bytes_[byte];
        const auto part = [&](int quarter) { return _mm512_load_si512(table + 64 * quarter); };
        const __m512i low = _mm512_permutex2var_epi8(part(0), codes, part(1));
        const __m512i high = _mm512_permutex2var_epi8(part(2), codes, part(3));
        planes[byte] = _mm512_mask_blend_epi8(upper, low, high);
      }
      const __m512i low01 = _mm512_unpacklo_epi8(planes[0], planes[1]);
      const __m512i high01 = _mm512_unpackhi_epi8(planes[0], planes[1]);
      const __m512i low23 = _mm512_unpacklo_epi8(planes[2], planes[3]);
      const __m512i high23 = _mm512_unpackhi_epi8(planes[2], planes[3]);
      const __m512i values[4] = {
          _mm512_unpacklo_epi16(low01, low23), _mm512_unpackhi_epi16(low01, low23),
          _mm512_unpacklo_epi16(high01, high23), _mm512_unpackhi_epi16(high01, high23)};
      for (int part = 0; part < 4 && 16 * part < left; part++) {
        const int64_t within = i + 16 * part;
        const __m512 absmax = groupAbsmax(scales_, first + within, count - within);
        const int64_t rest = count - within;
        const auto mask = static_cast<__mmask16>(rest < 16 ? (1 << rest) - 1 : 0xffff);
        _mm512_mask_storeu_ps(
            decoded + within, mask,
            _mm512_add_ps(_mm512_mul_ps(_mm512_castsi512_ps(values[part]), absmax), offset));
      }
    }
  }

  Scales scales_;
  bool byBytes_;
  alignas(64) uint8_t bytes_[4][kMapSize];
};

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

  __m512 operator()(const float* scales) const {
    return _mm512_permutexvar_ps(blocks_, _mm512_maskz_loadu_ps(mask_, scales));
  }

 private:
  __mmask16 mask_;
  __m512i blocks_;
};

}  // namespace
}  // namespace pare::nf4::cpu
