// Rotary position embeddings (Su et al. 2021) in one pass: y = x cos + swap(x) sin, where `swap`
// exchanges the halves of a head and the sine of the first half is negated. The roundings are those
// of apply_rotary_pos_emb in transformers: each product, then the sum.
#include <torch/csrc/autograd/custom_function.h>

#include "elementwise.h"
#include "fused.h"

namespace pare {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace fused {

// `time` heads of one sequence; `inverse` for the gradient, where the sines change places.
template <typename T>
PARE_INLINE void rotateHeads(const T* x, int64_t xStride, const T* cos, const T* sin, bool inverse,
                             T* y, int64_t yStride, int64_t time, int64_t headDim) {
  const int64_t half = headDim / 2;
  for (int64_t t = 0; t < time; t++, x += xStride, y += yStride, cos += headDim, sin += headDim) {
    const T *firstSin = inverse ? sin + half : sin, *secondSin = inverse ? sin : sin + half;
#pragma omp simd
    for (int64_t i = 0; i < half; i++) {
      const float a = load(x[i]), b = load(x[half + i]);
      store(y[i], rounded<T>(a * load(cos[i])) + rounded<T>(b * load(firstSin[i])));
      store(y[half + i], rounded<T>(b * load(cos[half + i])) + rounded<T>(a * load(secondSin[i])));
    }
  }
}

PARE_CLONES static void rotate(const float* x, int64_t xStride, const float* cos, const float* sin,
                               bool inverse, float* y, int64_t yStride, int64_t time,
                               int64_t headDim) {
  rotateHeads(x, xStride, cos, sin, inverse, y, yStride, time, headDim);
}
PARE_CLONES static void rotate(const BFloat16* x, int64_t xStride, const BFloat16* cos,
                               const BFloat16* sin, bool inverse, BFloat16* y, int64_t yStride,
                               int64_t time, int64_t headDim) {
  rotateHeads(x, xStride, cos, sin, inverse, y, yStride, time, headDim);
}

}  // namespace fused

// y has its dimensions in memory as x has them: [batch, time, heads, headDim] where x is a view of a
// projection.
static Tensor rotated(const Tensor& x, const Tensor& cos, const Tensor& sin, bool inverse) {
  const int64_t batch = x.size(0), heads = x.size(1), time = x.size(2), headDim = x.size(3);
  const bool transposed = x.stride(1) < x.stride(2);
  Tensor y = transposed ? at::empty({batch, time, heads, headDim}, x.options()).transpose(1, 2)
                        : at::empty(x.sizes(), x.options());
  const int64_t tableStride = cos.size(0) == 1 ? 0 : time * headDim;
  fused::withElement(x, [&]<typename T>(T*) {
    at::parallel_for(0, batch * heads, fused::grain(time * headDim), [&](int64_t begin,
                                                                         int64_t end) {
      for (int64_t i = begin; i < end; i++) {
        const int64_t b = i / heads, h = i % heads;
        fused::rotate(fused::in<T>(x) + b * x.stride(0) + h * x.stride(1), x.stride(2),
                      fused::in<T>(cos) + b * tableStride, fused::in<T>(sin) + b * tableStride,
                      inverse, fused::out<T>(y) + b * y.stride(0) + h * y.stride(1), y.stride(2),
                      time, headDim);
      }
    });
  });
  return y;
}

namespace {

struct Rotary : torch::autograd::Function<Rotary> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& cos,
                        const Tensor& sin) {
    context->save_for_backward({cos, sin});
    return rotated(x, cos, sin, false);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor gradient =
        gradients[0].stride(3) == 1 ? gradients[0] : gradients[0].contiguous();
    return {rotated(gradient, saved[0], saved[1], true), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor rotary(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  TORCH_CHECK_VALUE(
      x.dim() == 4 && x.size(3) % 2 == 0 && cos.dim() == 4 && cos.sizes() == sin.sizes() &&
          (cos.size(0) == 1 || cos.size(0) == x.size(0)) && cos.size(1) == 1 &&
          cos.size(2) == x.size(2) && cos.size(3) == x.size(3),
      "rotary: x needs [batch, heads, time, headDim] and the tables [batch or 1, 1, time, headDim], "
      "got ",
      x.sizes(), ", ", cos.sizes(), " and ", sin.sizes());
  const bool learns = at::GradMode::is_enabled() && x.requires_grad();
  if (fused::fits({&x, &cos, &sin}) && cos.is_contiguous() && sin.is_contiguous()) {
    const Tensor heads = x.stride(3) == 1 ? x : x.contiguous();
    return learns ? Rotary::apply(heads, cos, sin) : rotated(heads, cos, sin, false);
  }
  const int64_t half = x.size(3) / 2;
  const Tensor swapped = at::cat({x.narrow(3, half, half), x.narrow(3, 0, half)}, 3);
  return x.mul(cos).add(swapped.mul(sin));
}

}  // namespace pare
