// From JavaScript values to C++ arguments and back, by type. A new argument type is one
// specialisation here.
#pragma once

#include <ATen/ATen.h>
#include <node_api.h>

#include <cmath>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "state.h"

namespace pare {

struct Call {
  napi_env env;
  State& state;
};

inline void check(napi_status status, const char* what) {
  if (status != napi_ok) throw std::invalid_argument(std::string("expected ") + what);
}

// The codes of TypeScript's `dtypes`, in the same order (lib/torch/dtype.ts).
constexpr at::ScalarType kDtypes[] = {at::kFloat, at::kBFloat16, at::kHalf, at::kLong,
                                      at::kInt,   at::kByte,     at::kBool, at::kDouble};

inline int64_t dtypeCode(at::ScalarType dtype) {
  for (size_t i = 0; i < std::size(kDtypes); i++) {
    if (kDtypes[i] == dtype) return static_cast<int64_t>(i);
  }
  throw std::runtime_error(std::string("unsupported dtype ") + c10::toString(dtype));
}

template <typename T>
struct From;

// As it is, for what is kept beyond the call.
template <>
struct From<napi_value> {
  static napi_value get(const Call&, napi_value value) { return value; }
};

template <>
struct From<double> {
  static double get(const Call& call, napi_value value) {
    double result;
    check(napi_get_value_double(call.env, value, &result), "a number");
    return result;
  }
};

template <>
struct From<int64_t> {
  static int64_t get(const Call& call, napi_value value) {
    double number;
    check(napi_get_value_double(call.env, value, &number), "an integer");
    // Node-API itself would cut a fraction off and make NaN 0.
    if (number != std::trunc(number) || std::abs(number) > 9007199254740991) {
      throw std::invalid_argument("expected an integer, not " + std::to_string(number));
    }
    return static_cast<int64_t>(number);
  }
};

template <>
struct From<bool> {
  static bool get(const Call& call, napi_value value) {
    bool result;
    check(napi_get_value_bool(call.env, value, &result), "a boolean");
    return result;
  }
};

template <>
struct From<std::string> {
  static std::string get(const Call& call, napi_value value) {
    size_t length;
    check(napi_get_value_string_utf8(call.env, value, nullptr, 0, &length), "a string");
    std::string result(length, '\0');
    napi_get_value_string_utf8(call.env, value, result.data(), length + 1, &length);
    return result;
  }
};

// An integral number stays an integer, so that arithmetic on integer tensors keeps their dtype.
template <>
struct From<at::Scalar> {
  static at::Scalar get(const Call& call, napi_value value) {
    const double number = From<double>::get(call, value);
    if (number == std::floor(number) && std::abs(number) < 9e15) {
      return at::Scalar(static_cast<int64_t>(number));
    }
    return at::Scalar(number);
  }
};

template <>
struct From<at::ScalarType> {
  static at::ScalarType get(const Call& call, napi_value value) {
    const int64_t code = From<int64_t>::get(call, value);
    if (code < 0 || code >= static_cast<int64_t>(std::size(kDtypes))) {
      throw std::invalid_argument("expected a dtype");
    }
    return kDtypes[code];
  }
};

template <>
struct From<at::Device> {
  static at::Device get(const Call& call, napi_value value) {
    const std::string name = From<std::string>::get(call, value);
    const at::Device device(name);
    if (device.is_cuda() && !at::hasCUDA()) {
      throw std::invalid_argument("no CUDA here for device '" + name +
                                  "': libtorch is a CPU build, or there is no GPU; use 'cpu'");
    }
    return device;
  }
};

template <>
struct From<const at::Tensor&> {
  static const at::Tensor& get(const Call& call, napi_value value) {
    uint32_t id;
    check(napi_get_value_uint32(call.env, value, &id), "a tensor");
    return call.state.tensors.get(id);
  }
};

template <>
struct From<at::Tensor> {
  static at::Tensor get(const Call& call, napi_value value) {
    return From<const at::Tensor&>::get(call, value);
  }
};

// 0 stands for "none".
template <>
struct From<std::optional<at::Tensor>> {
  static std::optional<at::Tensor> get(const Call& call, napi_value value) {
    uint32_t id;
    check(napi_get_value_uint32(call.env, value, &id), "a tensor or 0");
    if (id == 0) return std::nullopt;
    return call.state.tensors.get(id);
  }
};

template <>
struct From<std::optional<at::Generator>> {
  static std::optional<at::Generator> get(const Call& call, napi_value value) {
    const int64_t id = From<int64_t>::get(call, value);
    if (id < 0) return std::nullopt;
    return call.state.generators.at(static_cast<size_t>(id));
  }
};

template <typename Item, typename Get>
std::vector<Item> getArray(const Call& call, napi_value value, Get get) {
  uint32_t length;
  check(napi_get_array_length(call.env, value, &length), "an array");
  std::vector<Item> result;
  result.reserve(length);
  for (uint32_t i = 0; i < length; i++) {
    napi_value item;
    check(napi_get_element(call.env, value, i, &item), "an array");
    result.push_back(get(item));
  }
  return result;
}

template <>
struct From<std::vector<int64_t>> {
  static std::vector<int64_t> get(const Call& call, napi_value value) {
    return getArray<int64_t>(call, value,
                             [&](napi_value item) { return From<int64_t>::get(call, item); });
  }
};

template <>
struct From<std::vector<std::string>> {
  static std::vector<std::string> get(const Call& call, napi_value value) {
    return getArray<std::string>(
        call, value, [&](napi_value item) { return From<std::string>::get(call, item); });
  }
};

template <>
struct From<std::vector<at::Tensor>> {
  static std::vector<at::Tensor> get(const Call& call, napi_value value) {
    return getArray<at::Tensor>(
        call, value, [&](napi_value item) { return From<const at::Tensor&>::get(call, item); });
  }
};

// A typed array or Buffer of JavaScript; valid during the call only.
struct Bytes {
  void* data;
  size_t size;
};

template <>
struct From<Bytes> {
  static Bytes get(const Call& call, napi_value value) {
    napi_typedarray_type type;
    size_t length;
    void* data;
    check(napi_get_typedarray_info(call.env, value, &type, &length, &data, nullptr, nullptr),
          "a typed array");
    static constexpr size_t kWidth[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8};
    return {data, length * kWidth[type]};
  }
};

inline napi_value toJs(const Call& call, bool value) {
  napi_value result;
  napi_get_boolean(call.env, value, &result);
  return result;
}

inline napi_value toJs(const Call& call, int64_t value) {
  napi_value result;
  napi_create_int64(call.env, value, &result);
  return result;
}

inline napi_value toJs(const Call& call, double value) {
  napi_value result;
  napi_create_double(call.env, value, &result);
  return result;
}

inline napi_value toJs(const Call& call, const std::string& value) {
  napi_value result;
  napi_create_string_utf8(call.env, value.data(), value.size(), &result);
  return result;
}

inline napi_value toJs(const Call& call, at::Tensor value) {
  napi_value result;
  napi_create_uint32(call.env, call.state.tensors.add(std::move(value)), &result);
  return result;
}

template <typename Item>
napi_value toJs(const Call& call, const std::optional<Item>& value) {
  if (value) return toJs(call, *value);
  napi_value result;
  napi_get_null(call.env, &result);
  return result;
}

template <typename Item>
napi_value toJs(const Call& call, const std::vector<Item>& values) {
  napi_value result;
  napi_create_array_with_length(call.env, values.size(), &result);
  for (size_t i = 0; i < values.size(); i++) {
    napi_set_element(call.env, result, static_cast<uint32_t>(i), toJs(call, values[i]));
  }
  return result;
}

template <typename... Items>
napi_value toJs(const Call& call, const std::tuple<Items...>& values) {
  napi_value result;
  napi_create_array_with_length(call.env, sizeof...(Items), &result);
  uint32_t i = 0;
  std::apply(
      [&](const Items&... items) {
        (napi_set_element(call.env, result, i++, toJs(call, items)), ...);
      },
      values);
  return result;
}

}  // namespace pare
