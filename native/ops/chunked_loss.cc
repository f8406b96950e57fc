// Losses over a large vocabulary that never hold the logits of more than a few tokens.
//
// The logits of a chunk of tokens are made, turned in place into the gradient with respect to
// them, and multiplied back into gradients of hidden states and lm_head at once, in the forward
// pass; backward only scales. (The order of Liger Kernel's fused linear cross-entropy.) With
// 156,032 classes a step of 512 tokens would otherwise hold two matrices of 320 MB.
#include <torch/csrc/autograd/custom_function.h>

#include "../bridge/rooms.h"
#include "linear.h"

namespace pare {

using at::Tensor;
using T = const at::Tensor&;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// lm_head applied to a chunk of hidden states, in float32, divided by the temperature.
Tensor logitsOf(const Tensor& hidden, const Tensor& weight, double temperature) {
  Tensor logits = pare::linear(hidden, weight, std::nullopt).to(at::kFloat);
  return temperature == 1 ? logits : logits.div_(temperature);
}

// What a chunk of tokens adds to the loss, as float64 [], and the gradient with respect to its
// logits, which it may write over `logits` [rows, vocab].
struct ChunkLoss {
  Tensor loss;
  Tensor gradient;
};

// A loss of `hidden` [tokens, d] times `weight` [vocab, d] transposed, chunk by chunk.
template <typename Chunk>
struct ChunkedLoss : torch::autograd::Function<ChunkedLoss<Chunk>> {
  static Tensor forward(AutogradContext* context, const Tensor& hidden, const Tensor& weight,
                        const Chunk& chunkLoss, double temperature, int64_t chunkSize) {
    const bool learnsHidden = hidden.requires_grad(), learnsWeight = weight.requires_grad();
    Tensor toHidden = learnsHidden ? at::empty_like(hidden) : Tensor();
    // Summed in float32: many chunks add to it.
    Tensor toWeight = learnsWeight ? at::zeros_like(weight, at::kFloat) : Tensor();
    Tensor total = at::zeros({}, hidden.options().dtype(at::kDouble));
    for (int64_t from = 0; from < hidden.size(0); from += chunkSize) {
      const int64_t rows = std::min(chunkSize, hidden.size(0) - from);
      const Tensor part = hidden.narrow(0, from, rows);
      auto [loss, gradient] = chunkLoss(logitsOf(part, weight, temperature), from, rows);
      total.add_(loss);
      if (!learnsHidden && !learnsWeight) continue;
      // d logits / d (hidden weight^T) = 1 / temperature.
      if (temperature != 1) gradient.div_(temperature);
      if (learnsHidden) {
        toHidden.narrow(0, from, rows).copy_(at::mm(gradient.to(weight.scalar_type()), weight));
      }
      if (learnsWeight) toWeight.addmm_(gradient.t(), part.to(at::kFloat));
    }
    context->saved_data["toHidden"] = toHidden;
    context->saved_data["toWeight"] = learnsWeight ? toWeight.to(weight.scalar_type()) : toWeight;
    return total.to(at::kFloat);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto scaled = [&](const char* name) {
      Tensor own = context->saved_data[name].toTensor();
      return own.defined() ? own.mul(gradients[0].to(own.scalar_type())) : own;
    };
    return {scaled("toHidden"), scaled("toWeight"), Tensor(), Tensor(), Tensor()};
  }
};

template <typename Chunk>
Tensor chunked(const Tensor& hidden, const Tensor& weight, const Chunk& chunkLoss,
               double temperature, int64_t chunkSize) {
  TORCH_CHECK_VALUE(hidden.dim() == 2 && weight.dim() == 2 && hidden.size(1) == weight.size(1),
                    "hidden states ", hidden.sizes(), " and lm_head ", weight.sizes(),
                    " do not fit; they need [tokens, d] and [vocab, d]");
  TORCH_CHECK_VALUE(chunkSize > 0, "the chunk size must be positive, got ", chunkSize);
  // Inside of a function nothing tells whether gradients are asked for; those of lm_head are large.
  if (!at::GradMode::is_enabled()) {
    return ChunkedLoss<Chunk>::apply(hidden.detach(), weight.detach(), chunkLoss, temperature,
                                     chunkSize);
  }
  return ChunkedLoss<Chunk>::apply(hidden, weight, chunkLoss, temperature, chunkSize);
}

void checkTargets(const Tensor& targets, int64_t tokens, int64_t vocab, int64_t ignoreIndex) {
  TORCH_CHECK_VALUE(targets.dim() == 1 && targets.size(0) == tokens &&
                        targets.scalar_type() == at::kLong,
                    "targets need int64 [", tokens, "], got ", targets.scalar_type(), " ",
                    targets.sizes());
  const Tensor outside = targets.lt(0).logical_or(targets.ge(vocab));
  TORCH_CHECK_VALUE(!outside.logical_and(targets.ne(ignoreIndex)).any().item<bool>(),
                    "a target is not among the ", vocab, " classes");
}

// Softmax in place, and the logarithm of what was divided by, [rows, 1].
Tensor softmaxInPlace(Tensor& logits) {
  const Tensor most = logits.amax(1, true);
  logits.sub_(most).exp_();
  const Tensor sum = logits.sum(1, true);
  logits.div_(sum);
  return sum.log_().add_(most);
}

Tensor crossEntropy(T hidden, T weight, T targets, int64_t ignoreIndex, int64_t chunkSize) {
  checkTargets(targets, hidden.size(0), weight.size(0), ignoreIndex);
  const auto chunk = [&](Tensor logits, int64_t from, int64_t rows) -> ChunkLoss {
    const Tensor wanted = targets.narrow(0, from, rows).unsqueeze(1);
    const Tensor counts = wanted.ne(ignoreIndex);
    const Tensor index = wanted.masked_fill(counts.logical_not(), 0);
    const Tensor chosen = logits.gather(1, index);
    const Tensor logSum = softmaxInPlace(logits);
    const Tensor loss = logSum.sub(chosen).masked_fill_(counts.logical_not(), 0);
    // d loss / d logits = softmax - onehot(target), and nothing where no target is.
    logits.scatter_add_(1, index, at::full_like(chosen, -1));
    logits.masked_fill_(counts.logical_not(), 0);
    return {loss.sum(at::kDouble), logits};
  };
  return chunked(hidden, weight, chunk, 1, chunkSize);
}

// Divergences of the student's distribution q from the teacher's p, summed over tokens.
enum class Divergence { kForward, kReverse, kJensenShannon };

Divergence divergenceNamed(const std::string& name) {
  if (name == "forward") return Divergence::kForward;
  if (name == "reverse") return Divergence::kReverse;
  TORCH_CHECK_VALUE(name == "jsd", "no divergence '", name, "'; there are forward, reverse, jsd");
  return Divergence::kJensenShannon;
}

// sum q g and q (g - sum q g): a function of q with derivative g, carried through the softmax.
Tensor throughSoftmax(const Tensor& q, Tensor g) {
  g.sub_(at::mul(q, g).sum(1, true));
  return g.mul_(q);
}

ChunkLoss diverge(Divergence kind, double beta, const Tensor& student, const Tensor& teacher) {
  const Tensor logQ = at::log_softmax(student, 1), logP = at::log_softmax(teacher, 1);
  const Tensor p = logP.exp(), q = logQ.exp();
  switch (kind) {
    case Divergence::kForward:  // sum p (log p - log q)
      return {at::mul(p, logP - logQ).sum(at::kDouble), q - p};
    case Divergence::kReverse: {  // sum q (log q - log p)
      const Tensor ratio = logQ - logP;
      return {at::mul(q, ratio).sum(at::kDouble), throughSoftmax(q, ratio)};
    }
    default: {  // beta KL(p || m) + (1 - beta) KL(q || m) with m = beta p + (1 - beta) q
      const Tensor logM = at::mul(p, beta).add_(q, 1 - beta).log_();
      const Tensor fromQ = logQ - logM;
      const Tensor loss = at::mul(p, logP - logM).mul_(beta).add_(at::mul(q, fromQ), 1 - beta);
      return {loss.sum(at::kDouble), throughSoftmax(q, fromQ.mul_(1 - beta))};
    }
  }
}

// Hinton's factor: with it gradients keep their size at any temperature.
ChunkLoss timesSquare(ChunkLoss chunk, double temperature) {
  const double square = temperature * temperature;
  return {chunk.loss.mul_(square), chunk.gradient.mul_(square)};
}

Tensor divergence(T hidden, T weight, T teacherHidden, T teacherWeight, const std::string& name,
                  double beta, double temperature, int64_t chunkSize) {
  const Divergence kind = divergenceNamed(name);
  TORCH_CHECK_VALUE(kind != Divergence::kJensenShannon || (beta > 0 && beta < 1),
                    "beta of jsd must lie between 0 and 1, got ", beta);
  TORCH_CHECK_VALUE(teacherHidden.dim() == 2 && teacherHidden.size(0) == hidden.size(0) &&
                        teacherWeight.dim() == 2 && teacherWeight.size(0) == weight.size(0) &&
                        teacherHidden.size(1) == teacherWeight.size(1),
                    "the teacher's hidden states ", teacherHidden.sizes(), " and lm_head ",
                    teacherWeight.sizes(), " do not fit the student's ", hidden.sizes(), " and ",
                    weight.sizes());
  const Tensor taught = teacherHidden.detach(), head = teacherWeight.detach();
  const auto chunk = [&](const Tensor& logits, int64_t from, int64_t rows) -> ChunkLoss {
    const Tensor teacher = logitsOf(taught.narrow(0, from, rows), head, temperature);
    return timesSquare(diverge(kind, beta, logits, teacher), temperature);
  };
  return chunked(hidden, weight, chunk, temperature, chunkSize);
}

// Forward KL to the teacher's k likeliest classes, whose probabilities are made to sum to 1.
Tensor topKDivergence(T hidden, T weight, T topLogits, T topIds, double temperature,
                      int64_t chunkSize) {
  TORCH_CHECK_VALUE(topLogits.dim() == 2 && topLogits.sizes() == topIds.sizes() &&
                        topLogits.size(0) == hidden.size(0) && topIds.scalar_type() == at::kLong,
                    "the teacher's top logits ", topLogits.sizes(), " and ids ", topIds.sizes(),
                    " need one shape [", hidden.size(0), ", k], the ids in int64");
  const auto chunk = [&](Tensor logits, int64_t from, int64_t rows) -> ChunkLoss {
    const Tensor ids = topIds.narrow(0, from, rows);
    const Tensor logP =
        at::log_softmax(topLogits.narrow(0, from, rows).to(at::kFloat).div(temperature), 1);
    const Tensor p = logP.exp();
    const Tensor chosen = logits.gather(1, ids);
    const Tensor logQ = chosen - softmaxInPlace(logits);
    logits.scatter_add_(1, ids, -p);
    return timesSquare({at::mul(p, logP - logQ).sum(at::kDouble), logits}, temperature);
  };
  return chunked(hidden, weight, chunk, temperature, chunkSize);
}

}  // namespace

void registerChunkedLoss(Registry& registry) {
  PARE_OP("linearCrossEntropySum",
          (T hidden, T weight, T targets, int64_t ignoreIndex, int64_t chunkSize),
          crossEntropy(hidden, weight, targets, ignoreIndex, chunkSize))
  PARE_OP("linearDivergenceSum",
          (T hidden, T weight, T teacherHidden, T teacherWeight, std::string kind, double beta,
           double temperature, int64_t chunkSize),
          divergence(hidden, weight, teacherHidden, teacherWeight, kind, beta, temperature,
                     chunkSize))
  PARE_OP("linearTopKDivergenceSum",
          (T hidden, T weight, T topLogits, T topIds, double temperature, int64_t chunkSize),
          topKDivergence(hidden, weight, topLogits, topIds, temperature, chunkSize))
}

}  // namespace pare
