// The room's functions for JavaScript (lib/torch/binding.ts declares them).
#include "../bridge/rooms.h"
#include "counter_normal.h"
#include "safetensors.h"

namespace pare {

void registerIo(Registry& registry) {
  PARE_OP("mapTensor",
          (int64_t fd, int64_t offset, at::ScalarType dtype, std::vector<int64_t> shape),
          mapTensor(fd, offset, dtype, shape))
  PARE_OP("fillNormal",
          (Bytes target, at::ScalarType dtype, int64_t seed, int64_t first, double deviation),
          fillNormal(target.data, target.size, dtype, static_cast<uint64_t>(seed), first,
                     deviation))
}

}  // namespace pare
