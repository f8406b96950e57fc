// The GPU's kernels: plain pointers and a stream, no header of libtorch, so that nvcc alone
// compiles them. Each function launches and returns; nothing waits for the device.
#pragma once

#include <cuda_runtime_api.h>

#include "../scales.h"

namespace pare::nf4::cuda {

// The element types of values, in `void*`.
enum class Element { kFloat32, kBFloat16, kFloat16 };

// All pointers to values are aligned to 16 bytes.

void quantize(const void* values, Element element, int64_t count, int64_t blockSize,
              uint8_t* packed, float* absmax, cudaStream_t stream);

// Absmax in groups of 256 to the 8-bit map.
void quantizeAbsmax(const float* values, int64_t count, const float* map, uint8_t* codes,
                    float* groupAbsmax, cudaStream_t stream);

// Rows [row, row + rows) and columns [column, column + columns) of a matrix with `width` columns,
// into a contiguous tile. A flat range is one row.
void dequantizeTile(const uint8_t* packed, const Scales& scales, int64_t blockSize, int64_t width,
                    int64_t row, int64_t rows, int64_t column, int64_t columns, void* tile,
                    Element element, cudaStream_t stream);

// smallBatchLinear reads 16 bytes, 32 weights, at a time: rows must begin on such a boundary.
constexpr int64_t kWeightsPerLoad = 32;

// out[m, n] = sum_k x[m, k] w[n, k] + bias[n], summed in float32, for up to kMaxSmallBatch rows;
// `bias` may be null. x, bias and out have the same element type.
void smallBatchLinear(const void* x, Element element, int64_t batch, const uint8_t* packed,
                      const Scales& scales, int64_t blockSize, int64_t outFeatures,
                      int64_t inFeatures, const void* bias, void* out, cudaStream_t stream);

}  // namespace pare::nf4::cuda
