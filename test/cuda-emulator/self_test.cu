#include "self_test.h"

#include "../../native/cuda/elements.cuh"
#include "../../native/cuda/intrinsics.cuh"

namespace emulator {

using namespace pare::cuda;

template <bool Transposed>
__global__ void product(const uint16_t* in, float* out) {
  auto* const shared = reinterpret_cast<uint16_t*>(dynamicShared());
  const int lane = threadIdx.x;
  for (int i = lane; i < 384; i += 32) shared[i] = in[i];
  __syncthreads();
  uint32_t a[4], b[4];
  loadMatrices(a, shared + lane % 16 * 16 + lane / 16 * 8);
  const uint16_t* second = shared + 256;
  if (Transposed) {
    loadTransposed(b, second + lane % 16 * 8);
  } else {
    loadMatrices(b, second + lane % 8 * 16 + lane / 8 % 2 * 8);
  }
  const uint32_t half[2] = {b[0], b[1]};
  float sums[4] = {};
  multiplyAdd<__half>(sums, a, half);
  const int row = lane / 4, column = lane % 4 * 2;
  out[row * 8 + column] = sums[0];
  out[row * 8 + column + 1] = sums[1];
  out[(row + 8) * 8 + column] = sums[2];
  out[(row + 8) * 8 + column + 1] = sums[3];
}

__global__ void copied(const uint16_t* in, float* out, int which) {
  auto* const shared = reinterpret_cast<uint16_t*>(dynamicShared());
  const int lane = threadIdx.x;
  if (lane < 16) copyAsync(shared + lane * 8, in + lane * 8, 16);
  commitCopies();
  if (which == 2) waitForCopies<0>();
  __syncthreads();
  for (int i = lane; i < 128; i += 32) out[i] = shared[i];
  if (which == 3) waitForCopies<0>();
}

__global__ void neighbours(const uint16_t* in, float* out, bool inTurn) {
  auto* const shared = reinterpret_cast<uint16_t*>(dynamicShared());
  const int thread = threadIdx.x;
  shared[thread] = in[thread];
  if (inTurn) __syncthreads();
  out[thread] = shared[(thread + 1) % 64];
}

__global__ void incomplete(float* out, int which) {
  const int thread = threadIdx.x;
  if (which == 7 && thread < 32) return;
  if (which == 7) __syncthreads();
  if (which == 8 && thread == 5) return;
  out[thread] = __shfl_xor_sync(0xffffffffu, thread, 1);
}

void selfTest(int which, const uint16_t* in, float* out) {
  if (which == 0) return launch(product<false>, 1, 32, 768, nullptr, in, out);
  if (which == 1) return launch(product<true>, 1, 32, 768, nullptr, in, out);
  if (which <= 4) return launch(copied, 1, 32, 256, nullptr, in, out, which);
  if (which <= 6) return launch(neighbours, 1, 64, 128, nullptr, in, out, which == 6);
  launch(incomplete, 1, 64, 0, nullptr, out, which);
}

}  // namespace emulator
