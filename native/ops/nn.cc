// The table of neural-network operations. One line an operation.
#include "../bridge/rooms.h"
#include "fused/fused.h"
#include "linear.h"

namespace pare {

using at::Tensor;
using T = const at::Tensor&;
using Opt = std::optional<at::Tensor>;
using Dims = std::vector<int64_t>;

void registerNn(Registry& registry) {
  PARE_OP("linear", (T x, T weight, Opt bias), pare::linear(x, weight, bias))
  PARE_OP("embedding", (T weight, T ids), at::embedding(weight, ids))
  PARE_OP("conv1d", (T x, T weight, Opt bias, int64_t stride, int64_t padding),
          at::conv1d(x, weight, bias, stride, padding))
  PARE_OP("avgPool1d", (T x, int64_t kernel, int64_t stride), at::avg_pool1d(x, kernel, stride))
  PARE_OP("layerNorm", (T x, Dims shape, Opt weight, Opt bias, double eps),
          at::layer_norm(x, shape, weight, bias, eps))
  PARE_OP("rmsNorm", (T x, Dims shape, Opt weight, double eps),
          pare::rmsNorm(x, shape, weight, eps))
  PARE_OP("swiglu", (T gate, T up), pare::swiglu(gate, up))
  PARE_OP("rotary", (T x, T cos, T sin), pare::rotary(x, cos, sin))
  PARE_OP("lowRankUpdate", (T result, T x, T a, T b, double scale),
          pare::lowRankUpdate(result, x, a, b, scale))
  PARE_OP("softmax", (T x, int64_t dim), at::softmax(x, dim))
  PARE_OP("logSoftmax", (T x, int64_t dim), at::log_softmax(x, dim))
  PARE_OP("gelu", (T x), at::gelu(x))
  PARE_OP("silu", (T x), at::silu(x))
  PARE_OP("relu", (T x), at::relu(x))
  PARE_OP("dropout", (T x, double p, bool train), at::dropout(x, p, train))
  PARE_OP("cacheAppend", (T cachedKeys, T cachedValues, T keys, T values, int64_t length),
          cacheAppend(cachedKeys, cachedValues, keys, values, length))
  PARE_OP("scaledDotProductAttention",
          (T q, T k, T v, Opt mask, double dropoutP, bool causal, double scale),
          pare::attention(q, k, v, mask, dropoutP, causal, scale))
  // Sum over the targets that are not `ignoreIndex`; the caller divides by their number.
  PARE_OP("crossEntropySum", (T logits, T targets, int64_t ignoreIndex),
          at::cross_entropy_loss(logits, targets, {}, at::Reduction::Sum, ignoreIndex))
  PARE_OP("klDiv", (T input, T target, bool logTarget),
          at::kl_div(input, target, at::Reduction::Sum, logTarget))
  PARE_OP("ctcLoss", (T logProbs, T targets, T inputLengths, T targetLengths, int64_t blank),
          at::ctc_loss(logProbs, targets, inputLengths, targetLengths, blank, at::Reduction::Sum,
                       true))
}

}  // namespace pare
