#pragma once

#include <cstdint>

namespace emulator {

// Kernels that are right or wrong on purpose, to see that the emulator tells which:
// 0  product of halves in[0, 256) as [16, 16] and in[256, 384) as [8, 16], the latter transposed by
//    ldmatrix; out [16, 8]
// 1  the same with the second matrix given as [16, 8], by ldmatrix.trans
// 2  out[i] = in[i], through a copy in the background
// 3  the same, read before the copy is waited for
// 4  the same, never waited for
// 5  each of 64 threads writes a value that the next reads, without a barrier between
// 6  the same with a barrier
// 7  a barrier that half of the threads leave out
// 8  a shuffle that one lane leaves out
void selfTest(int which, const uint16_t* in, float* out);

}  // namespace emulator
