// The table of creation, shape, indexing and conversion. One line an operation.
#include "../bridge/rooms.h"

namespace pare {

using at::Tensor;
using T = const at::Tensor&;
using S = at::Scalar;
using Dims = std::vector<int64_t>;
using Dtype = at::ScalarType;

static at::TensorOptions options(Dtype dtype, const at::Device& device) {
  return at::TensorOptions().dtype(dtype).device(device);
}

static Tensor index(T a, const std::vector<Tensor>& indices) {
  c10::List<std::optional<Tensor>> list;
  for (const Tensor& tensor : indices) list.push_back(tensor);
  return at::index(a, list);
}

void registerShape(Registry& registry) {
  PARE_OP("empty", (Dims shape, Dtype dtype, at::Device device),
          at::empty(shape, options(dtype, device)))
  PARE_OP("zeros", (Dims shape, Dtype dtype, at::Device device),
          at::zeros(shape, options(dtype, device)))
  PARE_OP("ones", (Dims shape, Dtype dtype, at::Device device),
          at::ones(shape, options(dtype, device)))
  PARE_OP("full", (Dims shape, S value, Dtype dtype, at::Device device),
          at::full(shape, value, options(dtype, device)))
  PARE_OP("arange", (S start, S end, S step, Dtype dtype, at::Device device),
          at::arange(start, end, step, options(dtype, device)))

  PARE_OP("reshape", (T a, Dims shape), at::reshape(a, shape))
  PARE_OP("permute", (T a, Dims dims), at::permute(a, dims))
  PARE_OP("transpose", (T a, int64_t x, int64_t y), at::transpose(a, x, y))
  PARE_OP("unsqueeze", (T a, int64_t dim), at::unsqueeze(a, dim))
  PARE_OP("squeeze", (T a, int64_t dim), at::squeeze(a, dim))
  PARE_OP("expand", (T a, Dims shape), a.expand(shape))
  PARE_OP("flatten", (T a, int64_t start, int64_t end), at::flatten(a, start, end))
  PARE_OP("contiguous", (T a), a.contiguous())
  PARE_OP("clone", (T a), at::clone(a))
  PARE_OP("to", (T a, Dtype dtype, at::Device device), a.to(device, dtype))
  PARE_OP("viewDtype", (T a, Dtype dtype), a.view(dtype))
  PARE_OP("repeatInterleave", (T a, int64_t repeats, int64_t dim),
          at::repeat_interleave(a, repeats, dim))
  PARE_OP("flip", (T a, Dims dims), at::flip(a, dims))
  PARE_OP("tril", (T a, int64_t diagonal), at::tril(a, diagonal))
  PARE_OP("triu", (T a, int64_t diagonal), at::triu(a, diagonal))

  PARE_OP("select", (T a, int64_t dim, int64_t i), at::select(a, dim, i))
  PARE_OP("narrow", (T a, int64_t dim, int64_t start, int64_t length),
          at::narrow(a, dim, start, length))
  PARE_OP("slice", (T a, int64_t dim, int64_t start, int64_t end, int64_t step),
          at::slice(a, dim, start, end, step))
  PARE_OP("indexSelect", (T a, int64_t dim, T i), at::index_select(a, dim, i))
  PARE_OP("index", (T a, std::vector<Tensor> indices), index(a, indices))
  PARE_OP("gather", (T a, int64_t dim, T i), at::gather(a, dim, i))
  PARE_OP("scatter", (T a, int64_t dim, T i, T source), at::scatter(a, dim, i, source))
  PARE_OP("indexAdd", (T a, int64_t dim, T i, T source), at::index_add(a, dim, i, source))
  PARE_OP("indexCopy", (T a, int64_t dim, T i, T source), at::index_copy(a, dim, i, source))
  PARE_OP("maskedFill", (T a, T mask, S value), at::masked_fill(a, mask, value))
  PARE_OP("maskedSelect", (T a, T mask), at::masked_select(a, mask))
  PARE_OP("maskedScatter", (T a, T mask, T source), at::masked_scatter(a, mask, source))
  PARE_OP("where", (T condition, T a, T b), at::where(condition, a, b))
  PARE_OP("nonzero", (T a), at::nonzero(a))
  PARE_OP("cat", (std::vector<Tensor> tensors, int64_t dim), at::cat(tensors, dim))
  PARE_OP("stack", (std::vector<Tensor> tensors, int64_t dim), at::stack(tensors, dim))
  PARE_OP("split", (T a, Dims sizes, int64_t dim), at::split_with_sizes(a, sizes, dim))
  PARE_OP("pad", (T a, Dims pad, double value), at::constant_pad_nd(a, pad, value))
}

}  // namespace pare
