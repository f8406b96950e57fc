// The rooms that register functions with the addon.
#pragma once

#include "registry.h"

namespace pare {

void registerMemory(Registry& registry);
void registerTensor(Registry& registry);
void registerAutograd(Registry& registry);
void registerWarnings(Registry& registry);
void registerRandom(Registry& registry);
void registerMath(Registry& registry);
void registerShape(Registry& registry);
void registerNn(Registry& registry);
void registerChunkedLoss(Registry& registry);
void registerOptim(Registry& registry);
void registerAdamW8bit(Registry& registry);
void registerIo(Registry& registry);
void registerNf4(Registry& registry);
void registerDistributed(Registry& registry);
void registerCuda(Registry& registry);  // in builds with nvcc only

}  // namespace pare
