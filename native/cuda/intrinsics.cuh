// What kernels ask of the hardware beyond C++: launches, shared memory sized at the launch, copies
// in the background, and matrices of a warp. On the device these are instructions of PTX (sm_80 and
// later); tests compile the same kernels as plain C++, where test/nf4/cuda-emulator stands in.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#ifdef PARE_EMULATE_CUDA
#include "emulated_intrinsics.h"
#else

namespace pare::cuda {

// kernel<<<grid, threads, shared, stream>>>(args...). More than 48 KiB of shared memory are asked
// for first; like the launch itself this waits for nothing and can be captured in a graph. An error
// of either is left for cudaGetLastError.
template <typename... Parameters, typename... Args>
void launch(void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared,
            cudaStream_t stream, Args... args) {
  constexpr size_t kAlways = 48 << 10;
  if (shared > kAlways) {
    cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                         cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
  }
  // clang-format off
  kernel<<<grid, threads, shared, stream>>>(args...);
  // clang-format on
}

// Ends all work on the device unless the condition holds, as a failed assertion does in libtorch's
// own kernels; but an assertion is a call, for which kernels would spill registers.
__device__ inline void require(bool condition) {
  if (!condition) __trap();
}

// Aligned to 16 bytes; as large as the launch said.
__device__ inline uint8_t* dynamicShared() {
  extern __shared__ uint4 dynamicSharedWords[];
  return reinterpret_cast<uint8_t*>(dynamicSharedWords);
}

__device__ inline unsigned sharedAddress(const void* shared) {
  return static_cast<unsigned>(__cvta_generic_to_shared(shared));
}

// Starts copying 16 bytes, both sides aligned to 16: the first `bytes` of them, then zeros.
__device__ inline void copyAsync(void* shared, const void* global, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(sharedAddress(shared)),
               "l"(global), "r"(bytes)
               : "memory");
}

// Ends a group of this thread's copies.
__device__ inline void commitCopies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }

// Waits until at most the last `Groups` groups of this thread's copies are under way; other threads
// see what has arrived after the next __syncthreads.
template <int Groups>
__device__ inline void waitForCopies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(Groups) : "memory");
}

// Four 8x8 matrices of 16-bit values in shared memory. Lane 8 i + r names the 16 bytes that are row
// r of matrix i; it receives from each matrix the values 2 (lane % 4) and the next of row lane / 4.
__device__ inline void loadMatrices(uint32_t (&values)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(values[0]), "=r"(values[1]), "=r"(values[2]), "=r"(values[3])
               : "r"(sharedAddress(row))
               : "memory");
}

// The same of the transposed matrices: rows 2 (lane % 4) and the next of column lane / 4.
__device__ inline void loadTransposed(uint32_t (&values)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(values[0]), "=r"(values[1]), "=r"(values[2]), "=r"(values[3])
               : "r"(sharedAddress(row))
               : "memory");
}

// sums += a b of a warp, a [16, 16] row by row, b [16, 8] column by column, sums [16, 8] in
// float32. With g = lane / 4 and t = lane % 4 a register of `a` holds columns 2t and 2t + 1
// (registers 2 and 3: 8 more) of row g (1 and 3: 8 more); one of `b` rows 2t and 2t + 1 (1: 8 more)
// of column g; sums 0 and 1 are columns 2t and 2t + 1 of row g, 2 and 3 those of row g + 8.
template <typename T>
__device__ void multiplyAdd(float (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

#define PARE_MMA(T, name)                                                                 \
  template <>                                                                             \
  __device__ inline void multiplyAdd<T>(float (&sums)[4], const uint32_t (&a)[4],         \
                                        const uint32_t (&b)[2]) {                         \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." name "." name                   \
                 ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n" \
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])             \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));     \
  }
PARE_MMA(__nv_bfloat16, "bf16")
PARE_MMA(__half, "f16")
#undef PARE_MMA

}  // namespace pare::cuda

#endif
