// Never instrumented for the thread sanitizer (its own reads and writes are no thread's of the
// block), which is told of fibers and barriers instead.
#include "emulator.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "fiber.h"

// Of cuda_runtime_api.h here; the running thread's.
emulator::Place threadIdx, blockIdx, blockDim, gridDim;

#ifdef PARE_TSAN
extern "C" {
void __tsan_acquire(void* address);
void __tsan_release(void* address);
}
#else
static void __tsan_acquire(void*) {}
static void __tsan_release(void*) {}
#endif

namespace emulator {

namespace {

enum class State { kReady, kAtBarrier, kInExchange, kDone };

struct Thread {
  std::unique_ptr<Fiber> fiber;
  State state = State::kDone;
  Place index{};
  unsigned barriers = 0;  // passed
  unsigned warpBarriers = 0;
  std::vector<std::vector<Copy>> copies;
};

struct Warp {
  const char* exchange = nullptr;
  int arrived = 0;
  Deposit incoming[kWarp];
  Deposit complete[kWarp];
  char barriers[2];
};

std::vector<Thread> threads;
std::vector<Warp> warps;
std::vector<uint8_t> shared;
const std::function<void()>* kernel = nullptr;
int size = 0;     // of the block
int running = 0;  // the thread that does
// Addresses that stand for these with the sanitizer. Those who reach a barrier must not be ordered
// before those who have yet to leave the last one, so the barriers take turns.
char begin, end, barriers[2];

[[noreturn]] void fail(const char* what, const char* detail = "") {
  std::fprintf(stderr, "emulator: block (%u, %u, %u), thread %d: %s%s\n", blockIdx.x, blockIdx.y,
               blockIdx.z, running, what, detail);
  std::abort();
}

void threadMain() {
  __tsan_acquire(&begin);
  (*kernel)();
  Thread& self = threads[running];
  for (const auto& group : self.copies) {
    if (!group.empty()) fail("it ends while its copies are under way");
  }
  self.state = State::kDone;
  __tsan_release(&end);
}

void wait(State state) {
  threads[running].state = state;
  threads[running].fiber->pause();
}

void runBlock() {
  std::memset(shared.data(), 0xff, shared.size());
  for (int i = 0; i < size; i++) {
    threads[i].state = State::kReady;
    threads[i].barriers = threads[i].warpBarriers = 0;
    threads[i].copies.assign(1, {});
    threads[i].fiber->start(threadMain);
  }
  __tsan_release(&begin);
  // A test can have the threads take turns in the other order.
  static const bool backwards = std::getenv("PARE_EMULATOR_BACKWARDS") != nullptr;
  for (;;) {
    int done = 0, waiting = 0, ran = 0;
    for (int i = 0; i < size; i++) {
      running = backwards ? size - 1 - i : i;
      Thread& thread = threads[running];
      if (thread.state == State::kReady) {
        threadIdx = thread.index;
        thread.fiber->resume();
        ran++;
      }
      done += thread.state == State::kDone;
      waiting += thread.state == State::kAtBarrier;
    }
    if (done == size) break;
    if (waiting == size) {
      for (int i = 0; i < size; i++) threads[i].state = State::kReady;
    } else if (ran == 0) {
      fail("the block waits for ever: ", waiting > 0 ? "not every thread comes to the barrier"
                                                     : "not every lane comes to the exchange");
    }
  }
  __tsan_acquire(&end);
}

}  // namespace

void run(Place grid, int count, size_t sharedBytes, const std::function<void()>& body) {
  if (count % kWarp != 0) fail("a block that is no number of warps");
  if (threads.size() < static_cast<size_t>(count)) threads.resize(count);
  size = count;
  kernel = &body;
  warps.assign(count / kWarp, {});
  shared = std::vector<uint8_t>(sharedBytes);
  gridDim = grid;
  blockDim = {static_cast<unsigned>(count), 1, 1};
  for (int i = 0; i < count; i++) {
    if (!threads[i].fiber) threads[i].fiber = std::make_unique<Fiber>();
    threads[i].index = {static_cast<unsigned>(i), 0, 0};
  }
  for (unsigned z = 0; z < grid.z; z++) {
    for (unsigned y = 0; y < grid.y; y++) {
      for (unsigned x = 0; x < grid.x; x++) {
        blockIdx = {x, y, z};
        runBlock();
      }
    }
  }
}

uint8_t* dynamicShared() { return shared.data(); }

void syncThreads() {
  char* const barrier = &barriers[threads[running].barriers++ % 2];
  __tsan_release(barrier);
  wait(State::kAtBarrier);
  __tsan_acquire(barrier);
}

// Word by word: the sanitizer sees calls of memcpy wherever they are made.
static void assign(Deposit& to, const Deposit& from) {
  for (int i = 0; i < 4; i++) to.words[i] = from.words[i];
}

void exchange(const char* name, const Deposit& mine, Deposit (&all)[kWarp]) {
  Warp& warp = warps[running / kWarp];
  if (warp.arrived == 0) warp.exchange = name;
  if (std::strcmp(warp.exchange, name) != 0) fail("its warp is elsewhere: ", name);
  assign(warp.incoming[lane()], mine);
  if (++warp.arrived == kWarp) {
    warp.arrived = 0;
    const int first = running / kWarp * kWarp;
    for (int i = 0; i < kWarp; i++) {
      assign(warp.complete[i], warp.incoming[i]);
      threads[first + i].state = State::kReady;
    }
  } else {
    wait(State::kInExchange);
  }
  for (int i = 0; i < kWarp; i++) assign(all[i], warp.complete[i]);
}

void syncWarp() {
  char* const barrier = &warps[running / kWarp].barriers[threads[running].warpBarriers++ % 2];
  Deposit all[kWarp];
  __tsan_release(barrier);
  exchange("__syncwarp", {}, all);
  __tsan_acquire(barrier);
}

int lane() { return running % kWarp; }

std::vector<std::vector<Copy>>& copies() { return threads[running].copies; }

}  // namespace emulator
