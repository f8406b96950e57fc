// The GPU's kernels: plain pointers and a stream, no header of libtorch, so that nvcc alone
// compiles them. Each function launches and returns; nothing waits for the device.
#pragma once

#include <cuda_runtime_api.h>

#include "../../cuda/element.h"
#include "../scales.h"

namespace pare::nf4::cuda {

using pare::cuda::Element;

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

// Rows ids[0], ids[1], ... of a matrix [rows, width], decoded. An id outside of it ends all work
// on the device, as one does in libtorch's own operators.
void gatherRows(const uint8_t* packed, const Scales& scales, int64_t blockSize, int64_t rows,
                int64_t width, const int64_t* ids, int64_t count, void* out, Element element,
                cudaStream_t stream);

// Weights in the 16 bytes that a thread reads at a time.
constexpr int64_t kWeightsPerLoad = 32;

// Whether smallBatchLinear takes a matrix: its rows must be whole reads of the kernel.
bool smallBatchFits(Element element, int64_t outFeatures, int64_t inFeatures);

// out[m, n] = sum_k x[m, k] w[n, k] + bias[n], summed in float32, for up to kMaxSmallBatch rows;
// `bias` may be null. x, bias and out have the same element type. With halves the weights are
// products of an entry of the codebook rounded to that type and of absmax in float32.
void smallBatchLinear(const void* x, Element element, int64_t batch, const uint8_t* packed,
                      const Scales& scales, int64_t blockSize, int64_t outFeatures,
                      int64_t inFeatures, const void* bias, void* out, int64_t multiprocessors,
                      cudaStream_t stream);

// Into how many parts a sum of `depth` products is split so that a matrix of rows x columns keeps
// this many multiprocessors busy. More than one need float32 [splits, rows, columns] as `partial`.
int64_t tensorCoreSplits(int64_t rows, int64_t depth, int64_t columns, int64_t multiprocessors);

// Any number of rows of halves, by weights rounded to their type as dequantise does, summed in
// float32. inFeatures must be a multiple of kTensorCoreIn, for the gradient outFeatures one of
// kTensorCoreOut.
constexpr int64_t kTensorCoreIn = 64;
constexpr int64_t kTensorCoreOut = 8;

// out[m, n] = sum_k x[m, k] w[n, k] + bias[n]; `bias` may be null.
void tensorCoreLinear(const void* x, Element element, int64_t rows, const uint8_t* packed,
                      const Scales& scales, int64_t blockSize, int64_t outFeatures,
                      int64_t inFeatures, const void* bias, void* out, float* partial,
                      int64_t splits, cudaStream_t stream);

// out[m, k] = sum_n gradOutput[m, n] w[n, k].
void tensorCoreBackward(const void* gradOutput, Element element, int64_t rows,
                        const uint8_t* packed, const Scales& scales, int64_t blockSize,
                        int64_t outFeatures, int64_t inFeatures, void* out, float* partial,
                        int64_t splits, cudaStream_t stream);

}  // namespace pare::nf4::cuda
