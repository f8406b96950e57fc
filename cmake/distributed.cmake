# c10d's backends: Gloo where libtorch's headers offer it, NCCL where libtorch was built with it.
set(C10D "${LIBTORCH}/include/torch/csrc/distributed/c10d")
if(EXISTS "${C10D}/ProcessGroupGloo.hpp" AND NOT APPLE AND NOT WIN32)
  set_property(SOURCE native/distributed/group.cc APPEND PROPERTY
    COMPILE_DEFINITIONS PARE_WITH_GLOO)
  if(NOT EXISTS "${LIBTORCH}/include/gloo/context.h")
    target_include_directories(pare SYSTEM PRIVATE
      "${CMAKE_SOURCE_DIR}/native/distributed/gloo-headers")
  endif()
endif()
# nccl.h comes with its own package, beside torch in Python's folder of packages.
if(EXISTS "${LIBTORCH}/lib/libtorch_cuda.so" AND CMAKE_CUDA_COMPILER)
  find_path(NCCL_INCLUDE nccl.h HINTS
    "${LIBTORCH}/../nvidia/nccl/include" "${LIBTORCH}/include" "$ENV{NCCL_HOME}/include")
  if(NCCL_INCLUDE)
    set_property(SOURCE native/distributed/group.cc APPEND PROPERTY
      COMPILE_DEFINITIONS PARE_WITH_NCCL)
    target_include_directories(pare SYSTEM PRIVATE "${NCCL_INCLUDE}")
  else()
    message(STATUS "no nccl.h: several processes with CUDA use Gloo")
  endif()
endif()
