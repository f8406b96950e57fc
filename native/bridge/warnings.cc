// What libtorch warns of goes to a function of JavaScript: written to standard error by libtorch
// itself it would be lost on a notebook, and no program could hear it.
#include <c10/util/Exception.h>

#include "rooms.h"

namespace pare {

namespace {

// libtorch keeps a handler a thread, and a warning is handled in the thread that it arises in; what
// autograd's own threads warn of is brought back to the one that called backward. So this thread is
// the environment's own, inside a call of the addon.
class Warnings final : public c10::WarningHandler {
 public:
  Warnings(napi_env env, napi_value listener) : env_(env) {
    napi_create_reference(env, listener, 1, &listener_);
    c10::WarningUtils::set_warning_handler(this);
  }

  ~Warnings() override {
    // Not where another environment of this thread has put its own in the place.
    if (c10::WarningUtils::get_warning_handler() == this) {
      c10::WarningUtils::set_warning_handler(nullptr);
    }
    napi_delete_reference(env_, listener_);
  }

  void process(const c10::Warning& warning) override {
    napi_handle_scope scope;
    if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
    napi_value listener, global, message;
    const std::string& text = warning.msg();
    const bool called =
        napi_get_reference_value(env_, listener_, &listener) == napi_ok &&
        napi_get_global(env_, &global) == napi_ok &&
        napi_create_string_utf8(env_, text.data(), text.size(), &message) == napi_ok &&
        napi_call_function(env_, global, listener, 1, &message, nullptr) == napi_ok;
    // An exception left behind would make the operation's own result fail.
    napi_value thrown;
    if (!called) napi_get_and_clear_last_exception(env_, &thrown);
    napi_close_handle_scope(env_, scope);
    if (!called) c10::WarningHandler::process(warning);
  }

 private:
  napi_env env_;
  napi_ref listener_ = nullptr;
};

}  // namespace

void registerWarnings(Registry& registry) {
  registry.add<[](const Call& call, napi_value listener) {
    call.state.warnings = std::make_shared<Warnings>(call.env, listener);
  }>("onWarning");
}

}  // namespace pare
