#include "async.h"

#include <c10/util/Exception.h>

#include <memory>
#include <thread>

namespace pare {

struct Outcome {
  std::string error;
  Finish finish;
};

static std::string messageOf(const char* name, const std::function<Finish()>& work,
                             Finish& finish) {
  try {
    finish = work();
    return {};
  } catch (const c10::Error& error) {
    return std::string(name) + ": " + error.what_without_backtrace();
  } catch (const std::exception& error) {
    return std::string(name) + ": " + error.what();
  } catch (...) {
    return std::string(name) + ": unknown native exception";
  }
}

static void callBack(napi_env env, napi_value callback, void* name, void* data) {
  const std::unique_ptr<Outcome> outcome(static_cast<Outcome*>(data));
  if (env == nullptr) return;  // The environment has ended.
  napi_value argv[2];
  napi_get_undefined(env, &argv[0]);
  napi_get_undefined(env, &argv[1]);
  void* state = nullptr;
  napi_get_instance_data(env, &state);
  const Call call{env, *static_cast<State*>(state)};
  if (outcome->error.empty()) {
    outcome->error = messageOf(
        static_cast<const char*>(name),
        [&]() -> Finish {
          if (outcome->finish) argv[1] = outcome->finish(call);
          return nullptr;
        },
        outcome->finish);
  }
  if (!outcome->error.empty()) argv[0] = toJs(call, outcome->error);
  napi_value global;
  napi_get_global(env, &global);
  napi_call_function(env, global, callback, 2, argv, nullptr);
}

void runAsync(const Call& call, const char* name, Callback callback, std::function<Finish()> work) {
  napi_value label;
  napi_create_string_utf8(call.env, name, NAPI_AUTO_LENGTH, &label);
  napi_threadsafe_function function;
  check(napi_create_threadsafe_function(call.env, callback.function, nullptr, label, 0, 1, nullptr,
                                        nullptr, const_cast<char*>(name), callBack, &function),
        "a function");
  std::thread([name, function, work = std::move(work)]() mutable {
    auto outcome = std::make_unique<Outcome>();
    outcome->error = messageOf(name, work, outcome->finish);
    work = nullptr;  // What it owns goes here, before JavaScript hears of its end.
    if (napi_call_threadsafe_function(function, outcome.get(), napi_tsfn_nonblocking) == napi_ok) {
      outcome.release();
    }
    napi_release_threadsafe_function(function, napi_tsfn_release);
  }).detach();
}

}  // namespace pare
