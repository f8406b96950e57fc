// Gradients summed over the ranks of a group, bucket by bucket, while backward still runs (Li et al.
// 2020, PyTorch Distributed).
#include <torch/csrc/autograd/variable.h>

#include <mutex>
#include <thread>

#include "../bridge/async.h"
#include "distributed.h"

namespace pare {

using at::Tensor;
using Tensors = std::vector<Tensor>;

struct Parameter {
  Tensor tensor;
  size_t bucket;
  // How often a backward pass adds to its gradient; 0 before the first pass has told.
  int64_t expected = 0;
  int64_t seen = 0;
};

struct Bucket {
  std::vector<size_t> parameters;
  Tensor flat;
  WorkPtr work;
  // A gradient changed after the bucket was sent.
  bool late = false;
};

class Reducer : public std::enable_shared_from_this<Reducer> {
 public:
  Reducer(BackendPtr group, Tensors parameters, const std::vector<int64_t>& bucketOf)
      : group_(std::move(group)) {
    for (size_t i = 0; i < parameters.size(); i++) {
      const auto bucket = static_cast<size_t>(bucketOf.at(i));
      if (bucket >= buckets_.size()) buckets_.resize(bucket + 1);
      buckets_[bucket].parameters.push_back(i);
      parameters_.push_back({parameters[i], bucket});
    }
  }

  void listen();

  void close() {
    for (const Parameter& parameter : parameters_) {
      torch::autograd::impl::set_post_acc_grad_hooks(parameter.tensor, nullptr);
    }
  }

  // The next backward passes are the last ones of the step: what is ready may be sent.
  void arm() {
    const std::lock_guard lock(mutex_);
    for (Parameter& parameter : parameters_) parameter.seen = 0;
    armed_ = true;
  }

  void gradientAdded(size_t index) {
    const std::lock_guard lock(mutex_);
    if (!armed_) return;
    Parameter& parameter = parameters_[index];
    parameter.seen++;
    if (parameter.bucket < sent_) {
      buckets_[parameter.bucket].late = true;
      return;
    }
    // All ranks send the buckets in the same order.
    while (sent_ < buckets_.size() && ready(buckets_[sent_])) send(buckets_[sent_]);
  }

  // Sends what is left. Ranks may have used other parameters: one without a gradient sends zeros.
  void flush() {
    const std::lock_guard lock(mutex_);
    early_ = sent_;
    while (sent_ < buckets_.size()) send(buckets_[sent_]);
    for (Parameter& parameter : parameters_) {
      parameter.expected = std::max(parameter.expected, parameter.seen);
    }
    armed_ = false;
    flags_ = at::zeros({static_cast<int64_t>(buckets_.size() + parameters_.size())}, at::kDouble);
    double* flag = flags_.mutable_data_ptr<double>();
    for (const Bucket& bucket : buckets_) *flag++ = bucket.late ? 1 : 0;
    for (const Parameter& parameter : parameters_) *flag++ = parameter.tensor.grad().defined();
    flagsOnDevice_ = flags_.to(device());
    Tensors tensors{flagsOnDevice_};
    flagsWork_ = group_->allreduce(tensors);
  }

  // On a thread of its own.
  void wait() {
    for (const Bucket& bucket : buckets_) waitFor({bucket.work, device().is_cuda()});
    waitFor({flagsWork_, device().is_cuda()});
    flagsWork_->synchronize();
    flags_ = flagsOnDevice_.to(at::kCPU);
    const double* late = flags_.const_data_ptr<double>();
    for (Bucket& bucket : buckets_) {
      if (*late++ == 0) continue;
      // Some rank has sent too early; what each holds now is whole.
      send(bucket);
      waitFor({bucket.work, device().is_cuda()});
    }
  }

