// Making, reading and releasing tensors.
#include <ATen/Parallel.h>
#include <torch/version.h>

#include <cstring>

#include "rooms.h"

namespace pare {

using at::Tensor;
using T = const at::Tensor&;

static Tensor fromBytes(Bytes bytes, at::ScalarType dtype, const std::vector<int64_t>& shape) {
  Tensor result = at::empty(shape, at::TensorOptions().dtype(dtype));
  if (result.nbytes() != bytes.size) {
    throw std::invalid_argument("the data has " + std::to_string(bytes.size) +
                                " bytes, but the shape needs " + std::to_string(result.nbytes()));
  }
  if (bytes.size > 0) std::memcpy(result.data_ptr(), bytes.data, bytes.size);
  return result;
}

static void copyOut(T tensor, Bytes bytes) {
  const Tensor source = tensor.detach().to(at::kCPU).contiguous();
  if (source.nbytes() != bytes.size) {
    throw std::invalid_argument("the target has another size than the tensor");
  }
  if (bytes.size > 0) std::memcpy(bytes.data, source.data_ptr(), bytes.size);
}

void registerTensor(Registry& registry) {
  registry.add<[](const Call& call) { return std::exchange(call.state.error, {}); }>("takeError");
  registry.add<[](const Call& call, Bytes ids) {
    const auto* id = static_cast<const uint32_t*>(ids.data);
    for (size_t i = 0; i < ids.size / sizeof(uint32_t); i++) call.state.tensors.release(id[i]);
  }>("release");
  registry.add<[](const Call& call, int64_t id) {
    call.state.tensors.release(static_cast<uint32_t>(id));
  }>("releaseOne");
  registry.add<[](const Call& call) { return call.state.tensors.handles(); }>("handles");
  registry.add<[](const Call& call) { return call.state.tensors.bytes(); }>("bytes");

  PARE_OP("fromBytes", (Bytes data, at::ScalarType dtype, std::vector<int64_t> shape),
          fromBytes(data, dtype, shape))
  PARE_OP("copyOut", (T tensor, Bytes target), copyOut(tensor, target))
  PARE_OP("item", (T tensor), tensor.item().toDouble())
  PARE_OP("shape", (T tensor), tensor.sizes().vec())
  PARE_OP("dtype", (T tensor), dtypeCode(tensor.scalar_type()))
  PARE_OP("device", (T tensor), tensor.device().str())
  PARE_OP("numel", (T tensor), tensor.numel())
  PARE_OP("isContiguous", (T tensor), tensor.is_contiguous())
  PARE_OP("alias", (T tensor), Tensor(tensor))

  PARE_OP("getNumThreads", (), static_cast<int64_t>(at::get_num_threads()))
  PARE_OP("setNumThreads", (int64_t n), at::set_num_threads(static_cast<int>(n)))
  PARE_OP("torchVersion", (), std::string(TORCH_VERSION))
  PARE_OP("cudaDeviceCount", (), static_cast<int64_t>(at::detail::getCUDAHooks().deviceCount()))
  PARE_OP("cudaIsAvailable", (), at::hasCUDA())
}

}  // namespace pare
