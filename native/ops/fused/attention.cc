#include "attention.h"

#include <torch/csrc/autograd/custom_function.h>

#include "elementwise.h"
#include "fused.h"

namespace pare {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Fewer queries, as in a step of generation, are not worth the packing of the keys.
constexpr int64_t kFewestQueries = 16;

namespace {

fused::Rows rowsOf(const Tensor& heads, int64_t batch, int64_t head) {
  return {fused::in<uint16_t>(heads) + batch * heads.stride(0) + head * heads.stride(1),
          heads.stride(2)};
}
fused::RowsOut rowsOut(const Tensor& heads, int64_t batch, int64_t head) {
  return {fused::out<uint16_t>(heads) + batch * heads.stride(0) + head * heads.stride(1),
          heads.stride(2)};
}

// The mask expanded to [batch, heads, queries, keys], its keys side by side.
fused::Mask maskOf(const std::optional<Tensor>& mask, bool causal, int64_t batch, int64_t head) {
  fused::Mask result;
  result.causal = causal;
  if (!mask) return result;
  const int64_t offset = batch * mask->stride(0) + head * mask->stride(1);
  result.type = mask->scalar_type() == at::kBool       ? fused::MaskType::kBool
                : mask->scalar_type() == at::kBFloat16 ? fused::MaskType::kBFloat16
                                                       : fused::MaskType::kFloat32;
  result.rows = static_cast<const char*>(mask->const_data_ptr()) + offset * mask->element_size();
  result.stride = mask->stride(2);
  return result;
}

// [batch, heads, time, headDim] with time before heads in memory, as projections are and as the
// output projection reads them.
Tensor headsLike(const Tensor& heads) {
  return at::empty({heads.size(0), heads.size(2), heads.size(1), heads.size(3)}, heads.options())
      .transpose(1, 2);
}

// The mask as maskOf wants it.
std::optional<Tensor> expanded(const std::optional<Tensor>& mask, const Tensor& q,
                               const Tensor& k) {
  if (!mask) return mask;
  // Any other dtype is rare, and float32 holds it.
  const bool known = mask->scalar_type() == at::kBool || mask->scalar_type() == at::kBFloat16;
  const Tensor rows = (known ? *mask : mask->to(at::kFloat))
                          .expand({q.size(0), q.size(1), q.size(2), k.size(2)});
  return rows.stride(3) == 1 || rows.size(3) == 1 ? rows : rows.contiguous();
}

// Values side by side, in pairs that begin where a 32-bit word does: as the products read them.
Tensor inPairs(const Tensor& heads) {
  const auto isEven = [&](int64_t dim) { return heads.stride(dim) % 2 == 0; };
  const bool fits = heads.stride(3) == 1 && heads.storage_offset() % 2 == 0 && isEven(0) &&
                    isEven(1) && isEven(2);
  return fits ? heads : heads.contiguous();
}

// Head after head and query after query.
Tensor attendFew(const Tensor& q, const Tensor& k, const Tensor& v,
                 const std::optional<Tensor>& mask, bool causal, double scale) {
  const int64_t batch = q.size(0), heads = q.size(1), group = heads / k.size(1);
  const fused::HeadSizes sizes{q.size(2), k.size(2), q.size(3), static_cast<float>(scale)};
  Tensor out = headsLike(q);
  fused::withElement(q, [&]<typename T>(T*) {
    const int64_t grain = fused::grain(sizes.queries * sizes.keys * sizes.headDim);
    at::parallel_for(0, batch * heads, grain, [&](int64_t begin, int64_t end) {
      std::vector<float> scores(sizes.keys), sums(sizes.headDim);
      for (int64_t i = begin; i < end; i++) {
        const int64_t b = i / heads, h = i % heads;
        const fused::Mask rows = maskOf(mask, causal, b, h);
        const auto at = [&](const Tensor& t, int64_t head) {
          return b * t.stride(0) + head * t.stride(1);
        };
        for (int64_t query = 0; query < sizes.queries; query++) {
          fused::attendOne(fused::in<T>(q) + at(q, h) + query * q.stride(2),
                           fused::in<T>(k) + at(k, h / group), k.stride(2),
                           fused::in<T>(v) + at(v, h / group), v.stride(2), sizes, rows, query,
                           fused::out<T>(out) + at(out, h) + query * out.stride(2), scores.data(),
                           sums.data());
        }
      }
    });
  });
  return out;
}

#ifdef PARE_NF4_X86

// Calls `work(batch, kvHead, firstHead, lastHead, part)` on all threads: heads that share keys are
// worked on together, as far as there is work for every thread.
template <typename Work>
void forGroups(int64_t batch, int64_t kvHeads, int64_t group, int64_t parts, Work work) {
  at::parallel_for(0, batch * kvHeads * parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      const int64_t part = i % parts, kv = i / parts % kvHeads, b = i / parts / kvHeads;
      work(b, kv, kv * group + part * group / parts, kv * group + (part + 1) * group / parts, part);
    }
  });
}

int64_t partsFor(int64_t batch, int64_t kvHeads, int64_t group) {
  const int64_t threads = at::get_num_threads(), tasks = batch * kvHeads;
  return tasks % threads == 0 ? 1 : std::min(group, (2 * threads + tasks - 1) / tasks);
}

