// The CPU's kernels, run on libtorch's threads with the instructions that path() has chosen.
#pragma once

#include "paths.h"

namespace pare::nf4::cpu {

// Quantises `count` values, of which only the tensor's last block may be shorter than `blockSize`.
// `packed` takes (count + 1) / 2 bytes, `absmax` one value a block.
void quantize(const void* values, Float type, int64_t count, int64_t blockSize, uint8_t* packed,
              float* absmax);

// Quantises absmax values (offset already subtracted) to the 8-bit map in groups of 256.
void quantizeAbsmax(const float* values, int64_t count, const float* map, uint8_t* codes,
                    float* groupAbsmax);

// The range [first, first + count) of the flat array.
void dequantize(const uint8_t* packed, const Scales& scales, int64_t blockSize, int64_t first,
                int64_t count, void* values, Float type);

// Rows [row, row + rows) and columns [column, column + columns) of a matrix with `width` columns,
// into a contiguous tile.
void dequantizeTile(const uint8_t* packed, const Scales& scales, int64_t blockSize, int64_t width,
                    int64_t row, int64_t rows, int64_t column, int64_t columns, void* tile,
                    Float type);

// Whether smallBatchLinear takes x of bfloat16, too.
bool multipliesBFloat16(int64_t inFeatures);

// out[m, n] = sum_k x[m, k] w[n, k] + bias[n] straight from the packed weights; `bias` may be null.
// Meant for few rows of x.
void smallBatchLinear(const void* x, Float type, int64_t batch, const uint8_t* packed,
                      const Scales& scales, int64_t blockSize, int64_t outFeatures,
                      int64_t inFeatures, const float* bias, float* out);

// Whether panelLinear takes a matrix of these sizes.
bool multipliesByPanels(int64_t blockSize, int64_t inFeatures, bool backward);

// out = x W^T + bias, or x W where `backward`, W [outFeatures, inFeatures], for any number of rows
// of bfloat16; `bias` may be null.
void panelLinear(const uint16_t* x, int64_t rows, const uint8_t* packed, const Scales& scales,
                 int64_t blockSize, int64_t outFeatures, int64_t inFeatures, bool backward,
                 const float* bias, uint16_t* out);

}  // namespace pare::nf4::cpu
