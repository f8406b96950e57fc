#include "listen.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <stdexcept>

namespace pare {

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

static Addresses resolve(const std::string& host, uint16_t port, int type) {
  addrinfo hints{};
  hints.ai_socktype = type;
  addrinfo* found = nullptr;
  const int code = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (code != 0) {
    throw std::runtime_error("cannot find the address of '" + host + "': " + gai_strerror(code));
  }
  return {found, freeaddrinfo};
}

Listening listenOn(const std::string& host, uint16_t port) {
  const auto addresses = resolve(host, port, SOCK_STREAM);
  int reason = 0;
  for (const addrinfo* at = addresses.get(); at != nullptr; at = at->ai_next) {
    const int fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
    if (fd < 0) continue;
    const int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, 1024) == 0) {
      sockaddr_storage bound{};
      socklen_t length = sizeof bound;
      getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &length);
      const uint16_t number = bound.ss_family == AF_INET6
                                  ? reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port
                                  : reinterpret_cast<sockaddr_in*>(&bound)->sin_port;
      return {fd, ntohs(number)};
    }
    reason = errno;
    close(fd);
  }
  throw std::runtime_error("cannot listen on " + host + ":" + std::to_string(port) + ": " +
                           std::strerror(reason));
}

std::string addressTowards(const std::string& host, uint16_t port) {
  const auto addresses = resolve(host, port, SOCK_DGRAM);
  for (const addrinfo* at = addresses.get(); at != nullptr; at = at->ai_next) {
    const int fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
    if (fd < 0) continue;
    // Nothing is sent: the system only looks up the route.
    sockaddr_storage local{};
    socklen_t length = sizeof local;
    const bool found = connect(fd, at->ai_addr, at->ai_addrlen) == 0 &&
                       getsockname(fd, reinterpret_cast<sockaddr*>(&local), &length) == 0;
    close(fd);
    char text[NI_MAXHOST];
    if (found && getnameinfo(reinterpret_cast<sockaddr*>(&local), length, text, sizeof text,
                             nullptr, 0, NI_NUMERICHOST) == 0) {
      return text;
    }
  }
  throw std::runtime_error("there is no way to " + host);
}

}  // namespace pare
