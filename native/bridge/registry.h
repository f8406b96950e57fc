// Registers C++ functions as JavaScript functions. The arguments' and the result's types decide
// the conversions; every exception of C++ becomes a message that TypeScript throws as its own
// error. A failed call returns `undefined`, which no successful call does: an error object made
// here would belong to another realm under jest.
#pragma once

#include <c10/util/Exception.h>

#include <cstdlib>
#include <utility>

#include "convert.h"

namespace pare {

// Divides a message from the stack of libtorch behind it.
constexpr char kBeforeStack = '\x1e';

template <typename Fn>
struct Signature;

template <typename Lambda, typename Result, typename... Args>
struct Signature<Result (Lambda::*)(Args...) const> {
  static constexpr size_t kArity = sizeof...(Args);

  template <auto Fn, size_t... I>
  static napi_value invoke(const Call& call, napi_value* argv, std::index_sequence<I...>) {
    if constexpr (std::is_void_v<Result>) {
      Fn(From<Args>::get(call, argv[I])...);
      return toJs(call, true);
    } else {
      return toJs(call, Fn(From<Args>::get(call, argv[I])...));
    }
  }
};

// Functions that need the environment's state take it as their first parameter.
template <typename Lambda, typename Result, typename... Args>
struct Signature<Result (Lambda::*)(const Call&, Args...) const> {
  static constexpr size_t kArity = sizeof...(Args);

  template <auto Fn, size_t... I>
  static napi_value invoke(const Call& call, napi_value* argv, std::index_sequence<I...>) {
    if constexpr (std::is_void_v<Result>) {
      Fn(call, From<Args>::get(call, argv[I])...);
      return toJs(call, true);
    } else {
      return toJs(call, Fn(call, From<Args>::get(call, argv[I])...));
    }
  }
};

class Registry {
 public:
  Registry(napi_env env, napi_value exports, State* state)
      : env_(env), exports_(exports), state_(state) {}

  template <auto Fn>
  void add(const char* name) {
    napi_value function;
    state_->entries.push_back({*state_, name});
    napi_create_function(env_, name, NAPI_AUTO_LENGTH, &entry<Fn>, &state_->entries.back(),
                         &function);
    napi_set_named_property(env_, exports_, name, function);
  }

 private:
  template <auto Fn>
  static napi_value entry(napi_env env, napi_callback_info info) {
    using Sig = Signature<decltype(&decltype(Fn)::operator())>;
    constexpr size_t arity = Sig::kArity;
    size_t argc = arity;
    napi_value argv[arity == 0 ? 1 : arity];
    void* data = nullptr;
    napi_get_cb_info(env, info, &argc, argv, nullptr, &data);
    const auto& [state, name] = *static_cast<Entry*>(data);
    try {
      return Sig::template invoke<Fn>(Call{env, state}, argv, std::make_index_sequence<arity>());
    } catch (const c10::Error& error) {
      state.error = std::string(name) + ": " + error.what_without_backtrace();
      // Names of functions take long to find: only for who looks for the place.
      if (std::getenv("PARE_DEBUG") != nullptr && error.backtrace() != nullptr) {
        state.error += kBeforeStack + error.backtrace()->get();
      }
    } catch (const std::exception& error) {
      state.error = std::string(name) + ": " + error.what();
    } catch (...) {
      state.error = std::string(name) + ": unknown native exception";
    }
    return nullptr;
  }

  napi_env env_;
  napi_value exports_;
  State* state_;
};

// One macro line an operation: name, parameters, expression.
#define PARE_OP(name, params, expr) registry.add<[] params { return expr; }>(name);

}  // namespace pare
