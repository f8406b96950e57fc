// The one place that chooses between the CPU's and the GPU's kernels. Arguments are checked and
// contiguous; values are float32 on the CPU, float32, bfloat16 or float16 on a GPU.
#pragma once

#include "weight.h"

namespace pare::nf4::backend {

// Whether this device's kernels read and write `dtype`; otherwise the caller converts to float32.
bool supports(const at::Device& device, at::ScalarType dtype);

// Values held in a tile of decoded weights at a time.
int64_t tileSize(const at::Device& device);

void quantize(const at::Tensor& values, int64_t blockSize, at::Tensor packed, at::Tensor absmax);
void quantizeAbsmax(const at::Tensor& values, const at::Tensor& map, at::Tensor codes,
                    at::Tensor groupAbsmax);

// The flat range [first, first + out.numel()).
void dequantize(const Weight& weight, int64_t first, at::Tensor out);

// out [rows, columns] from (row, column) of a matrix with `width` columns.
void dequantizeTile(const Weight& weight, int64_t width, int64_t row, int64_t column,
                    at::Tensor out);

// Whether smallBatchLinear can take matrices of this width.
bool smallBatchFits(const at::Tensor& x, int64_t inFeatures);
void smallBatchLinear(const at::Tensor& x, const Weight& weight,
                      const std::optional<at::Tensor>& bias, at::Tensor out);

}  // namespace pare::nf4::backend
