// Products of more rows than small_batch.cu takes, on tensor cores, and the gradient to the input
// by the same kernel: only the weight's side differs.
//
// A thread block computes a tile of the result. Step by step along the sum it copies a piece of x
// and of the packed weight into shared memory in the background (Tile::kStages in turn), decodes
// the weight's piece once for all rows into a second place in shared memory, rounded to x's type as
// dequantise does, and multiplies. Both pieces lie there in rows of 16-byte chunks whose order is
// changed from row to row, so that eight rows of one column of chunks are in different banks.
#include "decode.cuh"

namespace pare::nf4::cuda {

constexpr int kWarp = 32;
constexpr int kDepth = 64;  // of a step
constexpr int kChunk = 8;   // values in 16 bytes

template <typename T>
struct Product {
  const T* left;  // [rows, depth]
  int rows;
  int depth;    // of the sum
  int columns;  // of the result
  const uint8_t* packed;
  Scales scales;
  int blockShift;
  const T* bias;   // [columns], may be null
  T* out;          // [rows, columns]
  float* partial;  // [splits, rows, columns] where the sum is split, else null
  int stepsInSplit;
};

// The tile of the result, and how its warps share it.
template <int Rows, int Columns, int WarpsAlongRows, int WarpsAlongColumns, int Stages>
struct TileOf {
  static constexpr int kStages = Stages;
  static constexpr int kRows = Rows;
  static constexpr int kColumns = Columns;
  static constexpr int kWarpsAlongColumns = WarpsAlongColumns;
  static constexpr int kThreads = kWarp * WarpsAlongRows * WarpsAlongColumns;
  static constexpr int kWarpRows = Rows / WarpsAlongRows;
  static constexpr int kWarpColumns = Columns / WarpsAlongColumns;
  // Caps registers at 128.
  static constexpr int kBlocks = 512 / kThreads;
  static constexpr int kLeftChunks = Rows * kDepth / kChunk;
  static constexpr int kWeights = Columns * kDepth;
  static constexpr int kLeftBytes = Rows * kDepth * 2;
  static constexpr int kPackedBytes = kWeights / 2;
  static constexpr int kDecodedBytes = kWeights * 2;
  static constexpr size_t kShared = kStages * (kLeftBytes + kPackedBytes) + 2 * kDecodedBytes;
  static_assert(kWeights == kThreads * static_cast<int>(kWeightsPerLoad), "a thread, a load");
  static_assert(kLeftChunks % kThreads == 0, "the same for every thread");
  static_assert(kWarpRows % 16 == 0 && kWarpColumns % 16 == 0, "whole matrices");
};

// Where the chunk at (row, chunk) of a matrix with rows of `PerRow` chunks lies.
template <int PerRow>
__device__ inline int swizzled(int row, int chunk) {
  return (row * PerRow + (chunk ^ (row & 7))) * 16;
}

// Forward: out[m, n] = sum_k x[m, k] w[n, k]; the decoded piece is [columns n][depth k].
// Backward: out[m, k] = sum_n g[m, n] w[n, k]; the decoded piece is [depth n][columns k].
template <typename T, bool Backward, typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    tensorCoreKernel(Product<T> product) {
  __shared__ float code[kCodebookSize];
  __shared__ float map[kMapSize];
  loadCodebook(code);
  Scales scales = product.scales;
  if (scales.codes != nullptr) {
    for (int i = threadIdx.x; i < kMapSize; i += Tile::kThreads) map[i] = scales.map[i];
    scales.map = map;
  }
  uint8_t* const left = dynamicShared();
  uint8_t* const packed = left + Tile::kStages * Tile::kLeftBytes;
  uint8_t* const decoded = packed + Tile::kStages * Tile::kPackedBytes;

  const int thread = threadIdx.x;
  const int lane = thread % kWarp;
  const int firstRow = blockIdx.y * Tile::kRows;
  const int firstColumn = blockIdx.x * Tile::kColumns;
  const int warpRow = thread / kWarp / Tile::kWarpsAlongColumns * Tile::kWarpRows;
  const int warpColumn = thread / kWarp % Tile::kWarpsAlongColumns * Tile::kWarpColumns;
  const int steps = (product.depth + kDepth - 1) / kDepth;
  const int begin = blockIdx.z * product.stepsInSplit;
  const int end = min(begin + product.stepsInSplit, steps);

  // This thread's 32 weights of every step: where in the piece, and where in the matrix.
  constexpr int kWidth = Backward ? Tile::kColumns : kDepth;  // of the decoded piece
  constexpr int kLoadsInRow = kWidth / static_cast<int>(kWeightsPerLoad);
  const int weightRow = thread / kLoadsInRow;
  const int weightColumn = thread % kLoadsInRow * static_cast<int>(kWeightsPerLoad);
  const int inFeatures = Backward ? product.columns : product.depth;
  const auto isWeight = [&](int step) {
    if (Backward) {
      return step * kDepth + weightRow < product.depth &&
             firstColumn + weightColumn < product.columns;
    }
    return firstColumn + weightRow < product.columns &&
           step * kDepth + weightColumn < product.depth;
  };
  const auto position = [&](int step) {
    const int row = Backward ? step * kDepth + weightRow : firstColumn + weightRow;
    const int column = Backward ? firstColumn + weightColumn : step * kDepth + weightColumn;
    return int64_t{row} * inFeatures + column;
  };

  const auto copy = [&](int step) {
    const int stage = step % Tile::kStages;
#pragma unroll
    for (int i = 0; i < Tile::kLeftChunks / Tile::kThreads; i++) {
      const int chunk = thread + i * Tile::kThreads;
      const int row = chunk / (kDepth / kChunk);
      const int column = chunk % (kDepth / kChunk);
      const int at = step * kDepth + column * kChunk;
      const bool inside = firstRow + row < product.rows && at < product.depth;
      const T* from = product.left + (inside ? int64_t{firstRow + row} * product.depth + at : 0);
      copyAsync(left + stage * Tile::kLeftBytes + swizzled<kDepth / kChunk>(row, column), from,
                inside ? 16 : 0);
    }
    const bool inside = isWeight(step);
    copyAsync(packed + stage * Tile::kPackedBytes + thread * 16,
              product.packed + (inside ? position(step) / 2 : 0), inside ? 16 : 0);
  };

  // Absmax is fetched a step before it is needed. Past the edge it is 0, whatever is decoded there.
  StoredScale stored;
  const auto fetch = [&](int step) {
    if (step < end && isWeight(step)) {
      stored = scales.load(position(step) >> product.blockShift);
    } else {
      stored = StoredScale{};
    }
  };

  const auto decode = [&](int step) {
    const bool inside = isWeight(step);
    const float scale = inside ? scales.resolve(stored) : 0.0f;
    fetch(step + 1);
    const uint4 raw = *reinterpret_cast<const uint4*>(
        packed + step % Tile::kStages * Tile::kPackedBytes + thread * 16);
    const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
    uint8_t* to = decoded + step % 2 * Tile::kDecodedBytes;
#pragma unroll
    for (int i = 0; i < 4; i++) {
      float values[kVector];
      decodeVector(words[i], code, scale, values);
      storeVector(reinterpret_cast<T*>(
                      to + swizzled<kWidth / kChunk>(weightRow, weightColumn / kChunk + i)),
                  values);
    }
  };

  float sums[Tile::kWarpRows / 16][Tile::kWarpColumns / 8][4] = {};
  const auto multiply = [&](int step) {
    const uint8_t* x = left + step % Tile::kStages * Tile::kLeftBytes;
    const uint8_t* w = decoded + step % 2 * Tile::kDecodedBytes;
#pragma unroll
    for (int k = 0; k < kDepth / 16; k++) {
      uint32_t a[Tile::kWarpRows / 16][4];
      uint32_t b[Tile::kWarpColumns / 16][4];
#pragma unroll
      for (int i = 0; i < Tile::kWarpRows / 16; i++) {
        loadMatrices(
            a[i], x + swizzled<kDepth / kChunk>(warpRow + 16 * i + lane % 16, 2 * k + lane / 16));
      }
#pragma unroll
      for (int j = 0; j < Tile::kWarpColumns / 16; j++) {
        const int lower = lane % 8, second = lane / 8 % 2, third = lane / 16;
        if (Backward) {
          loadTransposed(b[j], w + swizzled<kWidth / kChunk>(16 * k + lower + 8 * second,
                                                             warpColumn / 8 + 2 * j + third));
        } else {
          loadMatrices(b[j], w + swizzled<kWidth / kChunk>(warpColumn + 16 * j + lower + 8 * third,
                                                           2 * k + second));
        }
      }
#pragma unroll
      for (int i = 0; i < Tile::kWarpRows / 16; i++) {
#pragma unroll
        for (int j = 0; j < Tile::kWarpColumns / 8; j++) {
          const uint32_t half[2] = {b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]};
          multiplyAdd<T>(sums[i][j], a[i], half);
        }
      }
    }
  };

