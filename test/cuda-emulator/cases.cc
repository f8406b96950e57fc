// Runs the kernels on cases from a file: cases IN OUT. A case is a line "name buffers argument..."
// and its buffers, each a 64-bit size and bytes; the buffers it gives go to OUT in the same way.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "../../native/nf4/cuda/kernels.h"
#include "../../native/ops/cuda/adamw_8bit.h"
#include "../../native/ops/cuda/adamw_bfloat16.h"
#include "self_test.h"

namespace {

// Of exactly its size, so that the address sanitizer sees what is read beyond.
struct Buffer {
  int64_t size = 0;
  std::unique_ptr<uint8_t[]> bytes;

  explicit Buffer(int64_t size) : size(size), bytes(size > 0 ? new uint8_t[size] : nullptr) {}
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(bytes.get());
  }
};

using Buffers = std::vector<Buffer>;
using pare::cuda::Element;
namespace nf4 = pare::nf4;
namespace kernels = pare::nf4::cuda;

struct Case {
  std::vector<double> arguments;
  Buffers in;
  size_t taken = 0;

  int64_t next() { return static_cast<int64_t>(arguments.at(taken++)); }
  Element element() { return static_cast<Element>(next()); }
};

int64_t sizeOf(Element element) { return element == Element::kFloat32 ? 4 : 2; }

// Buffers `at` to `at` + 2, and the offset, the next argument: absmax, codes and map; without codes
// plain.
nf4::Scales scalesOf(Case& c, size_t at) {
  nf4::Scales scales;
  scales.absmax = c.in[at].as<float>();
  scales.codes = c.in[at + 1].as<uint8_t>();
  scales.map = c.in[at + 2].as<float>();
  scales.offset = static_cast<float>(c.arguments.at(c.taken++));
  return scales;
}

Buffers quantize(Case& c) {
  const Element element = c.element();
  const int64_t count = c.next(), blockSize = c.next();
  Buffers out;
  out.emplace_back((count + 1) / 2);
  out.emplace_back((count + blockSize - 1) / blockSize * 4);
  kernels::quantize(c.in[0].bytes.get(), element, count, blockSize, out[0].as<uint8_t>(),
                    out[1].as<float>(), nullptr);
  return out;
}

Buffers quantizeAbsmax(Case& c) {
  const int64_t count = c.next();
  Buffers out;
  out.emplace_back(count);
  out.emplace_back((count + 255) / 256 * 4);
  kernels::quantizeAbsmax(c.in[0].as<float>(), count, c.in[1].as<float>(), out[0].as<uint8_t>(),
                          out[1].as<float>(), nullptr);
  return out;
}

Buffers dequantize(Case& c) {
  const Element element = c.element();
  const int64_t blockSize = c.next(), width = c.next(), row = c.next(), rows = c.next(),
                column = c.next(), columns = c.next();
  const nf4::Scales scales = scalesOf(c, 1);
  Buffers out;
  out.emplace_back(rows * columns * sizeOf(element));
  kernels::dequantizeTile(c.in[0].as<uint8_t>(), scales, blockSize, width, row, rows, column,
                          columns, out[0].bytes.get(), element, nullptr);
  return out;
}

Buffers gather(Case& c) {
  const Element element = c.element();
  const int64_t blockSize = c.next(), rows = c.next(), width = c.next();
  const nf4::Scales scales = scalesOf(c, 1);
  const int64_t count = c.in[4].size / 8;
  Buffers out;
  out.emplace_back(count * width * sizeOf(element));
  kernels::gatherRows(c.in[0].as<uint8_t>(), scales, blockSize, rows, width, c.in[4].as<int64_t>(),
                      count, out[0].bytes.get(), element, nullptr);
  return out;
}

Buffers smallBatch(Case& c) {
  const Element element = c.element();
  const int64_t rows = c.next(), outFeatures = c.next(), inFeatures = c.next(),
                blockSize = c.next(), multiprocessors = c.next();
  const nf4::Scales scales = scalesOf(c, 2);
  Buffers out;
  out.emplace_back(rows * outFeatures * sizeOf(element));
  kernels::smallBatchLinear(c.in[0].bytes.get(), element, rows, c.in[1].as<uint8_t>(), scales,
                            blockSize, outFeatures, inFeatures, c.in[5].bytes.get(),
                            out[0].bytes.get(), multiprocessors, nullptr);
  return out;
}

template <bool Backward>
Buffers tensorCore(Case& c) {
  const Element element = c.element();
  const int64_t rows = c.next(), outFeatures = c.next(), inFeatures = c.next(),
                blockSize = c.next(), splits = c.next();
  const nf4::Scales scales = scalesOf(c, 2);
  const int64_t values = rows * (Backward ? inFeatures : outFeatures);
  Buffers out;
  out.emplace_back(values * sizeOf(element));
  Buffer partial(splits > 1 ? splits * values * 4 : 0);
  if (Backward) {
    kernels::tensorCoreBackward(c.in[0].bytes.get(), element, rows, c.in[1].as<uint8_t>(), scales,
                                blockSize, outFeatures, inFeatures, out[0].bytes.get(),
                                partial.as<float>(), splits, nullptr);
  } else {
    kernels::tensorCoreLinear(c.in[0].bytes.get(), element, rows, c.in[1].as<uint8_t>(), scales,
                              blockSize, outFeatures, inFeatures, c.in[5].bytes.get(),
                              out[0].bytes.get(), partial.as<float>(), splits, nullptr);
  }
  return out;
}

