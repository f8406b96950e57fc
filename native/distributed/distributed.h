// What one JavaScript environment holds of c10d: stores, process groups, collectives under way.
#pragma once

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>

#include "../bridge/registry.h"

namespace pare {

using Milliseconds = std::chrono::milliseconds;

// Things that JavaScript knows by a number, which is never used again.
template <typename Item>
class Numbered {
 public:
  explicit Numbered(const char* what) : what_(what) {}

  int64_t add(Item item) {
    items_.emplace(++last_, std::move(item));
    return last_;
  }

  const Item& get(int64_t id) const {
    const auto found = items_.find(id);
    if (found == items_.end()) throw std::runtime_error(std::string(what_) + " is closed");
    return found->second;
  }

  // What was under the number; empty if nothing was.
  Item take(int64_t id) {
    auto node = items_.extract(id);
    return node.empty() ? Item() : std::move(node.mapped());
  }

 private:
  const char* what_;
  int64_t last_ = 0;
  std::unordered_map<int64_t, Item> items_;
};

using StorePtr = c10::intrusive_ptr<c10d::Store>;
using BackendPtr = c10::intrusive_ptr<c10d::Backend>;
using WorkPtr = c10::intrusive_ptr<c10d::Work>;

// What carries the tensors of the ranks: CPU's and CUDA's each have a backend, or none.
struct Group {
  BackendPtr cpu, cuda;

  const BackendPtr& of(const at::Tensor& tensor) const {
    const BackendPtr& found = tensor.is_cuda() ? cuda : cpu;
    if (found) return found;
    throw std::runtime_error(tensor.is_cuda()
                                 ? "the process group has no NCCL, which CUDA tensors need"
                                 : "the process group has no Gloo, which CPU tensors need");
  }
};

// A collective under way.
struct Pending {
  WorkPtr work;
  bool cuda = false;
};

class Reducer;

struct Distributed {
  Numbered<StorePtr> stores{"the store"};
  Numbered<Group> groups{"the process group"};
  Numbered<Pending> works{"the collective"};
  Numbered<std::shared_ptr<Reducer>> reducers{"the reducer"};
};

inline Distributed& distributedOf(const Call& call) {
  if (!call.state.distributed) {
    // Never destroyed with its environment: a group that waits for a dead peer would hold up the end
    // of the process until its timeout.
    call.state.distributed = new Distributed;
  }
  return *static_cast<Distributed*>(call.state.distributed);
}

// Waits until a collective is done; throws what it failed with. CUDA's are done when their stream
// is; JavaScript's stream is made to follow by `synchronize`, on JavaScript's thread.
void waitFor(const Pending& pending);

// Frees something whose destructor may wait for peers, on a thread of its own.
template <typename Item>
void destroyElsewhere(Item item) {
  std::thread([item = std::move(item)]() mutable { item = Item(); }).detach();
}

void registerStore(Registry& registry);
void registerGroup(Registry& registry);
void registerReducer(Registry& registry);

}  // namespace pare
