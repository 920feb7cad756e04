#include "agent/control/socket_address.h"

#include <algorithm>
#include <cerrno>

namespace ipsec::agent::control {

Result<sockaddr_un> socket_address(const std::string& path) {
  sockaddr_un address{};
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return Error(Reason::kLimitReached, "the socket's path must have 1 to " +
                                            std::to_string(sizeof address.sun_path - 1) + " bytes: \"" + path + "\"");
  address.sun_family = AF_UNIX;
  std::copy(path.begin(), path.end(), static_cast<char*>(address.sun_path));
  return address;
}

int connect_unix(int fd, const sockaddr_un& address) {
  const void* plain = &address;
  for (;;) {
    if (connect(fd, static_cast<const sockaddr*>(plain), sizeof address) == 0) return 0;
    if (errno != EINTR) return errno;
  }
}

}  // namespace ipsec::agent::control
