#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <string>

#include "policy/base/result.h"

namespace ipsec::agent::control {

/// A path as the address of a Unix socket. Error kLimitReached when it is longer than the system allows.
Result<sockaddr_un> socket_address(const std::string& path);
/// connect(2) without blocking for a queue that is full; errno, or 0.
int connect_unix(int fd, const sockaddr_un& address);

}  // namespace ipsec::agent::control
