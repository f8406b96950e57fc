// The allocator of tensors on the CPU: large ones in blocks that are kept for a while. glibc's heap
// was a fifth to a third larger than what was in it, since small blocks that stay lie between large
// ones that go; and what it maps anew for each large tensor is faulted in page by page.
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <c10/util/Exception.h>

#include "../bridge/rooms.h"
#include "block_cache.h"

namespace pare {

// The sanitizers see each tensor's memory only where it is allocated and freed alone.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kCaches = false;
#else
constexpr bool kCaches = true;
#endif

namespace {

// Smaller tensors are malloc's: it keeps them in less room, and faster.
constexpr size_t kSmallest = 512 << 10;

// A block that was idle for so long costs far less to map again than was done meanwhile.
constexpr std::chrono::seconds kPatience{10};

// Lives as long as the process: tensors may be freed while it ends.
BlockCache& cache() {
  static auto* const cache = new BlockCache(kPatience);
  return *cache;
}

void release(void* data) {
  if (data != nullptr && !cache().put(data)) c10::free_cpu(data);
}

class CachingAllocator final : public at::Allocator {
 public:
  at::DataPtr allocate(size_t bytes) override {
    void* const data = bytes < kSmallest ? c10::alloc_cpu(bytes) : cache().get(bytes);
    TORCH_CHECK(data != nullptr || bytes == 0, "there is no memory for a tensor of ", bytes,
                " bytes");
    return {data, data, &release, at::Device(at::kCPU)};
  }
  at::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
};

}  // namespace

void registerMemory(Registry& registry) {
  if (kCaches) {
    static CachingAllocator allocator;
    c10::SetCPUAllocator(&allocator);
  }
  registry.add<[] { cache().empty(); }>("emptyCache");
  registry.add<[] {
    const BlockCache::Usage usage = cache().usage();
    return std::vector<int64_t>{static_cast<int64_t>(usage.used),
                                static_cast<int64_t>(usage.used + usage.idle)};
  }>("blocks");
}

}  // namespace pare
