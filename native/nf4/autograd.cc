// The linear layer as a function of autograd: gradients to the input and the bias, none to the
// frozen weight. Only the packed weight is kept for backward, which decodes it again.
#include <torch/csrc/autograd/custom_function.h>

#include "weight.h"

namespace pare::nf4 {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

static void save(AutogradContext* context, const Weight& weight, int64_t outFeatures,
                 int64_t inFeatures) {
  context->save_for_backward({weight.packed, weight.absmax, weight.nestedAbsmax.value_or(Tensor()),
                              weight.nestedQuantMap.value_or(Tensor())});
  context->saved_data["nestedOffset"] = weight.nestedOffset;
  context->saved_data["blockSize"] = weight.blockSize;
  context->saved_data["outFeatures"] = outFeatures;
  context->saved_data["inFeatures"] = inFeatures;
}

static Weight restore(AutogradContext* context) {
  const variable_list saved = context->get_saved_variables();
  Weight weight{saved[0], saved[1], std::nullopt, std::nullopt};
  if (saved[2].defined()) weight.nestedAbsmax = saved[2];
  if (saved[3].defined()) weight.nestedQuantMap = saved[3];
  weight.nestedOffset = context->saved_data["nestedOffset"].toDouble();
  weight.blockSize = context->saved_data["blockSize"].toInt();
  return weight;
}

struct Linear : torch::autograd::Function<Linear> {
  static Tensor forward(AutogradContext* context, const Tensor& x,
                        const std::optional<Tensor>& bias, const Weight& weight,
                        int64_t outFeatures, int64_t inFeatures) {
    save(context, weight, outFeatures, inFeatures);
    if (bias) context->saved_data["biasDtype"] = bias->scalar_type();
    return linearForward(x, weight, outFeatures, inFeatures, bias);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const Tensor& gradient = gradients[0];
    Tensor toInput, toBias;
    if (context->needs_input_grad(0)) {
      toInput = linearBackward(gradient.contiguous(), restore(context),
                               context->saved_data["outFeatures"].toInt(),
                               context->saved_data["inFeatures"].toInt());
    }
    const auto biasDtype = context->saved_data.find("biasDtype");
    if (biasDtype != context->saved_data.end() && context->needs_input_grad(1)) {
      toBias = gradient.sum(0).to(biasDtype->second.toScalarType());
    }
    return {toInput, toBias, Tensor(), Tensor(), Tensor()};
  }
};

Tensor linear(const Tensor& x, const Weight& weight, int64_t outFeatures, int64_t inFeatures,
              const std::optional<Tensor>& bias) {
  TORCH_CHECK_VALUE(x.dim() > 0 && x.size(-1) == inFeatures, "NF4 linear: x ", x.sizes(),
                    " does not end in the weight's ", inFeatures, " columns [", outFeatures, ", ",
                    inFeatures, "]");
  TORCH_CHECK_VALUE(
      x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16 ||
          x.scalar_type() == at::kHalf,
      "NF4 linear takes float32, bfloat16 and float16, got ", x.scalar_type());
  TORCH_CHECK_VALUE(x.device() == weight.packed.device(), "NF4 linear: x is on ", x.device(),
                    ", the weight on ", weight.packed.device());
  TORCH_CHECK_VALUE(!bias || (bias->dim() == 1 && bias->size(0) == outFeatures),
                    "NF4 linear: the bias does not have ", outFeatures, " values");
  weight.check(outFeatures * inFeatures);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = outFeatures;
  const Tensor rows = x.reshape({-1, inFeatures}).contiguous();
  const bool differentiable =
      at::GradMode::is_enabled() && (x.requires_grad() || (bias && bias->requires_grad()));
  const Tensor out = differentiable
                         ? Linear::apply(rows, bias, weight, outFeatures, inFeatures)
                         : linearForward(rows, weight, outFeatures, inFeatures, bias);
  return out.view(shape);
}

}  // namespace pare::nf4
