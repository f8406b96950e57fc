// Products of up to kMaxSmallBatch rows straight from the packed weights: what counts is that the
// memory never waits. Halves are multiplied on tensor cores, float32 by the ordinary ones.
#include "decode.cuh"

namespace pare::nf4::cuda {

constexpr int kWarp = 32;

// --- Halves ---
//
// A thread block computes kOutputs outputs for all rows of x, then others; its warps take turns
// along the sum, kSpan weights of each output a turn. A turn is four products of matrices: 16
// outputs times 16 weights from registers, and 16 values of each of eight rows of x, those past the
// last 0. As sums have no order, lane (g, t) takes its 16 neighbouring weights of outputs g and g +
// 8, 8 bytes each, and as many values of x row g. The weights are multiplied as entries of the
// codebook, rounded to x's type, and the sum of kSpan of them by their absmax, in float32.

constexpr int kWarps = 16;
constexpr int kOutputs = 16;
constexpr int kSpan = 64;
constexpr int kTurnsAhead = 2;  // of reading: 32 bytes of weights a thread, 32 KiB a multiprocessor
constexpr int kBytes = 256;

// What a lane reads ahead for a turn. Values of x come from a cache, and soon enough.
template <int Scaled>
struct Turn {
  uint2 weights[2];
  StoredScale scales[2][Scaled];
};

// `Scaled` blocks share a turn: two where a block is 32 weights, else one.
template <typename T, int Scaled>
__global__ void __launch_bounds__(kWarps* kWarp, 2 / Scaled)
    smallBatchTensorKernel(const T* x, int batch, const uint8_t* packed, Scales scales,
                           int blockShift, int outFeatures, int inFeatures, const T* bias, T* out) {
  // The two entries that a byte names, 32 times, so that every lane reads in a bank of its own.
  __shared__ uint32_t pairs[kBytes * kWarp];
  __shared__ float partial[kWarps][kMaxSmallBatch][kOutputs];
  __shared__ float code[kCodebookSize];
  __shared__ float map[kMapSize];
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  const int g = lane / 4;
  const int t = lane % 4;
  const int turns = inFeatures / kSpan;
  // Where the weights of outputs g and g + 8 begin. Outputs past the last repeat it and are not
  // written.
  uint32_t rows[2];
  const auto select = [&](int from) {
    rows[0] = static_cast<uint32_t>(min(from + g, outFeatures - 1)) * inFeatures;
    rows[1] = static_cast<uint32_t>(min(from + g + 8, outFeatures - 1)) * inFeatures;
  };

  const auto read = [&](int turn) {
    Turn<Scaled> next = {};
    if (turn >= turns) return next;
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const uint32_t position = rows[r] + turn * kSpan;
      next.weights[r] = __ldg(reinterpret_cast<const uint2*>(packed + position / 2 + 8 * t));
#pragma unroll
      for (int s = 0; s < Scaled; s++) {
        next.scales[r][s] = scales.load((position + s * (kSpan / 2)) >> blockShift);
      }
    }
    return next;
  };

  // The first reads are under way while the table is made.
  Turn<Scaled> ahead[kTurnsAhead];
  const auto start = [&](int from) {
    select(from);
#pragma unroll
    for (int i = 0; i < kTurnsAhead; i++) ahead[i] = read(warp + i * kWarps);
  };
  start(blockIdx.x * kOutputs);
  loadCodebook(code);
  if (scales.codes != nullptr) {
    for (int i = threadIdx.x; i < kMapSize; i += kWarps * kWarp) map[i] = scales.map[i];
    scales.map = map;
  }
  __syncthreads();
  for (int byte = warp; byte < kBytes; byte += kWarps) {
    pairs[byte * kWarp + lane] = packPair<T>(code[byte >> 4], code[byte & 15]);
  }
  __syncthreads();

