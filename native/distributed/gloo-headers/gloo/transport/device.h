// Gloo's headers are not in PyTorch's wheel, its code is (in libtorch_cpu). What
// c10d's ProcessGroupGloo.hpp needs of them is that these names exist: pare holds pointers to them
// and calls no function of Gloo. A libtorch that has the headers is compiled with its own.
#pragma once

namespace gloo::transport {
class Device;
}  // namespace gloo::transport
