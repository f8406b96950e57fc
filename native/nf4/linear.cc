// The products with a packed matrix, the same for every device. A large matrix is decoded a tile at
// a time into a buffer of bounded size and never exists whole; each tile fills columns of the
// result of its own, so that nothing is summed across tiles in a low precision. A backend that has
// a better way comes first.
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "../ops/linear.h"
#include "backend.h"

namespace pare::nf4 {

using at::Tensor;

// Decodes tiles of one matrix into the same buffer again and again.
class Tiles {
 public:
  Tiles(const Weight& weight, int64_t width, at::ScalarType dtype, int64_t rows, int64_t columns)
      : weight_(weight),
        width_(width),
        buffer_(at::empty({rows * columns}, weight.packed.options().dtype(dtype))) {}

  // Valid until the next call.
  Tensor get(int64_t row, int64_t rows, int64_t column, int64_t columns) {
    Tensor tile = buffer_.narrow(0, 0, rows * columns).view({rows, columns});
    backend::dequantizeTile(weight_, width_, row, column, tile);
    return tile;
  }

 private:
  const Weight& weight_;
  int64_t width_;
  Tensor buffer_;
};

// The next lower multiple of 64 where there is one: whole blocks of most sizes, and widths that
// suit the products.
static int64_t roundDown(int64_t size) { return size < 64 ? size : size - size % 64; }

// Calls body(tiles, at) for every tile of `step` rows or columns of `size`. On a CPU each thread decodes
// and multiplies tiles of its own: shared ones have lines of memory that belong now to one core, now to
// another, by which a product took 2.7 times as long for seconds at a time (see bench/notes.md).
template <typename MakeTiles, typename Body>
static void overTiles(const Weight& weight, int64_t size, int64_t step, MakeTiles make, Body body) {
  const auto run = [&](int64_t begin, int64_t end) {
    // Other threads than the caller's have a mode of their own.
    const c10::NoGradGuard noGrad;
    auto tiles = make();
    for (int64_t tile = begin; tile < end; tile++) body(tiles, tile * step);
  };
  const int64_t count = (size + step - 1) / step;
  // Fewer tiles than threads are decoded and multiplied by all of them, one after the other.
  const bool apart = weight.packed.is_cpu() && count >= at::get_num_threads();
  if (apart) return at::parallel_for(0, count, 1, run);
  run(0, count);
}

// x, bias and out of the product's dtype.
static void forwardByTiles(const Tensor& x, const Weight& weight, int64_t outFeatures,
                           int64_t inFeatures, const std::optional<Tensor>& bias,
                           const Tensor& out) {
  const int64_t fitting = backend::tileSize(x.device(), x.scalar_type()) / inFeatures;
  // Not fewer rows than 64, as far as four times the best size allows: oneDNN's products ran at 95
  // GFLOP/s a core with tiles of 64 rows of 11008 values, at 81 with the 47 that fit.
  const int64_t least = std::min<int64_t>(64, 4 * fitting);
  const int64_t rows = std::clamp<int64_t>(std::max(roundDown(fitting), least), 1, outFeatures);
  overTiles(
      weight, outFeatures, rows,
      [&] { return Tiles(weight, inFeatures, x.scalar_type(), rows, inFeatures); },
      [&](Tiles& tiles, int64_t row) {
        const int64_t count = std::min(rows, outFeatures - row);
        const Tensor tile = tiles.get(row, count, 0, inFeatures);
        matmulInto(out.narrow(1, row, count), x, tile.t(),
                   bias ? std::optional(bias->narrow(0, row, count)) : std::nullopt,
                   x.numel() * outFeatures);
      });
}

static void backwardByTiles(const Tensor& gradOutput, const Weight& weight, int64_t outFeatures,
                            int64_t inFeatures, const Tensor& out) {
  const int64_t fitting = backend::tileSize(out.device(), out.scalar_type()) / outFeatures;
  const int64_t columns = std::min(inFeatures, std::max<int64_t>(64, roundDown(fitting)));
  overTiles(
      weight, inFeatures, columns,
      [&] { return Tiles(weight, inFeatures, out.scalar_type(), outFeatures, columns); },
      [&](Tiles& tiles, int64_t column) {
        const int64_t count = std::min(columns, inFeatures - column);
        matmulInto(out.narrow(1, column, count), gradOutput,
                   tiles.get(0, outFeatures, column, count), std::nullopt,
                   gradOutput.numel() * inFeatures);
      });
}

// A product that is computed in another dtype where that is faster: some rows at a time, so that no
// copy of all of x is made.
template <typename Multiply>
static void inProductDtype(const Tensor& x, const Tensor& out, Multiply multiply) {
  constexpr int64_t kValues = int64_t{1} << 21;
  const at::ScalarType dtype = backend::productDtype(x.device(), x.scalar_type());
  if (dtype == x.scalar_type()) return multiply(x, out);
  const int64_t rows = std::max<int64_t>(64, kValues / (x.size(1) + out.size(1)));
  for (int64_t row = 0; row < x.size(0); row += rows) {
    const int64_t count = std::min(rows, x.size(0) - row);
    const Tensor piece = at::empty({count, out.size(1)}, x.options().dtype(dtype));
    multiply(x.narrow(0, row, count).to(dtype), piece);
    out.narrow(0, row, count).copy_(piece);
  }
}

Tensor linearForward(const Tensor& x, const Weight& weight, int64_t outFeatures, int64_t inFeatures,
                     const std::optional<Tensor>& bias) {
  if (x.numel() == 0 || outFeatures == 0) {
    Tensor out = at::zeros({x.size(0), outFeatures}, x.options());
    return bias ? out.add_(*bias) : out;
  }
  Tensor out = at::empty({x.size(0), outFeatures}, x.options());
  if (backend::linear(x, weight, bias, out)) return out;
  inProductDtype(x, out, [&](const Tensor& rows, const Tensor& result) {
    const std::optional<Tensor> converted =
        bias ? std::optional(bias->to(rows.scalar_type())) : std::nullopt;
    forwardByTiles(rows, weight, outFeatures, inFeatures, converted, result);
  });
  return out;
}

Tensor linearBackward(const Tensor& gradOutput, const Weight& weight, int64_t outFeatures,
                      int64_t inFeatures) {
  if (gradOutput.numel() == 0 || inFeatures == 0) {
    return at::zeros({gradOutput.size(0), inFeatures}, gradOutput.options());
  }
  Tensor out = at::empty({gradOutput.size(0), inFeatures}, gradOutput.options());
  if (backend::linearBackward(gradOutput, weight, out)) return out;
  inProductDtype(gradOutput, out, [&](const Tensor& rows, const Tensor& result) {
    backwardByTiles(rows, weight, outFeatures, inFeatures, result);
  });
  return out;
}

}  // namespace pare::nf4
