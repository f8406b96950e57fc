#include "paths.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

namespace pare::nf4::cpu {

// Those of this processor, slowest first.
static std::vector<Path> supportedPaths() {
  std::vector<Path> paths = {kPortable};
#ifdef PARE_NF4_X86
  const auto has = [](auto... supported) { return (... && (supported != 0)); };
  if (has(__builtin_cpu_supports("avx2"), __builtin_cpu_supports("fma"),
          __builtin_cpu_supports("f16c"))) {
    paths.push_back(kAvx2);
  }
  if (has(__builtin_cpu_supports("avx2"), __builtin_cpu_supports("fma"),
          __builtin_cpu_supports("f16c"), __builtin_cpu_supports("avx512f"),
          __builtin_cpu_supports("avx512bw"), __builtin_cpu_supports("avx512dq"),
          __builtin_cpu_supports("avx512vl"))) {
    paths.push_back(kAvx512);
    if (has(__builtin_cpu_supports("avx512bf16"))) {
      Path path = kAvx512;
      path.name = "avx512bf16";
      path.multiplyBFloat16 = multiplyBFloat16;
      path.panels = &kPanels;
      paths.push_back(path);
    }
  }
#endif
#ifdef PARE_NF4_ARM64
  paths.push_back(kNeon);
#endif
  return paths;
}

static const std::vector<Path>& paths() {
  static const std::vector<Path> paths = supportedPaths();
  return paths;
}

std::vector<std::string> pathNames() {
  std::vector<std::string> names;
  for (const Path& path : paths()) names.push_back(path.name);
  return names;
}

static const Path& find(const std::string& name) {
  for (const Path& path : paths()) {
    if (name == path.name) return path;
  }
  std::string message =
      "NF4 has no CPU kernels '" + name + "' for this processor; PARE_NF4_CPU can be one of:";
  for (const Path& path : paths()) message += std::string(" ") + path.name;
  throw std::invalid_argument(message);
}

static const Path& choose() {
  const char* wanted = std::getenv("PARE_NF4_CPU");
  return wanted == nullptr || *wanted == '\0' ? paths().back() : find(wanted);
}

static std::atomic<const Path*> inUse{nullptr};

const Path& path() {
  const Path* path = inUse.load(std::memory_order_acquire);
  if (path == nullptr) {
    path = &choose();
    inUse.store(path, std::memory_order_release);
  }
  return *path;
}

void usePath(const std::string& name) { inUse.store(&find(name), std::memory_order_release); }

}  // namespace pare::nf4::cpu
