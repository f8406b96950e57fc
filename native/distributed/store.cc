// c10d's TCP store: the key-value store on rank 0 by which ranks find each other.
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <c10/util/Flags.h>

#include <cstdlib>
#include <thread>

#include "../bridge/async.h"
#include "distributed.h"
#include "listen.h"

// c10d tells each failed attempt to connect, with its stack, on standard error. What failed in the
// end is told by the error.
C10_DECLARE_int(caffe2_log_level);

namespace pare {

static void quieten() {
  if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) FLAGS_caffe2_log_level = 3;  // fatal errors
}

static std::string textOf(const std::vector<uint8_t>& bytes) {
  return {bytes.begin(), bytes.end()};
}

static StorePtr openStore(const std::string& host, int64_t port, bool isServer,
                          Milliseconds timeout) {
  quieten();
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(port);
  options.isServer = isServer;
  options.waitWorkers = false;
  options.timeout = timeout;
  if (isServer) {
    const Listening socket = listenOn(host, options.port);
    options.masterListenFd = socket.fd;
    options.port = socket.port;
  }
  return c10::make_intrusive<c10d::TCPStore>(host, options);
}

// Tells through a store of its own that this process lives: JavaScript's thread may be at work for
// longer than others want to wait.
static void beat(StorePtr store, const std::string& key, Milliseconds interval) {
  std::thread([store = std::move(store), key, interval] {
    try {
      for (;;) {
        store->add(key, 1);
        std::this_thread::sleep_for(interval);
      }
    } catch (...) {
      // The store is gone; whoever uses it will hear of it.
    }
  }).detach();
}

void registerStore(Registry& registry) {
  registry.add<[](const Call& call, std::string host, int64_t port, bool isServer, int64_t timeout,
                  Callback callback) {
    runAsync(call, "storeOpen", callback, [=]() -> Finish {
      const StorePtr store = openStore(host, port, isServer, Milliseconds(timeout));
      return [store](const Call& call) { return toJs(call, distributedOf(call).stores.add(store)); };
    });
  }>("storeOpen");
  registry.add<[](const Call& call, int64_t id) -> int64_t {
    const StorePtr& store = distributedOf(call).stores.get(id);
    return dynamic_cast<c10d::TCPStore&>(*store).getPort();
  }>("storePort");
  // The same store, with keys that nobody else sees; an id of its own, to be closed by itself.
  registry.add<[](const Call& call, int64_t id, std::string prefix) -> int64_t {
    auto& stores = distributedOf(call).stores;
    return stores.add(c10::make_intrusive<c10d::PrefixStore>(prefix, stores.get(id)));
  }>("storeWithin");
  registry.add<[](const Call& call, int64_t id, std::string key, std::string value,
                  Callback callback) {
    runAsync(call, "storeSet", callback,
             [=, store = distributedOf(call).stores.get(id)]() -> Finish {
               store->set(key, std::vector<uint8_t>(value.begin(), value.end()));
               return nullptr;
             });
  }>("storeSet");
  // The values of the keys, null for those that are not there.
  registry.add<[](const Call& call, int64_t id, std::vector<std::string> keys, Callback callback) {
    runAsync(
        call, "storeGet", callback, [=, store = distributedOf(call).stores.get(id)]() -> Finish {
          std::vector<std::optional<std::string>> values;
          for (const std::string& key : keys) {
            if (store->check({key})) values.emplace_back(textOf(store->get(key)));
            else values.emplace_back(std::nullopt);
          }
          return [values](const Call& call) { return toJs(call, values); };
        });
  }>("storeGet");
  registry.add<[](const Call& call, int64_t id, std::string key, int64_t amount,
                  Callback callback) {
    runAsync(call, "storeAdd", callback,
             [=, store = distributedOf(call).stores.get(id)]() -> Finish {
               const int64_t sum = store->add(key, amount);
               return [sum](const Call& call) { return toJs(call, sum); };
             });
  }>("storeAdd");
  // Sets a key whose value is `expected` (empty: that is not there); gives the value after that.
  registry.add<[](const Call& call, int64_t id, std::string key, std::string expected,
                  std::string desired, Callback callback) {
    runAsync(call, "storeCompareSet", callback,
             [=, store = distributedOf(call).stores.get(id)]() -> Finish {
               const std::vector<uint8_t> before(expected.begin(), expected.end());
               const std::vector<uint8_t> after(desired.begin(), desired.end());
               const std::string value = textOf(store->compareSet(key, before, after));
               return [value](const Call& call) { return toJs(call, value); };
             });
  }>("storeCompareSet");
  registry.add<[](const Call& call, int64_t id, std::string key, int64_t interval) {
    beat(distributedOf(call).stores.get(id)->clone(), key, Milliseconds(interval));
  }>("storeBeat");
  registry.add<[](const Call& call, int64_t id) {
    destroyElsewhere(distributedOf(call).stores.take(id));
  }>("storeClose");
}

}  // namespace pare
