#include "adamw_bfloat16.h"

#include "../../cuda/elements.cuh"
#include "../../cuda/intrinsics.cuh"
#include "rounding.cuh"

namespace pare::adam {

using namespace pare::cuda;

constexpr int kThreads = 256;
constexpr int64_t kMaxGrid = 1024;  // more blocks would make the step again for nothing

template <typename G>
__global__ void __launch_bounds__(kThreads)
    updateKernel(__nv_bfloat16* parameter, const G* gradient, int64_t count, float* first,
                 float* second, const float* number, Settings settings,
                 rounding::Rounding rounding) {
  __shared__ Step step;
  __shared__ uint64_t key;
  if (threadIdx.x == 0) {
    step = stepOf(settings, *number);
    key = rounding.keyAt(*number);
  }
  __syncthreads();
  const int64_t stride = int64_t{gridDim.x} * kThreads * kVector;
  for (int64_t at = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kVector; at < count;
       at += stride) {
    float p[kVector] = {};
#pragma unroll
    for (int i = 0; i < kVector; i++) {
      if (i >= count - at) continue;
      p[i] = update(step, toFloat(parameter[at + i]), toFloat(gradient[at + i]), first[at + i],
                    second[at + i]);
    }
    rounding::store(key, at, p, count - at, parameter, false);
  }
}

void updateOnDevice(void* parameter, const void* gradient, Element gradientElement, int64_t count,
                    float* first, float* second, const float* step, const Settings& settings,
                    const rounding::Rounding& rounding, cudaStream_t stream) {
  if (count == 0) return;
  constexpr int64_t perGrid = int64_t{kThreads} * kVector;
  const int64_t wanted = (count + perGrid - 1) / perGrid;
  const auto grid = static_cast<unsigned>(wanted < kMaxGrid ? wanted : kMaxGrid);
  const auto run = [&](auto* type) {
    using G = std::remove_pointer_t<decltype(type)>;
    launch(updateKernel<G>, grid, kThreads, 0, stream, static_cast<__nv_bfloat16*>(parameter),
           static_cast<const G*>(gradient), count, first, second, step, settings, rounding);
  };
  if (gradientElement == Element::kFloat32) return run(static_cast<float*>(nullptr));
  run(static_cast<__nv_bfloat16*>(nullptr));
}

}  // namespace pare::adam