  // A group of copies is committed for every step, empty past the end, so that their number tells
  // which have arrived.
  for (int i = 0; i < Tile::kStages - 1; i++) {
    if (begin + i < end) copy(begin + i);
    commitCopies();
  }
  fetch(begin);
  waitForCopies<Tile::kStages - 2>();
  __syncthreads();
  if (begin < end) decode(begin);
  for (int step = begin; step < end; step++) {
    waitForCopies<Tile::kStages - 3>();
    // Now the next step has arrived, this one is decoded, and the last one is multiplied.
    __syncthreads();
    if (step + Tile::kStages - 1 < end) copy(step + Tile::kStages - 1);
    commitCopies();
    if (step + 1 < end) decode(step + 1);
    multiply(step);
  }

  const auto store = [&](int row, int column, float first, float second) {
    if (row >= product.rows || column >= product.columns) return;
    const bool both = column + 1 < product.columns;
    const int64_t at = int64_t{row} * product.columns + column;
    if (product.partial != nullptr) {
      float* to = product.partial + int64_t{blockIdx.z} * product.rows * product.columns + at;
      to[0] = first;
      if (both) to[1] = second;
      return;
    }
    if (product.bias != nullptr) {
      first += toFloat(product.bias[column]);
      if (both) second += toFloat(product.bias[column + 1]);
    }
    if (both && product.columns % 2 == 0) {
      *reinterpret_cast<uint32_t*>(product.out + at) = packPair<T>(first, second);
    } else {
      product.out[at] = fromFloat<T>(first);
      if (both) product.out[at + 1] = fromFloat<T>(second);
    }
  };
#pragma unroll
  for (int i = 0; i < Tile::kWarpRows / 16; i++) {
#pragma unroll
    for (int j = 0; j < Tile::kWarpColumns / 8; j++) {
      const int row = firstRow + warpRow + 16 * i + lane / 4;
      const int column = firstColumn + warpColumn + 8 * j + lane % 4 * 2;
      store(row, column, sums[i][j][0], sums[i][j][1]);
      store(row + 8, column, sums[i][j][2], sums[i][j][3]);
    }
  }
}

