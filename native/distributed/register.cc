#include "../bridge/rooms.h"
#include "distributed.h"

namespace pare {

void registerDistributed(Registry& registry) {
  registerStore(registry);
  registerGroup(registry);
  registerReducer(registry);
}

}  // namespace pare
