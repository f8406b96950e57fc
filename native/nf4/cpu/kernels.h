// The CPU's kernels: plain pointers, float32 values, portable C++ that compilers vectorise.
// Parallel over libtorch's threads unless said otherwise.
#pragma once

#include "../scales.h"

namespace pare::nf4::cpu {

// Quantises `count` values, of which only the tensor's last block may be shorter than `blockSize`.
// `packed` takes (count + 1) / 2 bytes, `absmax` one value a block.
void quantize(const float* values, int64_t count, int64_t blockSize, uint8_t* packed,
              float* absmax);

// Quantises absmax values (offset already subtracted) to the 8-bit map in groups of 256.
void quantizeAbsmax(const float* values, int64_t count, const float* map, uint8_t* codes,
                    float* groupAbsmax);

// Writes the values at [first, first + count) of the flat array. Serial.
void dequantizeRange(const uint8_t* packed, const Scales& scales, int64_t blockSize, int64_t first,
                     int64_t count, float* values);

// The whole range [first, first + count), in parallel.
void dequantize(const uint8_t* packed, const Scales& scales, int64_t blockSize, int64_t first,
                int64_t count, float* values);

// Rows [row, row + rows) and columns [column, column + columns) of a matrix with `width` columns,
// into a contiguous tile.
void dequantizeTile(const uint8_t* packed, const Scales& scales, int64_t blockSize, int64_t width,
                    int64_t row, int64_t rows, int64_t column, int64_t columns, float* tile);

// out[m, n] = sum_k x[m, k] w[n, k] + bias[n] straight from the packed weights; `bias` may be null.
// At most kMaxSmallBatch rows of x.
void smallBatchLinear(const float* x, int64_t batch, const uint8_t* packed, const Scales& scales,
                      int64_t blockSize, int64_t outFeatures, int64_t inFeatures,
                      const float* bias, float* out);

}  // namespace pare::nf4::cpu
