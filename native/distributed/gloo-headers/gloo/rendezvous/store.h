// Gloo's headers are not in PyTorch's wheel, its code is (in libtorch_cpu). What
// c10d's ProcessGroupGloo.hpp needs of them is that these names exist: pare holds pointers to them
// and calls no function of Gloo. A libtorch that has the headers is compiled with its own.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace gloo::rendezvous {
// c10d derives a class of its own from it, which is made in libtorch alone.
class Store {
 public:
  virtual ~Store() = default;
  virtual void set(const std::string& key, const std::vector<char>& value) = 0;
  virtual std::vector<char> get(const std::string& key) = 0;
  virtual void wait(const std::vector<std::string>& keys) = 0;
  virtual void wait(const std::vector<std::string>& keys,
                    const std::chrono::milliseconds& timeout) = 0;
};
}  // namespace gloo::rendezvous
