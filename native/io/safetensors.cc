// The header is parsed and checked in TypeScript (lib/torch/safetensors.ts).
#include "safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <system_error>

namespace pare {

using at::Tensor;

// A private mapping: a tensor that is changed in place gets its own copy of the pages it changes,
// and the file never changes. NORESERVE: a checkpoint may be larger than the memory.
class Mapping {
 public:
  Mapping(int fd, int64_t offset, size_t size) {
    const int64_t page = sysconf(_SC_PAGESIZE);
    const int64_t start = offset / page * page;
    lead_ = static_cast<size_t>(offset - start);
    length_ = lead_ + size;
    base_ = mmap(nullptr, length_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, start);
    if (base_ == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
  }
  ~Mapping() { munmap(base_, length_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  void* data() const { return static_cast<char*>(base_) + lead_; }

 private:
  void* base_;
  size_t lead_;
  size_t length_;
};

static size_t byteSize(const std::vector<int64_t>& shape, at::ScalarType dtype) {
  size_t bytes = c10::elementSize(dtype);
  for (const int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(bytes, static_cast<size_t>(size), &bytes)) {
      throw std::invalid_argument("the shape is impossible");
    }
  }
  return bytes;
}

Tensor mapTensor(int64_t fd, int64_t offset, at::ScalarType dtype,
                 const std::vector<int64_t>& shape) {
  const size_t bytes = byteSize(shape, dtype);
  const auto options = at::TensorOptions().dtype(dtype);
  if (bytes == 0) return at::empty(shape, options);
  // Reading a mapping past the end of its file ends the process, so the file's size counts now.
  struct stat status;
  if (fstat(static_cast<int>(fd), &status) != 0) {
    throw std::system_error(errno, std::generic_category(), "fstat");
  }
  if (offset < 0 || offset > status.st_size ||
      bytes > static_cast<size_t>(status.st_size - offset)) {
    throw std::invalid_argument("the file ends before the tensor does");
  }
  const auto mapping = std::make_shared<Mapping>(static_cast<int>(fd), offset, bytes);
  // Unaligned loads are undefined behaviour: read the bytes as bytes, once.
  if (offset % static_cast<int64_t>(c10::elementSize(dtype)) != 0) {
    Tensor copy = at::empty(shape, options);
    std::memcpy(copy.data_ptr(), mapping->data(), bytes);
    return copy;
  }
  return at::from_blob(mapping->data(), shape, [mapping](void*) {}, options);
}

}  // namespace pare
