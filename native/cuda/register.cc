// The device itself for JavaScript (lib/torch/cuda.ts): waiting for it, and graphs of captured
// work.
#include <ATen/Context.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>

#include <memory>
#include <optional>

#include "../bridge/rooms.h"

namespace pare {

// Work is captured on a stream of its own, as CUDA demands. While `stream` is set, this thread
// queues on that one; memory asked for comes from the graph's own pool, which lives as long as the
// graph.
struct Graph {
  at::cuda::CUDAGraph graph;
  std::unique_ptr<c10::cuda::CUDAStreamGuard> stream;
};

static Graph& graphOf(State& state, int64_t id) {
  const auto slot = static_cast<size_t>(id);
  TORCH_CHECK_VALUE(slot < state.graphs.size() && state.graphs[slot], "the graph was disposed");
  return *std::static_pointer_cast<Graph>(state.graphs[slot]);
}

void registerCuda(Registry& registry) {
  registry.add<[] { c10::cuda::device_synchronize(); }>("cudaSynchronize");
  registry.add<[]() -> std::string {
    cudaDeviceProp properties;
    C10_CUDA_CHECK(cudaGetDeviceProperties(&properties, c10::cuda::current_device()));
    return properties.name;
  }>("cudaDeviceName");
  registry.add<[](int64_t index) {
    c10::cuda::set_device(static_cast<c10::DeviceIndex>(index));
  }>("cudaSetDevice");
  registry.add<[](int64_t index) -> int64_t {
    // The allocator has no figures before.
    at::globalContext().lazyInitDevice(at::kCUDA);
    const c10::cuda::OptionalCUDAGuard guard(
        index < 0 ? std::nullopt
                  : std::make_optional(static_cast<c10::DeviceIndex>(index)));
    size_t free = 0, total = 0;
    C10_CUDA_CHECK(cudaMemGetInfo(&free, &total));
    // What libtorch keeps for itself is free for whatever comes next in this process.
    const auto stats =
        c10::cuda::CUDACachingAllocator::getDeviceStats(c10::cuda::current_device());
    return static_cast<int64_t>(free) + stats.reserved_bytes[0].current -
           stats.allocated_bytes[0].current;
  }>("cudaFreeMemory");
  registry.add<[](const Call& call) -> int64_t {
    auto graph = std::make_shared<Graph>();
    c10::cuda::device_synchronize();
    graph->stream = std::make_unique<c10::cuda::CUDAStreamGuard>(c10::cuda::getStreamFromPool());
    graph->graph.capture_begin();
    call.state.graphs.push_back(graph);
    return static_cast<int64_t>(call.state.graphs.size()) - 1;
  }>("cudaGraphBegin");
  registry.add<[](const Call& call, int64_t id) {
    Graph& graph = graphOf(call.state, id);
    // Whatever comes of it, work goes on on the stream that was current before.
    const auto stream = std::move(graph.stream);
    graph.graph.capture_end();
  }>("cudaGraphEnd");
  registry.add<[](const Call& call, int64_t id) { graphOf(call.state, id).graph.replay(); }>(
      "cudaGraphReplay");
  registry.add<[](const Call& call, int64_t id) {
    graphOf(call.state, id);
    call.state.graphs[static_cast<size_t>(id)].reset();
  }>("cudaGraphRelease");
}

}  // namespace pare
