#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/variable.h>

#include "rooms.h"

namespace pare {

using at::Tensor;
using T = const at::Tensor&;

void registerAutograd(Registry& registry) {
  PARE_OP("setGradEnabled", (bool enabled), at::GradMode::set_enabled(enabled))
  PARE_OP("isGradEnabled", (), at::GradMode::is_enabled())
  // Mixed precision: matrix products in bfloat16, the rest as it comes (torch.autocast).
  registry.add<[](bool enabled) {
    for (const at::DeviceType device : {at::kCPU, at::kCUDA}) {
      at::autocast::set_autocast_dtype(device, at::kBFloat16);
      at::autocast::set_autocast_enabled(device, enabled);
    }
    // The cache holds casts of the weights, which the optimiser is about to change.
    if (!enabled) at::autocast::clear_cache();
  }>("setAutocast");
  PARE_OP("requiresGrad", (T t), t.requires_grad())
  registry.add<[](T t, bool value) { t.set_requires_grad(value); }>("setRequiresGrad");
  PARE_OP("isLeaf", (T t), t.is_leaf())
  PARE_OP("grad", (T t), Tensor(t.grad()))
  registry.add<[](T t, std::optional<Tensor> grad) {
    t.mutable_grad() = grad.value_or(Tensor());
  }>("setGrad");
  PARE_OP("detach", (T t), t.detach())
  registry.add<[](std::vector<Tensor> outputs, std::vector<Tensor> gradients) {
    torch::autograd::backward(outputs, gradients);
  }>("backward");
  registry.add<[](std::vector<Tensor> outputs, std::vector<Tensor> inputs,
                  std::vector<Tensor> gradients) {
    return torch::autograd::grad(outputs, inputs, gradients, std::nullopt, false, true);
  }>("autogradGrad");
  registry.add<[](std::vector<Tensor> parameters) {
    for (const Tensor& parameter : parameters) parameter.mutable_grad() = Tensor();
  }>("zeroGrad");
  // From here on gradients are summed in float32, what is there already included.
  registry.add<[](std::vector<Tensor> parameters) {
    for (const Tensor& parameter : parameters) {
      if (parameter.grad_dtype() == at::kFloat) continue;
      const Tensor grad = parameter.grad();
      parameter.mutable_grad() = Tensor();
      parameter.set_grad_dtype(at::kFloat);
      if (grad.defined()) parameter.mutable_grad() = grad.to(at::kFloat);
    }
  }>("sumGradInFloat32");
}

}  // namespace pare
