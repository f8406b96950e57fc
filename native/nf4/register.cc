// The room's functions for JavaScript (lib/nf4/native.ts declares them).
#include "../bridge/rooms.h"
#include "../ops/dynamic_map.h"
#include "cpu/paths.h"
#include "weight.h"

namespace pare {

using at::Tensor;
using T = const at::Tensor&;
using OptionalTensor = std::optional<at::Tensor>;

static nf4::Weight weightOf(T packed, T absmax, const OptionalTensor& nestedAbsmax,
                            const OptionalTensor& nestedQuantMap, double nestedOffset,
                            int64_t blockSize) {
  return {packed, absmax, nestedAbsmax, nestedQuantMap, nestedOffset, blockSize};
}

// Values as bytes of JavaScript, such as were read from a file: no tensor of them is made.
static void quantizeBytes(Bytes values, at::ScalarType dtype, int64_t blockSize, T packed,
                          T absmax) {
  const auto count = static_cast<int64_t>(values.size / c10::elementSize(dtype));
  nf4::quantizeInto(at::from_blob(values.data, {count}, at::TensorOptions().dtype(dtype)),
                    blockSize, packed, absmax);
}

void registerNf4(Registry& registry) {
  PARE_OP("nf4Codebook", (at::Device device), nf4::codebookTensor(device))
  PARE_OP("dynamicMap", (bool isSigned, at::Device device), dynamicMap(isSigned).to(device))
  PARE_OP("nf4EmptyPacked", (int64_t count), nf4::emptyPacked(count, at::kCPU))
  PARE_OP("nf4Quantize", (T values, int64_t blockSize), nf4::quantize(values, blockSize))
  PARE_OP("nf4QuantizeBytes",
          (Bytes values, at::ScalarType dtype, int64_t blockSize, T packed, T absmax),
          quantizeBytes(values, dtype, blockSize, packed, absmax))
  PARE_OP("nf4QuantizeAbsmax", (T absmax), nf4::quantizeAbsmax(absmax))
  PARE_OP("nf4Dequantize",
          (T packed, T absmax, OptionalTensor nestedAbsmax, OptionalTensor nestedQuantMap,
           double nestedOffset, int64_t blockSize, std::vector<int64_t> shape,
           at::ScalarType dtype),
          nf4::dequantize(
              weightOf(packed, absmax, nestedAbsmax, nestedQuantMap, nestedOffset, blockSize),
              shape, dtype))
  PARE_OP("nf4Linear",
          (T x, T packed, T absmax, OptionalTensor nestedAbsmax, OptionalTensor nestedQuantMap,
           double nestedOffset, int64_t blockSize, int64_t outFeatures, int64_t inFeatures,
           OptionalTensor bias),
          nf4::linear(
              x, weightOf(packed, absmax, nestedAbsmax, nestedQuantMap, nestedOffset, blockSize),
              outFeatures, inFeatures, bias))
  PARE_OP("nf4Embedding",
          (T ids, T packed, T absmax, OptionalTensor nestedAbsmax, OptionalTensor nestedQuantMap,
           double nestedOffset, int64_t blockSize, int64_t embeddingDim, at::ScalarType dtype),
          nf4::embedding(
              ids, weightOf(packed, absmax, nestedAbsmax, nestedQuantMap, nestedOffset, blockSize),
              embeddingDim, dtype))
  PARE_OP("nf4CpuPaths", (), nf4::cpu::pathNames())
  PARE_OP("nf4CpuPath", (), std::string(nf4::cpu::path().name))
  PARE_OP("nf4UseCpuPath", (std::string name), (nf4::cpu::usePath(name), true))
}

}  // namespace pare
