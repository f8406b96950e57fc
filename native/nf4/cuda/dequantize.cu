#include "decode.cuh"

namespace pare::nf4::cuda {

constexpr int kThreads = 256;
constexpr int kBlocks = 6;  // to a multiprocessor: more would cap registers at 32, with spilling

struct Tile {
  int64_t width;  // of the whole matrix
  int64_t row;
  int64_t rows;
  int64_t column;
  int64_t columns;
  const int64_t* ids = nullptr;  // where not null, the matrix's rows in place of row, row + 1, ...
  int64_t matrixRows = 0;        // that they must be below

  __device__ int64_t start(int64_t at) const {
    if (ids == nullptr) return (row + at) * width + column;
    const int64_t id = ids[at];
    require(id >= 0 && id < matrixRows);
    return id * width;
  }
};

// A thread's place: rows in the grid's second dimension, items of a row in its first, so that no
// index is divided. Both wrap around a grid that is too small.
struct Place {
  int64_t row = blockIdx.y;
  int64_t item = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  int64_t rowStep = gridDim.y;
  int64_t itemStep = int64_t{gridDim.x} * kThreads;
};

// Eight values a thread: one 4-byte read, one or two 16-byte writes, neighbours side by side.
// Needs the matrix's and the tile's columns, and the first, to be multiples of eight: then eight
// values never straddle a block, whose size is a multiple of 32.
template <typename T>
__global__ void __launch_bounds__(kThreads, kBlocks)
    dequantizeVectors(const uint8_t* packed, Scales scales, int blockShift, Tile tile, T* out) {
  __shared__ float code[kCodebookSize];
  loadCodebook(code);
  __syncthreads();
  const Place place;
  for (int64_t row = place.row; row < tile.rows; row += place.rowStep) {
    const int64_t start = tile.start(row);
    for (int64_t i = place.item * kVector; i < tile.columns; i += place.itemStep * kVector) {
      const int64_t position = start + i;
      const uint32_t word = *reinterpret_cast<const uint32_t*>(packed + position / 2);
      float values[kVector];
      decodeVector(word, code, scales(position >> blockShift), values);
      storeVector(out + row * tile.columns + i, values);
    }
  }
}

// Any shape, a value a thread.
template <typename T>
__global__ void __launch_bounds__(kThreads, kBlocks)
    dequantizeSingles(const uint8_t* packed, Scales scales, int blockShift, Tile tile, T* out) {
  __shared__ float code[kCodebookSize];
  loadCodebook(code);
  __syncthreads();
  const Place place;
  for (int64_t row = place.row; row < tile.rows; row += place.rowStep) {
    const int64_t start = tile.start(row);
    for (int64_t i = place.item; i < tile.columns; i += place.itemStep) {
      const int64_t position = start + i;
      const float value = code[unpack(packed, position)] * scales(position >> blockShift);
      out[row * tile.columns + i] = fromFloat<T>(value);
    }
  }
}

static void decode(const uint8_t* packed, const Scales& scales, int64_t blockSize, const Tile& tile,
                   void* out, Element element, cudaStream_t stream) {
  if (tile.rows == 0 || tile.columns == 0) return;
  const bool whole =
      tile.width % kVector == 0 && tile.column % kVector == 0 && tile.columns % kVector == 0;
  const int64_t items = tile.columns / (whole ? kVector : 1);
  constexpr int64_t kMaxGrid = 65535;
  const int64_t wanted = (items + kThreads - 1) / kThreads;
  const dim3 grid(static_cast<unsigned>(wanted < kMaxGrid ? wanted : kMaxGrid),
                  static_cast<unsigned>(tile.rows < kMaxGrid ? tile.rows : kMaxGrid));
  const int shift = log2Of(blockSize);
  dispatch(element, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    T* values = static_cast<T*>(out);
    if (whole) {
      launch(dequantizeVectors<T>, grid, kThreads, 0, stream, packed, scales, shift, tile, values);
    } else {
      launch(dequantizeSingles<T>, grid, kThreads, 0, stream, packed, scales, shift, tile, values);
    }
  });
}

void dequantizeTile(const uint8_t* packed, const Scales& scales, int64_t blockSize, int64_t width,
                    int64_t row, int64_t rows, int64_t column, int64_t columns, void* tile,
                    Element element, cudaStream_t stream) {
  decode(packed, scales, blockSize, {width, row, rows, column, columns}, tile, element, stream);
}

void gatherRows(const uint8_t* packed, const Scales& scales, int64_t blockSize, int64_t rows,
                int64_t width, const int64_t* ids, int64_t count, void* out, Element element,
                cudaStream_t stream) {
  decode(packed, scales, blockSize, {width, 0, count, 0, width, ids, rows}, out, element, stream);
}

}  // namespace pare::nf4::cuda
