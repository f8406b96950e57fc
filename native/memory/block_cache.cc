#include "block_cache.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <system_error>
#include <thread>

namespace pare {

namespace {

constexpr size_t kPage = 4096;

// Up to an eighth more: sizes of batches differ by little, and what is not touched takes no memory.
size_t roundUp(size_t bytes) {
  size_t step = kPage;
  while (step * 16 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

// In large pages where the kernel has some for programs: fewer faults when memory is first touched, fewer
// entries of the processor's page table to look up.
void* map(size_t size) {
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return nullptr;
#ifdef __linux__
  madvise(data, size, MADV_HUGEPAGE);
#endif
  return data;
}

}  // namespace

void* BlockCache::get(size_t bytes) {
  const size_t size = roundUp(bytes);
  Blocks dropped;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = fitting(size);
    if (found != idle_.end()) {
      void* data = found->data;
      usedBytes_ += found->size;
      idleBytes_ -= found->size;
      peak_ = std::max(peak_, usedBytes_);
      used_.emplace(data, found->size);
      bySize_.erase(found->bySize);
      idle_.erase(found);
      return data;
    }
    usedBytes_ += size;
    peak_ = std::max(peak_, usedBytes_);
    while (!idle_.empty() && usedBytes_ + idleBytes_ > peak_) takeOldest(dropped);
  }
  unmap(dropped);
  void* data = map(size);
  if (data == nullptr) {
    empty();
    data = map(size);
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  if (data == nullptr) {
    usedBytes_ -= size;
    peak_ = usedBytes_ + idleBytes_;
  } else {
    used_.emplace(data, size);
  }
  return data;
}

bool BlockCache::put(void* data) {
  // Whole pages are the first that blocks and nothing else have in common.
  if (reinterpret_cast<uintptr_t>(data) % kPage != 0) return false;
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = used_.find(data);
  if (found == used_.end()) return false;
  const size_t size = found->second;
  used_.erase(found);
  usedBytes_ -= size;
  idleBytes_ += size;
  const auto block = idle_.insert(idle_.end(), {data, size, Clock::now(), {}});
  block->bySize = bySize_.emplace(size, block);
  if (!watched_) watch();
  if (idle_.size() == 1) hasIdle_.notify_one();
  return true;
}

void BlockCache::empty() {
  Blocks dropped;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    while (!idle_.empty()) takeOldest(dropped);
    peak_ = usedBytes_;
  }
  unmap(dropped);
}

BlockCache::Usage BlockCache::usage() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return {usedBytes_, idleBytes_};
}

// The smallest idle block of at least `size`; none that is larger by more than a quarter.
BlockCache::Blocks::iterator BlockCache::fitting(size_t size) {
  auto found = bySize_.lower_bound(size);
  if (found == bySize_.end() || found->first > size + size / 4) return idle_.end();
  // The last of its size: the processor's caches may still hold some of it.
  found = std::prev(bySize_.upper_bound(found->first));
  return found->second;
}

void BlockCache::watch() {
  watched_ = true;
  try {
    std::thread([this] { releaseInTime(); }).detach();
  } catch (const std::system_error&) {
    // There are no more threads for this process: blocks go when they are in the way, or when asked.
  }
}

// What is unmapped is unmapped without the lock: a large block takes milliseconds.
void BlockCache::takeOldest(Blocks& blocks) {
  idleBytes_ -= idle_.front().size;
  bySize_.erase(idle_.front().bySize);
  blocks.splice(blocks.end(), idle_, idle_.begin());
}

void BlockCache::unmap(const Blocks& blocks) {
  for (const Idle& block : blocks) munmap(block.data, block.size);
}

void BlockCache::releaseInTime() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    hasIdle_.wait(lock, [&] { return !idle_.empty(); });
    const auto due = idle_.front().since + patience_;
    lock.unlock();
    std::this_thread::sleep_until(due);
    lock.lock();
    Blocks dropped;
    const auto before = Clock::now() - patience_;
    while (!idle_.empty() && idle_.front().since <= before) takeOldest(dropped);
    if (dropped.empty()) continue;
    peak_ = usedBytes_ + idleBytes_;
    lock.unlock();
    unmap(dropped);
    lock.lock();
  }
}

}  // namespace pare
