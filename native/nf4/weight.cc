// Checks, quantisation and dequantisation, the same for every device.
#include "weight.h"

#include "../ops/dynamic_map.h"
#include "backend.h"

namespace pare::nf4 {

using at::Tensor;

static bool isFloating(at::ScalarType dtype) {
  return dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf;
}

static void checkBlockSize(int64_t blockSize) {
  const bool powerOfTwo = blockSize > 0 && (blockSize & (blockSize - 1)) == 0;
  TORCH_CHECK_VALUE(powerOfTwo && blockSize >= kMinBlockSize && blockSize <= kMaxBlockSize,
                    "NF4 block size ", blockSize, " is not one of 32, 64, 128, ..., 4096");
}

static int64_t blocksOf(int64_t count, int64_t blockSize) {
  return (count + blockSize - 1) / blockSize;
}

void Weight::check(int64_t elements) const {
  checkBlockSize(blockSize);
  const int64_t blocks = blocksOf(elements, blockSize);
  TORCH_CHECK_VALUE(packed.scalar_type() == at::kByte && packed.is_contiguous() &&
                        packed.numel() == (elements + 1) / 2,
                    "NF4 weight: ", elements, " values need ", (elements + 1) / 2,
                    " contiguous uint8, got ", packed.sizes(), " ", packed.scalar_type());
  const bool nested = nestedAbsmax.has_value();
  TORCH_CHECK_VALUE(absmax.scalar_type() == (nested ? at::kByte : at::kFloat) &&
                        absmax.is_contiguous() && absmax.numel() == blocks,
                    "NF4 absmax: ", blocks, " blocks need as many contiguous ",
                    nested ? "uint8" : "float32", ", got ", absmax.sizes(), " ",
                    absmax.scalar_type());
  TORCH_CHECK_VALUE(absmax.device() == packed.device(), "NF4 absmax is on ", absmax.device(),
                    ", the packed weight on ", packed.device());
  if (!nested) return;
  TORCH_CHECK_VALUE(nestedAbsmax->scalar_type() == at::kFloat && nestedAbsmax->is_contiguous() &&
                        nestedAbsmax->numel() == blocksOf(blocks, kNestedBlockSize) &&
                        nestedAbsmax->device() == packed.device(),
                    "NF4 nested absmax: ", blocks, " blocks need ",
                    blocksOf(blocks, kNestedBlockSize), " contiguous float32 on ",
                    packed.device(), ", got ", nestedAbsmax->sizes(), " ",
                    nestedAbsmax->scalar_type(), " on ", nestedAbsmax->device());
  TORCH_CHECK_VALUE(nestedQuantMap && nestedQuantMap->scalar_type() == at::kFloat &&
                        nestedQuantMap->is_contiguous() && nestedQuantMap->numel() == kMapSize &&
                        nestedQuantMap->device() == packed.device(),
                    "NF4 nested quantisation map: expected 256 contiguous float32 on ",
                    packed.device());
}

Scales Weight::scales() const {
  Scales scales;
  if (nestedAbsmax) {
    scales.absmax = nestedAbsmax->const_data_ptr<float>();
    scales.codes = absmax.const_data_ptr<uint8_t>();
    scales.map = nestedQuantMap->const_data_ptr<float>();
    scales.offset = static_cast<float>(nestedOffset);
  } else {
    scales.absmax = absmax.const_data_ptr<float>();
  }
  return scales;
}

Tensor emptyPacked(int64_t count, const at::Device& device) {
  return at::empty({(count + 1) / 2, 1}, at::TensorOptions(at::kByte).device(device));
}

std::tuple<Tensor, Tensor> quantize(const Tensor& values, int64_t blockSize) {
  checkBlockSize(blockSize);
  const int64_t count = values.numel();
  const auto options = values.options();
  Tensor packed = emptyPacked(count, options.device());
  Tensor absmax = at::empty({blocksOf(count, blockSize)}, options.dtype(at::kFloat));
  quantizeInto(values, blockSize, packed, absmax);
  return {packed, absmax};
}

void quantizeInto(const Tensor& values, int64_t blockSize, const Tensor& packed,
                  const Tensor& absmax) {
  checkBlockSize(blockSize);
  TORCH_CHECK_VALUE(isFloating(values.scalar_type()),
                    "NF4 quantises float32, bfloat16 and float16, got ", values.scalar_type());
  const Tensor flat = values.detach().contiguous().view({-1});
  const int64_t count = flat.numel();
  TORCH_CHECK_VALUE(packed.scalar_type() == at::kByte && packed.is_contiguous() &&
                        packed.numel() == (count + 1) / 2,
                    "expected ", (count + 1) / 2, " packed bytes, got ", packed.sizes());
  TORCH_CHECK_VALUE(absmax.scalar_type() == at::kFloat && absmax.is_contiguous() &&
                        absmax.numel() == blocksOf(count, blockSize),
                    "expected ", blocksOf(count, blockSize), " absmax, got ", absmax.sizes());
  if (count > 0) backend::quantize(flat, blockSize, packed, absmax);
}

std::tuple<Tensor, Tensor, Tensor> quantizeAbsmax(const Tensor& absmax) {
  TORCH_CHECK_VALUE(absmax.scalar_type() == at::kFloat && absmax.dim() == 1,
                    "expected absmax as float32 [blocks], got ", absmax.sizes(), " ",
                    absmax.scalar_type());
  const int64_t count = absmax.numel();
  Tensor offset = at::mean(absmax);
  const Tensor centred = at::sub(absmax, offset).contiguous();
  Tensor codes = at::empty({count}, absmax.options().dtype(at::kByte));
  Tensor groups = at::empty({blocksOf(count, kNestedBlockSize)}, absmax.options());
  if (count > 0) {
    backend::quantizeAbsmax(centred, dynamicMap(true).to(absmax.device()), codes, groups);
  }
  return {codes, groups, offset};
}

Tensor codebookTensor(const at::Device& device) {
  Tensor values = at::empty({kCodebookSize}, at::kFloat);
  for (int i = 0; i < kCodebookSize; i++) values.mutable_data_ptr<float>()[i] = codebook(i);
  return values.to(device);
}

Tensor dequantize(const Weight& weight, at::IntArrayRef shape, at::ScalarType dtype) {
  TORCH_CHECK_VALUE(isFloating(dtype), "NF4 dequantises to float32, bfloat16 and float16, not ",
                    dtype);
  const int64_t count = c10::multiply_integers(shape);
  weight.check(count);
  Tensor out = at::empty({count}, weight.packed.options().dtype(dtype));
  if (count > 0) backend::dequantize(weight, out);
  return out.view(shape);
}

// By the backend's kernel, or: gathers the packed rows and their absmax, then decodes those; on any
// device.
Tensor embedding(const Tensor& ids, const Weight& weight, int64_t embeddingDim,
                 at::ScalarType dtype) {
  const int64_t rowBlocks = embeddingDim / weight.blockSize;
  TORCH_CHECK_VALUE(rowBlocks > 0 && embeddingDim % weight.blockSize == 0, "rows of ",
                    embeddingDim, " values do not end with blocks of ", weight.blockSize);
  const Tensor flat = ids.reshape({-1}).to(at::kLong).contiguous();
  std::vector<int64_t> shape = ids.sizes().vec();
  shape.push_back(embeddingDim);
  weight.check(2 * weight.packed.numel());
  const int64_t matrixRows = 2 * weight.packed.numel() / embeddingDim;
  const auto direct = backend::gather(weight, matrixRows, embeddingDim, flat, dtype);
  if (direct) return direct->view(shape);
  const auto rowsOf = [&](const Tensor& values, int64_t width) {
    return values.view({-1, width}).index_select(0, flat);
  };
  Weight rows{rowsOf(weight.packed, embeddingDim / 2), rowsOf(weight.absmax, rowBlocks)};
  rows.blockSize = weight.blockSize;
  if (weight.nestedAbsmax.has_value()) {
    const Tensor within = at::arange(rowBlocks, flat.options());
    const Tensor blocks = flat.mul(rowBlocks).unsqueeze(-1).add(within).view({-1});
    const Tensor groups = blocks.div(kNestedBlockSize, "floor");
    rows.absmax = weight.nestedQuantMap->index_select(0, rows.absmax.view({-1}).to(at::kInt))
                      .mul(weight.nestedAbsmax->view({-1}).index_select(0, groups))
                      .add(weight.nestedOffset);
  }
  rows.absmax = rows.absmax.view({-1});
  return dequantize(rows, shape, dtype);
}

}  // namespace pare::nf4
