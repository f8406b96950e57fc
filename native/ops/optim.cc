// Multi-tensor updates: one call for all parameters.
#include <c10/core/GradMode.h>

#include "../bridge/rooms.h"
#include "adamw_bfloat16.h"

namespace pare {

using at::Tensor;
using Tensors = std::vector<Tensor>;

// Decoupled weight decay (Loshchilov & Hutter 2019), in place, as torch.optim.AdamW(fused=True).
// `steps` holds one float32 scalar a parameter and is advanced here. Parameters in bfloat16 that have
// moments in float32 are rounded stochastically, by `seed` and their numbers.
static void adamw(const Tensors& parameters, const Tensors& expAvgs, const Tensors& expAvgSqs,
                  const Tensors& steps, double lr, double beta1, double beta2, double weightDecay,
                  double eps, int64_t seed, const std::vector<int64_t>& numbers) {
  c10::AutoGradMode guard(false);
  Tensors params, grads, avgs, sqs, counts;
  for (size_t i = 0; i < parameters.size(); i++) {
    const Tensor& parameter = parameters[i];
    const Tensor& grad = parameter.grad();
    if (!grad.defined()) continue;
    steps[i].add_(1);
    if (parameter.scalar_type() != expAvgs[i].scalar_type()) {
      adamwBFloat16(parameter, expAvgs[i], expAvgSqs[i], steps[i],
                    {lr, beta1, beta2, weightDecay, eps}, rounding::roundingOf(seed, numbers, i));
      continue;
    }
    params.push_back(parameter);
    // Summed in float32 over micro-batches, it may have another dtype.
    grads.push_back(grad.to(parameter.scalar_type()));
    avgs.push_back(expAvgs[i]);
    sqs.push_back(expAvgSqs[i]);
    counts.push_back(steps[i]);
  }
  if (params.empty()) return;
  at::_fused_adamw_(params, grads, avgs, sqs, {}, counts, lr, beta1, beta2, weightDecay, eps,
                    false, false);
}

// The global norm before clipping (torch.nn.utils.clip_grad_norm_).
static double clipGradNorm(const Tensors& parameters, double maxNorm) {
  c10::AutoGradMode guard(false);
  Tensors grads;
  for (const Tensor& parameter : parameters) {
    if (parameter.grad().defined()) grads.push_back(parameter.grad());
  }
  if (grads.empty()) return 0;
  // In bfloat16 a sum of many squares would stop growing.
  const Tensors norms = at::_foreach_norm(grads, 2, at::kFloat);
  const double total = at::linalg_vector_norm(at::stack(norms)).item().toDouble();
  const double factor = maxNorm / (total + 1e-6);
  if (factor < 1) at::_foreach_mul_(grads, at::Scalar(factor));
  return total;
}

void registerOptim(Registry& registry) {
  PARE_OP("adamw",
          (Tensors parameters, Tensors expAvgs, Tensors expAvgSqs, Tensors steps, double lr,
           double beta1, double beta2, double weightDecay, double eps, int64_t seed,
           std::vector<int64_t> numbers),
          adamw(parameters, expAvgs, expAvgSqs, steps, lr, beta1, beta2, weightDecay, eps, seed,
                numbers))
  PARE_OP("clipGradNorm", (Tensors parameters, double maxNorm), clipGradNorm(parameters, maxNorm))
  registry.add<[](Tensors tensors, double factor) {
    c10::AutoGradMode guard(false);
    at::_foreach_mul_(tensors, at::Scalar(factor));
  }>("foreachMul_");
}

}  // namespace pare
