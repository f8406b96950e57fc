// The table of arithmetic, comparison and reduction. One line an operation.
#include "../bridge/rooms.h"

namespace pare {

using at::Tensor;
using T = const at::Tensor&;
using S = at::Scalar;
using Dims = std::vector<int64_t>;

static at::OptionalIntArrayRef optional(const Dims& dims) {
  return dims.empty() ? at::OptionalIntArrayRef() : at::OptionalIntArrayRef(dims);
}

void registerMath(Registry& registry) {
  PARE_OP("add", (T a, T b), at::add(a, b))
  PARE_OP("addScalar", (T a, S b), at::add(a, b))
  PARE_OP("sub", (T a, T b), at::sub(a, b))
  PARE_OP("subScalar", (T a, S b), at::sub(a, b))
  PARE_OP("mul", (T a, T b), at::mul(a, b))
  PARE_OP("mulScalar", (T a, S b), at::mul(a, b))
  PARE_OP("div", (T a, T b), at::div(a, b))
  PARE_OP("divScalar", (T a, S b), at::div(a, b))
  PARE_OP("pow", (T a, T b), at::pow(a, b))
  PARE_OP("powScalar", (T a, S b), at::pow(a, b))
  PARE_OP("maximum", (T a, T b), at::maximum(a, b))
  PARE_OP("minimum", (T a, T b), at::minimum(a, b))
  PARE_OP("matmul", (T a, T b), at::matmul(a, b))
  PARE_OP("bmm", (T a, T b), at::bmm(a, b))

  PARE_OP("neg", (T a), at::neg(a))
  PARE_OP("abs", (T a), at::abs(a))
  PARE_OP("exp", (T a), at::exp(a))
  PARE_OP("log", (T a), at::log(a))
  PARE_OP("sqrt", (T a), at::sqrt(a))
  PARE_OP("rsqrt", (T a), at::rsqrt(a))
  PARE_OP("square", (T a), at::square(a))
  PARE_OP("sin", (T a), at::sin(a))
  PARE_OP("cos", (T a), at::cos(a))
  PARE_OP("tanh", (T a), at::tanh(a))
  PARE_OP("sigmoid", (T a), at::sigmoid(a))
  PARE_OP("floor", (T a), at::floor(a))
  PARE_OP("clamp", (T a, S low, S high), at::clamp(a, low, high))
  PARE_OP("isnan", (T a), at::isnan(a))
  PARE_OP("isfinite", (T a), at::isfinite(a))
  PARE_OP("logicalNot", (T a), at::logical_not(a))
  PARE_OP("logicalAnd", (T a, T b), at::logical_and(a, b))
  PARE_OP("logicalOr", (T a, T b), at::logical_or(a, b))

  PARE_OP("eq", (T a, T b), at::eq(a, b))
  PARE_OP("eqScalar", (T a, S b), at::eq(a, b))
  PARE_OP("ne", (T a, T b), at::ne(a, b))
  PARE_OP("neScalar", (T a, S b), at::ne(a, b))
  PARE_OP("lt", (T a, T b), at::lt(a, b))
  PARE_OP("ltScalar", (T a, S b), at::lt(a, b))
  PARE_OP("le", (T a, T b), at::le(a, b))
  PARE_OP("leScalar", (T a, S b), at::le(a, b))
  PARE_OP("gt", (T a, T b), at::gt(a, b))
  PARE_OP("gtScalar", (T a, S b), at::gt(a, b))
  PARE_OP("ge", (T a, T b), at::ge(a, b))
  PARE_OP("geScalar", (T a, S b), at::ge(a, b))

  // No dims means all of them.
  PARE_OP("sum", (T a, Dims dims, bool keepdim), at::sum(a, optional(dims), keepdim))
  PARE_OP("mean", (T a, Dims dims, bool keepdim), at::mean(a, optional(dims), keepdim))
  PARE_OP("amax", (T a, Dims dims, bool keepdim), at::amax(a, dims, keepdim))
  PARE_OP("amin", (T a, Dims dims, bool keepdim), at::amin(a, dims, keepdim))
  PARE_OP("variance", (T a, Dims dims, int64_t correction, bool keepdim),
          at::var(a, optional(dims), S(correction), keepdim))
  PARE_OP("norm", (T a), at::linalg_vector_norm(a))
  PARE_OP("cumsum", (T a, int64_t dim), at::cumsum(a, dim))
  PARE_OP("argmax", (T a, int64_t dim, bool keepdim), at::argmax(a, dim, keepdim))
  PARE_OP("topk", (T a, int64_t k, int64_t dim), at::topk(a, k, dim))
  PARE_OP("sort", (T a, int64_t dim, bool descending), at::sort(a, dim, descending))
  PARE_OP("any", (T a), at::any(a))
  PARE_OP("all", (T a), at::all(a))
  PARE_OP("equal", (T a, T b), at::equal(a, b))
  PARE_OP("allclose", (T a, T b, double rtol, double atol), at::allclose(a, b, rtol, atol))

  // In place; the result is the tensor itself.
  registry.add<[](T a, T b) { a.copy_(b); }>("copy_");
  registry.add<[](T a) { a.zero_(); }>("zero_");
  registry.add<[](T a, S value) { a.fill_(value); }>("fill_");
  registry.add<[](T a, T b, S alpha) { a.add_(b, alpha); }>("add_");
  registry.add<[](T a, S factor) { a.mul_(factor); }>("mul_");
}

}  // namespace pare