struct Attention : torch::autograd::Function<Attention> {
  // q [batch, heads, queries, d]; k, v [batch, kvHeads, keys, d], d's stride 1
  static Tensor forward(AutogradContext* context, const Tensor& q, const Tensor& k, const Tensor& v,
                        const std::optional<Tensor>& mask, bool causal, double scale) {
    Tensor out = headsLike(q);
    const bool learns = q.requires_grad() || k.requires_grad() || v.requires_grad();
    Tensor logSums = learns ? at::empty({q.size(0), q.size(1), q.size(2)}, at::kFloat) : Tensor();
    attend(q, k, v, mask, causal, scale, out, logSums);
    context->save_for_backward({q, k, v, mask.value_or(Tensor()), out, logSums});
    context->saved_data["causal"] = causal;
    context->saved_data["scale"] = scale;
    return out;
  }

  static void attend(const Tensor& q, const Tensor& k, const Tensor& v,
                     const std::optional<Tensor>& mask, bool causal, double scale,
                     const Tensor& out, const Tensor& logSums) {
    const int64_t batch = q.size(0), heads = q.size(1), kvHeads = k.size(1);
    const int64_t group = heads / kvHeads, parts = partsFor(batch, kvHeads, group);
    const fused::HeadSizes sizes{q.size(2), k.size(2), q.size(3), static_cast<float>(scale)};
    forGroups(batch, kvHeads, group, parts,
              [&](int64_t b, int64_t kv, int64_t from, int64_t to, int64_t) {
                fused::PackedHead packed(rowsOf(k, b, kv), rowsOf(v, b, kv), sizes, false);
                for (int64_t h = from; h < to; h++) {
                  packed.forward(rowsOf(q, b, h), maskOf(mask, causal, b, h), rowsOut(out, b, h),
                                 logSums.defined()
                                     ? fused::out<float>(logSums) + (b * heads + h) * sizes.queries
                                     : nullptr);
                }
              });
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[4], &logSums = saved[5];
    const std::optional<Tensor> mask = saved[3].defined() ? std::optional(saved[3]) : std::nullopt;
    const bool causal = context->saved_data["causal"].toBool();
    const float scale = static_cast<float>(context->saved_data["scale"].toDouble());
    const Tensor gradient = inPairs(gradients[0]);
    const int64_t batch = q.size(0), heads = q.size(1), kvHeads = k.size(1), keys = k.size(2);
    const int64_t group = heads / kvHeads, parts = partsFor(batch, kvHeads, group);
    const fused::HeadSizes sizes{q.size(2), keys, q.size(3), scale};
    Tensor toQ = headsLike(q);
    // Summed in float32 over the heads that share them.
    const auto sums = [&] {
      return at::zeros({parts, batch, kvHeads, keys, sizes.headDim}, at::kFloat);
    };
    const Tensor toK = sums(), toV = sums();
    forGroups(batch, kvHeads, group, parts,
              [&](int64_t b, int64_t kv, int64_t from, int64_t to, int64_t part) {
                fused::PackedHead packed(rowsOf(k, b, kv), rowsOf(v, b, kv), sizes, true);
                const int64_t at = ((part * batch + b) * kvHeads + kv) * keys * sizes.headDim;
                for (int64_t h = from; h < to; h++) {
                  packed.backward(
                      rowsOf(q, b, h), maskOf(mask, causal, b, h), rowsOf(out, b, h),
                      fused::in<float>(logSums) + (b * heads + h) * sizes.queries,
                      rowsOf(gradient, b, h), rowsOut(toQ, b, h), fused::out<float>(toK) + at,
                      fused::out<float>(toV) + at);
                }
              });
    const auto total = [&](const Tensor& all, const Tensor& like) {
      Tensor result = headsLike(like);
      return result.copy_(parts == 1 ? all[0] : all.sum(0));
    };
    return {toQ, total(toK, k), total(toV, v), Tensor(), Tensor(), Tensor()};
  }
};

#endif

}  // namespace

static bool inBFloat16(const Tensor& q) {
#ifdef PARE_NF4_X86
  static const bool supported = fused::hasBFloat16Attention();
  return supported && q.scalar_type() == at::kBFloat16 && q.size(2) >= kFewestQueries &&
         q.size(3) % 16 == 0;
#else
  return false;
#endif
}

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v,
                 const std::optional<Tensor>& mask, double dropoutP, bool causal, double scale) {
  TORCH_CHECK_VALUE(q.dim() == 4 && k.dim() == 4 && v.dim() == 4 && k.size(1) > 0 &&
                        q.size(1) % k.size(1) == 0 && k.sizes() == v.sizes() &&
                        q.size(0) == k.size(0) && q.size(3) == k.size(3),
                    "attention: q ", q.sizes(), ", k ", k.sizes(), " and v ", v.sizes(),
                    " do not fit; they need [batch, heads, time, headDim]");
  const bool own = fused::fits({&q, &k, &v}) && q.numel() > 0 && k.numel() > 0 && dropoutP == 0 &&
                   (!mask || !mask->requires_grad());
  const bool learns = at::GradMode::is_enabled() &&
                      (q.requires_grad() || k.requires_grad() || v.requires_grad());
  if (own && !learns && q.size(2) < kFewestQueries) {
    return attendFew(inPairs(q), inPairs(k), inPairs(v), expanded(mask, q, k), causal, scale);
  }
#ifdef PARE_NF4_X86
  if (own && inBFloat16(q)) {
    return Attention::apply(inPairs(q), inPairs(k), inPairs(v), expanded(mask, q, k), causal,
                            scale);
  }
#endif
  const int64_t group = q.size(1) / k.size(1);
  const auto repeated = [&](const Tensor& heads) {
    return group == 1 ? heads : heads.repeat_interleave(group, 1);
  };
  return at::scaled_dot_product_attention(q, repeated(k), repeated(v), mask, dropoutP, causal,
                                          scale);
}

}  // namespace pare
