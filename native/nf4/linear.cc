// The products with a packed matrix, the same for every device. A large matrix is decoded a tile at
// a time into a buffer of bounded size and never exists whole; each tile fills columns of the
// result of its own, so that nothing is summed across tiles in a low precision.
#include <algorithm>

#include "backend.h"

namespace pare::nf4 {

using at::Tensor;

// Decodes tiles of one matrix into the same buffers again and again.
class Tiles {
 public:
  Tiles(const Weight& weight, int64_t width, at::ScalarType dtype, int64_t rows, int64_t columns)
      : weight_(weight), width_(width), dtype_(dtype) {
    const auto options = weight.packed.options();
    const bool direct = backend::supports(weight.packed.device(), dtype);
    decoded_ = at::empty({rows * columns}, options.dtype(direct ? dtype : at::kFloat));
    if (!direct) converted_ = at::empty({rows * columns}, options.dtype(dtype));
  }

  // Valid until the next call.
  Tensor get(int64_t row, int64_t rows, int64_t column, int64_t columns) {
    Tensor tile = decoded_.narrow(0, 0, rows * columns).view({rows, columns});
    backend::dequantizeTile(weight_, width_, row, column, tile);
    if (!converted_.defined()) return tile;
    return converted_.narrow(0, 0, rows * columns).view({rows, columns}).copy_(tile);
  }

 private:
  const Weight& weight_;
  int64_t width_;
  at::ScalarType dtype_;
  Tensor decoded_;
  Tensor converted_;
};

static Tensor smallBatch(const Tensor& x, const Weight& weight, int64_t outFeatures,
                         const std::optional<Tensor>& bias) {
  const at::ScalarType dtype =
      backend::supports(x.device(), x.scalar_type()) ? x.scalar_type() : at::kFloat;
  Tensor out = at::empty({x.size(0), outFeatures}, x.options().dtype(dtype));
  std::optional<Tensor> converted;
  if (bias) converted = bias->to(dtype).contiguous();
  backend::smallBatchLinear(x.to(dtype), weight, converted, out);
  return out.to(x.scalar_type());
}

Tensor linearForward(const Tensor& x, const Weight& weight, int64_t outFeatures,
                     int64_t inFeatures, const std::optional<Tensor>& bias) {
  if (x.numel() == 0 || outFeatures == 0) {
    Tensor out = at::zeros({x.size(0), outFeatures}, x.options());
    return bias ? out.add_(*bias) : out;
  }
  if (x.size(0) <= kMaxSmallBatch && backend::smallBatchFits(x, inFeatures)) {
    return smallBatch(x, weight, outFeatures, bias);
  }
  std::optional<Tensor> converted;
  if (bias) converted = bias->to(x.scalar_type());
  const int64_t rows =
      std::clamp<int64_t>(backend::tileSize(x.device()) / inFeatures, 1, outFeatures);
  Tiles tiles(weight, inFeatures, x.scalar_type(), rows, inFeatures);
  Tensor out = at::empty({x.size(0), outFeatures}, x.options());
  for (int64_t row = 0; row < outFeatures; row += rows) {
    const int64_t count = std::min(rows, outFeatures - row);
    const Tensor tile = tiles.get(row, count, 0, inFeatures);
    Tensor slice = out.narrow(1, row, count);
    if (converted) {
      at::addmm_out(slice, converted->narrow(0, row, count), x, tile.t());
    } else {
      at::mm_out(slice, x, tile.t());
    }
  }
  return out;
}

Tensor linearBackward(const Tensor& gradOutput, const Weight& weight, int64_t outFeatures,
                      int64_t inFeatures) {
  Tensor out = at::empty({gradOutput.size(0), inFeatures}, gradOutput.options());
  if (gradOutput.numel() == 0 || inFeatures == 0) return out.zero_();
  // Whole blocks of a common size: fewer absmax to look up, and reads stay aligned.
  constexpr int64_t kAlignment = 64;
  const int64_t fitting = backend::tileSize(out.device()) / outFeatures;
  const int64_t columns =
      std::min(inFeatures, std::max(kAlignment, fitting - fitting % kAlignment));
  Tiles tiles(weight, inFeatures, gradOutput.scalar_type(), outFeatures, columns);
  for (int64_t column = 0; column < inFeatures; column += columns) {
    const int64_t count = std::min(columns, inFeatures - column);
    Tensor slice = out.narrow(1, column, count);
    at::mm_out(slice, gradOutput, tiles.get(0, outFeatures, column, count));
  }
  return out;
}

}  // namespace pare::nf4
