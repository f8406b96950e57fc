#include <ATen/Parallel.h>

#include <algorithm>
#include <memory>

#include "kernels.h"

namespace pare::nf4::cpu {

// A panel is decoded again for each part of the rows, which by then costs little. A part takes 6
// MiB in order, and a thread half a MiB of sums a strip.
constexpr int64_t kPartValues = int64_t{3} << 20;
constexpr int64_t kPartRows = 2048;

bool multipliesByPanels(int64_t blockSize, int64_t inFeatures, bool backward) {
  const Panels* panels = path().panels;
  return panels != nullptr && panels->fits(blockSize, inFeatures, backward);
}

void panelLinear(const uint16_t* x, int64_t rows, const uint8_t* packed, const Scales& scales,
                 int64_t blockSize, int64_t outFeatures, int64_t inFeatures, bool backward,
                 const float* bias, uint16_t* out) {
  const Panels& panels = *path().panels;
  const int64_t width = backward ? outFeatures : inFeatures;
  const int64_t columns = backward ? inFeatures : outFeatures;
  const int64_t most = std::clamp<int64_t>(kPartValues / width, kRowsAtOnce, kPartRows);
  const int64_t parts = (rows + most - 1) / most;
  const int64_t strips = (columns + kStrip - 1) / kStrip;
  const auto ordered = std::make_unique_for_overwrite<uint16_t[]>(
      panels.packedSize((rows + parts - 1) / parts, width));
  for (int64_t part = 0; part < parts; part++) {
    const int64_t row = part * rows / parts;
    const int64_t count = (part + 1) * rows / parts - row;
    const int64_t groups = (count + kRowsAtOnce - 1) / kRowsAtOnce;
    at::parallel_for(0, groups, 1, [&](int64_t begin, int64_t end) {
      for (int64_t group = begin; group < end; group++) {
        panels.packRows(x + row * width, count, width, backward, group, ordered.get());
      }
    });
    const PanelProduct product{ordered.get(), count,     packed,
                               scales,        blockSize, outFeatures,
                               inFeatures,    bias,      out + row * columns};
    at::parallel_for(0, strips, 1, [&](int64_t begin, int64_t end) {
      (backward ? panels.backward : panels.forward)(product, begin, end);
    });
  }
}

}  // namespace pare::nf4::cpu