  // Puts the sums in place of the gradients; returns how many buckets were sent during backward.
  int64_t finish() {
    c10::AutoGradMode guard(false);
    const double* used = flags_.const_data_ptr<double>() + buckets_.size();
    for (Bucket& bucket : buckets_) {
      bucket.work->synchronize();
      int64_t at = 0;
      for (const size_t index : bucket.parameters) {
        const Tensor& parameter = parameters_[index].tensor;
        const int64_t size = parameter.numel();
        const Tensor sum = bucket.flat.narrow(0, at, size).view(parameter.sizes());
        at += size;
        if (used[index] == 0) continue;  // By no rank: it must stay without a gradient.
        if (parameter.grad().defined()) parameter.grad().copy_(sum);
        else parameter.mutable_grad() = sum.clone();
      }
      bucket.flat = Tensor();
      bucket.work.reset();
      bucket.late = false;
    }
    sent_ = 0;
    return static_cast<int64_t>(early_);
  }

 private:
  at::Device device() const { return parameters_.front().tensor.device(); }

  bool ready(const Bucket& bucket) const {
    for (const size_t index : bucket.parameters) {
      const Parameter& parameter = parameters_[index];
      if (parameter.expected == 0 || parameter.seen < parameter.expected) return false;
    }
    return true;
  }

  void send(Bucket& bucket) {
    c10::AutoGradMode guard(false);
    Tensors parts;
    for (const size_t index : bucket.parameters) {
      const Tensor& parameter = parameters_[index].tensor;
      const Tensor& grad = parameter.grad();
      // Summed in float32, gradients have another dtype than their parameters.
      const auto dtype = parameter.grad_dtype().value_or(parameter.scalar_type());
      parts.push_back(grad.defined()
                          ? grad.reshape({-1})
                          : at::zeros({parameter.numel()}, parameter.options().dtype(dtype)));
    }
    bucket.flat = at::cat(parts);
    Tensors tensors{bucket.flat};
    bucket.work = group_->allreduce(tensors);
    if (sent_ < buckets_.size()) sent_++;
  }

  BackendPtr group_;
  std::vector<Parameter> parameters_;
  std::vector<Bucket> buckets_;
  std::mutex mutex_;  // CUDA's backward calls from a thread of its own
  bool armed_ = false;
  size_t sent_ = 0;
  size_t early_ = 0;
  Tensor flags_, flagsOnDevice_;
  WorkPtr flagsWork_;
};

// Called when a gradient has been added to `grad`.
struct GradientHook : torch::autograd::PostAccumulateGradHook {
  GradientHook(std::weak_ptr<Reducer> reducer, size_t index)
      : reducer_(std::move(reducer)), index_(index) {}
  void operator()(const Tensor&) override {
    if (const auto reducer = reducer_.lock()) reducer->gradientAdded(index_);
  }
  std::weak_ptr<Reducer> reducer_;
  size_t index_;
};

void Reducer::listen() {
  for (size_t i = 0; i < parameters_.size(); i++) {
    torch::autograd::impl::set_post_acc_grad_hooks(
        parameters_[i].tensor, std::make_unique<GradientHook>(weak_from_this(), i));
  }
}

void registerReducer(Registry& registry) {
  registry.add<[](const Call& call, int64_t group, Tensors parameters,
                  std::vector<int64_t> buckets) -> int64_t {
    auto& all = distributedOf(call);
    const BackendPtr& backend = all.groups.get(group).of(parameters.at(0));
    const auto reducer = std::make_shared<Reducer>(backend, parameters, buckets);
    reducer->listen();
    return all.reducers.add(reducer);
  }>("reducerOpen");
  registry.add<[](const Call& call, int64_t id) { distributedOf(call).reducers.get(id)->arm(); }>(
      "reducerArm");
  registry.add<[](const Call& call, int64_t id, Callback callback) {
    const auto reducer = distributedOf(call).reducers.get(id);
    reducer->flush();
    runAsync(call, "reducerFinish", callback, [reducer]() -> Finish {
      reducer->wait();
      return [reducer](const Call& call) { return toJs(call, reducer->finish()); };
    });
  }>("reducerFinish");
  registry.add<[](const Call& call, int64_t id) {
    if (const auto reducer = distributedOf(call).reducers.take(id)) reducer->close();
  }>("reducerClose");
}

}  // namespace pare
