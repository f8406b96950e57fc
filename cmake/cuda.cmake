# With a CUDA build of libtorch the addon links it; with nvcc too, the kernels in native/**/cuda are
# built in (PARE_WITH_CUDA). With a CPU build neither happens.
if(NOT EXISTS "${LIBTORCH}/lib/libtorch_cuda.so")
  return()
endif()

# torch_cuda registers its operators when it is loaded; nothing names a symbol of it.
target_link_options(pare PRIVATE -Wl,--no-as-needed)
target_link_libraries(pare PRIVATE torch_cuda c10_cuda)

include(CheckLanguage)
check_language(CUDA)
file(GLOB_RECURSE CUDA_SOURCES CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/native/*.cu")
if(NOT CMAKE_CUDA_COMPILER OR NOT CUDA_SOURCES)
  message(STATUS "no nvcc or no kernels: the addon runs libtorch's CUDA operators only")
  return()
endif()

if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  # Ampere and Hopper in machine code; PTX of the latter for what comes after.
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90)
endif()
enable_language(CUDA)
file(GLOB_RECURSE CUDA_GLUE CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/native/*/cuda/*.cc")
target_sources(pare PRIVATE ${CUDA_SOURCES} ${CUDA_GLUE})
set_target_properties(pare PROPERTIES
  CUDA_ARCHITECTURES "${CMAKE_CUDA_ARCHITECTURES}"
  CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON CUDA_VISIBILITY_PRESET hidden
  CUDA_RUNTIME_LIBRARY Shared)
target_compile_definitions(pare PRIVATE PARE_WITH_CUDA)
target_include_directories(pare SYSTEM PRIVATE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
