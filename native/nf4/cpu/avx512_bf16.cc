// AVX-512 with products of bfloat16: two to a lane, summed in float32. The codebook is rounded to
// bfloat16, as a decoded weight would be; the absmax are not.
#include "avx512.h"

namespace pare::nf4::cpu {
namespace {

struct Vector {
  static constexpr int kLanes = 32;
  static constexpr int kCodesPerLane = 4;
  using X = uint16_t;
  using Floats = __m512;
  using Weights = __m512bh;
  using Codes = __m512i;
  static constexpr int kLookup = 1;
  // Products of two values at once wait for x, so that two columns are better even where a group's
  // sums go to memory.
  static constexpr int columnsFor(int batch) { return batch <= 2 ? 4 : 2; }

  static Floats zero() { return _mm512_setzero_ps(); }
  static Weights load(const X* values) {
    return reinterpret_cast<Weights>(_mm512_loadu_si512(values));
  }
  static Floats multiply(Weights a, Weights b) { return _mm512_dpbf16_ps(zero(), a, b); }
  static Floats multiplyAdd(Weights a, Weights b, Floats c) { return _mm512_dpbf16_ps(c, a, b); }
  static Floats multiplyAdd(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  static float sum(Floats values) { return _mm512_reduce_add_ps(values); }
  static Codes loadCodes(const uint8_t* bytes) { return _mm512_loadu_si512(bytes); }

  static __m512i table() {
    const __m256i book = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(codebookVector()));
    return _mm512_broadcast_i64x4(book);
  }

  // The values of code `Code` of every lane; a permutation reads the low 5 bits only, and the table
  // is there twice.
  template <int Code>
  static void lookup(Codes codes, Weights (&weights)[1]) {
    weights[0] = reinterpret_cast<Weights>(
        _mm512_permutexvar_epi16(_mm512_srli_epi16(codes, shiftOf(Code)), table()));
  }

  using Spread = cpu::Spread;
  using ScaleDecoder = cpu::ScaleDecoder;
};

}  // namespace
}  // namespace pare::nf4::cpu

#include "multiply_arranged.h"

namespace pare::nf4::cpu {

void multiplyBFloat16(const Product& product, int64_t begin, int64_t end) {
  multiplyArranged(product, begin, end);
}

}  // namespace pare::nf4::cpu
