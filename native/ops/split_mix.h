// Random bits that are a function of a counter: no state to save, the same for any number of threads.
#pragma once

#include <cstdint>

#include "../cuda/host_device.h"

namespace pare {

// SplitMix64 (Steele, Lea and Flood 2014) of a counter.
PARE_HOST_DEVICE inline uint64_t mix(uint64_t x) {
  x *= 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace pare
