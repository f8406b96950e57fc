// Functions that the host's compiler and nvcc both compile.
#pragma once

#ifdef __CUDACC__
#define PARE_HOST_DEVICE __host__ __device__
#else
#define PARE_HOST_DEVICE
#endif
