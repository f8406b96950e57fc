// c10d's process groups: Gloo on CPU, NCCL on CUDA where libtorch has it.
#ifdef PARE_WITH_GLOO
#define USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#endif
#ifdef PARE_WITH_NCCL
#define USE_C10D_NCCL
#include <c10/cuda/CUDAFunctions.h>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

#include <cstdlib>
#include <thread>

#include "../bridge/async.h"
#include "distributed.h"
#include "listen.h"

namespace pare {

using Tensors = std::vector<at::Tensor>;

// PyTorch's name for a backend of each kind of tensors.
static const std::string both = "cpu:gloo,cuda:nccl";

static BackendPtr openBackend(const std::string& backend, const StorePtr& store, int rank, int size,
                              Milliseconds timeout, const std::string& host, int64_t port) {
  if (backend == "gloo") {
#ifdef PARE_WITH_GLOO
    using Gloo = c10d::ProcessGroupGloo;
    auto options = Gloo::Options::create(timeout);
    const char* interface = std::getenv("GLOO_SOCKET_IFNAME");  // as PyTorch
    options->devices.push_back(
        interface != nullptr && *interface != '\0'
            ? Gloo::createDeviceForInterface(interface)
            : Gloo::createDeviceForHostname(addressTowards(host, static_cast<uint16_t>(port))));
    return c10::make_intrusive<Gloo>(store, rank, size, options);
#else
    throw std::runtime_error("this libtorch has no Gloo");
#endif
  }
  if (backend == "nccl") {
#ifdef PARE_WITH_NCCL
    if (!at::hasCUDA()) {
      throw std::runtime_error("there is no CUDA device, which nccl needs; use gloo");
    }
    auto options = c10d::ProcessGroupNCCL::Options::create();
    options->timeout = timeout;
    return c10::make_intrusive<c10d::ProcessGroupNCCL>(store, rank, size, options);
#else
    throw std::runtime_error("this build has no NCCL; use gloo");
#endif
  }
  throw std::invalid_argument("no backend is called '" + backend + "'; there are gloo, nccl and " +
                              both);
}

static Group openGroup(const std::string& backend, const StorePtr& store, int rank, int size,
                       Milliseconds timeout, const std::string& host, int64_t port) {
  const auto open = [&](const std::string& one) {
    return openBackend(one, c10::make_intrusive<c10d::PrefixStore>(one, store), rank, size, timeout,
                       host, port);
  };
  if (backend == "nccl") return {nullptr, open("nccl")};
  if (backend == both) return {open("gloo"), open("nccl")};
  return {open(backend), nullptr};
}

// Makes one GPU this thread's own, so that "cuda" is another one in each rank of a machine. Where a
// rank sees one alone, it is that one.
static void takeDevice(const std::string& backend, int64_t localRank) {
#ifdef PARE_WITH_NCCL
  if (backend == "gloo" || !at::hasCUDA()) return;
  c10::cuda::set_device(static_cast<c10::DeviceIndex>(localRank % c10::cuda::device_count()));
#endif
}

void waitFor(const Pending& pending) {
  const auto& [work, cuda] = pending;
  if (!cuda) {
    work->wait();
    return;
  }
  // NCCL's `wait` would only make the stream of this thread wait.
  while (!work->isCompleted()) std::this_thread::sleep_for(Milliseconds(1));
  if (work->exception()) std::rethrow_exception(work->exception());
}

static c10d::ReduceOp reduceOpOf(const std::string& name) {
  if (name == "sum") return c10d::ReduceOp::SUM;
  if (name == "product") return c10d::ReduceOp::PRODUCT;
  if (name == "min") return c10d::ReduceOp::MIN;
  if (name == "max") return c10d::ReduceOp::MAX;
  throw std::invalid_argument("no reduction is called '" + name +
                              "'; there are sum, product, min and max");
}

static int64_t start(const Call& call, WorkPtr work, bool cuda) {
  return distributedOf(call).works.add({std::move(work), cuda});
}

void registerGroup(Registry& registry) {
  registry.add<[] {
    std::vector<std::string> names;
#ifdef PARE_WITH_GLOO
    names.emplace_back("gloo");
#endif
#ifdef PARE_WITH_NCCL
    names.emplace_back("nccl");
#endif
    return names;
  }>("distributedBackends");
  registry.add<[](const Call& call, int64_t storeId, std::string prefix, std::string backend,
                  int64_t rank, int64_t size, int64_t localRank, int64_t timeout, std::string host,
                  int64_t port, Callback callback) {
    takeDevice(backend, localRank);
    const StorePtr store = distributedOf(call).stores.get(storeId)->clone();
    store->setTimeout(Milliseconds(timeout));
    const auto prefixed = c10::make_intrusive<c10d::PrefixStore>(prefix, store);
    runAsync(call, "groupOpen", callback, [=]() -> Finish {
      const Group group = openGroup(backend, prefixed, static_cast<int>(rank),
                                    static_cast<int>(size), Milliseconds(timeout), host, port);
      return [group](const Call& call) { return toJs(call, distributedOf(call).groups.add(group)); };
    });
  }>("groupOpen");
  // Collectives begin at once, and work on the tensors given; `workWait` tells when they are done.
  registry.add<[](const Call& call, int64_t group, at::Tensor tensor, std::string op) {
    Tensors tensors{tensor};
    c10d::AllreduceOptions options;
    options.reduceOp = reduceOpOf(op);
    return start(call, distributedOf(call).groups.get(group).of(tensor)->allreduce(tensors, options),
                 tensor.is_cuda());
  }>("groupAllReduce");
  registry.add<[](const Call& call, int64_t group, at::Tensor tensor, int64_t root) {
    Tensors tensors{tensor};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    return start(call, distributedOf(call).groups.get(group).of(tensor)->broadcast(tensors, options),
                 tensor.is_cuda());
  }>("groupBroadcast");
  registry.add<[](const Call& call, int64_t group, Tensors outputs, at::Tensor input) {
    std::vector<Tensors> all{std::move(outputs)};
    Tensors inputs{input};
    return start(call, distributedOf(call).groups.get(group).of(input)->allgather(all, inputs),
                 input.is_cuda());
  }>("groupAllGather");
  registry.add<[](const Call& call, int64_t group) {
    const auto& [cpu, cuda] = distributedOf(call).groups.get(group);
    return start(call, (cpu ? cpu : cuda)->barrier(), !cpu);
  }>("groupBarrier");
  registry.add<[](const Call& call, int64_t id, Callback callback) {
    const Pending pending = distributedOf(call).works.take(id);
    if (!pending.work) throw std::runtime_error("the collective was waited for already");
    runAsync(call, "workWait", callback, [pending]() -> Finish {
      waitFor(pending);
      return [pending](const Call& call) {
        pending.work->synchronize();
        return toJs(call, true);
      };
    });
  }>("workWait");
  registry.add<[](const Call& call, int64_t id) {
    Group group = distributedOf(call).groups.take(id);
    // Collectives that wait for a peer end at once, with an error.
    std::thread([group = std::move(group)]() mutable {
      for (BackendPtr* backend : {&group.cpu, &group.cuda}) {
        if (!*backend) continue;
        (*backend)->abort();
        backend->reset();
      }
    }).detach();
  }>("groupClose");
}

}  // namespace pare
