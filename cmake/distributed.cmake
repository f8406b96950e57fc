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
# NCCL's header and those of CUDA's libraries, which libtorch's own need, come with packages of their
# own beside torch in Python's folder of packages, or with the system's toolkit.
if(EXISTS "${LIBTORCH}/lib/libtorch_cuda.so" AND CMAKE_CUDA_COMPILER)
  file(GLOB NVIDIA_INCLUDES "${LIBTORCH}/../nvidia/*/include")
  set(HINTS ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES} ${NVIDIA_INCLUDES} "${LIBTORCH}/include")
  set(LACKING "")
  set(NCCL_FLAGS "")
  foreach(HEADER nccl.h cusparse.h cublas_v2.h cublasLt.h cusolverDn.h)
    string(MAKE_C_IDENTIFIER "FOLDER_OF_${HEADER}" FOLDER)
    find_path(${FOLDER} ${HEADER} HINTS "$ENV{NCCL_HOME}/include" ${HINTS})
    if(${FOLDER})
      # Last of all: what is in the toolkit's own folder, too, is to be taken from there.
      list(APPEND NCCL_FLAGS "-idirafter${${FOLDER}}")
    else()
      list(APPEND LACKING ${HEADER})
    endif()
  endforeach()
  if(LACKING)
    list(JOIN LACKING ", " LACKING)
    message(STATUS "no NCCL, for want of ${LACKING}: several processes with CUDA use Gloo")
  else()
    list(REMOVE_DUPLICATES NCCL_FLAGS)
    set_property(SOURCE native/distributed/group.cc APPEND PROPERTY
      COMPILE_DEFINITIONS PARE_WITH_NCCL)
    set_property(SOURCE native/distributed/group.cc APPEND PROPERTY COMPILE_OPTIONS ${NCCL_FLAGS})
  endif()
endif()
