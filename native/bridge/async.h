// Work that waits (for the network) on a thread of its own, so that JavaScript goes on meanwhile.
#pragma once

#include <functional>
#include <string>

#include "convert.h"

namespace pare {

// A function `(error: string | undefined, value: unknown) => void` of JavaScript.
struct Callback {
  napi_value function;
};

template <>
struct From<Callback> {
  static Callback get(const Call& call, napi_value value) {
    napi_valuetype type;
    check(napi_typeof(call.env, value, &type), "a function");
    check(type == napi_function ? napi_ok : napi_function_expected, "a function");
    return {value};
  }
};

// Makes the value for JavaScript, on its thread.
using Finish = std::function<napi_value(const Call&)>;

// Runs `work` on a new thread, then `callback` on JavaScript's. Not libuv's pool: a thread there
// that waits for a peer would hold up all file access, and the end of the process. `work` must own
// what it uses; the environment may end before it does.
void runAsync(const Call& call, const char* name, Callback callback, std::function<Finish()> work);

}  // namespace pare
