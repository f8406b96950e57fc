// The linear layer in float32 on a CPU, by the faster of the two libraries in libtorch.
//
// libtorch gives these products to MKL, which on processors that are not Intel's uses kernels of
// 256 bits: on a Zen 5 they ran at 0.45 of oneDNN's speed (225 against 495 GFLOP/s on two cores).
// libtorch hands float32 products to oneDNN only while it is allowed to round them to bfloat16
// inside. oneDNN does so with AMX alone, which AMD has not; elsewhere its kernels stay in float32.
// That is checked here by a product, and where it does not hold MKL multiplies.
//
// The permission is given around the products of linear layers only: a call of oneDNN costs 10
// microseconds more, which the many small products inside attention would pay too.
#include "linear.h"

#include "fused/fused.h"

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <mutex>

namespace pare {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// Fewer rows, as in a step of generation, are done before oneDNN has begun.
constexpr int64_t kFewestRows = 64;

// Multiplications below which MKL is as fast. oneDNN compiles and keeps a kernel for each shape, which
// takes 0.6 ms and some 70 KB: with batches of many lengths, a model of width 32 spent a fifth of its
// training on that, and 200 of its 530 MB.
constexpr int64_t kLeastWork = 8'000'000;

// The permission is the process's: counted, so that a thread that is done with it does not take it
// from another, whose product would then be rounded as the other library rounds.
class OneDnn {
 public:
  OneDnn() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (users_++ == 0) allow(at::Float32Precision::BF16);
  }
  ~OneDnn() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--users_ == 0) allow(at::Float32Precision::NONE);
  }
  OneDnn(const OneDnn&) = delete;
  OneDnn& operator=(const OneDnn&) = delete;

 private:
  static void allow(at::Float32Precision precision) {
    at::globalContext().setFloat32Precision(at::Float32Backend::MKLDNN, at::Float32Op::MATMUL,
                                            precision);
  }

  static inline std::mutex mutex_;
  static inline int users_ = 0;
};

// Integers of 9 bits: float32 holds the sums of their products exactly, bfloat16 not even them.
bool oneDnnIsExact() {
  const int64_t size = 64;
  const Tensor numbers =
      at::arange(size * size, at::kDouble).mul(37).fmod(509).sub(254).reshape({size, size});
  const Tensor narrow = numbers.to(at::kFloat);
  const OneDnn here;
  return at::equal(at::mm(narrow, narrow).to(at::kDouble), at::mm(numbers, numbers));
}

bool oneDnnIsFaster() {
#if defined(__x86_64__)
  static const bool faster = __builtin_cpu_is("amd") && __builtin_cpu_supports("avx512f") &&
                             at::hasMKL() && oneDnnIsExact();
  return faster;
#else
  return false;
#endif
}

struct Linear : torch::autograd::Function<Linear> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& weight,
                        const std::optional<Tensor>& bias) {
    context->save_for_backward({x, weight});
    context->saved_data["hasBias"] = bias.has_value();
    const OneDnn here;
    return at::linear(x, weight, bias);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor gradient = gradients[0].contiguous();
    Tensor toX, toWeight, toBias;
    {
      const OneDnn here;
      if (context->needs_input_grad(0)) toX = at::mm(gradient, saved[1]);
      if (context->needs_input_grad(1)) toWeight = at::mm(gradient.t(), saved[0]);
    }
    // An absent bias is no input: it has no entry to ask for.
    if (context->saved_data["hasBias"].toBool() && context->needs_input_grad(2)) {
      toBias = gradient.sum(0);
    }
    return {toX, toWeight, toBias};
  }
};

}  // namespace

Tensor linear(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias) {
  const bool learns =
      at::GradMode::is_enabled() &&
      (x.requires_grad() || weight.requires_grad() || (bias && bias->requires_grad()));
  if (!learns && fewRowsFit(x, weight)) return fewRowsLinear(x, weight, bias);
  const bool plain = x.is_cpu() && x.scalar_type() == at::kFloat && weight.dim() == 2 &&
                     weight.is_cpu() && weight.scalar_type() == at::kFloat && x.dim() >= 2 &&
                     x.size(-1) == weight.size(1) &&
                     x.numel() >= kFewestRows * weight.size(1) &&
                     x.numel() * weight.size(0) >= kLeastWork &&
                     !at::autocast::is_autocast_enabled(at::kCPU);
  if (!plain || !oneDnnIsFaster()) return at::linear(x, weight, bias);
  const Tensor rows = x.reshape({-1, weight.size(1)});
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = weight.size(0);
  return Linear::apply(rows, weight, bias).view(shape);
}

void matmulInto(Tensor out, const Tensor& a, const Tensor& b, const std::optional<Tensor>& bias,
                int64_t work) {
  std::optional<OneDnn> here;
  const bool large = std::max(work, a.numel() * b.size(1)) >= kLeastWork;
  if (large && a.is_cpu() && a.scalar_type() == at::kFloat && oneDnnIsFaster()) here.emplace();
  if (bias) {
    at::addmm_out(out, *bias, a, b);
  } else {
    at::mm_out(out, a, b);
  }
}

}  // namespace pare
