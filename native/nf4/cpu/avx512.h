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
