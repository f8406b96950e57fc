// Runs CUDA kernels on the host, block after block, each thread of a block as a fiber of one thread
// of the system. It is as strict as it can be: a barrier that a thread has left without, an
// exchange of a warp whose lanes are not all there, and copies in the background that nobody waits
// for end the program. Built with the thread sanitizer, fibers are threads to it, of which only
// barriers (of a block or a warp, not its exchanges) order the memory: what two threads touch
// without a barrier between is reported, in shared memory as in global.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace emulator {

struct Place {
  unsigned x, y, z;
};

// What a lane hands to the others of its warp.
struct Deposit {
  uint64_t words[4];
};
constexpr int kWarp = 32;

// A copy in the background.
struct Copy {
  void* to;
  const void* from;
  int bytes;
};

void run(Place grid, int threads, size_t sharedBytes, const std::function<void()>& kernel);

// The rest is for kernels, as the thread that calls.

// Shared memory of the block: every byte 0xff, which makes NaN, until it is written.
uint8_t* dynamicShared();
void syncThreads();
void syncWarp();
// Waits for all lanes of the warp; `all` receives what each has deposited.
void exchange(const char* name, const Deposit& mine, Deposit (&all)[kWarp]);
int lane();
// This thread's groups of copies under way, the oldest first; the last one is still open.
std::vector<std::vector<Copy>>& copies();

}  // namespace emulator
