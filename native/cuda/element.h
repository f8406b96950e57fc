// The element types that kernels read and write through `void*`.
#pragma once

namespace pare::cuda {

enum class Element { kFloat32, kBFloat16, kFloat16 };

}  // namespace pare::cuda
