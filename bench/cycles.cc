// Cycles of the kernels for few rows on 16 KB of packed weights, which stay in the L1 cache: what
// decoding and summing cost where the memory costs nothing. One thread, by its processor seconds; the
// clock is found with additions that wait for each other. On Linux, in a folder of its own:
//
//   S=…/native/nf4/cpu; T=…/libtorch/include; C="g++ -std=c++20 -O3 -DPARE_NF4_X86 -I$T -I$S"
//   AVX2="-mavx2 -mfma -mf16c -ffp-contract=off"
//   AVX512="$AVX2 -mavx512f -mavx512bw -mavx512dq -mavx512vl"
//   $C -c …/bench/cycles.cc $S/portable.cc && $C $AVX2 -c $S/avx2.cc
//   $C $AVX512 -c $S/avx512.cc && $C $AVX512 -mavx512bf16 -c $S/avx512_bf16.cc
//   g++ *.o -o cycles && ./cycles
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <vector>

#include "paths.h"

using namespace pare::nf4;
using namespace pare::nf4::cpu;

static double processorSeconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return time.tv_sec + time.tv_nsec * 1e-9;
}

static double cyclesPerSecond() {
  constexpr long kAdditions = 400'000'000;
  unsigned long sum = 1;
  const double start = processorSeconds();
  for (long i = 0; i < kAdditions; i++) asm volatile("add $1, %0" : "+r"(sum));
  return kAdditions / (processorSeconds() - start);
}

int main() {
  constexpr int64_t kIn = 2048, kOut = 16, kBytes = kIn * kOut / 2, kBlocks = kIn * kOut / 64;
  auto* packed = static_cast<uint8_t*>(std::aligned_alloc(64, kBytes));
  std::generate(packed, packed + kBytes, std::rand);
  auto* x = static_cast<float*>(std::aligned_alloc(64, kMaxSmallBatch * kIn * sizeof(float)));
  std::fill(x, x + kMaxSmallBatch * kIn, 0.0f);
  std::vector<uint8_t> codes(kBlocks + 64, 7);
  std::vector<float> absmax(kBlocks / kNestedBlockSize + 2, 0.01f), map(256, 0.5f);
  std::vector<float> out(kMaxSmallBatch * kOut);
  Scales scales;
  scales.absmax = absmax.data();
  scales.codes = codes.data();
  scales.map = map.data();

  struct Contestant {
    const char* name;
    void (*multiply)(const Product&, int64_t, int64_t);
    bool arranged;
  };
  const Contestant contestants[] = {{"portable", kPortable.multiply, false},
                                    {"avx2", kAvx2.multiply, true},
                                    {"avx512", kAvx512.multiply, true},
                                    {"avx512bf16", multiplyBFloat16, true}};
  for (const auto& [name, multiply, arranged] : contestants) {
    for (int batch : {1, 2, 3, 4, 6, 8}) {
      const Product product{x,  arranged, batch, packed,  scales,
                            64, kOut,     kIn,   nullptr, out.data()};
      const int calls = arranged ? 5000 : 200;
      double best = 1e9;
      for (int round = 0; round < 7; round++) {
        multiply(product, 0, kOut);
        const double start = processorSeconds();
        for (int i = 0; i < calls; i++) multiply(product, 0, kOut);
        best = std::min(best, (processorSeconds() - start) / calls);
      }
      std::printf("%-10s %d rows: %5.1f cycles for 64 bytes, %4.1f GB/s\n", name, batch,
                  best * cyclesPerSecond() * 64 / kBytes, kBytes / best / 1e9);
    }
  }
}
