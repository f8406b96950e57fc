// Root-mean-square normalisation (Zhang & Sennrich 2019) in one pass over the rows, forward and
// backward; libtorch's is seven operations, whose intermediate results autograd keeps. The order of
// roundings is Qwen2RMSNorm's in transformers: the normalised value takes x's dtype, then the weight
// multiplies it.
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "elementwise.h"
#include "fused.h"

namespace pare {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace fused {

template <typename T>
PARE_INLINE void forwardRows(const T* x, const T* weight, float eps, T* y, float* scales,
                             int64_t rows, int64_t size) {
  for (int64_t row = 0; row < rows; row++, x += size, y += size) {
    float squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < size; i++) squares += load(x[i]) * load(x[i]);
    const float scale = 1.f / std::sqrt(squares / static_cast<float>(size) + eps);
    scales[row] = scale;
#pragma omp simd
    for (int64_t i = 0; i < size; i++) {
      store(y[i], load(weight[i]) * rounded<T>(load(x[i]) * scale));
    }
  }
}

// With h = x scale: to x, scale (g w - h mean(g w h)); to the weight, sum over rows of g h.
template <typename T>
PARE_INLINE void backwardRows(const T* gradient, const T* x, const T* weight, const float* scales,
                              T* toX, float* toWeight, int64_t rows, int64_t size) {
  for (int64_t row = 0; row < rows; row++, gradient += size, x += size, toX += size) {
    const float scale = scales[row];
    float dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t i = 0; i < size; i++) dot += load(gradient[i]) * load(weight[i]) * load(x[i]);
    const float mean = dot * scale * scale / static_cast<float>(size);
#pragma omp simd
    for (int64_t i = 0; i < size; i++) {
      store(toX[i], scale * (load(gradient[i]) * load(weight[i]) - load(x[i]) * mean));
    }
    if (toWeight == nullptr) continue;
#pragma omp simd
    for (int64_t i = 0; i < size; i++) toWeight[i] += load(gradient[i]) * load(x[i]) * scale;
  }
}

PARE_CLONES static void forward(const float* x, const float* w, float eps, float* y, float* scales,
                                int64_t rows, int64_t size) {
  forwardRows(x, w, eps, y, scales, rows, size);
}
PARE_CLONES static void forward(const BFloat16* x, const BFloat16* w, float eps, BFloat16* y,
                                float* scales, int64_t rows, int64_t size) {
  forwardRows(x, w, eps, y, scales, rows, size);
}
PARE_CLONES static void backward(const float* g, const float* x, const float* w,
                                 const float* scales, float* toX, float* toWeight, int64_t rows,
                                 int64_t size) {
  backwardRows(g, x, w, scales, toX, toWeight, rows, size);
}
PARE_CLONES static void backward(const BFloat16* g, const BFloat16* x, const BFloat16* w,
                                 const float* scales, BFloat16* toX, float* toWeight, int64_t rows,
                                 int64_t size) {
  backwardRows(g, x, w, scales, toX, toWeight, rows, size);
}

}  // namespace fused

// (y, scales float32 [rows]) of x contiguous [..., size].
static std::pair<Tensor, Tensor> normalize(const Tensor& x, const Tensor& weight, double eps) {
  const int64_t size = weight.numel(), rows = x.numel() / size;
  Tensor y = at::empty_like(x), scales = at::empty({rows}, x.options().dtype(at::kFloat));
  fused::withElement(x, [&]<typename T>(T*) {
    at::parallel_for(0, rows, fused::grain(size), [&](int64_t begin, int64_t end) {
      fused::forward(fused::in<T>(x) + begin * size, fused::in<T>(weight), static_cast<float>(eps),
                     fused::out<T>(y) + begin * size, fused::out<float>(scales) + begin,
                     end - begin, size);
    });
  });
  return {y, scales};
}

namespace {

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& weight,
                        double eps) {
    auto [y, scales] = normalize(x, weight, eps);
    context->save_for_backward({x, weight, scales});
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], &scales = saved[2];
    const Tensor gradient = gradients[0].contiguous();
    const int64_t size = weight.numel(), rows = scales.numel();
    const bool learnsWeight = context->needs_input_grad(1);
    Tensor toX = at::empty_like(x);
    // Each thread sums rows of its own.
    const int64_t parts = learnsWeight ? at::get_num_threads() : 0;
    const Tensor sums = at::zeros({parts, size}, x.options().dtype(at::kFloat));
    fused::withElement(x, [&]<typename T>(T*) {
      at::parallel_for(0, rows, fused::grain(size), [&](int64_t begin, int64_t end) {
        fused::backward(
            fused::in<T>(gradient) + begin * size, fused::in<T>(x) + begin * size,
            fused::in<T>(weight), fused::in<float>(scales) + begin,
            fused::out<T>(toX) + begin * size,
            learnsWeight ? fused::out<float>(sums) + at::get_thread_num() * size : nullptr,
            end - begin, size);
      });
    });
    return {toX, learnsWeight ? sums.sum(0).to(weight.scalar_type()) : Tensor(), Tensor()};
  }
};

}  // namespace

Tensor rmsNorm(const Tensor& x, const std::vector<int64_t>& shape,
               const std::optional<Tensor>& weight, double eps) {
  const bool fits = weight && weight->dim() == 1 && shape.size() == 1 && x.dim() > 0 &&
                    shape[0] == weight->size(0) && x.size(-1) == shape[0] && x.numel() > 0 &&
                    weight->is_contiguous() && fused::fits({&x, &*weight});
  if (!fits) return at::rms_norm(x, shape, weight, eps);
  const Tensor rows = x.contiguous();
  const bool learns =
      at::GradMode::is_enabled() && (x.requires_grad() || weight->requires_grad());
  return learns ? RmsNorm::apply(rows, *weight, eps) : normalize(rows, *weight, eps).first;
}

}  // namespace pare
