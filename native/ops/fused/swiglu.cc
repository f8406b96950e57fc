// silu(gate) * up (Shazeer 2020, GLU variants) in one pass forward and one backward. Autograd keeps
// the two inputs and nothing else.
#include <torch/csrc/autograd/custom_function.h>

#include "elementwise.h"
#include "fused.h"

namespace pare {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace fused {

template <typename T>
PARE_INLINE void forwardValues(const T* gate, const T* up, T* y, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; i++) {
    const float x = load(gate[i]);
    store(y[i], rounded<T>(x * sigmoid(x)) * load(up[i]));
  }
}

template <typename T>
PARE_INLINE void backwardValues(const T* gradient, const T* gate, const T* up, T* toGate, T* toUp,
                                int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; i++) {
    const float x = load(gate[i]), g = load(gradient[i]), s = sigmoid(x);
    store(toUp[i], g * rounded<T>(x * s));
    store(toGate[i], g * load(up[i]) * s * (1.f + x * (1.f - s)));
  }
}

PARE_CLONES static void forward(const float* gate, const float* up, float* y, int64_t count) {
  forwardValues(gate, up, y, count);
}
PARE_CLONES static void forward(const BFloat16* gate, const BFloat16* up, BFloat16* y,
                                int64_t count) {
  forwardValues(gate, up, y, count);
}
PARE_CLONES static void backward(const float* g, const float* gate, const float* up, float* toGate,
                                 float* toUp, int64_t count) {
  backwardValues(g, gate, up, toGate, toUp, count);
}
PARE_CLONES static void backward(const BFloat16* g, const BFloat16* gate, const BFloat16* up,
                                 BFloat16* toGate, BFloat16* toUp, int64_t count) {
  backwardValues(g, gate, up, toGate, toUp, count);
}

}  // namespace fused

constexpr int64_t kGrain = 8192;

static Tensor gated(const Tensor& gate, const Tensor& up) {
  Tensor y = at::empty_like(gate);
  fused::withElement(gate, [&]<typename T>(T*) {
    at::parallel_for(0, gate.numel(), kGrain, [&](int64_t begin, int64_t end) {
      fused::forward(fused::in<T>(gate) + begin, fused::in<T>(up) + begin,
                     fused::out<T>(y) + begin, end - begin);
    });
  });
  return y;
}

namespace {

struct Swiglu : torch::autograd::Function<Swiglu> {
  static Tensor forward(AutogradContext* context, const Tensor& gate, const Tensor& up) {
    context->save_for_backward({gate, up});
    return gated(gate, up);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor &gate = saved[0], &up = saved[1];
    const Tensor gradient = gradients[0].contiguous();
    Tensor toGate = at::empty_like(gate), toUp = at::empty_like(up);
    fused::withElement(gate, [&]<typename T>(T*) {
      at::parallel_for(0, gate.numel(), kGrain, [&](int64_t begin, int64_t end) {
        fused::backward(fused::in<T>(gradient) + begin, fused::in<T>(gate) + begin,
                        fused::in<T>(up) + begin, fused::out<T>(toGate) + begin,
                        fused::out<T>(toUp) + begin, end - begin);
      });
    });
    return {toGate, toUp};
  }
};

}  // namespace

Tensor swiglu(const Tensor& gate, const Tensor& up) {
  TORCH_CHECK_VALUE(gate.sizes() == up.sizes(), "swiglu: gate ", gate.sizes(), " and up ",
                    up.sizes(), " are not of one shape");
  if (!fused::fits({&gate, &up})) return at::silu(gate).mul(up);
  const Tensor g = gate.contiguous(), u = up.contiguous();
  const bool learns = at::GradMode::is_enabled() && (g.requires_grad() || u.requires_grad());
  return learns ? Swiglu::apply(g, u) : gated(g, u);
}

}  // namespace pare
