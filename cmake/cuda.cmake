# With a CUDA build of libtorch the addon links it; with nvcc too, the kernels in native/**/*.cu are
# built in (PARE_WITH_CUDA). With a CPU build neither happens, unless PARE_CUDA_KERNELS asks for the
# kernels all the same: to see that they and their callers compile. Such an addon loads and is never
# offered a tensor for them.
option(PARE_CUDA_KERNELS "Build the CUDA kernels beside a CPU build of libtorch" OFF)
if(EXISTS "${LIBTORCH}/lib/libtorch_cuda.so")
  # torch_cuda registers its operators when it is loaded; nothing names a symbol of it.
  target_link_options(pare PRIVATE -Wl,--no-as-needed)
  target_link_libraries(pare PRIVATE torch_cuda c10_cuda)
elseif(PARE_CUDA_KERNELS)
  # Functions of c10_cuda are looked up when they are called, which nothing does; this one variable
  # already when the addon is loaded.
  target_link_options(pare PRIVATE
    -Wl,--defsym=_ZN3c104cuda20CUDACachingAllocator9allocatorE=0)
else()
  return()
endif()

include(CheckLanguage)
check_language(CUDA)
file(GLOB_RECURSE CUDA_SOURCES CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/native/*.cu")
if(NOT CMAKE_CUDA_COMPILER)
  if(PARE_CUDA_KERNELS)
    message(FATAL_ERROR "PARE_CUDA_KERNELS needs nvcc; install the CUDA toolkit")
  endif()
  message(STATUS "no nvcc: the addon runs libtorch's CUDA operators only")
  return()
endif()

if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  # Ampere and Hopper in machine code; PTX of the latter for what comes after.
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90)
endif()
enable_language(CUDA)
file(GLOB CUDA_GLUE CONFIGURE_DEPENDS
  "${CMAKE_SOURCE_DIR}/native/cuda/*.cc" "${CMAKE_SOURCE_DIR}/native/*/cuda/*.cc")
target_sources(pare PRIVATE ${CUDA_SOURCES} ${CUDA_GLUE})
set_target_properties(pare PROPERTIES
  CUDA_ARCHITECTURES "${CMAKE_CUDA_ARCHITECTURES}"
  CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON CUDA_VISIBILITY_PRESET hidden
  CUDA_RUNTIME_LIBRARY Static)  # whatever version libtorch brings of its own
target_compile_definitions(pare PRIVATE PARE_WITH_CUDA)
target_include_directories(pare SYSTEM PRIVATE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
set(MACROS c10/cuda/impl/cuda_cmake_macros.h)
if(NOT EXISTS "${LIBTORCH}/include/${MACROS}")
  # The one header of c10/cuda that a CPU build leaves out: how libtorch itself was built.
  file(WRITE "${CMAKE_BINARY_DIR}/cuda-macros/${MACROS}" "#define C10_CUDA_BUILD_SHARED_LIBS\n")
  target_include_directories(pare SYSTEM PRIVATE "${CMAKE_BINARY_DIR}/cuda-macros")
endif()
