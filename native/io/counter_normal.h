// Random numbers for files that are too large to be made in memory.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>

namespace pare {

// Fills `bytes` with values of mean 0 and this standard deviation, about normal (the sum of four
// uniform ones; none is beyond 3.5 deviations). A value depends on the seed and its number alone,
// and the first here has the number `first`: in pieces of any size and by any number of threads, the
// values are the same. `dtype` is float32, bfloat16 or float16.
void fillNormal(void* bytes, size_t size, at::ScalarType dtype, uint64_t seed, int64_t first,
                double deviation);

}  // namespace pare
