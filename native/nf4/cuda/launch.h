// From tensors to kernels: the GPU's side of backend.cc. Work is queued on the current stream.
#pragma once

#include "../weight.h"

namespace pare::nf4::cuda {

void quantize(const at::Tensor& values, int64_t blockSize, at::Tensor packed, at::Tensor absmax);
void quantizeAbsmax(const at::Tensor& values, const at::Tensor& map, at::Tensor codes,
                    at::Tensor groupAbsmax);
void dequantize(const Weight& weight, int64_t first, at::Tensor out);
void dequantizeTile(const Weight& weight, int64_t width, int64_t row, int64_t column,
                    at::Tensor out);
at::Tensor gather(const Weight& weight, int64_t rows, int64_t width, const at::Tensor& ids,
                  at::ScalarType dtype);
bool linear(const at::Tensor& x, const Weight& weight, const std::optional<at::Tensor>& bias,
            at::Tensor out);
bool linearBackward(const at::Tensor& gradOutput, const Weight& weight, at::Tensor out);

}  // namespace pare::nf4::cuda
