// The one place that chooses between the CPU's and the GPU's kernels. Arguments are checked and
// contiguous; values are float32, bfloat16 or float16.
#pragma once

#include "weight.h"

namespace pare::nf4::backend {

// What products with tiles of decoded weights are computed in, for x of `dtype`.
at::ScalarType productDtype(const at::Device& device, at::ScalarType dtype);

// Values held in a tile of decoded weights of this dtype at a time.
int64_t tileSize(const at::Device& device, at::ScalarType dtype);

void quantize(const at::Tensor& values, int64_t blockSize, at::Tensor packed, at::Tensor absmax);
void quantizeAbsmax(const at::Tensor& values, const at::Tensor& map, at::Tensor codes,
                    at::Tensor groupAbsmax);

void dequantize(const Weight& weight, at::Tensor out);

// out [rows, columns] from (row, column) of a matrix with `width` columns.
void dequantizeTile(const Weight& weight, int64_t width, int64_t row, int64_t column,
                    at::Tensor out);

// Whether smallBatchLinear can take matrices of this width.
bool smallBatchFits(const at::Tensor& x, int64_t inFeatures);
void smallBatchLinear(const at::Tensor& x, const Weight& weight,
                      const std::optional<at::Tensor>& bias, at::Tensor out);

}  // namespace pare::nf4::backend
