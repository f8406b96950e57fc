#!/bin/sh
# In a folder that pack-cuda.js packed, on a machine with a GPU, nvcc, cmake, a C++ compiler and a
# Python with a CUDA build of torch: builds the addon against that torch, runs the tests and the
# benchmark. Needs no Node and no network.
#
#   sh run.sh [test|bench|all]     PYTHON=python3 names the Python
set -eu
cd "$(dirname "$0")"
what=${1:-all}
PYTHON=${PYTHON:-python3}
export PYTHON
if [ ! -x bin/node ]; then
  gzip -dc bin/node.gz >bin/node.part
  chmod +x bin/node.part
  mv bin/node.part bin/node
fi
PATH="$PWD/bin:$PATH"
export PATH

# The kernels are built even where torch is a CPU build: that much can be seen without a GPU.
export PARE_CUDA_KERNELS=1
LIBTORCH=${LIBTORCH:-$("$PYTHON" -c 'import os, torch; print(os.path.dirname(torch.__file__))')}
export LIBTORCH
node cmake/build.js
export PARE_ADDON="$PWD/build/pare.node"
case $what in
  test | all) node cmake/cuda.js test ;;
esac
case $what in
  bench | all) node cmake/cuda.js bench "$PYTHON" ;;
esac
