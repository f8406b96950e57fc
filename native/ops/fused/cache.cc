// The key-value cache of generation, written and read in one call a layer.
#include "fused.h"

namespace pare {

std::vector<at::Tensor> cacheAppend(at::Tensor cachedKeys, at::Tensor cachedValues,
                                    const at::Tensor& keys, const at::Tensor& values,
                                    int64_t length) {
  TORCH_CHECK_VALUE(keys.dim() == 4 && keys.sizes() == values.sizes() &&
                        length + keys.size(2) <= cachedKeys.size(2),
                    "the cache ", cachedKeys.sizes(), " has no room behind ", length,
                    " positions for keys ", keys.sizes(), " and values ", values.sizes());
  const int64_t time = keys.size(2);
  cachedKeys.narrow(2, length, time).copy_(keys);
  cachedValues.narrow(2, length, time).copy_(values);
  return {cachedKeys.narrow(2, 0, length + time), cachedValues.narrow(2, 0, length + time)};
}

}  // namespace pare
