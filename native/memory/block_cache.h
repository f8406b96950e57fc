// Large blocks of memory that are kept for a while when they are done with, and given again.
#pragma once

#include <chrono>
#include <condition_variable>
#include <list>
#include <map>
#include <mutex>
#include <unordered_map>

namespace pare {

// Each block is a mapping of its own, so that none keeps the memory around it from the system. Used and
// idle blocks together never take more than the used ones once took alone: a new one takes the place of
// the idle ones that waited longest.
class BlockCache {
 public:
  struct Usage {
    size_t used;
    size_t idle;
  };

  // Idle blocks go back to the system after `patience`.
  explicit BlockCache(std::chrono::milliseconds patience) : patience_(patience) {}

  // Its contents are anything. nullptr where the system has no more.
  void* get(size_t bytes);

  // False for what did not come from `get`.
  bool put(void* data);

  // Gives idle blocks back to the system.
  void empty();

  Usage usage();

 private:
  using Clock = std::chrono::steady_clock;
  struct Idle;
  using BySize = std::multimap<size_t, std::list<Idle>::iterator>;
  struct Idle {
    void* data;
    size_t size;
    Clock::time_point since;
    BySize::iterator bySize;
  };
  using Blocks = std::list<Idle>;

  Blocks::iterator fitting(size_t size);
  void takeOldest(Blocks& blocks);
  static void unmap(const Blocks& blocks);
  void watch();
  [[noreturn]] void releaseInTime();

  const std::chrono::milliseconds patience_;
  std::mutex mutex_;
  std::condition_variable hasIdle_;
  bool watched_ = false;
  std::unordered_map<void*, size_t> used_;  // sizes
  Blocks idle_;                             // those that wait longest come first
  BySize bySize_;
  size_t usedBytes_ = 0;
  size_t idleBytes_ = 0;
  size_t peak_ = 0;  // of the used bytes, since idle ones last went back to the system
};

}  // namespace pare