  // Byte i of a word names a pair; the shift puts it where the pair's 32 words begin.
  const auto pairOf = [&](uint32_t word, int i) {
    const uint32_t shifted = i == 0 ? word << 7 : word >> (8 * i - 7);
    const uint32_t offset = (shifted & (255u << 7)) | (lane * 4);
    return *reinterpret_cast<const uint32_t*>(reinterpret_cast<const uint8_t*>(pairs) + offset);
  };

  float sums[4];
  const T* const ownX = x + int64_t{min(g, batch - 1)} * inFeatures + 16 * t;
  const auto multiply = [&](int at, const Turn<Scaled>& turn) {
    uint4 raw[2] = {};
    if (g < batch) {
      const uint4* from = reinterpret_cast<const uint4*>(ownX + at * kSpan);
      raw[0] = __ldg(from);
      raw[1] = __ldg(from + 1);
    }
    const uint32_t values[8] = {raw[0].x, raw[0].y, raw[0].z, raw[0].w,
                                raw[1].x, raw[1].y, raw[1].z, raw[1].w};
    const uint32_t words[2][2] = {{turn.weights[0].x, turn.weights[0].y},
                                  {turn.weights[1].x, turn.weights[1].y}};
    float part[Scaled][4] = {};
#pragma unroll
    for (int step = 0; step < 4; step++) {
      const int byte = step % 2 * 2;
      const uint32_t a[4] = {pairOf(words[0][step / 2], byte), pairOf(words[1][step / 2], byte),
                             pairOf(words[0][step / 2], byte + 1),
                             pairOf(words[1][step / 2], byte + 1)};
      if (Scaled == 1) {
        const uint32_t b[2] = {values[2 * step], values[2 * step + 1]};
        multiplyAdd<T>(part[0], a, b);
      } else {
        // The first two lanes of four hold weights of one block, the others of the next.
#pragma unroll
        for (int s = 0; s < Scaled; s++) {
          const bool mine = t / 2 == s;
          const uint32_t b[2] = {mine ? values[2 * step] : 0, mine ? values[2 * step + 1] : 0};
          multiplyAdd<T>(part[s], a, b);
        }
      }
    }
#pragma unroll
    for (int s = 0; s < Scaled; s++) {
      const float upper = scales.resolve(turn.scales[0][s]);
      const float lower = scales.resolve(turn.scales[1][s]);
      sums[0] += upper * part[s][0];
      sums[1] += upper * part[s][1];
      sums[2] += lower * part[s][2];
      sums[3] += lower * part[s][3];
    }
  };

  const int step = gridDim.x * kOutputs;
  for (int first = blockIdx.x * kOutputs; first < outFeatures; first += step) {
#pragma unroll
    for (int i = 0; i < 4; i++) sums[i] = 0;
    for (int turn = warp; turn < turns; turn += kWarps * kTurnsAhead) {
#pragma unroll
      for (int i = 0; i < kTurnsAhead; i++) {
        const Turn<Scaled> now = ahead[i];
        ahead[i] = read(turn + (i + kTurnsAhead) * kWarps);
        if (turn + i * kWarps < turns) multiply(turn + i * kWarps, now);
      }
    }
    partial[warp][2 * t][g] = sums[0];
    partial[warp][2 * t + 1][g] = sums[1];
    partial[warp][2 * t][g + 8] = sums[2];
    partial[warp][2 * t + 1][g + 8] = sums[3];
    // The next outputs' weights are under way while these are summed.
    if (first + step < outFeatures) start(first + step);
    __syncthreads();
    const int row = threadIdx.x / kOutputs;
    const int output = first + threadIdx.x % kOutputs;
    if (row < batch && output < outFeatures) {
      float sum = bias == nullptr ? 0.0f : toFloat(bias[output]);
      for (int i = 0; i < kWarps; i++) sum += partial[i][row][threadIdx.x % kOutputs];
      out[int64_t{row} * outFeatures + output] = fromFloat<T>(sum);
    }
    __syncthreads();  // `partial` is free again
  }
}

