#include "fiber.h"

#include <cstdint>

extern "C" {
#ifdef PARE_TSAN
void* __tsan_get_current_fiber(void);
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
#endif
#ifdef __SANITIZE_ADDRESS__
void __sanitizer_start_switch_fiber(void** save, const void* bottom, size_t size);
void __sanitizer_finish_switch_fiber(void* save, const void** bottom, size_t* size);
#endif
}

#ifdef __x86_64__
// Keeps what a function must keep on the stack, and changes stacks. (ucontext would make two calls
// of the system, which take far longer than all else here.)
extern "C" void emulatorSwitch(void** from, void* to);
asm(R"(
.text
.type emulatorSwitch, @function
emulatorSwitch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulatorSwitch, . - emulatorSwitch
)");
#endif

namespace emulator {

static Fiber* current = nullptr;

Fiber::Fiber() : stack_(new char[kStackSize]) {
#ifdef PARE_TSAN
  sanitizerOwn_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
#ifdef PARE_TSAN
  __tsan_destroy_fiber(sanitizerOwn_);
#endif
}

void Fiber::main() {
  Fiber* self = current;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(nullptr, &self->callerStack_, &self->callerSize_);
#endif
  self->body_();
  self->leave(true);
}

void Fiber::start(void (*body)()) {
  body_ = body;
#ifdef __x86_64__
  // As if main had been paused before its first instruction: six registers, then its address. The
  // stack is 8 bytes off a multiple of 16 there, as after a call.
  auto top = (reinterpret_cast<uintptr_t>(stack_.get()) + kStackSize) & ~uintptr_t{15};
  auto* frame = reinterpret_cast<void**>(top) - 8;
  for (int i = 0; i < 8; i++) frame[i] = nullptr;
  frame[6] = reinterpret_cast<void*>(&Fiber::main);
  own_ = frame;
#else
  getcontext(&own_);
  own_.uc_stack.ss_sp = stack_.get();
  own_.uc_stack.ss_size = kStackSize;
  own_.uc_link = nullptr;
  makecontext(&own_, &Fiber::main, 0);
#endif
}

void Fiber::resume() {
  current = this;
#ifdef PARE_TSAN
  sanitizerCaller_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(sanitizerOwn_, 1);  // 1: this orders nothing
#endif
#ifdef __SANITIZE_ADDRESS__
  void* save = nullptr;
  __sanitizer_start_switch_fiber(&save, stack_.get(), kStackSize);
#endif
#ifdef __x86_64__
  emulatorSwitch(&caller_, own_);
#else
  swapcontext(&caller_, &own_);
#endif
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(save, nullptr, nullptr);
#endif
}

void Fiber::pause() { leave(false); }

void Fiber::leave(bool forGood) {
#ifdef PARE_TSAN
  __tsan_switch_to_fiber(sanitizerCaller_, 1);
#endif
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(forGood ? nullptr : &sanitizerOwn_, callerStack_, callerSize_);
#else
  (void)forGood;
#endif
#ifdef __x86_64__
  emulatorSwitch(&own_, caller_);
#else
  swapcontext(&own_, &caller_);
#endif
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(sanitizerOwn_, &callerStack_, &callerSize_);
#endif
}

}  // namespace emulator
