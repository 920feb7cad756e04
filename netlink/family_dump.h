#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <vector>

#include "netlink/socket.h"

namespace ipsec::netlink {

/// A complete dump of something that IPv4 and IPv6 have each on its own. `request(family)`: the question;
/// `take(message, found)`: adds what a message holds, or an error. A kernel without one of the families has nothing of
/// it.
template <typename T, typename Request, typename Take>
Result<std::vector<T>> dump_families(Socket& dumps, Request request, Take take) {
  std::vector<T> all;
  for (const uint8_t family : {AF_INET, AF_INET6}) {
    std::vector<T> found;
    auto read = dumps.dump([&] { return request(family); },
                           [&](const Received& message) { return take(message, found); }, [&] { found.clear(); });
    if (!read.ok() && read.error().os_errno() != EAFNOSUPPORT && read.error().os_errno() != EOPNOTSUPP)
      return std::move(read).error();
    std::ranges::move(found, std::back_inserter(all));
  }
  return all;
}

}  // namespace ipsec::netlink
