// native/cuda/intrinsics.cuh for the emulator. Layouts of fragments are those of the PTX ISA:
// "Matrix fragments for mma.m16n8k16" and "ldmatrix".
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cstdlib>

namespace pare::cuda {

// Device code would take the arguments by value, too.
template <typename... Parameters, typename... Args>
void launch(void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared, cudaStream_t,
            Args... args) {
  emulator::run({grid.x, grid.y, grid.z}, threads, shared, [&] { kernel(args...); });
}

inline void require(bool condition) {
  if (!condition) std::abort();
}

inline uint8_t* dynamicShared() { return emulator::dynamicShared(); }

// What is copied arrives when it is waited for and not before; what was there is lost at once.
inline void copyAsync(void* shared, const void* global, int bytes) {
  if (reinterpret_cast<uintptr_t>(shared) % 16 != 0) std::abort();
  if (reinterpret_cast<uintptr_t>(global) % 16 != 0) std::abort();
  memset(shared, 0xff, 16);
  emulator::copies().back().push_back({shared, global, bytes});
}

inline void commitCopies() { emulator::copies().emplace_back(); }

template <int Groups>
void waitForCopies() {
  auto& groups = emulator::copies();
  while (groups.size() > Groups + 1) {
    for (const emulator::Copy& copy : groups.front()) {
      if (copy.bytes > 0) memcpy(copy.to, copy.from, copy.bytes);
      memset(static_cast<char*>(copy.to) + copy.bytes, 0, 16 - copy.bytes);
    }
    groups.erase(groups.begin());
  }
}

namespace emulated {

struct Row {
  uint16_t values[8];
};

inline void loadRows(const char* name, const void* row, Row (&rows)[emulator::kWarp]) {
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0) std::abort();
  emulator::Deposit mine{}, all[emulator::kWarp];
  memcpy(&mine, row, sizeof(Row));
  emulator::exchange(name, mine, all);
  for (int i = 0; i < emulator::kWarp; i++) memcpy(&rows[i], &all[i], sizeof(Row));
}

inline uint32_t pair(uint16_t low, uint16_t high) { return low | uint32_t{high} << 16; }

template <typename T>
float valueOf(uint32_t pair, int half) {
  const auto bits = static_cast<uint16_t>(pair >> (16 * half));
  T value;
  memcpy(&value, &bits, sizeof value);
  return static_cast<float>(value);
}

}  // namespace emulated

inline void loadMatrices(uint32_t (&values)[4], const void* row) {
  emulated::Row rows[emulator::kWarp];
  emulated::loadRows("ldmatrix", row, rows);
  const int g = emulator::lane() / 4, t = emulator::lane() % 4;
  for (int i = 0; i < 4; i++) {
    const uint16_t* from = rows[8 * i + g].values;
    values[i] = emulated::pair(from[2 * t], from[2 * t + 1]);
  }
}

inline void loadTransposed(uint32_t (&values)[4], const void* row) {
  emulated::Row rows[emulator::kWarp];
  emulated::loadRows("ldmatrix.trans", row, rows);
  const int g = emulator::lane() / 4, t = emulator::lane() % 4;
  for (int i = 0; i < 4; i++) {
    values[i] = emulated::pair(rows[8 * i + 2 * t].values[g], rows[8 * i + 2 * t + 1].values[g]);
  }
}

// Products of halves are exact in float32; the order of the sum is nobody's promise.
template <typename T>
void multiplyAdd(float (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulator::Deposit mine{}, all[emulator::kWarp];
  memcpy(&mine, a, sizeof a);
  memcpy(&mine.words[2], b, sizeof b);
  emulator::exchange("mma", mine, all);
  const int g = emulator::lane() / 4, t = emulator::lane() % 4;
  // Lane 4 g + t holds a[g + 8 (register % 2)][2 t + 8 (register / 2) + half] and
  // b[2 t + 8 register + half][g].
  const auto registerOf = [&](int lane, int index) {
    return static_cast<uint32_t>(all[lane].words[index / 2] >> (32 * (index % 2)));
  };
  for (int i = 0; i < 4; i++) {
    const int row = g + 8 * (i / 2), column = 2 * t + i % 2;
    double sum = sums[i];
    for (int k = 0; k < 16; k++) {
      const int of = k % 8 / 2, half = k % 2, upper = k / 8;
      const float left =
          emulated::valueOf<T>(registerOf(4 * (row % 8) + of, row / 8 + 2 * upper), half);
      const float right = emulated::valueOf<T>(registerOf(4 * column + of, 4 + upper), half);
      sum += static_cast<double>(left) * right;
    }
    sums[i] = static_cast<float>(sum);
  }
}

}  // namespace pare::cuda
