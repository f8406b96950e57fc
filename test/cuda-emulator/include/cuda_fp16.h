#pragma once

#include <c10/util/Half.h>

using __half = c10::Half;
struct __half2 {
  __half x, y;
};
inline float __half2float(__half value) { return value; }
inline __half __float2half_rn(float value) { return value; }
inline __half2 __floats2half2_rn(float x, float y) { return {x, y}; }
