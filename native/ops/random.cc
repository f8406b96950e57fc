#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>

#include <mutex>
#include <optional>

#include "../bridge/rooms.h"

namespace pare {

using at::Tensor;
using T = const at::Tensor&;
using Shape = std::vector<int64_t>;
using Gen = std::optional<at::Generator>;

static Tensor stateOf(at::Generator generator) {
  const std::lock_guard<std::mutex> lock(generator.mutex());
  return generator.get_state();
}

static void setState(at::Generator generator, const Tensor& state) {
  const std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_state(state);
}

// Dropout on a GPU draws from a generator of its own.
static std::optional<at::Generator> defaultCudaGenerator() {
  if (!at::globalContext().hasCUDA()) return std::nullopt;
  return at::globalContext().defaultGenerator(at::Device(at::kCUDA));
}

// The state of libtorch's default generator, and behind it, where there is a GPU, that of the
// current one's.
static Tensor defaultState() {
  const Tensor cpu = stateOf(at::detail::getDefaultCPUGenerator());
  const std::optional<at::Generator> cuda = defaultCudaGenerator();
  return cuda ? at::cat({cpu, stateOf(*cuda)}) : cpu;
}

// Seed and offset of a GPU's generator.
constexpr int64_t kCudaStateBytes = 16;

// A state that was saved with a GPU goes on without one, and the other way round.
static void setDefaultState(const Tensor& state) {
  const at::Generator cpu = at::detail::getDefaultCPUGenerator();
  const int64_t bytes = stateOf(cpu).numel();
  if (state.numel() != bytes + kCudaStateBytes) return setState(cpu, state);
  setState(cpu, state.narrow(0, 0, bytes).clone());
  const std::optional<at::Generator> cuda = defaultCudaGenerator();
  if (cuda) setState(*cuda, state.narrow(0, bytes, kCudaStateBytes).clone());
}

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
  registry.add<[](Gen which) { return which ? stateOf(*which) : defaultState(); }>(
      "generatorState");
  registry.add<[](Gen which, T state) {
    which ? setState(*which, state) : setDefaultState(state);
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
