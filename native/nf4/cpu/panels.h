// Products of many rows in bfloat16 with weights that are decoded a panel at a time into the cache,
// in the order in which the products read them. No tile of weights is written to memory and put in
// order there, as a library must do that is given one: that took longer than the products of 16
// rows.
#pragma once

#include "../scales.h"

namespace pare::nf4::cpu {

// Columns of the result that one panel gives: four vectors of float32.
constexpr int64_t kStrip = 64;
// Rows whose sums fit the registers together with a panel's values.
constexpr int64_t kRowsAtOnce = 6;

// out = a W^T + bias (forward) or a W (backward), W [outFeatures, inFeatures]; a and out bfloat16.
struct PanelProduct {
  const uint16_t* a;  // in the order of `packRows`
  int64_t rows;
  const uint8_t* packed;
  Scales scales;
  int64_t blockSize;
  int64_t outFeatures;
  int64_t inFeatures;
  const float* bias;  // may be null, as backward
  uint16_t* out;      // [rows, outFeatures], or [rows, inFeatures] backward
};

// What a path offers.
struct Panels {
  // Whether sizes fit; if they do not, tiles of decoded weights are the way.
  bool (*fits)(int64_t blockSize, int64_t inFeatures, bool backward);
  // Values that `packRows` writes for a matrix [rows, width].
  int64_t (*packedSize)(int64_t rows, int64_t width);
  // Group `group` of kRowsAtOnce rows.
  void (*packRows)(const uint16_t* a, int64_t rows, int64_t width, bool backward, int64_t group,
                   uint16_t* packed);
  // Strips [begin, end) of the result's columns.
  void (*forward)(const PanelProduct& product, int64_t begin, int64_t end);
  void (*backward)(const PanelProduct& product, int64_t begin, int64_t end);
};

}  // namespace pare::nf4::cpu
