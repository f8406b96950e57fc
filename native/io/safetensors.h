// Tensors whose memory is a range of a file.
#pragma once

#include <ATen/ATen.h>

#include <vector>

namespace pare {

// A tensor over the bytes of an open file from `offset` on. It stays valid after the file is
// closed, removed or replaced by rename. Each tensor has a mapping of its own, so that releasing
// it gives its pages back, and changing it in place leaves the version counters of others alone.
at::Tensor mapTensor(int64_t fd, int64_t offset, at::ScalarType dtype,
                     const std::vector<int64_t>& shape);

}  // namespace pare
