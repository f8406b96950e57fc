// What one JavaScript environment (the main thread or a worker) holds of libtorch.
// There is no global state: each environment has its own table, freed with it.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

namespace pare {

// Tensors are known to JavaScript by their index in a table with a free list. An integer costs
// less than an object with a finalizer, and releasing a scope is one call for all of its tensors.
class TensorTable {
 public:
  // Index 0 stands for "no tensor".
  TensorTable() { slots_.emplace_back(); }

  uint32_t add(at::Tensor tensor) {
    if (!tensor.defined()) return 0;
    if (free_.empty()) {
      slots_.push_back(std::move(tensor));
      return static_cast<uint32_t>(slots_.size() - 1);
    }
    const uint32_t id = free_.back();
    free_.pop_back();
    slots_[id] = std::move(tensor);
    return id;
  }

  // The reference holds until the next `add`.
  const at::Tensor& get(uint32_t id) const {
    if (id >= slots_.size() || !slots_[id].defined()) {
      throw std::runtime_error(
          "a tensor was used after it was disposed (keep it with scope's return value or keep())");
    }
    return slots_[id];
  }

  void release(uint32_t id) {
    if (id == 0 || id >= slots_.size() || !slots_[id].defined()) return;
    slots_[id] = at::Tensor();
    free_.push_back(id);
  }

  int64_t handles() const { return static_cast<int64_t>(slots_.size() - 1 - free_.size()); }

  // Bytes of the storages behind the live handles, each storage counted once.
  int64_t bytes() const {
    std::unordered_set<const void*> seen;
    int64_t total = 0;
    for (const at::Tensor& tensor : slots_) {
      if (!tensor.defined() || !tensor.has_storage()) continue;
      const auto& storage = tensor.storage();
      if (seen.insert(storage.unsafeGetStorageImpl()).second) total += storage.nbytes();
    }
    return total;
  }

 private:
  std::vector<at::Tensor> slots_;
  std::vector<uint32_t> free_;
};

struct State;

// What a registered function knows beside its arguments.
struct Entry {
  State& state;
  const char* name;
};

struct State {
  TensorTable tensors;
  std::vector<at::Generator> generators;
  std::vector<std::shared_ptr<void>> graphs;  // of native/cuda, which a CPU build lacks
  std::shared_ptr<void> warnings;             // of bridge/warnings.cc
  void* distributed = nullptr;                // of native/distributed
  std::deque<Entry> entries;  // a deque: the addresses stay
  std::string error;          // of the call that last failed; read once by TypeScript
};

}  // namespace pare
