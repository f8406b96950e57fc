#include "adamw_bfloat16.h"

#include <ATen/Parallel.h>

#include <algorithm>
#ifdef PARE_WITH_CUDA
#include <c10/core/DeviceGuard.h>
#include <c10/cuda/CUDAException.h>

#include "../cuda/tensors.h"
#include "cuda/adamw_bfloat16.h"
#endif

namespace pare {

using at::Tensor;

constexpr int64_t kPiece = 256;  // values that are updated, then rounded

template <typename G>
static void update(const adam::Step& s, uint64_t key, const Tensor& parameter,
                   const Tensor& gradient, const Tensor& first, const Tensor& second) {
  auto* p = parameter.mutable_data_ptr<at::BFloat16>();
  const G* g = gradient.const_data_ptr<G>();
  auto* m = first.mutable_data_ptr<float>();
  auto* v = second.mutable_data_ptr<float>();
  const int64_t total = parameter.numel();
  at::parallel_for(0, (total + kPiece - 1) / kPiece, 32, [&](int64_t begin, int64_t end) {
    float values[kPiece];
    for (int64_t at = begin * kPiece; at < std::min(end * kPiece, total); at += kPiece) {
      const int64_t count = std::min(kPiece, total - at);
      for (int64_t i = 0; i < count; i++) {
        values[i] = adam::update(s, static_cast<float>(p[at + i]), static_cast<float>(g[at + i]),
                                 m[at + i], v[at + i]);
      }
      rounding::roundAll(key, at, values, count, &p[at].x);
    }
  });
}

#ifdef PARE_WITH_CUDA
static void updateOnCuda(const adam::Settings& settings, const rounding::Rounding& rounding,
                         const Tensor& parameter, const Tensor& gradient, const Tensor& first,
                         const Tensor& second, const Tensor& step) {
  const c10::DeviceGuard guard(parameter.device());
  adam::updateOnDevice(parameter.mutable_data_ptr(), gradient.const_data_ptr(),
                       pare::cuda::elementOf(gradient), parameter.numel(),
                       first.mutable_data_ptr<float>(), second.mutable_data_ptr<float>(),
                       step.const_data_ptr<float>(), settings, rounding,
                       pare::cuda::streamOf(parameter));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}
#endif

void adamwBFloat16(const Tensor& parameter, const Tensor& first, const Tensor& second,
                   const Tensor& step, const adam::Settings& settings,
                   const rounding::Rounding& rounding) {
  const Tensor gradient = parameter.grad().contiguous();
  const auto given = gradient.scalar_type();
  TORCH_CHECK_VALUE(given == at::kBFloat16 || given == at::kFloat,
                    "expected a gradient of BFloat16 or Float, got ", given);
  TORCH_CHECK_VALUE(parameter.is_contiguous() && first.is_contiguous() && second.is_contiguous(),
                    "AdamW in bfloat16 needs contiguous parameters, got ", parameter.sizes(),
                    " with strides ", parameter.strides());
  if (parameter.is_cpu()) {
    const float number = step.item().toFloat();
    const auto run = given == at::kFloat ? update<float> : update<at::BFloat16>;
    run(adam::stepOf(settings, number), rounding.keyAt(number), parameter, gradient, first, second);
  } else {
#ifdef PARE_WITH_CUDA
    updateOnCuda(settings, rounding, parameter, gradient, first, second, step);
#else
    TORCH_CHECK_VALUE(false, "AdamW has no stochastic rounding for ", parameter.device(),
                      " in this build; rebuild with nvcc and a CUDA libtorch");
#endif
  }
  // For autograd, which would not see that a value it saved is another now.
  parameter.unsafeGetTensorImpl()->bump_version();
}

}  // namespace pare
