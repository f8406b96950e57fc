// A function with a stack of its own that pauses and goes on.
#pragma once

#include <cstddef>
#include <memory>

#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace emulator {

class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;

  // Prepares to run `body`, which must have ended when it is called again.
  void start(void (*body)());
  // Runs it until it pauses or ends.
  void resume();
  // From within it: back to where it was resumed.
  void pause();

 private:
  static void main();
  void leave(bool forGood);

  static constexpr size_t kStackSize = 256 << 10;
  std::unique_ptr<char[]> stack_;
  void (*body_)() = nullptr;
#ifdef __x86_64__
  void* own_ = nullptr;  // stack pointers
  void* caller_ = nullptr;
#else
  ucontext_t own_, caller_;
#endif
  // The sanitizers' names for the two.
  void* sanitizerOwn_ = nullptr;
  void* sanitizerCaller_ = nullptr;
  const void* callerStack_ = nullptr;
  size_t callerSize_ = 0;
};

}  // namespace emulator
