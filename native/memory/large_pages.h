// Large pages for large blocks: fewer faults when they are first touched, and fewer entries of the
// processor's page table to look up.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace pare {

constexpr size_t kLargePage = 2 << 20;

// Asks the kernel for large pages where `bytes` from `data` on hold whole ones; nothing is taken
// beside them. A kernel that has none for programs leaves all as it was.
inline void askForLargePages(void* data, size_t bytes) {
#ifdef __linux__
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + kLargePage - 1) & ~(kLargePage - 1);
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes) & ~(kLargePage - 1);
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

}  // namespace pare