// The last arguments of the optimisers' cases: lr, both betas, decay and eps; whether rounding is
// stochastic, its seed and the parameter's number.
pare::adam::Settings settingsOf(Case& c) {
  pare::adam::Settings settings;
  double* const all[] = {&settings.lr, &settings.beta1, &settings.beta2, &settings.weightDecay,
                         &settings.eps};
  for (double* setting : all) *setting = c.arguments.at(c.taken++);
  return settings;
}

pare::rounding::Rounding roundingOf(Case& c) {
  const bool isStochastic = c.next() != 0;
  const auto seed = static_cast<uint64_t>(c.next());
  return {isStochastic, seed, static_cast<uint64_t>(c.next())};
}

// In place: gives parameter, codes and absmax of both moments, as the buffers hold them.
Buffers adamw8bit(Case& c) {
  namespace adamw = pare::blockwise;
  const Element element = c.element(), ofGradient = c.element();
  const int64_t count = c.next();
  const bool vectors = c.next() != 0;
  const float step = static_cast<float>(c.next());
  const pare::adam::Settings settings = settingsOf(c);
  const pare::rounding::Rounding rounding = roundingOf(c);
  adamw::Maps maps;
  memcpy(maps.isSigned, c.in[6].bytes.get(), sizeof maps.isSigned);
  memcpy(maps.isUnsigned, c.in[7].bytes.get(), sizeof maps.isUnsigned);
  adamw::updateOnDevice({c.in[0].bytes.get(), element}, {c.in[1].bytes.get(), ofGradient}, count,
                        vectors, {c.in[2].as<uint8_t>(), c.in[4].as<float>()},
                        {c.in[3].as<uint8_t>(), c.in[5].as<float>()}, &step, settings, rounding,
                        maps, nullptr);
  Buffers out;
  for (const size_t i : {0, 2, 3, 4, 5}) out.push_back(std::move(c.in[i]));
  return out;
}

// In place: gives parameter and moments.
Buffers adamwBFloat16(Case& c) {
  const Element ofGradient = c.element();
  const int64_t count = c.next();
  const float step = static_cast<float>(c.next());
  const pare::adam::Settings settings = settingsOf(c);
  pare::adam::updateOnDevice(c.in[0].bytes.get(), c.in[1].bytes.get(), ofGradient, count,
                             c.in[2].as<float>(), c.in[3].as<float>(), &step, settings,
                             roundingOf(c), nullptr);
  Buffers out;
  for (const size_t i : {0, 2, 3}) out.push_back(std::move(c.in[i]));
  return out;
}

// What the launch would choose: fits of the small batch, and splits.
Buffers choices(Case& c) {
  const Element element = c.element();
  const int64_t rows = c.next(), outFeatures = c.next(), inFeatures = c.next(), units = c.next();
  Buffers out;
  out.emplace_back(16);
  out[0].as<int64_t>()[0] = kernels::smallBatchFits(element, outFeatures, inFeatures);
  out[0].as<int64_t>()[1] = kernels::tensorCoreSplits(rows, inFeatures, outFeatures, units);
  return out;
}

Buffers selfTest(Case& c) {
  Buffers out;
  out.emplace_back(16 * 8 * 4);
  emulator::selfTest(static_cast<int>(c.next()), c.in[0].as<uint16_t>(), out[0].as<float>());
  return out;
}

const std::map<std::string, Buffers (*)(Case&)> cases = {
    {"quantize", quantize},
    {"quantizeAbsmax", quantizeAbsmax},
    {"dequantize", dequantize},
    {"gather", gather},
    {"smallBatch", smallBatch},
    {"tensorCore", tensorCore<false>},
    {"tensorCoreBackward", tensorCore<true>},
    {"adamw8bit", adamw8bit},
    {"adamwBFloat16", adamwBFloat16},
    {"choices", choices},
    {"selfTest", selfTest},
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  std::ifstream in(argv[1], std::ios::binary);
  std::ofstream out(argv[2], std::ios::binary);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string name;
    size_t buffers = 0;
    words >> name >> buffers;
    Case c;
    for (double argument; words >> argument;) c.arguments.push_back(argument);
    for (size_t i = 0; i < buffers; i++) {
      int64_t size = 0;
      in.read(reinterpret_cast<char*>(&size), sizeof size);
      c.in.emplace_back(size);
      in.read(c.in.back().as<char>(), size);
    }
    if (!in) return 2;
    for (const Buffer& result : cases.at(name)(c)) {
      out.write(reinterpret_cast<const char*>(&result.size), sizeof result.size);
      out.write(result.as<char>(), result.size);
    }
  }
  return out.flush() ? 0 : 1;
}
