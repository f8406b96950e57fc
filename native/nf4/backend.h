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

// Rows ids[0], ids[1], ... (int64) of a matrix [rows, width], decoded; nothing where there is no
// kernel for it.
std::optional<at::Tensor> gather(const Weight& weight, int64_t rows, int64_t width,
                                 const at::Tensor& ids, at::ScalarType dtype);

// out = x W^T + bias straight from the packed weights; false, and nothing done, where tiles of
// decoded weights are the way, for these rows and sizes.
bool linear(const at::Tensor& x, const Weight& weight, const std::optional<at::Tensor>& bias,
            at::Tensor out);
// out = gradOutput W, in the same way.
bool linearBackward(const at::Tensor& gradOutput, const Weight& weight, at::Tensor out);

}  // namespace pare::nf4::backend