constexpr int kSumThreads = 256;

// The parts of a split sum, always in the same order.
template <typename T>
__global__ void __launch_bounds__(kSumThreads)
    sumSplits(const float* partial, int splits, int64_t rows, int64_t columns, const T* bias,
              T* out) {
  const int64_t column = int64_t{blockIdx.x} * kSumThreads + threadIdx.x;
  if (column >= columns) return;
  const float start = bias == nullptr ? 0.0f : toFloat(bias[column]);
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    float sum = 0;
    for (int split = 0; split < splits; split++) {
      sum += partial[(split * rows + row) * columns + column];
    }
    out[row * columns + column] = fromFloat<T>(sum + start);
  }
}

// Calls `body` with the tile for this many rows.
template <typename Body>
static auto withTile(int64_t rows, Body body) {
  if (rows <= 16) return body(TileOf<16, 64, 1, 4, 4>{});
  if (rows <= 32) return body(TileOf<32, 64, 1, 4, 4>{});
  if (rows <= 64) return body(TileOf<64, 64, 2, 2, 4>{});
  // A fourth stage would not fit the 99 KiB that compute capability 8.6 gives a block.
  return body(TileOf<128, 128, 2, 4, 3>{});
}

static int64_t ceilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Enough thread blocks for every multiprocessor, of the small tiles several; but each split costs a
// pass over the result, and should be long enough to fill its stages.
int64_t tensorCoreSplits(int64_t rows, int64_t depth, int64_t columns, int64_t multiprocessors) {
  constexpr int64_t kMinSteps = 8, kMaxSplits = 8;
  return withTile(rows, [&](auto tile) {
    using Tile = decltype(tile);
    const int64_t blocks = ceilDivide(rows, Tile::kRows) * ceilDivide(columns, Tile::kColumns);
    const int64_t wanted = (Tile::kThreads == 256 ? 1 : 4) * multiprocessors / blocks;
    const int64_t possible = ceilDivide(depth, kDepth) / kMinSteps;
    const int64_t splits = wanted < possible ? wanted : possible;
    return splits < 1 ? int64_t{1} : splits > kMaxSplits ? kMaxSplits : splits;
  });
}

