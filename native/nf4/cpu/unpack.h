// Reading runs of codes, two at a time.
#pragma once

#include <array>

#include "../nf4.h"

namespace pare::nf4::cpu {

// The two values of every byte: one lookup and one 8-byte copy instead of two shifts and lookups.
struct PairTable {
  float values[256][2];
};

constexpr PairTable makePairTable() {
  PairTable table{};
  for (int byte = 0; byte < 256; byte++) {
    table.values[byte][0] = codebook(byte >> 4);
    table.values[byte][1] = codebook(byte & 15);
  }
  return table;
}

inline constexpr PairTable kPairs = makePairTable();

// Codebook values times `scale` for the positions [first, first + count) of the flat array.
inline void unpackScaled(const uint8_t* packed, int64_t first, int64_t count, float scale,
                         float* values) {
  if (count > 0 && first & 1) {
    *values++ = codebook(unpack(packed, first)) * scale;
    first++;
    count--;
  }
  const uint8_t* bytes = packed + first / 2;
  const int64_t pairs = count / 2;
  for (int64_t i = 0; i < pairs; i++) {
    values[2 * i] = kPairs.values[bytes[i]][0] * scale;
    values[2 * i + 1] = kPairs.values[bytes[i]][1] * scale;
  }
  if (count & 1) values[count - 1] = codebook(bytes[pairs] >> 4) * scale;
}

}  // namespace pare::nf4::cpu
