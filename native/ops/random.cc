#include <ATen/CPUGeneratorImpl.h>

#include <mutex>

#include "../bridge/rooms.h"

namespace pare {

using at::Tensor;
using T = const at::Tensor&;
using Shape = std::vector<int64_t>;
using Gen = std::optional<at::Generator>;

void registerRandom(Registry& registry) {
  registry.add<[](const Call& call, int64_t seed) {
    call.state.generators.push_back(at::detail::createCPUGenerator(static_cast<uint64_t>(seed)));
    return static_cast<int64_t>(call.state.generators.size() - 1);
  }>("generator");
  registry.add<[](Gen which, int64_t seed) {
    at::Generator generator = which.value_or(at::detail::getDefaultCPUGenerator());
    const std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_current_seed(static_cast<uint64_t>(seed));
  }>("seedGenerator");
  registry.add<[](int64_t seed) { at::manual_seed(static_cast<uint64_t>(seed)); }>("manualSeed");
  // -1 means libtorch's default generator, which other threads may use at the same time.
  registry.add<[](Gen which) {
    at::Generator generator = which.value_or(at::detail::getDefaultCPUGenerator());
    const std::lock_guard<std::mutex> lock(generator.mutex());
    return generator.get_state();
  }>("generatorState");
  registry.add<[](Gen which, T state) {
    at::Generator generator = which.value_or(at::detail::getDefaultCPUGenerator());
    const std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_state(state);
  }>("setGeneratorState");
  PARE_OP("rand", (Shape shape, at::ScalarType dtype, Gen generator),
          at::rand(shape, generator, at::TensorOptions().dtype(dtype)))
  PARE_OP("randn", (Shape shape, at::ScalarType dtype, Gen generator),
          at::randn(shape, generator, at::TensorOptions().dtype(dtype)))
  PARE_OP("randint", (int64_t low, int64_t high, Shape shape, Gen generator),
          at::randint(low, high, shape, generator, at::TensorOptions().dtype(at::kLong)))
  PARE_OP("randperm", (int64_t n, Gen generator),
          at::randperm(n, generator, at::TensorOptions().dtype(at::kLong)))
  PARE_OP("multinomial", (T weights, int64_t n, bool replacement, Gen generator),
          at::multinomial(weights, n, replacement, generator))
}

}  // namespace pare