template <typename T, bool Backward>
static void multiply(const void* left, int64_t rows, int64_t depth, int64_t columns,
                     const uint8_t* packed, const Scales& scales, int64_t blockSize,
                     const void* bias, void* out, float* partial, int64_t splits,
                     cudaStream_t stream) {
  const int64_t steps = ceilDivide(depth, kDepth);
  Product<T> product;
  product.left = static_cast<const T*>(left);
  product.rows = static_cast<int>(rows);
  product.depth = static_cast<int>(depth);
  product.columns = static_cast<int>(columns);
  product.packed = packed;
  product.scales = scales;
  product.blockShift = log2Of(blockSize);
  product.bias = static_cast<const T*>(bias);
  product.out = static_cast<T*>(out);
  product.partial = splits > 1 ? partial : nullptr;
  product.stepsInSplit = static_cast<int>(ceilDivide(steps, splits));
  withTile(rows, [&](auto tile) {
    using Tile = decltype(tile);
    const dim3 grid(static_cast<unsigned>(ceilDivide(columns, Tile::kColumns)),
                    static_cast<unsigned>(ceilDivide(rows, Tile::kRows)),
                    static_cast<unsigned>(splits));
    launch(tensorCoreKernel<T, Backward, Tile>, grid, Tile::kThreads, Tile::kShared, stream,
           product);
  });
  if (splits == 1) return;
  constexpr int64_t kMaxGrid = 65535;
  const dim3 grid(static_cast<unsigned>(ceilDivide(columns, kSumThreads)),
                  static_cast<unsigned>(rows < kMaxGrid ? rows : kMaxGrid));
  launch(sumSplits<T>, grid, kSumThreads, 0, stream, static_cast<const float*>(partial),
         static_cast<int>(splits), rows, columns, product.bias, product.out);
}

template <bool Backward, typename... Args>
static void multiplyAs(Element element, Args... args) {
  if (element == Element::kBFloat16) return multiply<__nv_bfloat16, Backward>(args...);
  multiply<__half, Backward>(args...);
}

void tensorCoreLinear(const void* x, Element element, int64_t rows, const uint8_t* packed,
                      const Scales& scales, int64_t blockSize, int64_t outFeatures,
                      int64_t inFeatures, const void* bias, void* out, float* partial,
                      int64_t splits, cudaStream_t stream) {
  multiplyAs<false>(element, x, rows, inFeatures, outFeatures, packed, scales, blockSize, bias, out,
                    partial, splits, stream);
}

void tensorCoreBackward(const void* gradOutput, Element element, int64_t rows,
                        const uint8_t* packed, const Scales& scales, int64_t blockSize,
                        int64_t outFeatures, int64_t inFeatures, void* out, float* partial,
                        int64_t splits, cudaStream_t stream) {
  multiplyAs<true>(element, gradOutput, rows, outFeatures, inFeatures, packed, scales, blockSize,
                   static_cast<const void*>(nullptr), out, partial, splits, stream);
}

}  // namespace pare::nf4::cuda
