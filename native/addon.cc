// Module entry: makes the environment's state and lets each room register its functions.
#include <napi.h>

#include "bridge/rooms.h"

static napi_value init(napi_env env, napi_value exports) {
  auto* state = new pare::State();
  napi_set_instance_data(
      env, state, [](napi_env, void* data, void*) { delete static_cast<pare::State*>(data); },
      nullptr);
  pare::Registry registry(env, exports, state);
  pare::registerMemory(registry);
  pare::registerTensor(registry);
  pare::registerAutograd(registry);
  pare::registerWarnings(registry);
  pare::registerRandom(registry);
  pare::registerMath(registry);
  pare::registerShape(registry);
  pare::registerNn(registry);
  pare::registerChunkedLoss(registry);
  pare::registerOptim(registry);
  pare::registerAdamW8bit(registry);
  pare::registerIo(registry);
  pare::registerNf4(registry);
  pare::registerDistributed(registry);
#ifdef PARE_WITH_CUDA
  pare::registerCuda(registry);
#endif
  return exports;
}

NAPI_MODULE(pare, init)
