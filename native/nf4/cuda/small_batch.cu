#include "elements.cuh"

namespace pare::nf4::cuda {

constexpr int kWarp = 32;
constexpr int kWarps = 4;        // to a thread block
constexpr int kRowsPerWarp = 2;  // of the weight: each value of x that is read serves both
constexpr int kBlocksPerMultiprocessor = 3;  // caps registers at 168, without spilling

// A warp computes `kRowsPerWarp` outputs for all rows of x. A lane reads 16 bytes of a weight row,
// 32 weights under one absmax, multiplies them as they are decoded, and the warp adds up at the
// end. `Batch` is at least `batch`: surplus rows repeat the last one and are not written.
template <typename T, int Batch>
__global__ void __launch_bounds__(kWarp* kWarps, kBlocksPerMultiprocessor)
    smallBatchKernel(const T* x, int batch, const uint8_t* packed, Scales scales, int blockShift,
                     int64_t outFeatures, int64_t inFeatures, const T* bias, T* out) {
  __shared__ float code[kCodebookSize];
  loadCodebook(code);
  __syncthreads();
  const int lane = threadIdx.x % kWarp;
  const int64_t warp = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  const int64_t first = warp * kRowsPerWarp;
  if (first >= outFeatures) return;  // the whole warp

  float sums[kRowsPerWarp][Batch] = {};
  for (int64_t k = lane * kWeightsPerLoad; k < inFeatures; k += kWarp * kWeightsPerLoad) {
    uint32_t words[kRowsPerWarp][4];
    float scale[kRowsPerWarp];
#pragma unroll
    for (int r = 0; r < kRowsPerWarp; r++) {
      const int64_t position = min(first + r, outFeatures - 1) * inFeatures + k;
      const uint4 raw = __ldg(reinterpret_cast<const uint4*>(packed + position / 2));
      words[r][0] = raw.x;
      words[r][1] = raw.y;
      words[r][2] = raw.z;
      words[r][3] = raw.w;
      scale[r] = scales(position >> blockShift);
    }
#pragma unroll
    for (int part = 0; part < kWeightsPerLoad / kVector; part++) {
      float weights[kRowsPerWarp][kVector];
#pragma unroll
      for (int r = 0; r < kRowsPerWarp; r++) {
        decodeVector(words[r][part], code, scale[r], weights[r]);
      }
#pragma unroll
      for (int m = 0; m < Batch; m++) {
        float values[kVector];
        loadVector(x + min(m, batch - 1) * inFeatures + k + part * kVector, values);
#pragma unroll
        for (int r = 0; r < kRowsPerWarp; r++) {
#pragma unroll
          for (int i = 0; i < kVector; i++) sums[r][m] += weights[r][i] * values[i];
        }
      }
    }
  }

#pragma unroll
  for (int r = 0; r < kRowsPerWarp; r++) {
#pragma unroll
    for (int m = 0; m < Batch; m++) {
#pragma unroll
      for (int distance = kWarp / 2; distance > 0; distance /= 2) {
        sums[r][m] += __shfl_xor_sync(0xffffffffu, sums[r][m], distance);
      }
      if (lane == 0 && m < batch && first + r < outFeatures) {
        const float start = bias == nullptr ? 0.0f : toFloat(bias[first + r]);
        out[m * outFeatures + first + r] = fromFloat<T>(sums[r][m] + start);
      }
    }
  }
}

void smallBatchLinear(const void* x, Element element, int64_t batch, const uint8_t* packed,
                      const Scales& scales, int64_t blockSize, int64_t outFeatures,
                      int64_t inFeatures, const void* bias, void* out, cudaStream_t stream) {
  constexpr int64_t perGrid = kRowsPerWarp * kWarps;
  const auto grid = static_cast<unsigned>((outFeatures + perGrid - 1) / perGrid);
  int shift = 0;
  while ((int64_t{1} << shift) < blockSize) shift++;
  dispatch(element, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const auto launch = [&](auto kernel) {
      kernel<<<grid, kWarp * kWarps, 0, stream>>>(
          static_cast<const T*>(x), static_cast<int>(batch), packed, scales, shift, outFeatures,
          inFeatures, static_cast<const T*>(bias), static_cast<T*>(out));
    };
    if (batch == 1) return launch(smallBatchKernel<T, 1>);
    if (batch == 2) return launch(smallBatchKernel<T, 2>);
    if (batch <= 4) return launch(smallBatchKernel<T, 4>);
    return launch(smallBatchKernel<T, 8>);
  });
}

}  // namespace pare::nf4::cuda
