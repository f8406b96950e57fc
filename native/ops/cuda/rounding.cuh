// Stores of float32 values as bfloat16, rounded stochastically.
#pragma once

#include "../../cuda/elements.cuh"
#include "../stochastic_rounding.h"

namespace pare::rounding {

static_assert(pare::cuda::kVector == 2 * kPerWord, "two words of random bits");

// Eight values numbered from `first` on, a multiple of eight; `left` of them are there. The
// processor's bits (roundAll).
__device__ inline void store(uint64_t key, int64_t first,
                             const float (&values)[pare::cuda::kVector], int64_t left,
                             __nv_bfloat16* to, bool vectors) {
  constexpr int kVector = pare::cuda::kVector;
  const uint64_t words[2] = {wordOf(key, first / kPerWord), wordOf(key, first / kPerWord + 1)};
  alignas(16) uint16_t rounded[kVector];
#pragma unroll
  for (int i = 0; i < kVector; i++) {
    rounded[i] = bfloat16Of(values[i], bitsOf(words[i / kPerWord], i % kPerWord));
  }
  if (left >= kVector && vectors) {
    uint4 word;
    memcpy(&word, rounded, sizeof word);
    *reinterpret_cast<uint4*>(to + first) = word;
    return;
  }
#pragma unroll
  for (int i = 0; i < kVector; i++) {
    if (i < left) memcpy(to + first + i, &rounded[i], sizeof rounded[i]);
  }
}

}  // namespace pare::rounding
