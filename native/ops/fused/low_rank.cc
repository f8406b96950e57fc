// The update of a LoRA layer (Hu et al. 2021): result + scale B A x, as one function of autograd. It
// keeps x as it came, shared with every layer that reads it, and [rows, r]; the products run in the
// dtype of autocast, or of A.
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "../linear.h"
#include "fused.h"

namespace pare {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

struct LowRank : torch::autograd::Function<LowRank> {
  // x [rows, in], result [rows, out]
  static Tensor forward(AutogradContext* context, const Tensor& result, const Tensor& x,
                        const Tensor& a, const Tensor& b, double scale, at::ScalarType dtype) {
    const Tensor narrow = product(x.to(dtype), a.to(dtype).t()).mul_(scale);
    context->save_for_backward({x, a, b, narrow});
    context->saved_data["scale"] = scale;
    context->saved_data["resultDtype"] = result.scalar_type();
    Tensor sum = at::empty({result.size(0), b.size(0)}, result.options().dtype(dtype));
    matmulInto(sum, narrow, b.to(dtype).t(), std::nullopt);
    return sum.add_(result).to(result.scalar_type());
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor &x = saved[0], &a = saved[1], &b = saved[2], &narrow = saved[3];
    const at::ScalarType dtype = narrow.scalar_type();
    const Tensor gradient = gradients[0].to(dtype).contiguous();
    const Tensor toNarrow =
        product(gradient, b.to(dtype)).mul_(context->saved_data["scale"].toDouble());
    Tensor toX, toA, toB;
    if (context->needs_input_grad(1)) {
      toX = product(toNarrow, a.to(dtype)).to(x.scalar_type());
    }
    if (context->needs_input_grad(2)) {
      toA = product(toNarrow.t(), x.to(dtype)).to(a.scalar_type());
    }
    if (context->needs_input_grad(3)) {
      toB = product(gradient.t(), narrow).to(b.scalar_type());
    }
    return {gradients[0], toX, toA, toB, Tensor(), Tensor()};
  }

  static Tensor product(const Tensor& a, const Tensor& b) {
    Tensor out = at::empty({a.size(0), b.size(1)}, a.options());
    matmulInto(out, a, b, std::nullopt);
    return out;
  }
};

}  // namespace

Tensor lowRankUpdate(const Tensor& result, const Tensor& x, const Tensor& a, const Tensor& b,
                     double scale) {
  TORCH_CHECK_VALUE(a.dim() == 2 && b.dim() == 2 && x.dim() > 0 && x.size(-1) == a.size(1) &&
                        a.size(0) == b.size(1) && result.size(-1) == b.size(0),
                    "low-rank update: x ", x.sizes(), ", A ", a.sizes(), ", B ", b.sizes(),
                    " and result ", result.sizes(), " do not fit");
  const at::DeviceType device = x.device().type();
  const bool cast = at::autocast::is_autocast_enabled(device);
  const at::ScalarType dtype =
      cast ? at::autocast::get_autocast_dtype(device) : a.scalar_type();
  const Tensor rows = x.reshape({-1, a.size(1)}), sums = result.reshape({-1, b.size(0)});
  return LowRank::apply(sums, rows, a, b, scale, dtype).view(result.sizes());
}

}  // namespace pare