// --- float32 ---

constexpr int kFloatWarps = 4;   // to a thread block
constexpr int kRowsPerWarp = 2;  // of the weight: each value of x that is read serves both

// Blocks to a multiprocessor; three cap registers at 168, which eight rows exceed.
constexpr int floatBlocks(int batch) { return batch == 8 ? 2 : 3; }

// A warp computes `kRowsPerWarp` outputs for all rows of x. A lane reads 16 bytes of a weight row,
// 32 weights under one absmax, multiplies them as they are decoded, and the warp adds up at the
// end. `Batch` is at least `batch`: surplus rows repeat the last one and are not written.
template <int Batch>
__global__ void __launch_bounds__(kWarp* kFloatWarps, floatBlocks(Batch))
    smallBatchFloatKernel(const float* x, int batch, const uint8_t* packed, Scales scales,
                          int blockShift, int64_t outFeatures, int64_t inFeatures,
                          const float* bias, float* out) {
  __shared__ float code[kCodebookSize];
  loadCodebook(code);
  __syncthreads();
  const int lane = threadIdx.x % kWarp;
  const int64_t warp = int64_t{blockIdx.x} * kFloatWarps + threadIdx.x / kWarp;
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
        const float start = bias == nullptr ? 0.0f : bias[first + r];
        out[m * outFeatures + first + r] = sums[r][m] + start;
      }
    }
  }
}

static unsigned gridFor(int64_t outFeatures, int64_t outputs) {
  return static_cast<unsigned>((outFeatures + outputs - 1) / outputs);
}

bool smallBatchFits(Element element, int64_t outFeatures, int64_t inFeatures) {
  if (element == Element::kFloat32) return inFeatures % kWeightsPerLoad == 0;
  constexpr int64_t kMostWeights = int64_t{1} << 32;  // positions are 32 bits there
  return inFeatures % kSpan == 0 && outFeatures <= kMostWeights / inFeatures;
}

void smallBatchLinear(const void* x, Element element, int64_t batch, const uint8_t* packed,
                      const Scales& scales, int64_t blockSize, int64_t outFeatures,
                      int64_t inFeatures, const void* bias, void* out, int64_t multiprocessors,
                      cudaStream_t stream) {
  const int shift = log2Of(blockSize);
  dispatch(element, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const auto* typedX = static_cast<const T*>(x);
    const auto* typedBias = static_cast<const T*>(bias);
    auto* typedOut = static_cast<T*>(out);
    const int rows = static_cast<int>(batch);
    if constexpr (std::is_same_v<T, float>) {
      const unsigned grid = gridFor(outFeatures, kRowsPerWarp * kFloatWarps);
      const auto run = [&](auto kernel) {
        launch(kernel, grid, kWarp * kFloatWarps, 0, stream, typedX, rows, packed, scales, shift,
               outFeatures, inFeatures, typedBias, typedOut);
      };
      if (batch == 1) return run(smallBatchFloatKernel<1>);
      if (batch == 2) return run(smallBatchFloatKernel<2>);
      if (batch <= 4) return run(smallBatchFloatKernel<4>);
      return run(smallBatchFloatKernel<8>);
    } else {
      // No more blocks than run at once: each makes its table once.
      const auto run = [&](auto kernel, int64_t blocksPerMultiprocessor) {
        const auto most = static_cast<unsigned>(multiprocessors * blocksPerMultiprocessor);
        launch(kernel, min(gridFor(outFeatures, kOutputs), most), kWarp * kWarps, 0, stream, typedX,
               rows, packed, scales, shift, static_cast<int>(outFeatures),
               static_cast<int>(inFeatures), typedBias, typedOut);
      };
      if (blockSize < kSpan) return run(smallBatchTensorKernel<T, 2>, 1);
      return run(smallBatchTensorKernel<T, 1>, 2);
    }
  });
}

}  // namespace pare::nf4::cuda
