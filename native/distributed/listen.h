// Sockets that c10d leaves no choice of address for.
#pragma once

#include <cstdint>
#include <string>

namespace pare {

struct Listening {
  int fd;
  uint16_t port;
};

// A socket that listens on this address alone (c10d's own would listen on all); port 0 takes a free
// one. Throws std::runtime_error in one line.
Listening listenOn(const std::string& host, uint16_t port);

// This machine's address on the way to `host`.
std::string addressTowards(const std::string& host, uint16_t port);

}  // namespace pare
